"""Static tokens, and their file."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacarchive.access import tokens
from pacarchive.access.identity import BadCredentials, How
from pacarchive.access.rights import Right, parse_id_ranges
from pacarchive.access.tokens import Token, digest_of, identify, make_token, parse_line

if TYPE_CHECKING:
    from pathlib import Path

HEX = "ab" * 32
NOW = 1795367928.0


def test_a_token() -> None:
    """It is known by its beginning, and no two are the same."""
    made = {make_token() for _ in range(100)}
    assert len(made) == 100
    assert all(len(each) == 53 and each.startswith("pac_") for each in made)


@given(st.integers(0, 52), st.characters(min_codepoint=33, max_codepoint=126))
def test_a_mistyped_token_is_found_out(place: int, character: str) -> None:
    """One wrong character is told from a token that is revoked, without the file."""
    token = make_token()
    wrong = token[:place] + character + token[place + 1 :]
    with pytest.raises(BadCredentials) as caught:
        identify(wrong, {}, NOW)
    assert ("damaged" in caught.value.detail) is (wrong != token)
    assert wrong not in caught.value.detail + str(caught.value)


def test_whose_a_token_is() -> None:
    """Its line says what it may, and until when."""
    token = make_token()
    line = Token("robot", digest_of(token), Right.CREATE, parse_id_ranges("5-9"), NOW + 10)
    known = {line.digest: line}
    identity = identify(token, known, NOW)
    assert (identity.name, identity.how, set(identity.labels)) == ("token:robot", How.TOKEN, {"token:robot"})
    (given_,) = identity.grants
    assert (given_.rights, str(given_.ids), identity.expires) == (Right.CREATE | Right.STAT, "5-9", NOW + 10)
    with pytest.raises(BadCredentials) as caught:
        identify(token, known, NOW + 10)
    assert str(caught.value) == caught.value.detail == "The token of robot expired at 2026-11-22T17:18:58Z."
    with pytest.raises(BadCredentials, match="not valid"):
        identify(make_token(), known, NOW)


@given(
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,99}", fullmatch=True),
    st.sampled_from(list(Right)),
    st.none() | st.integers(0, 2**32).map(float),
    st.sampled_from([None, "1", "5-9, 11"]),
)
def test_a_line_survives_being_written(name: str, right: Right, expires: float | None, ids: str | None) -> None:
    """What is written is read as the same."""
    read = parse_line(Token(name, HEX, right, (ids and parse_id_ranges(ids)) or None, expires).line + "  # a word")
    assert read is not None
    assert (read.name, read.digest, read.expires, str(read.ids)) == (name, HEX, expires, str(ids))
    assert right in read.rights


@pytest.mark.parametrize("text", ["", "   ", "# robot"])
def test_a_line_that_says_nothing(text: str) -> None:
    """Comments and empty lines."""
    assert parse_line(text) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("robot", "a line is NAME sha256:HEX RIGHTS"),
        (f"robot pac_{'a' * 49} read", "a line is NAME sha256:HEX RIGHTS"),
        (f"robot sha256:{HEX} write", "'write' is no right"),
        (f"robot sha256:{HEX} read expires=soon", "'soon' is no date"),
        (f"robot sha256:{HEX} read ids=x", "'x' is neither an id"),
        (f"robot sha256:{HEX} read mood=good", "'mood' is neither expires= nor ids="),
        (f"a:b sha256:{HEX} read", "'a:b' is not a name"),
    ],
)
def test_a_line_that_is_not_well_formed(tmp_path: Path, text: str, words: str) -> None:
    """It is named by its number, and what might be a token is not repeated."""
    path = tmp_path / "tokens"
    path.write_text(f"# tokens\n{text}\n")
    with pytest.raises(ValueError, match="line 2: ") as caught:
        tokens.load(path)
    assert words in str(caught.value)
    assert "pac_" not in str(caught.value)


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_moment_that_no_calendar_here_has(text: str) -> None:
    """It is said of the line, and not found out when the moment is told to somebody."""
    with pytest.raises(ValueError, match="is not between the years 1 and 9999"):
        parse_line(f"robot sha256:{HEX} read expires={text}")


def test_the_same_token_twice(tmp_path: Path) -> None:
    """Whose it is would be chance."""
    path = tmp_path / "tokens"
    path.write_text(f"a sha256:{HEX} read\nb sha256:{HEX} read\n")
    with pytest.raises(ValueError, match="b and a are the same token"):
        tokens.load(path)


def test_changing_the_file(tmp_path: Path) -> None:
    """Comments stay, so do mode and owner; nothing is left of the way there."""
    path = tmp_path / "tokens"
    first, second = (Token(name, digest_of(make_token()), Right.READ) for name in ("first", "second"))
    tokens.change(path, lambda lines: ["# ours", *(line for line, _ in lines), first.line])
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o640
    os.chmod(path, 0o600)
    tokens.change(path, lambda lines: [*(line for line, _ in lines), second.line])
    assert path.read_text().splitlines() == ["# ours", first.line, second.line]
    assert {each.name for each in tokens.load(path).values()} == {"first", "second"}
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert os.listdir(tmp_path) == ["tokens"]


def test_a_change_that_fails(tmp_path: Path) -> None:
    """It changes nothing."""
    path = tmp_path / "tokens"
    path.write_text("# ours\n")

    def fail(lines: object) -> list[str]:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        tokens.change(path, fail)
    path.write_text("wrong\n")
    with pytest.raises(ValueError, match="line 1"):
        tokens.change(path, lambda lines: [])
    assert path.read_text() == "wrong\n"
    assert os.listdir(tmp_path) == ["tokens"]


def test_links_in_a_circle(tmp_path: Path) -> None:
    """They are an error of the file, as all others."""
    (tmp_path / "tokens").symlink_to("tokens")
    with pytest.raises(OSError, match="Too many levels"):
        tokens.change(tmp_path / "tokens", lambda lines: [line for line, _ in lines])
