"""Conditional requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacarchive.errors import InvalidRequest
from pacarchive.model import FileStatus, Locality, Overwrite, WriteConditions
from pacarchive.times import SECOND
from pacarchive.web.conditions import ReadOutcome, evaluate_read, parse_etags, range_applies, write_conditions
from pacarchive.web.http.dates import format_http_date

if TYPE_CHECKING:
    from collections.abc import Callable

ETAG = '"xyzzy"'
MTIME_NS = 784111777_750000000
STORED_NS = 1770000000_500000000
NOW = 1780000000.0
STATUS = FileStatus(
    file_id=1, path="/1", size=5, mtime_ns=MTIME_NS, ctime_ns=STORED_NS, bytes_per_level=(5,), media=("disk",),
    locality=Locality.DISK, digests={}, generation="xyzzy",
)  # fmt: skip


def date(nanoseconds: int) -> str:
    return format_http_date(nanoseconds).decode("ascii")


MODIFIED, BEFORE, STORED, AFTER = map(date, (MTIME_NS, STORED_NS - SECOND, STORED_NS, STORED_NS + SECOND))
COMING = date((int(NOW) + 1) * SECOND)

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
    return evaluate_read(getter(**headers), STATUS, NOW)


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


@pytest.mark.parametrize("given", [MODIFIED, BEFORE, STORED, COMING])
def test_dates_that_prove_nothing(given: str) -> None:
    """A copy of the second in which the version was stored may be of the one before, and nobody has one of tomorrow."""
    assert read(if_modified_since=given) is ReadOutcome.PROCEED
    assert read(if_unmodified_since=given) is ReadOutcome.FAILED


@pytest.mark.parametrize("given", [AFTER, date(int(NOW) * SECOND)])
def test_dates_after_the_version_was_stored(given: str) -> None:
    """What was right then is right now."""
    assert read(if_modified_since=given) is ReadOutcome.NOT_MODIFIED
    assert read(if_unmodified_since=given) is ReadOutcome.PROCEED


def test_a_file_that_is_newer_than_the_date() -> None:
    """By its sender's word, although it was stored long ago."""
    status = attrs.evolve(STATUS, mtime_ns=STORED_NS + 5 * SECOND)
    for shift, outcome in ((4, ReadOutcome.PROCEED), (5, ReadOutcome.NOT_MODIFIED)):
        get = getter(if_modified_since=date(STORED_NS + shift * SECOND))
        assert evaluate_read(get, status, NOW) is outcome


def test_the_clock_of_inodes_lags() -> None:
    """A version of the first milliseconds of a second may say that it is of the second before."""
    status = attrs.evolve(STATUS, ctime_ns=1770000001 * SECOND - 3_000_000)
    assert evaluate_read(getter(if_modified_since=date(1770000001 * SECOND)), status, NOW) is ReadOutcome.PROCEED


@given(st.tuples(*[st.integers(0, 3000)] * 3).map(sorted), st.integers(0, 3000))
def test_a_copy_is_never_taken_for_another_version(moments: list[int], mtime: int) -> None:
    """
    Whatever times two versions have by their senders: a copy of the first, with the date of its copying or the
    C{Last-Modified} that came with it, is never said to be the second.
    """
    copied, second, asked = moments  # in milliseconds
    told = date(min(mtime, copied // 1000 * 1000) * 10**6)
    status = attrs.evolve(STATUS, mtime_ns=mtime * 10**6, ctime_ns=second * 10**6)
    for given_date in (told, date(copied * 10**6)):
        assert evaluate_read(getter(if_modified_since=given_date), status, asked / 1000) is ReadOutcome.PROCEED
        assert evaluate_read(getter(if_unmodified_since=given_date), status, asked / 1000) is ReadOutcome.FAILED


def test_entity_tags_decide_before_dates() -> None:
    """A date does not count beside the entity tags of the same kind (section 13.2.2)."""
    assert read(if_match=ETAG, if_unmodified_since=BEFORE) is ReadOutcome.PROCEED
    assert read(if_none_match='"other"', if_modified_since=AFTER) is ReadOutcome.PROCEED


def test_failure_comes_before_not_modified() -> None:
    """If-Match and If-Unmodified-Since are evaluated first."""
    assert read(if_match='"other"', if_none_match=ETAG) is ReadOutcome.FAILED
    assert read(if_unmodified_since=BEFORE, if_none_match=ETAG) is ReadOutcome.FAILED
    assert read(if_match=ETAG, if_none_match=ETAG) is ReadOutcome.NOT_MODIFIED
    assert read(if_unmodified_since=AFTER, if_modified_since=AFTER) is ReadOutcome.NOT_MODIFIED


@pytest.mark.parametrize("value", MALFORMED)
def test_malformed_tags_of_reads_do_not_count(value: str) -> None:
    """A condition that is not understood leaves the others to decide."""
    assert read(if_match=value) is ReadOutcome.PROCEED
    assert read(if_none_match=value) is ReadOutcome.PROCEED
    assert read(if_none_match=value, if_modified_since=AFTER) is ReadOutcome.NOT_MODIFIED


@pytest.mark.parametrize("value", ["", "yesterday", "2099-01-01T00:00:00Z", [AFTER, AFTER]])
def test_malformed_dates_of_reads_do_not_count(value: str | list[str]) -> None:
    """Only one HTTP date makes a condition."""
    assert read(if_modified_since=value) is ReadOutcome.PROCEED
    assert read(if_unmodified_since=value) is ReadOutcome.PROCEED


@pytest.mark.parametrize(
    ("if_range", "applies"),
    [
        ([], True),
        ([ETAG], True),
        ([ETAG, '"other"'], False),
        (['W/"xyzzy"'], False),
        (['"other"'], False),
        (["*"], False),
        ([MODIFIED], False),
        ([AFTER], False),
        (["Sun Nov  6 08:49:37 1994"], False),
        (["nonsense"], False),
        ([""], False),
    ],
)
def test_if_range(if_range: list[str], applies: bool) -> None:
    """A range counts for the very version that the client has, which no date tells."""
    assert range_applies(if_range, ETAG) is applies


@given(st.text())
def test_reads_never_break(text: str) -> None:
    """No text in a condition of a read is an error."""
    assert read(if_match=text, if_none_match=text, if_modified_since=text) in ReadOutcome
    range_applies([text], ETAG)


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
    assert write_conditions(getter(if_match=if_match, if_none_match=if_none_match)) == expected


@pytest.mark.parametrize("policy", Overwrite)
def test_write_conditions_carry_the_policy(policy: Overwrite) -> None:
    """The policy is passed on beside the request's own conditions."""
    assert write_conditions(getter(), policy) == WriteConditions(overwrite=policy)
    assert write_conditions(getter(if_none_match="*"), policy) == WriteConditions(overwrite=policy, if_absent=True)


@pytest.mark.parametrize("value", MALFORMED)
def test_malformed_write_conditions_are_refused(value: str) -> None:
    """A condition that is not understood stops a write."""
    with pytest.raises(InvalidRequest):
        write_conditions(getter(if_match=value))
    with pytest.raises(InvalidRequest):
        write_conditions(getter(if_none_match=value))


def test_write_unless_tag_is_refused() -> None:
    """If-None-Match with entity tags is no condition for a write here, and is not silently dropped."""
    with pytest.raises(InvalidRequest, match=r"\* only"):
        write_conditions(getter(if_none_match='"a"'))


@pytest.mark.parametrize("given", [AFTER, COMING, "nonsense"])
def test_no_date_is_a_condition_of_a_write(given: str) -> None:
    """One that the client believes to be one must not have the file replaced; beside entity tags it does not count."""
    with pytest.raises(InvalidRequest, match="If-Match"):
        write_conditions(getter(if_unmodified_since=given, if_none_match="*"))
    get = getter(if_unmodified_since=given, if_match=ETAG)
    assert write_conditions(get) == WriteConditions(if_match=frozenset([ETAG]))
    assert write_conditions(getter(if_modified_since=given)) == WriteConditions()
