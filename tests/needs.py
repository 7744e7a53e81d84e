"""
What a test needs beside Python, found by where it is and by what it asks for.  C{--quick} runs those that need
nothing and are not marked as thorough; what needs something that could not be found here fails, however it is run.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Final

import pytest

HERE: Final = Path(__file__).parent

SERVER, SIMULATOR, DATABASE, PROGRAM = "server", "simulator", "database", "program"
MARKERS: Final = {
    SERVER: "starts the service in processes of its own",
    SIMULATOR: "needs the simulator of HPSS, or the extension on it, which are compiled",
    DATABASE: "needs a MariaDB of its own",
    PROGRAM: "runs programs of other packages",
}

THOROUGH: Final = "thorough"
"""
Marks what shows at length, or in further circumstances, what tests of C{--quick} show too: whoever marks a test says
which those are.
"""

PLACES: Final = {
    "campaigns": SERVER,
    "cli/check": SERVER,
    "deployment": SERVER,
    "hpss": SIMULATOR,
    "launch/test_worker_processes.py": SERVER,
    "sideband": DATABASE,
    "simulator": SIMULATOR,
    "system": SERVER,
    "telemetry/test_rules.py": PROGRAM,
    "test_bench.py": SERVER,
    "test_manpages.py": PROGRAM,
}
"""Directories and modules all of whose tests need something."""

FIXTURES: Final = {
    "analyze": PROGRAM,
    "database": DATABASE,
    "mariadb": DATABASE,
    "mariadb_store": DATABASE,
    "ministack": PROGRAM,
    "object_server": PROGRAM,
    "own_mariadb": DATABASE,
    "rclone": PROGRAM,
    "sam": DATABASE,
    "seaweedfs": PROGRAM,
    "serve": SERVER,
    "service": SERVER,
    "site": SIMULATOR,
}


_COMPILED: Final = re.compile(r"hpss.*\.so$")


def place_of(path: Path) -> str | None:
    """What all need that is in a file or a directory."""
    inside = path.relative_to(HERE).parts if path.is_relative_to(HERE) else ()
    return next((PLACES[each] for each in ("/".join(inside[:depth]) for depth in (1, 2)) if each in PLACES), None)


def mark(item: pytest.Item) -> None:
    """Mark a test with what it needs."""
    found = {FIXTURES[each] for each in getattr(item, "fixturenames", ()) if each in FIXTURES}
    if (place := place_of(item.path)) is not None:
        found.add(place)
    for each in sorted(found):
        item.add_marker(each)


def needs_nothing(item: pytest.Item) -> bool:
    """Whether it needs none of all that."""
    return not any(item.get_closest_marker(each) for each in MARKERS)


def is_quick(item: pytest.Item) -> bool:
    """Whether it runs with C{--quick}."""
    return needs_nothing(item) and item.get_closest_marker(THOROUGH) is None


class Guard:
    """
    Sees to it that what is said to need nothing starts nothing and loads nothing that is compiled.  A hook of the
    interpreter's, which cannot be removed.

    @ivar closed: Who is watched, in words; C{None} for nobody.
    """

    def __init__(self) -> None:
        self.closed: str | None = None
        sys.addaudithook(self._audit)

    def _audit(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.closed is None:
            return
        if event in ("subprocess.Popen", "os.posix_spawn"):
            program, command = arguments[0], arguments[1]
            words = [os.fsdecode(each) for each in command] if isinstance(command, list | tuple) else [str(command)]
            if str(program) != sys.executable or any("twistd" in each for each in words):
                pytest.fail(f"{self.closed} is not said to need any of {', '.join(MARKERS)}, and starts {words[:6]}")
        elif event in ("import", "ctypes.dlopen") and any(_COMPILED.search(str(each)) for each in arguments[:2]):
            pytest.fail(f"{self.closed} is not said to need the {SIMULATOR}, and loads {arguments[0]}")
