"""Conditional requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacarchive.errors import InvalidRequest
from pacarchive.model import Overwrite, WriteConditions
from pacarchive.times import SECOND
from pacarchive.web.conditions import ReadOutcome, evaluate_read, parse_etags, range_applies, write_conditions
from pacarchive.web.dates import format_http_date

if TYPE_CHECKING:
    from collections.abc import Callable

ETAG = '"xyzzy"'
MTIME_NS = 784111777_750000000
NOW = 1780000000.0
OLDER, SAME, NEWER = (format_http_date(MTIME_NS + shift * SECOND).decode("ascii") for shift in (-1, 0, 1))

ENTITY_TAGS = st.builds(
    lambda weak, opaque: f'{"W/" if weak else ""}"{opaque}"',
    st.booleans(),
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters='"\x7f')),
)


def getter(**headers: str | list[str]) -> Callable[[str], list[str]]:
    """Headers by their names in lower case, underscores for hyphens."""

    def get(name: str) -> list[str]:
        value = headers.get(name.lower().replace("-", "_"), [])
        return [value] if isinstance(value, str) else value

    return get


def read(**headers: str | list[str]) -> ReadOutcome:
    return evaluate_read(getter(**headers), etag=ETAG, mtime_ns=MTIME_NS, now=NOW)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], None),
        (["*"], {"*"}),
        ([" * "], {"*"}),
        (['"xyzzy"'], {'"xyzzy"'}),
        (['W/"xyzzy"'], {'W/"xyzzy"'}),
        (['""'], {'""'}),
        (['"*"'], {'"*"'}),
        (['"xyzzy", "r2d2xxxx", "c3piozzzz"'], {'"xyzzy"', '"r2d2xxxx"', '"c3piozzzz"'}),
        (['"a","b"', 'W/"c"'], {'"a"', '"b"', 'W/"c"'}),
        ([',"a" ,, "b",'], {'"a"', '"b"'}),
        (['"with,comma"'], {'"with,comma"'}),
        (['"\xe9"'], {'"\xe9"'}),
    ],
)
def test_parse_etags(values: list[str], expected: set[str] | None) -> None:
    """Entity tags are kept as they are written, and a comma inside one separates nothing."""
    assert parse_etags(values) == expected


MALFORMED = [
    "",
    ",",
    "xyzzy",
    '"xyzzy',
    'xyzzy"',
    'w/"a"',
    '"a" "b"',
    '"a"b',
    '*, "a"',
    '"a", *',
    "**",
    '"a\x00"',
    "W/*",
    '"with blank"',
]


@pytest.mark.parametrize("value", MALFORMED)
def test_malformed_etags(value: str) -> None:
    """What is no list of entity tags is refused with words."""
    with pytest.raises(InvalidRequest, match="quotes"):
        parse_etags([value])


@given(st.lists(ENTITY_TAGS, min_size=1), st.sampled_from([",", ", ", " , ", ",,"]))
def test_etags_are_read_back(tags: list[str], separator: str) -> None:
    """Any list of tags, in one header or in several, is read as it was written."""
    assert parse_etags([separator.join(tags)]) == parse_etags(tags) == frozenset(tags)


def test_no_condition() -> None:
    """Without conditions a read proceeds."""
    assert read() is ReadOutcome.PROCEED


@pytest.mark.parametrize(
    ("value", "outcome"),
    [
        ('"xyzzy"', ReadOutcome.PROCEED),
        ('"other", "xyzzy"', ReadOutcome.PROCEED),
        ("*", ReadOutcome.PROCEED),
        ('"other"', ReadOutcome.FAILED),
        ('W/"xyzzy"', ReadOutcome.FAILED),
        ('"*"', ReadOutcome.FAILED),
    ],
)
def test_if_match(value: str, outcome: ReadOutcome) -> None:
    """If-Match compares strongly."""
    assert read(if_match=value) is outcome


@pytest.mark.parametrize(
    ("value", "outcome"),
    [
        ('"xyzzy"', ReadOutcome.NOT_MODIFIED),
        ('W/"xyzzy"', ReadOutcome.NOT_MODIFIED),
        ('"other", W/"xyzzy"', ReadOutcome.NOT_MODIFIED),
        ("*", ReadOutcome.NOT_MODIFIED),
        ('"other"', ReadOutcome.PROCEED),
        ('"*"', ReadOutcome.PROCEED),
    ],
)
def test_if_none_match(value: str, outcome: ReadOutcome) -> None:
    """If-None-Match compares weakly."""
    assert read(if_none_match=value) is outcome


def test_if_modified_since() -> None:
    """The whole second of the file's time counts: the date that was sent with it means not modified."""
    assert read(if_modified_since=OLDER) is ReadOutcome.PROCEED
    assert read(if_modified_since=SAME) is ReadOutcome.NOT_MODIFIED
    assert read(if_modified_since=NEWER) is ReadOutcome.NOT_MODIFIED


def test_if_unmodified_since() -> None:
    """The date that was sent with the file means not modified."""
    assert read(if_unmodified_since=OLDER) is ReadOutcome.FAILED
    assert read(if_unmodified_since=SAME) is ReadOutcome.PROCEED
    assert read(if_unmodified_since=NEWER) is ReadOutcome.PROCEED


def test_entity_tags_decide_before_dates() -> None:
    """A date does not count beside the entity tags of the same kind (section 13.2.2)."""
    assert read(if_match=ETAG, if_unmodified_since=OLDER) is ReadOutcome.PROCEED
    assert read(if_none_match='"other"', if_modified_since=SAME) is ReadOutcome.PROCEED


def test_failure_comes_before_not_modified() -> None:
    """If-Match and If-Unmodified-Since are evaluated first."""
    assert read(if_match='"other"', if_none_match=ETAG) is ReadOutcome.FAILED
    assert read(if_unmodified_since=OLDER, if_none_match=ETAG) is ReadOutcome.FAILED
    assert read(if_match=ETAG, if_none_match=ETAG) is ReadOutcome.NOT_MODIFIED
    assert read(if_unmodified_since=SAME, if_modified_since=SAME) is ReadOutcome.NOT_MODIFIED


@pytest.mark.parametrize("value", MALFORMED)
def test_malformed_tags_of_reads_do_not_count(value: str) -> None:
    """A condition that is not understood leaves the others to decide."""
    assert read(if_match=value) is ReadOutcome.PROCEED
    assert read(if_none_match=value) is ReadOutcome.PROCEED
    assert read(if_none_match=value, if_modified_since=SAME) is ReadOutcome.NOT_MODIFIED


@pytest.mark.parametrize("value", ["", "yesterday", "2099-01-01T00:00:00Z", [SAME, SAME]])
def test_malformed_dates_of_reads_do_not_count(value: str | list[str]) -> None:
    """Only one HTTP date makes a condition."""
    assert read(if_modified_since=value) is ReadOutcome.PROCEED
    assert read(if_unmodified_since=value) is ReadOutcome.PROCEED


@pytest.mark.parametrize(
    ("if_range", "applies"),
    [
        (None, True),
        (ETAG, True),
        ('W/"xyzzy"', False),
        ('"other"', False),
        ("*", False),
        (SAME, True),
        (OLDER, False),
        (NEWER, False),
        ("Sun Nov  6 08:49:37 1994", True),
        ("1994-11-06T08:49:37Z", False),
        ("nonsense", False),
        ("", False),
    ],
)
def test_if_range(if_range: str | None, applies: bool) -> None:
    """A range counts for the very version that the client has, not for a newer or an older one."""
    assert range_applies(if_range, etag=ETAG, mtime_ns=MTIME_NS, now=NOW) is applies


@given(st.text())
def test_reads_never_break(text: str) -> None:
    """No text in a condition of a read is an error."""
    assert read(if_match=text, if_none_match=text, if_modified_since=text) in ReadOutcome
    range_applies(text, etag=ETAG, mtime_ns=MTIME_NS, now=NOW)


@pytest.mark.parametrize(
    ("if_match", "if_none_match", "expected"),
    [
        ([], [], WriteConditions()),
        ([], ["*"], WriteConditions(if_absent=True)),
        (["*"], [], WriteConditions(if_match=frozenset(["*"]))),
        (['"a", "b"'], [], WriteConditions(if_match=frozenset(['"a"', '"b"']))),
        (['W/"a", "b"'], [], WriteConditions(if_match=frozenset(['"b"']))),
        (['W/"a"'], [], WriteConditions(if_match=frozenset())),
        (['"a"'], ["*"], WriteConditions(if_match=frozenset(['"a"']), if_absent=True)),
    ],
)
def test_write_conditions(if_match: list[str], if_none_match: list[str], expected: WriteConditions) -> None:
    """Writes carry their conditions to the moment of publishing; weak tags are none that a file could have."""
    assert write_conditions(if_match, if_none_match) == expected


@pytest.mark.parametrize("policy", Overwrite)
def test_write_conditions_carry_the_policy(policy: Overwrite) -> None:
    """The policy is passed on beside the request's own conditions."""
    assert write_conditions([], [], policy) == WriteConditions(overwrite=policy)
    assert write_conditions([], ["*"], policy) == WriteConditions(overwrite=policy, if_absent=True)


@pytest.mark.parametrize("value", MALFORMED)
def test_malformed_write_conditions_are_refused(value: str) -> None:
    """A condition that is not understood stops a write."""
    with pytest.raises(InvalidRequest):
        write_conditions([value], [])
    with pytest.raises(InvalidRequest):
        write_conditions([], [value])


def test_write_unless_tag_is_refused() -> None:
    """If-None-Match with entity tags is no condition for a write here, and is not silently dropped."""
    with pytest.raises(InvalidRequest, match=r"\* only"):
        write_conditions([], ['"a"'])
