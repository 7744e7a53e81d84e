"""Where tokens are found: files, and the places that tools of the WLCG agree on."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacarchive.client import TokenFile, TokenUnusable, discovered_token, tokens

BLANKS = st.text(st.sampled_from(" \t\n\r\f\v"), max_size=3)
TOKENS = st.from_regex(r"\A[A-Za-z0-9._~+/-]{1,20}={0,2}\Z")
NONE = st.sampled_from(["two words", "x\ny", "sécret", "a=b", "=", "a\0", "\N{NO-BREAK SPACE}x", '"quoted"'])
CONTENTS = st.one_of(
    st.none(),
    BLANKS,
    st.builds("{}{}{}".format, BLANKS, TOKENS, BLANKS),
    st.builds("{}{}{}".format, BLANKS, NONE, BLANKS),
)

Places = tuple[str | None, str | None, str | None, str | None]


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In the place of C{/tmp}, which all tests have in common."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tokens, "_TEMPORARY", str(tmp_path / "tmp"))
    return tmp_path / "tmp"


def found(places: Places, root: Path) -> str | None:
    """What is found where these places have these contents."""
    variable, named, runtime, temporary = places
    environ = {"XDG_RUNTIME_DIR": str(root / "run"), "BEARER_TOKEN_FILE": str(root / "named")}
    (root / "run").mkdir()
    if variable is not None:
        environ["BEARER_TOKEN"] = variable
    for path, content in (("named", named), (f"run/bt_u{os.geteuid()}", runtime), (f"bt_u{os.geteuid()}", temporary)):
        if content is not None:
            (root / path).write_bytes(content.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokens, "_TEMPORARY", str(root))
        return discovered_token(environ)


@given(st.tuples(CONTENTS, CONTENTS, CONTENTS, CONTENTS))
def test_the_first_that_is_not_empty_counts(places: Places) -> None:
    """It is the token, without the blanks around it; or if it is none, nothing is taken, and it stays unsaid."""
    stripped = [each.strip(" \t\n\r\f\v") for each in places if each is not None]
    expected = next((each for each in stripped if each), None)
    with TemporaryDirectory() as root:
        if expected is None or tokens.is_token(expected):
            assert found(places, Path(root)) == expected
            return
        with pytest.raises(TokenUnusable) as caught:
            found(places, Path(root))
    assert all(each not in str(caught.value) for each in ("two words", "cret", "quoted"))


def test_variables_that_are_not_set_lead_nowhere(temporary: Path) -> None:
    """Nor those that are empty, and files that are not there are passed over."""
    for environ in ({}, {"BEARER_TOKEN": "", "BEARER_TOKEN_FILE": "", "XDG_RUNTIME_DIR": ""}):
        assert discovered_token(environ) is None
    named = {"BEARER_TOKEN_FILE": "/nonexistent/file", "XDG_RUNTIME_DIR": "/nonexistent"}
    assert discovered_token(named) is None
    (temporary / f"bt_u{os.geteuid()}").write_text("found")
    assert discovered_token(named) == "found"
    (temporary / "named").write_text("rather")
    assert discovered_token({**named, "BEARER_TOKEN_FILE": str(temporary / "named")}) == "rather"


def test_the_environment_of_the_process_is_the_usual_one(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is when it is asked."""
    monkeypatch.setenv("BEARER_TOKEN", "one")
    assert discovered_token() == "one"
    monkeypatch.setenv("BEARER_TOKEN", "two")
    assert discovered_token() == "two"


def test_a_file_that_is_named_and_cannot_be_read_is_trouble(tmp_path: Path) -> None:
    """It was meant."""
    with pytest.raises(IsADirectoryError):
        discovered_token({"BEARER_TOKEN_FILE": str(tmp_path)})


def _link(path: Path) -> None:
    path.with_name("elsewhere").write_text("secret")
    path.symlink_to("elsewhere")


PLANTED: dict[str, Callable[[Path], object]] = {
    "a link": _link,
    "a pipe": os.mkfifo,
    "a directory": Path.mkdir,
    "a device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_what_others_may_have_put_there_is_passed_over(temporary: Path, planted: str) -> None:
    """Everybody may write to C{/tmp}; nothing hangs, either."""
    PLANTED[planted](temporary / f"bt_u{os.geteuid()}")
    assert discovered_token({}) is None


def test_a_file_of_somebody_else_is_passed_over(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token in it is not the user's, and whoever has put it there would get what is stored with it."""
    privileged = os.geteuid() == 0
    user = os.geteuid() if privileged else os.geteuid() + 1
    path = temporary / f"bt_u{user}"
    path.write_text("secret")
    path.chmod(0o644)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    if privileged:
        assert discovered_token({}) == "secret"
        os.chown(path, 12345, -1)
    assert discovered_token({}) is None


def test_a_file_is_read_each_time(tmp_path: Path) -> None:
    """As it is by then; and what is wrong with it is said with its name."""
    path = tmp_path / "token"
    read = TokenFile(path)
    assert str(path) in repr(read)
    for token in ("one", "two"):
        path.write_text(f"\ufeff {token}\r\n")
        assert read() == token
        assert token not in repr(read)
    for content, words in (
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"two words", "contains no valid bearer token"),
        (b"x" * 70_000, "contains no valid bearer token"),
        ("x".encode("utf-16"), "is UTF-16; save it as UTF-8"),
        (b"\xff\xfex\x00", "is UTF-16"),
        (b"caf\xe9", "is not UTF-8 text"),
    ):
        path.write_bytes(content)
        with pytest.raises(TokenUnusable, match=words) as caught:
            read()
        assert str(path) in str(caught.value)
        assert "two" not in str(caught.value)


def test_what_a_pipe_has_brought_stays(tmp_path: Path) -> None:
    """C{--token-file <(command)}: there is nothing more in it, and to wait for that would be for ever."""
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_text, args=("token\n",))
    writer.start()
    read = TokenFile(tmp_path / "pipe")
    assert read() == "token"
    writer.join()
    assert read() == "token"
    assert "token" not in repr(read).replace("TokenFile", "")
