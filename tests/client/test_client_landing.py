"""What a file is told as when it cannot land, and which time it gets."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import pytest

from pacarchive.client.landing import Landing
from pacarchive.client.testing import FakeArchive, result_of
from pacarchive.digests import Hasher

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

EARLY = 784111777_123456789
"""In 1994, to the nanosecond."""


@pytest.fixture
def archive() -> FakeArchive:
    """An archive with a file of 1994."""
    found = FakeArchive()
    result_of(found.client().put(1, b"data", mtime_ns=EARLY))
    return found


@pytest.mark.parametrize("keep_time", [True, False])
def test_a_file_gets_the_time_of_its_version_where_that_is_wished(
    archive: FakeArchive, tmp_path: Path, keep_time: bool
) -> None:
    """To the nanosecond; it is there when the name is."""
    fetched = result_of(archive.client().get(1, tmp_path / "x", keep_time=keep_time))
    assert fetched.mtime_ns == EARLY
    assert (os.stat(tmp_path / "x").st_mtime_ns == EARLY) is keep_time


@pytest.mark.parametrize("trouble", ["refused", "cut", "far"])
def test_a_time_that_cannot_be_kept_is_told(
    archive: FakeArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    """And not kept as another; nothing is there under the name."""

    def utime(file: int, ns: Any) -> None:
        if trouble == "refused":
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        if trouble == "far":
            raise OverflowError("timestamp out of range for platform time_t")

    monkeypatch.setattr(os, "utime", utime)
    with pytest.raises(OSError, match="the time of its version") as caught:
        result_of(archive.client().get(1, tmp_path / "x", keep_time=True))
    assert caught.value.filename == str(tmp_path / "x")
    assert os.listdir(tmp_path) == []
    result_of(archive.client().get(1, tmp_path / "x"))


def failures(calls: Sequence[Callable[[], object]]) -> list[OSError]:
    """What some calls fail with."""
    found = []
    for call in calls:
        try:
            call()
        except OSError as error:
            found.append(error)
    return found


@pytest.mark.parametrize("unnamed", [True, False])
@pytest.mark.parametrize("failing", ["open", "listdir", "pwritev", "pread", "fsync", "rename", "ftruncate", "utime"])
def test_whatever_fails_is_said_of_the_place_that_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str, unnamed: bool
) -> None:
    """Never of a hidden name, nor of the directory's own path."""
    monkeypatch.chdir(tmp_path)
    os_open, landed = os.open, list[Landing]()

    def refuse_unnamed(path: Any, flags: int, *arguments: Any, **more: Any) -> int:
        if not unnamed and flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "no unnamed files", path)
        return os_open(path, flags, *arguments, **more)

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.EIO, "the disk is broken", ".pacarchive-get-hidden", None, "x")

    monkeypatch.setattr(os, "open", refuse_unnamed)
    with monkeypatch.context() as patch:
        patch.setattr(os, failing, fail)
        told = failures([lambda: landed.append(Landing("./there/../x"))])
    if landed:
        (file,) = landed
        with monkeypatch.context() as patch:
            told += failures([lambda: file.write([b"data"], 0)])
            patch.setattr(os, failing, fail)
            calls = [lambda: file.write([b"data"], 0), lambda: file.hash(Hasher(["sha256"]), 0, 4), file.clear]
            told += failures([*calls, lambda: file.set_mtime(EARLY), file.publish])
        file.close()
    assert {(each.errno, each.filename, each.filename2) for each in told} == {(errno.EIO, "./there/../x", None)}
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


@pytest.mark.parametrize("place", ["none/x", "/proc/x", "/dev/null", "."])
def test_a_place_that_cannot_be_is_named_as_it_was(
    archive: FakeArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """With the words of the system."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError, match=r"\S") as caught:
        result_of(archive.client().get(1, place))
    assert caught.value.filename == place
