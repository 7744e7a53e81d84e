"""The command and local files: their times, their names in maps, and files that are more than their size says."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import attrs
import pytest

from system.harness import HOST, Service
from system.terminal import run

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

EARLY = 784111777_123456789
"""In 1994, to the nanosecond."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One for all tests; each has ids of its own."""
    started = Service(tmp_path_factory.mktemp("archive"))
    yield started
    started.stop()
    started.assert_clean()


@attrs.frozen
class User:
    """Somebody who types commands."""

    directory: Path
    url: str

    def types(self, *words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """A command, to its end."""
        return run(self.directory, *words, environment={"PACARCHIVE_URL": self.url}, stdin=stdin)


@pytest.fixture
def user(service: Service, tmp_path: Path) -> User:
    """A user of the service, who has three files."""
    for name in "abc":
        (tmp_path / name).write_text(name)
    return User(tmp_path, f"http://{HOST}:{service.port}")


def test_a_file_gets_the_time_of_its_version(user: User) -> None:
    """To the nanosecond; unless it is to be left."""
    os.utime(user.directory / "a", ns=(EARLY, EARLY))
    assert user.types("put", "a", "--id", "1").returncode == 0
    assert user.types("get", "1", "-o", "kept").returncode == 0
    assert os.stat(user.directory / "kept").st_mtime_ns == EARLY
    assert user.types("get", "1", "-o", "left", "--no-times").returncode == 0
    assert os.stat(user.directory / "left").st_mtime_ns > os.stat(user.directory / "kept").st_ctime_ns - 60 * 10**9
    # What is there already is left alone, with its time.
    assert user.types("get", "1", "-o", "left").returncode == 0
    assert os.stat(user.directory / "left").st_mtime_ns != EARLY


def test_a_time_is_shown_in_the_second_that_it_is_in(user: User) -> None:
    """Not in the next one, which a float would make of it."""
    times = {"19": (784111777_999999999, "1994-11-06 08:49:37"), "20": (-1, "1969-12-31 23:59:59")}
    for file_id, (time, shown) in times.items():
        os.utime(user.directory / "a", ns=(time, time))
        assert user.types("put", "a", "--id", file_id).returncode == 0
        for words in (("stat", file_id), ("stat", "--long", file_id)):
            assert shown in user.types(*words).stdout


def test_a_file_whose_size_reads_0_is_what_it_contains(user: User) -> None:
    """The kernel makes those of C{/proc} when they are read."""
    assert os.stat("/proc/version").st_size == 0
    for words in ("stored in", "was there already"):
        done = user.types("put", "/proc/version", "--id", "10")
        assert (done.returncode, words in done.stdout) == (0, True)
    done = user.types("verify", "/proc/version", "--id", "10")
    assert (done.returncode, done.stderr) == (0, "")
    done = user.types("get", "10", "-o", "/proc/version")
    assert (done.returncode, "was there already" in done.stdout) == (0, True)
    done = user.types("verify", "/proc/cpuinfo", "--id", "10")
    assert done.returncode == 5
    assert "bytes here" in done.stderr
    assert " 0 bytes" not in done.stderr
    (user.directory / "empty").touch()
    done = user.types("verify", "empty", "--id", "10")
    assert (done.returncode, "is different: 0 bytes here" in done.stderr) == (5, True)


@pytest.mark.parametrize("place", ["/proc/x", "none/x", "a/x", "./none/../none/x"])
def test_a_place_that_cannot_be_written_is_named_as_it_was(user: User, service: Service, place: str) -> None:
    """And not by the hidden name that the file has until it is complete."""
    service.ask("PUT", 20, b"x")
    done = user.types("get", "20", "-o", place)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith(f"pacarchive: file 20: {place}: ")
    done = user.types("put", "a", "--id", "21", "--save-map", place)
    assert (done.returncode, done.stderr.startswith(f"pacarchive: {place}: ")) == (1, True)
    assert service.ask("GET", 21).status == 404


def test_a_map_goes_all_the_way(user: User, service: Service) -> None:
    """What put has saved is what get, verify, rm and put itself take."""
    name = "two words \udcff"
    (user.directory / name).write_bytes(b"odd")
    words = ("put", "a", name, "gone", "c", "--id", "30", "--save-map", "map")
    done = user.types(*words)
    assert done.returncode == 1
    saved = (user.directory / "map").read_bytes()
    assert saved == b"30 a\n31 two words \xff\n33 c\n"
    # Typed again it goes on, over its own map.
    (user.directory / "gone").write_bytes(b"found")
    assert user.types(*words).returncode == 0
    assert (user.directory / "map").read_bytes() == saved.replace(b"33", b"32 gone\n33")
    for each in ("a", "c", name):
        (user.directory / each).unlink()
    assert user.types("get", "--id-file", "map").returncode == 0
    assert (user.directory / name).read_bytes() == b"odd"
    assert user.types("verify", "--id-file", "map").returncode == 0
    assert user.types("put", "--id-file", "map", "--save-map", "map2").returncode == 0
    (user.directory / "deep").write_text("30 x/y/z/a\n")
    assert user.types("get", "--id-file", "deep").returncode == 0
    assert (user.directory / "x/y/z/a").read_text() == "a"
    assert user.types("rm", "--id-file", "-", "--yes", stdin="30 a\n31 b\n").returncode == 0
    assert [service.ask("GET", each).status for each in (30, 31, 32)] == [404, 404, 200]
    done = user.types("put", "-", "--id", "39", "--save-map", "piped", stdin="x")
    assert (done.returncode, (user.directory / "piped").read_text()) == (0, "# 39 came from standard input\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("put", "--id-file", "map", "--id", "5"), "with --id-file"),
        (("verify", "--id-file", "map", "--id", "5"), "with --id-file"),
        (("get", "1", "--id-file", "map"), "with --id-file"),
        (("get", "--id-file", "map", "-o", "x/"), "with --id-file"),
        (("rm", "1", "--id-file", "map", "--yes"), "with --id-file"),
        (("get",), "which files?"),
        (("rm", "--yes"), "which files?"),
        (("get", "--id-file", "twice"), "one file only can go to 'a'"),
        (("put", "a", "--id", "5", "--save-map", "b"), "b: exists and is not a map"),
        (("put", "a", "--id", "5", "--save-map", "a"), "a: exists and is not a map"),
        (("put", "a", "--id", "5", "--save-map", "map"), "map: exists and is not a map"),
        (("put", "--id-file", "map", "--save-map", "./map"), "would replace the map that --id-file names"),
        (("put", "a", "--id", "5", "--save-map", "-"), "--save-map takes the name of a file"),
        (("put", "x\ny", "--id", "5", "--save-map", "z"), "cannot stand in a map"),
    ],
)
def test_what_cannot_be_meant_is_refused(user: User, service: Service, words: tuple[str, ...], said: str) -> None:
    """In one line, before anything is sent, and nothing local is touched."""
    (user.directory / "map").write_text("5 b\n")
    (user.directory / "twice").write_text("5 ./a\n6 a\n")
    before = {each.name: each.read_bytes() for each in user.directory.iterdir()}
    done = user.types(*words)
    assert (done.returncode, done.stderr.count("\n"), said in done.stderr) == (2, 1, True), done.stderr
    assert {each.name: each.read_bytes() for each in user.directory.iterdir()} == before
    assert service.ask("GET", 5).status == 404
