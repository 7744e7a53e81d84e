"""C{pacarchive admin delete}, up to where it begins; C{tests/system/test_admin.py} has what it does."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

import pytest

from pacarchive.cli import main
from pacarchive.cli.admin import predecessor

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """One of two files."""
    for name in ("5", "6"):
        (tmp_path / name).write_text(name)
    return tmp_path


@pytest.mark.parametrize("ids", [["5", "05"], ["-1"], ["5", "abc"], ["18446744073709551616"], ["5", "../6"]])
def test_a_slip_removes_nothing(archive: Path, capsys: pytest.CaptureFixture[str], ids: list[str]) -> None:
    """All ids are looked at before the first file is removed."""
    assert main(["admin", "delete", "--yes", "--prefix", str(archive), "--", *ids]) == 2
    assert "is not a valid id" in capsys.readouterr().err
    assert len(list(archive.iterdir())) == 2


def test_nobody_to_ask(archive: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal, and without --yes, nothing is removed."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert main(["admin", "delete", "--prefix", str(archive), "5"]) == 2
    assert "give --yes" in capsys.readouterr().err
    assert len(list(archive.iterdir())) == 2


@pytest.mark.parametrize("answer", ["n", "y", "", "nyes", "yes, but"])
def test_a_no(archive: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    """Anything but a yes is one."""
    terminal = io.StringIO(f"{answer}\n")
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["admin", "delete", "--prefix", str(archive), "5", *map(str, range(10, 20))]) == 2
    asked = capsys.readouterr().err
    assert (
        f"Remove 11 files (5, 10, 11, 12, 13 and 6 more) from the posix archive {archive}, for good? Type yes: "
        in asked
    )
    assert "nothing was removed" in asked
    assert len(list(archive.iterdir())) == 2


@pytest.mark.parametrize("arguments", [[], ["delete"], ["-t", "memory", "delete", "5"], ["--prefix", "delete", "5"]])
def test_the_old_command_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """What the predecessor did not take is not taken."""
    with pytest.raises(SystemExit) as ended:
        predecessor.main(arguments)
    assert ended.value.code == 2
    assert "usage: pacifica-archiveinterface-cmd" in capsys.readouterr().err


def test_the_old_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings that cannot be used end it with 1, as everything did that went wrong."""
    assert predecessor.main(["--prefix", str(tmp_path / "absent"), "delete", "5"]) == 1
    assert "absent is not an existing directory" in capsys.readouterr().err
    settings = tmp_path / "settings.ini"
    settings.write_text("[posix]\nuse = true\n")
    monkeypatch.setenv("ARCHIVEINTERFACE_CONFIG", str(settings))
    assert predecessor.main(["--prefix", str(tmp_path), "delete", "5"]) == 1
    assert "unknown key" in capsys.readouterr().err
