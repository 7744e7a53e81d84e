"""A service that cannot start says so in one clear line and ends with a status that tells it from a crash."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from system.harness import HOST

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from system.harness import Service

BOTH = pytest.mark.parametrize("workers", [1, 2])


def _complaints(service: Service) -> list[str]:
    """What it says beyond what twistd says of every process."""
    ordinary = ("UnixAppLogger#info]", "Main loop terminated")
    return [line for line in service.log.splitlines() if not any(words in line for words in ordinary)]


def _end_of(service: Service) -> tuple[int, str]:
    """Its exit status, and the one line that says why."""
    status = service.ends()
    (line,) = _complaints(service)
    return status, line


@BOTH
@pytest.mark.parametrize("others", [1, 2])
def test_port_in_use(serve: Callable[..., Service], workers: int, others: int) -> None:
    """The second service on a port ends; the first goes on, and gets every request."""
    first = serve(workers=others)
    assert first.ask("PUT", 1, b"data").status == 201
    status, line = _end_of(serve(port=first.port, workers=workers))
    assert status == 1
    assert f"cannot start: cannot listen on {HOST}:{first.port}: Address already in use; stop what" in line
    assert [first.ask("GET", 1).body for _ in range(8)] == [b"data"] * 8


@BOTH
def test_address_of_somebody_else(serve: Callable[..., Service], workers: int) -> None:
    """An address that this machine does not have."""
    status, line = _end_of(serve("-a", "203.0.113.1", "--anonymous", "read", workers=workers))
    assert status == 1
    assert "cannot start: cannot listen on 203.0.113.1:0: Cannot assign requested address; this machine has no" in line


@BOTH
def test_something_else_in_the_way(serve: Callable[..., Service], tmp_path: Path, workers: int) -> None:
    """The name of the archive's own directory is taken by a file: nothing is served, and the file stays."""
    taken = tmp_path / "prefix" / ".pacarchive"
    taken.parent.mkdir()
    taken.write_text("mine")
    status, line = _end_of(serve("--prefix", str(taken.parent), workers=workers))
    assert status == 1
    assert "cannot start: " in line
    assert "Not a directory" in line
    assert taken.read_text() == "mine"


@BOTH
@pytest.mark.parametrize("name", ["", "tmp", "locks", "digests"])
def test_a_link_in_the_place_of_an_own_directory(
    serve: Callable[..., Service], tmp_path: Path, workers: int, name: str
) -> None:
    """Nothing is swept that it leads to, and nothing is served."""
    victim = tmp_path / "victim"
    for each in (victim, victim / "tmp"):
        each.mkdir()
        (each / "file").write_text("mine")
    place = tmp_path / "prefix" / ".pacarchive" / name
    place.parent.mkdir(parents=True)
    place.symlink_to(victim)
    status, line = _end_of(serve("--prefix", str(tmp_path / "prefix"), workers=workers))
    assert status == 1
    assert "cannot start: " in line
    assert f"{place}: is a symbolic link" in line
    assert (victim / "file").read_text() == (victim / "tmp/file").read_text() == "mine"


@BOTH
@pytest.mark.parametrize("name", ["01", "digests"])
def test_a_link_in_the_place_of_a_lock(serve: Callable[..., Service], tmp_path: Path, workers: int, name: str) -> None:
    """It is named where it is."""
    place = tmp_path / "prefix/.pacarchive/locks" / name
    place.parent.mkdir(parents=True)
    place.symlink_to("nothing")
    status, line = _end_of(serve("--prefix", str(tmp_path / "prefix"), workers=workers))
    assert status == 1
    assert "cannot start: " in line
    assert f" {place}: Too many levels of symbolic links" in line


@pytest.mark.parametrize(
    ("options", "settings", "words"),
    [
        (["--prefix", "nowhere"], "", "[server] prefix: {directory}/nowhere is not an existing directory"),
        (["--prefix", "settings.ini"], "", "[server] prefix: {directory}/settings.ini is not an existing directory"),
        (["-c", "nothing.ini"], "", "nothing.ini: No such file or directory"),
        ([], "[server]\nprefxi = x\n", "settings.ini: [server] prefxi: unknown key; did you mean prefix?"),
        ([], "[server]\noverwrite = maybe\n", "'maybe' is not among allow, identical, deny"),
        ([], "[server]\nmove_roots = /nowhere\n", "[server] move_roots: /nowhere is not an existing directory"),
        ([], "no section\n", "settings.ini: line 1 is neither"),
        (["-t", "paper"], "", "this installation has no backend 'paper'"),
        (["-p", "65536"], "", "'65536' is not a number from 0 to 65535"),
        (["--workers", "many"], "", "[server] workers: 'many'"),
        (["--endpoint", "tcp:1"], "", "--endpoint cannot be combined with --port"),
    ],
)
def test_bad_settings(serve: Callable[..., Service], options: list[str], settings: str, words: str) -> None:
    """One line that names the place and the fault, and exit status 2; nothing is made."""
    service = serve(*options, settings=settings)
    status, line = _end_of(service)
    assert status == 2
    assert line.startswith("pacarchive: ")
    assert words.format(directory=service.directory) in line
    assert not (service.directory / "nowhere").exists()
    assert not (service.prefix / ".pacarchive").exists()


@pytest.mark.parametrize("endpoint", ["paper:1", f"ssl:0:interface={HOST}:privateKey=nothing.pem"])
def test_bad_endpoint(serve: Callable[..., Service], endpoint: str) -> None:
    """An endpoint that nobody knows, and a certificate that is not there."""
    status, line = _end_of(serve("--endpoint", endpoint, port=None))
    assert status == 2
    assert f"[server] endpoint: '{endpoint}' cannot be used: " in line
