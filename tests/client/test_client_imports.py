"""The client library alone: what it imports, and what it does without."""

from __future__ import annotations

import subprocess
import sys

import pytest

IMPORT = """
import sys
from importlib import import_module

class Forbidding:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"klein", "werkzeug", "pymysql", "rich", "sdnotify", "shtab"}:
            raise ImportError(f"{name} is not needed by a client", name=name)

sys.meta_path.insert(0, Forbidding())
import_module(sys.argv[1])
print(*sorted({name for name in sys.modules if name.startswith("pacarchive.")}))
"""

ROOMS = ("backends", "cli", "launch", "recall", "runtime", "settings", "web")


def imported(module: str) -> subprocess.CompletedProcess[str]:
    """Import a module in a process of its own, in which the server's packages cannot be imported."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORT, module], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("module", ["pacarchive.client", "pacarchive.client.aio", "pacarchive.client.testing"])
def test_no_part_of_the_server_is_imported(module: str) -> None:
    """Neither its rooms, nor the packages that only they need: klein, werkzeug, PyMySQL and those of the command."""
    done = imported(module)
    assert (done.returncode, done.stderr) == (0, "")
    names = done.stdout.split()
    assert module in names
    assert not [name for name in names if name.split(".")[1] in ROOMS]


def test_a_server_would_be_noticed() -> None:
    """The packages really cannot be imported there."""
    done = imported("pacarchive.web.routing")
    assert done.returncode != 0
    assert "is not needed by a client" in done.stderr
