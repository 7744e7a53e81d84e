"""C{pacarchive admin digest}, on trees as the predecessor left them."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import threading
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


def test_what_can_be_written_to(archive: tuple[Path, Path, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    """As the predecessor's PATCH leaves files: they get digests, and C{adopt} says the same of them as before."""
    prefix, settings, names = archive
    for name in names:
        (prefix / name).chmod(0o644)
    told = []
    for _ in range(2):
        assert main(["admin", "adopt", "-c", str(settings), "--json"]) == 1
        findings = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        told.append(sorted((each["finding"], each["path"]) for each in findings if each.get("needs_attention")))
        assert main(["admin", "digest", "-c", str(settings)]) == 0
        capsys.readouterr()
    assert told[0] == told[1] == sorted([("no_id", "notes.txt"), *(("unfinished", name) for name in names)])
    assert main(["admin", "digest", "--verify", "-c", str(settings)]) == 0
    assert "3 verified, 0 bad" in capsys.readouterr().out


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
    """One line and exit code 2 where there is no tree of files, or reading them would recall them."""
    settings = tmp_path / "settings.ini"
    for name, more, why in (
        ("memory", "", ""),
        ("hpss", "", "may recall it from tape"),
        ("hsmsideband", "[hsm_sideband]\npassword = p\n", "may recall it, even one whose beginning is on disk"),
    ):
        settings.write_text(f"[server]\ntype = {name}\nprefix = {tmp_path}\n{more}")
        assert main(["admin", "digest", "-c", str(settings)]) == 2
        said = capsys.readouterr().err
        assert f"archives of type posix, not {name}" in said
        assert why in said
    assert not (tmp_path / ".pacarchive").exists()


@pytest.mark.parametrize("jobs", ["1", "2", "5"])
def test_files_are_read_by_several_threads(
    archive: tuple[Path, Path, list[str]], capsys: pytest.CaptureFixture[str], jobs: str
) -> None:
    """However many there are, each file is read once."""
    prefix, settings, names = archive
    assert main(["admin", "digest", "-c", str(settings), "-j", jobs]) == 0
    size = sum((prefix / name).stat().st_size for name in names)
    assert f"3 files, {size >> 20} MiB read: 3 digests stored" in capsys.readouterr().out
    assert not [each.name for each in threading.enumerate() if each.name.startswith("digest-")]


def test_json(archive: tuple[Path, Path, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    """An object for each bad file, and the summary as the last."""
    prefix, settings, names = archive
    assert main(["admin", "digest", "-c", str(settings), "--json"]) == 0
    (summary,) = map(json.loads, capsys.readouterr().out.splitlines())
    read = sum((prefix / name).stat().st_size for name in names)
    assert summary == {
        "summary": {"files": 3, "bytes": read, "stored": 3, "verified": 0, "bad": 0, "complete": True}
    }  # fmt: skip
    (prefix / names[1]).chmod(0o644)
    (prefix / names[1]).write_bytes(b"rot")
    assert main(["admin", "digest", "-c", str(settings), "--verify", "--json"]) == 1
    captured = capsys.readouterr()
    bad, summary = map(json.loads, captured.out.splitlines())
    assert (bad["file"], bad["path"], bad["error"]["kind"]) == ("1234", names[1], "DigestMismatch")
    assert bad["error"]["message"].startswith("is damaged")
    assert (summary["summary"]["verified"], summary["summary"]["bad"]) == (2, 1)
    assert captured.err == ""


def test_no_link_is_followed(archive: tuple[Path, Path, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    """Neither a file's nor a directory's: what is outside of the prefix is not touched."""
    prefix, settings, names = archive
    outside = prefix.parent / "outside"
    (outside / "aa").mkdir(parents=True)
    for name in ("5", "aa/6aa"):
        (outside / name).write_text("x")
    (prefix / "5").symlink_to(outside / "5")
    (prefix / "file.5").symlink_to(outside / "5")
    (prefix / "aa").symlink_to(outside / "aa")
    assert main(["admin", "digest", "-c", str(settings)]) == 0
    assert "3 files" in capsys.readouterr().out
    assert os.listxattr(outside / "5") == os.listxattr(outside / "aa/6aa") == []
    assert len(names) == 3


def test_a_tree_of_another_user(
    archive: tuple[Path, Path, list[str]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused: locks and digests of one user would be in the way of the service's."""
    prefix, settings, _ = archive
    (prefix / ".pacarchive").mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: 4321)
    for command in ("digest", "sweep"):
        assert main(["admin", command, "-c", str(settings)]) == 2
        assert "run this as the service's user, with sudo -u " in capsys.readouterr().err
    assert os.listdir(prefix / ".pacarchive") == []


def test_no_room_for_digests(
    archive: tuple[Path, Path, list[str]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stops, instead of reading everything in vain."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "setxattr", refuse)
    assert main(["admin", "digest", "-c", str(archive[1]), "--jobs", "1"]) == 1
    captured = capsys.readouterr()
    assert "stopped, as the archive has no room for digests" in captured.err
    assert ": 0 digests stored, 0 verified" in captured.out


def test_lines_tell_how_far_it_is(
    archive: tuple[Path, Path, list[str]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where stderr is no terminal; here without the wait between two."""
    monkeypatch.setattr("pacarchive.cli.progress.LINE", 0.0)
    assert main(["admin", "digest", "-c", str(archive[1])]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines
    assert all(re.search(" digests? stored, 0 verified, 0 bad", line) for line in lines), lines
