"""Rights and ranges of ids, as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacarchive.access.rights import (
    ALL_IDS,
    EVERYTHING,
    LOCAL,
    NOTHING,
    IdRanges,
    Right,
    grant,
    parse_id_ranges,
    parse_rights,
    with_implied,
)
from pacarchive.ids import MAX_FILE_ID

IDS = st.integers(0, 40) | st.integers(0, MAX_FILE_ID)
RANGES = st.lists(st.tuples(IDS, IDS).map(lambda pair: (min(pair), max(pair))), max_size=6)
RIGHTS = st.sets(st.sampled_from(list(Right))).map(lambda some: _joined(some))


def _joined(some: set[Right]) -> Right:
    joined = NOTHING
    for each in some:
        joined |= each
    return joined


@given(RIGHTS)
def test_rights_survive_being_written(rights: Right) -> None:
    """What is written is what they imply, and read as that."""
    assert parse_rights(str(rights)) == with_implied(rights)


@pytest.mark.parametrize(
    ("text", "rights"),
    [
        ("read", Right.READ | Right.STAT),
        ("create", Right.CREATE | Right.STAT),
        ("Modify", Right.MODIFY | Right.CREATE | Right.STAT),
        ("stage, poll", Right.STAGE | Right.POLL | Right.STAT),
        ("admin\n import", LOCAL),
        ("all", EVERYTHING),
        ("none", NOTHING),
    ],
)
def test_words(text: str, rights: Right) -> None:
    """They imply what they make no sense without, and nothing else."""
    assert parse_rights(text) == rights


@pytest.mark.parametrize("text", ["", "write", "read write", "all read", "none read"])
def test_words_that_are_none(text: str) -> None:
    """They are named, with those that there are."""
    with pytest.raises(ValueError, match="is no right; there are read, stat"):
        parse_rights(text)


@given(RANGES, IDS)
def test_ids_are_in_ranges_that_have_them(ranges: list[tuple[int, int]], file_id: int) -> None:
    """However they are joined."""
    assert (file_id in IdRanges.of(ranges)) is any(first <= file_id <= last for first, last in ranges)


@given(RANGES, RANGES, IDS)
def test_ids_in_common(some: list[tuple[int, int]], others: list[tuple[int, int]], file_id: int) -> None:
    """The ids of both, and no others."""
    left, right = IdRanges.of(some), IdRanges.of(others)
    assert (file_id in left & right) is (file_id in left and file_id in right)


@given(RANGES.filter(bool))
def test_ranges_survive_being_written(ranges: list[tuple[int, int]]) -> None:
    """Text that means the same."""
    assert parse_id_ranges(str(IdRanges.of(ranges))) == IdRanges.of(ranges)


@pytest.mark.parametrize("text", ["", "-1", "01", "5-", "9-3", "a", "1;2", str(MAX_FILE_ID + 1)])
def test_ranges_that_are_none(text: str) -> None:
    """A range has canonical ids, in order."""
    with pytest.raises(ValueError, match=r"."):
        parse_id_ranges(text)


def test_a_grant_for_all_has_no_limit() -> None:
    """So that nothing is looked for."""
    assert grant(Right.READ, ALL_IDS).ids is None
    assert grant(Right.READ, parse_id_ranges("all")).rights == Right.READ | Right.STAT
