"""L{pacarchive.runtime.files}."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from pacarchive.runtime.files import read_file, replace_file

if TYPE_CHECKING:
    from pathlib import Path


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """With its mode, and nothing beside it; a larger one is refused."""
    path = tmp_path / "file"
    for data, mode in ((b"words", 0o600), (b"others", 0o640)):
        replace_file(path, data, mode, (os.getuid(), os.getgid()))
        assert read_file(path, len(data)) == data
        assert stat.S_IMODE(path.stat().st_mode) == mode
    with pytest.raises(OSError, match="File too large"):
        read_file(path, 5)
    assert os.listdir(tmp_path) == ["file"]


def test_what_is_no_file(tmp_path: Path) -> None:
    """Nobody waits for the other end of a pipe."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/null"):
        with pytest.raises(OSError, match="is not a regular file"):
            read_file(path)


def test_a_replacement_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves what was there, and nothing else."""
    path = tmp_path / "file"
    path.write_bytes(b"words")

    def fail(*names: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="Input/output"):
        replace_file(path, b"others")
    assert path.read_bytes() == b"words"
    assert os.listdir(tmp_path) == ["file"]
