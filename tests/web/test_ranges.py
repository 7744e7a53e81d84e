"""Parts of a file, by header and by query."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacarchive.errors import InvalidRequest
from pacarchive.web.http.ranges import ByteRange, Unsatisfiable, parse_byte_range, parse_range

SIZES = st.integers(0, 2**63)


@pytest.mark.parametrize(
    ("header", "offset", "length"),
    [
        ("bytes=0-499", 0, 500),
        ("bytes=500-999", 500, 500),
        ("bytes=-500", 9500, 500),
        ("bytes=9500-", 9500, 500),
        ("bytes=0-0", 0, 1),
        ("bytes=-1", 9999, 1),
        ("bytes=0-", 0, 10000),
        ("bytes=9999-", 9999, 1),
        ("bytes=9999-9999", 9999, 1),
        ("bytes=9000-20000", 9000, 1000),
        ("bytes=-20000", 0, 10000),
        ("BYTES=0-499", 0, 500),
        ("bytes=,0-499 ,", 0, 500),
        ("bytes=000-0499", 0, 500),
        ("bytes=0-" + "9" * 40, 0, 10000),
        ("bytes=-" + "9" * 40, 0, 10000),
    ],
)
def test_one_range(header: str, offset: int, length: int) -> None:
    """The examples of RFC 9110, section 14.1.2, and the edges of a file of 10,000 bytes."""
    assert parse_range(header, 10000) == ByteRange(offset, length, 10000)


@pytest.mark.parametrize(
    ("header", "size"),
    [
        ("bytes=10000-", 10000),
        ("bytes=10000-10001", 10000),
        ("bytes=-0", 10000),
        ("bytes=0-", 0),
        ("bytes=0-0", 0),
        ("bytes=-0", 0),
        ("bytes=" + "9" * 40 + "-", 10000),
    ],
)
def test_unsatisfiable(header: str, size: int) -> None:
    """A range without a byte of the file is told from one that is ignored."""
    assert parse_range(header, size) == Unsatisfiable(size)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=,",
        "bytes=a-b",
        "bytes=5",
        "bytes=10-5",
        "bytes=--5",
        "bytes=1-2-3",
        "bytes=+1-2",
        "bytes= 1 - 2",
        "bytes =0-1",
        "bytes=0x1-2",
        "bytes=1_0-20",
        "bytes=\u0660-\u0669",
        "bytes=0-1\n",
        "items=0-1",
        "0-1",
        "bytes=0-1,5-6",
        "bytes=0-0,-1",
        "bytes=0-9,0-9,0-9,0-9",
        "bytes=" + "9" * 41 + "-",
        "bytes=" + "9" * 100_000 + "-",
        "bytes=" + "," * 100_000,
    ],
)
def test_ignored(header: str) -> None:
    """What is malformed, of another unit or of several ranges is ignored: the whole file is the answer."""
    assert parse_range(header, 10000) is None


def test_last_bytes_of_an_empty_file() -> None:
    """The last bytes of an empty file are the whole file: no answer 206 could describe them."""
    assert parse_range("bytes=-5", 0) is None


def test_content_range() -> None:
    """The examples of RFC 9110, section 14.4."""
    assert ByteRange(42, 1192, 1234).content_range == b"bytes 42-1233/1234"
    assert Unsatisfiable(1234).content_range == b"bytes */1234"


@given(SIZES, st.integers(0, 2**64), st.none() | st.integers(0, 2**64))
def test_int_range_selects_what_slicing_does(size: int, first: int, last: int | None) -> None:
    """A range selects the positions that a slice would, or is unsatisfiable, or ends before its start."""
    result = parse_range(f"bytes={first}-{'' if last is None else last}", size)
    if last is not None and last < first:
        assert result is None
        return
    expected = range(size)[first : None if last is None else last + 1]
    if not expected:
        assert result == Unsatisfiable(size)
    else:
        assert isinstance(result, ByteRange)
        assert range(result.offset, result.offset + result.length) == expected


@given(st.integers(1, 2**63), st.integers(1, 2**64))
def test_suffix_range_selects_what_slicing_does(size: int, length: int) -> None:
    """The last bytes are those of a slice from the end."""
    result = parse_range(f"bytes=-{length}", size)
    assert isinstance(result, ByteRange)
    assert range(result.offset, result.offset + result.length) == range(size)[-length:]


@given(st.text() | st.text("bytes=0123456789-, "), SIZES)
def test_nothing_but_parts_of_the_file(text: str, size: int) -> None:
    """No text selects a byte outside the file, or none at all."""
    for header in (text, f"bytes={text}"):
        result = parse_range(header, size)
        if isinstance(result, ByteRange):
            assert result.length > 0
            assert 0 <= result.offset <= result.offset + result.length <= size


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5-10", (5, 5)),
        ("0-36", (0, 36)),
        ("30-100", (30, 6)),
        ("100-200", (36, 0)),
        ("10-5", (10, 0)),
        ("5-5", (5, 0)),
        ("36-37", (36, 0)),
        ("005-010", (5, 5)),
        ("0-" + "9" * 40, (0, 36)),
        ("", (0, 36)),
    ],
)
def test_byte_range(text: str, expected: tuple[int, int]) -> None:
    """The predecessor's measured answers for a file of 36 bytes."""
    assert parse_byte_range(text, 36) == expected


@pytest.mark.parametrize(
    "text", ["5-", "-5", "a-b", "5-10,12-14", "-", "5", " 5-10", "5-10\n", "+5-10", "\u0665-\u0669", "1_0-20"]
)
def test_malformed_byte_range(text: str) -> None:
    """Anything but two numbers is refused, the reason being the predecessor's."""
    with pytest.raises(InvalidRequest, match="without b") as caught:
        parse_byte_range(text, 36)
    assert caught.value.reason == f"Invalid byte range format (int-int) given {text}"


def test_endless_digits() -> None:
    """Digits that no file size has are refused before they are converted."""
    with pytest.raises(InvalidRequest):
        parse_byte_range("0-" + "9" * 100_000, 36)


@given(SIZES, st.integers(0, 2**64), st.integers(0, 2**64))
def test_byte_range_selects_what_slicing_does(size: int, first: int, end: int) -> None:
    """The end is exclusive, as in a slice."""
    offset, length = parse_byte_range(f"{first}-{end}", size)
    expected = range(size)[first:end]
    assert length == len(expected)
    assert 0 <= offset <= size
    assert not length or offset == expected[0]
