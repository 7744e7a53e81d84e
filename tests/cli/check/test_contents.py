"""The bytes of test files, and by what they are known again."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacarchive.cli.check.contents import BEGINNING, BLOCK, HEAD_LIMIT, Comparison, Content, recognise
from pacarchive.cli.check.ids import FIRST_ID, LARGEST_COUNT, block, following
from pacarchive.ids import MAX_FILE_ID, id_to_path

SIZES = st.sampled_from([0, 1, 100, 5003, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 77])
KINDS = st.sampled_from(["text", "binary"])


@given(st.integers(0, MAX_FILE_ID), SIZES, KINDS, st.data())
def test_any_part_is_that_of_the_whole(file_id: int, size: int, kind: str, data: st.DataObject) -> None:
    """However it is read; and the digest is that of the bytes."""
    content = Content(file_id, size, kind)
    assert len(content.whole) == size
    assert b"".join(content.blocks()) == content.whole
    start, end = data.draw(st.integers(0, size + 9)), data.draw(st.integers(0, size + 9))
    assert content.read(start, end) == content.whole[start:end]
    assert content.sha256 == hashlib.sha256(content.whole).digest()


def test_others_have_other_bytes() -> None:
    """By id, kind, version and size; and no block of a file is like another."""
    made = [Content(1, 4 * BLOCK), Content(2, 4 * BLOCK), Content(1, 4 * BLOCK, "text"),
            Content(1, 4 * BLOCK, version=1), Content(1, 4 * BLOCK - 1)]  # fmt: skip
    assert len({content.sha256 for content in made}) == len(made)
    blocks = [each for content in made for each in content.blocks()]
    assert len({hashlib.sha256(each).digest() for each in blocks}) == len(blocks)


@given(SIZES, st.integers(1, 300_000), st.data())
def test_what_is_right_compares_equal(size: int, piece: int, data: st.DataObject) -> None:
    """A file or a part, in pieces of any size."""
    content = Content(7, size)
    start = data.draw(st.integers(0, size))
    end = data.draw(st.integers(start, size))
    comparison = Comparison(content, start, end)
    for at in range(start, end, piece):
        comparison.feed(content.whole[at : min(at + piece, end)])
    assert comparison.trouble is None


@given(st.integers(0, 2 * BLOCK + 99), st.integers(1, 255), st.integers(1000, 300_000))
def test_a_wrong_byte_is_found_where_it_is(position: int, mask: int, piece: int) -> None:
    """Any change of any one."""
    content = Content(7, 2 * BLOCK + 100)
    data = bytearray(content.whole)
    data[position] ^= mask
    comparison = Comparison(content)
    for at in range(0, len(data), piece):
        comparison.feed(bytes(data[at : at + piece]))
    assert comparison.trouble == f"byte {position} is wrong"


@pytest.mark.parametrize(
    ("came", "words"), [(499, "499 bytes came instead of 500"), (501, "501 bytes came instead of 500")]
)
def test_a_wrong_length_is_found(came: int, words: str) -> None:
    """Too few, and too many."""
    comparison = Comparison(Content(7, 500))
    comparison.feed((Content(7, 500).whole + b"x")[:came])
    assert comparison.trouble == words


@given(st.integers(0, MAX_FILE_ID), st.integers(HEAD_LIMIT, 1 << 50), KINDS, st.integers(0, 999))
def test_test_files_are_known_again(file_id: int, size: int, kind: str, version: int) -> None:
    """By their first line, and only under their own id."""
    content = Content(file_id, size, kind, version)
    assert len(content.head) < HEAD_LIMIT
    head = content.head + b"and more"
    assert head.startswith(BEGINNING)
    assert recognise(file_id, head) == content
    assert recognise(file_id ^ 1, head) is None


@given(st.binary(max_size=HEAD_LIMIT))
def test_other_files_are_not(head: bytes) -> None:
    """Whatever they begin with."""
    assert recognise(7, head) is None
    assert recognise(7, BEGINNING + head) is None


@given(st.integers(1, 70_000), st.integers(0, 28), st.integers(0, 2**40 - 1))
def test_ids_of_a_block(count: int, top: int, rest: int) -> None:
    """They are all different, begin with the first, and are what a signed integer of SQL holds."""
    first = top * 2**56 + rest
    found = block(first, count)
    assert found[0] == first
    assert len(found) == len(set(found)) == count
    assert all(0 <= each < 2**63 for each in found)


@pytest.mark.parametrize(("count", "most"), [(100, 8), (1100, 18)])
def test_ids_of_a_block_share_directories(count: int, most: int) -> None:
    """All that are made for them, with those above."""
    directories = set()
    for each in block(FIRST_ID, count):
        path = id_to_path(each).rpartition("/")[0]
        while path:
            directories.add(path)
            path = path.rpartition("/")[0]
    assert len(directories) <= most


def test_blocks_have_nothing_in_common() -> None:
    """The one that is suggested where this one is taken."""
    first = FIRST_ID
    seen = set(block(first, 3000))
    for _ in range(5):
        first = following(first)
        assert not seen & set(block(first, 3000))
        seen |= set(block(first, 3000))


@pytest.mark.parametrize(
    ("first", "count"), [(-1, 1), (2**40, 1), (29 * 2**56, 1), (2**63, 1), (FIRST_ID, 0), (FIRST_ID, LARGEST_COUNT + 1)]
)
def test_blocks_that_are_none(first: int, count: int) -> None:
    """What would not fit."""
    with pytest.raises(ValueError, match=r"first id|files at the most"):
        block(first, count)
