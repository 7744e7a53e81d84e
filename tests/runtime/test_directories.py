"""Directories that are made are durable, each in its parent."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pacarchive.runtime.directories import make_durable
from pacarchive.settings.reading import load

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """What was synced, and what was in it then."""
    found: list[tuple[str, list[str]]] = []
    really_sync = os.fsync

    def sync(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        found.append((path, sorted(os.listdir(path))))
        really_sync(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    return found


def test_each_is_synced_in_its_parent(tmp_path: Path, synced: list[tuple[str, list[str]]]) -> None:
    """From the top, and again where all is there."""
    for _ in range(2):
        make_durable(f"{tmp_path}/one/two/three/")
    assert synced == [
        (str(tmp_path), ["one"]),
        (f"{tmp_path}/one", ["two"]),
        (f"{tmp_path}/one/two", ["three"]),
        (f"{tmp_path}/one/two", ["three"]),
    ]


def test_what_cannot_be_made(tmp_path: Path) -> None:
    """The error names what was asked for."""
    (tmp_path / "file").touch()
    for name, error in (("file", FileExistsError), ("file/below", NotADirectoryError)):
        with pytest.raises(error) as raised:
            make_durable(tmp_path / name)
        assert raised.value.filename == str(tmp_path / name)
    with pytest.raises(FileNotFoundError) as missing:
        make_durable("/proc/none/")
    assert missing.value.filename == "/proc/none/"


@pytest.mark.parametrize("is_there", [False, True])
def test_the_default_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, synced: list[tuple[str, list[str]]], is_there: bool
) -> None:
    """Nobody has to make it, and it is durable before anything is stored in it."""
    monkeypatch.chdir(tmp_path)
    if is_there:
        (tmp_path / "archive").mkdir()
    load(None, {}, {})
    assert synced == [(str(tmp_path), ["archive"])]
