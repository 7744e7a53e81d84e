"""C{pacarchive admin digest}, on trees as the predecessor left them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from pacarchive.cli import main

SHA256 = "user.pacarchive.sha256"


@pytest.fixture(params=["false", "true"], ids=["flat", "id2filename"])
def archive(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Path, Path, list[str]]:
    """A predecessor's tree of three files, in both layouts, the settings for it, and the files' names."""
    prefix = tmp_path / "archive"
    names = ["1", "1234", "12345"] if request.param == "false" else ["file.1", "d2/4d2", "39/3039"]
    for name in names:
        path = prefix / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() * 1000)
        path.chmod(0o444)
    (prefix / "notes.txt").write_text("no id's")
    settings = tmp_path / "settings.ini"
    settings.write_text(f"[server]\nprefix = {prefix}\n[posix]\nuse_id2filename = {request.param}\n")
    return prefix, settings, names


def test_missing_digests_are_stored(archive: tuple[Path, Path, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    """Every file of an id gets the digest of its bytes, keeps its mode and mtime, and nothing else is touched."""
    prefix, settings, names = archive
    before = {name: (prefix / name).stat() for name in names}
    assert main(["admin", "digest", "-c", str(settings)]) == 0
    for name in names:
        path = prefix / name
        assert os.getxattr(path, SHA256) == hashlib.sha256(path.read_bytes()).digest()
        assert (path.stat().st_mode, path.stat().st_mtime_ns) == (before[name].st_mode, before[name].st_mtime_ns)
    assert SHA256 not in os.listxattr(prefix / "notes.txt")
    assert "3 files" in (out := capsys.readouterr().out)
    assert "3 digests stored, 0 verified, 0 bad" in out


def test_a_second_run_reads_nothing(archive: tuple[Path, Path, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    """What has a digest is not read again, so that an interrupted run can be resumed."""
    _, settings, _ = archive
    assert main(["admin", "digest", "-c", str(settings)]) == 0
    capsys.readouterr()
    assert main(["admin", "digest", "-c", str(settings)]) == 0
    assert "0 digests stored" in capsys.readouterr().out


def test_a_damaged_file_is_named(archive: tuple[Path, Path, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    """With --verify, bytes that are no longer those of the digest give exit code 1 and the file's id."""
    prefix, settings, names = archive
    assert main(["admin", "digest", "-c", str(settings)]) == 0
    (prefix / names[1]).chmod(0o644)
    (prefix / names[1]).write_bytes(b"rot" * 1000)
    assert main(["admin", "digest", "-c", str(settings), "--verify"]) == 1
    captured = capsys.readouterr()
    assert "file 1234: is damaged" in captured.err
    assert "2 verified, 1 bad" in captured.out


def test_other_backends_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line and exit code 2 where there is no tree of files."""
    settings = tmp_path / "settings.ini"
    settings.write_text(f"[server]\ntype = memory\nprefix = {tmp_path}\n")
    assert main(["admin", "digest", "-c", str(settings)]) == 2
    assert "archives of type posix" in capsys.readouterr().err
