"""Passwords: of C{netrc}, or typed at a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pacarchive.cli.secrets import password_of
from pacarchive.cli.words import Misunderstood

if TYPE_CHECKING:
    from pathlib import Path

HOST, URL = "archive.example.org", "https://archive.example.org"


def password(user: str, path: Path) -> str:
    """What is found, where there is just this file."""
    return password_of(user, HOST, URL, {"NETRC": str(path), "HOME": "/nonexistent"})


@pytest.fixture
def netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file; where it has nothing, nobody can be asked."""
    monkeypatch.setattr(os, "open", _no_terminal(os.open))
    (tmp_path / "netrc").touch(0o600)
    return tmp_path / "netrc"


def _no_terminal(real: object) -> object:
    def opened(path: str, *arguments: int, **more: int) -> int:
        if path == "/dev/tty":
            raise OSError(6, "No such device or address")
        return real(path, *arguments, **more)  # type: ignore[operator, no-any-return]

    return opened


@pytest.mark.parametrize(
    "text",
    [
        f"machine {HOST} login alice password right\n",
        f"machine other login alice password wrong\nmachine {HOST}\n  login alice\n  password right\n",
        f"machine {HOST} password right",
        "default login alice password right\n",
        f"# words\nmachine {HOST} login alice account x password right\nmacdef init\ncd /\n\n",
    ],
)
def test_the_password_of_the_user_is_found(netrc: Path, text: str) -> None:
    """In all forms that the file has."""
    netrc.write_text(text)
    assert password("alice", netrc) == "right"


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"machine {HOST} login bob password wrong\n",
        "machine example.org login alice password wrong\n",
        f"machine {HOST} login alice\n",
    ],
)
def test_without_one_and_without_a_terminal_that_is_said(netrc: Path, text: str) -> None:
    """With what to do; no other password is taken."""
    netrc.write_text(text)
    with pytest.raises(Misunderstood, match=r"no terminal to type at \(Password of alice at .*; put it into ~/.netrc"):
        password("alice", netrc)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o606])
def test_a_password_that_others_may_read_is_not_used(netrc: Path, mode: int) -> None:
    """As other programs have it; where there is none of this server, that is nothing to this one."""
    netrc.write_text(f"machine {HOST} login alice password right\n")
    netrc.chmod(mode)
    with pytest.raises(Misunderstood, match=f"{netrc}: contains a password, and other users"):
        password("alice", netrc)
    with pytest.raises(Misunderstood, match="no terminal"):
        password("bob", netrc)


def test_what_is_wrong_with_the_file_is_said_without_its_secrets(netrc: Path) -> None:
    """With the number of the line."""
    for text in ("machine\n", f"machine {HOST} login alice passwd secret\n", "secret secret\n"):
        netrc.write_text(text)
        with pytest.raises(Misunderstood, match=rf"{netrc}: line \d+ cannot be understood") as caught:
            password("alice", netrc)
        assert "secret" not in str(caught.value)
    with pytest.raises(Misunderstood, match=r"\(\$NETRC\): No such file"):
        password("alice", netrc.with_name("none"))
    with pytest.raises(Misunderstood, match="Is a directory"):
        password("alice", netrc.parent)


def test_a_password_is_asked_for_without_an_echo(tmp_path: Path) -> None:
    """At the terminal, wherever standard input and output lead; what is typed is not to be seen."""
    code = (
        # Whoever leads a session gets the terminal that it opens.
        "import os; os.close(os.open(os.ttyname(0), os.O_RDWR)); os.dup2(os.open('/dev/null', os.O_RDONLY), 0)\n"
        "from pacarchive.cli.secrets import password_of\n"
        f"print(password_of('alice', '{HOST}', '{URL}', {{'HOME': '{tmp_path}'}})[::-1])"
    )
    terminal, theirs = pty.openpty()
    with open(tmp_path / "printed", "w") as printed:
        command = [sys.executable, "-c", code]
        asking = subprocess.Popen(command, stdin=theirs, stdout=printed, stderr=theirs, start_new_session=True)
    os.close(theirs)
    shown = b""
    while b": " not in shown:
        shown += os.read(terminal, 1000)
    os.write(terminal, b"secret\n")
    try:
        while more := os.read(terminal, 1000):
            shown += more
    except OSError:  # the end of a terminal
        pass
    os.close(terminal)
    assert asking.wait(60) == 0
    assert shown.replace(b"\r\n", b"") == f"Password of alice at {URL}: ".encode()
    assert (tmp_path / "printed").read_text() == "terces\n"
