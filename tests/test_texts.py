"""Text files that people write, whatever with."""

from __future__ import annotations

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacarchive.texts import NotText, decoded

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\ufeff"))


@given(TEXT, st.booleans(), st.sampled_from(["\n", "\r\n", "\r"]))
def test_neither_mark_nor_ends_of_lines_matter(text: str, marked: bool, end: str) -> None:
    """The text is the same, with every other character in it that Unicode has."""
    data = text.replace("\n", end).encode()
    assert decoded(codecs.BOM_UTF8 + data if marked else data) == text


@given(TEXT.filter(len), st.sampled_from(["utf-16", "utf-32", "utf-16-le", "utf-16-be"]))
def test_wide_characters_are_refused_or_told_apart(text: str, encoding: str) -> None:
    """What has a mark is named; what has none cannot be mistaken as soon as a character is ASCII."""
    data = f"a{text}".encode(encoding)
    with pytest.raises(NotText, match="save it as UTF-8"):
        decoded(data)


@pytest.mark.parametrize(
    ("data", "line"),
    [(b"\xff", 1), (b"a\r\nb\r\n\xe9", 3), (codecs.BOM_UTF8 + b"a\r\rb\xc3", 3), (b"a\n\xed\xa0\x80", 2)],
)
def test_the_line_is_named(data: bytes, line: int) -> None:
    """Where an editor shows what is no UTF-8."""
    with pytest.raises(NotText, match=f"line {line} is not UTF-8 text"):
        decoded(data)


@given(st.binary())
def test_nothing_else_comes_of_bytes(data: bytes) -> None:
    """Text, or words."""
    try:
        outcome = decoded(data)
    except NotText as error:
        outcome = str(error).replace("\n", "\0")  # which is one line, too
    assert not {"\0", "\r"}.intersection(outcome)
