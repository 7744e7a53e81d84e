"""The programs that docs/client.md shows do what it says: each is run as it stands there, against a real server."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from system.harness import HOST, content
from system.pages import MANUAL, programs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from system.harness import Service

PROGRAMS = programs(MANUAL / "client.md")
SHOWN = "http://archive.example.org:8080"


def run(program: str, service: Service, directory: Path) -> str:
    """Run a program in a directory.  @return: What it printed."""
    arguments = [sys.executable, "-W", "error", "-c", program.replace(SHOWN, f"http://{HOST}:{service.port}")]
    ended = subprocess.run(arguments, cwd=directory, capture_output=True, timeout=60)
    assert (ended.returncode, ended.stderr.decode()) == (0, "")
    return ended.stdout.decode()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the programs find their file."""
    made = tmp_path / "programs"
    made.mkdir()
    (made / "results.h5").write_bytes(content("results", 100_000))
    return made


def test_there_are_four() -> None:
    """For Twisted, for asyncio, and two for tests; each has a test below."""
    assert [("react(" in each, "asyncio.run(" in each, "FakeArchive" in each) for each in PROGRAMS] == [
        (True, False, False),
        (False, True, False),
        (False, False, True),
        (False, False, True),
    ]


def test_the_program_for_twisted(serve: Callable[..., Service], directory: Path) -> None:
    """It stores a file, reads it back, and is told that there is no other."""
    said = run(PROGRAMS[0], serve(), directory)
    assert (directory / "copy.h5").read_bytes() == (directory / "results.h5").read_bytes()
    stored, told = said.splitlines()
    assert stored.startswith('100000 "')
    assert told.startswith("No file has this id. Check the id.")


def test_the_program_for_asyncio(serve: Callable[..., Service], directory: Path) -> None:
    """It stores one file, and reads three at the same time."""
    service = serve()
    for file_id in (1, 2, 3):
        assert service.ask("PUT", file_id, b"%d" % file_id).status == 201
    run(PROGRAMS[1], service, directory)
    assert service.ask("GET", 12345).body == (directory / "results.h5").read_bytes()
    assert [(directory / f"{each}.h5").read_bytes() for each in (1, 2, 3)] == [b"1", b"2", b"3"]


def test_the_program_for_tests(serve: Callable[..., Service], directory: Path) -> None:
    """It needs no server; what it asserts holds."""
    assert run(PROGRAMS[2], serve(), directory) == ""
    broken = PROGRAMS[2].replace("advance(10)", "advance(1)")
    assert subprocess.run([sys.executable, "-c", broken], capture_output=True, timeout=60).returncode == 1


def test_the_program_for_tests_of_who_asks(serve: Callable[..., Service], directory: Path) -> None:
    """Likewise."""
    assert run(PROGRAMS[3], serve(), directory) == ""
    broken = PROGRAMS[3].replace('["old", "new"]', '["old", "old"]')
    assert subprocess.run([sys.executable, "-c", broken], capture_output=True, timeout=60).returncode == 1
