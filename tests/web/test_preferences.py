"""C{Prefer}: what is understood, and what counts as absent."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacarchive.web.http.preferences import Preferences, read_preferences, wait_applied

NOTHING = Preferences()


def wait(seconds: int) -> Preferences:
    return Preferences(wait=seconds)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], NOTHING),
        ([""], NOTHING),
        (["wait=5"], wait(5)),
        (["wait=0"], wait(0)),
        (["WAIT = 5"], wait(5)),
        (['wait="5"'], wait(5)),
        (['wait="\\5"'], wait(5)),
        (["respond-async"], Preferences(respond_async=True)),
        (['Respond-Async=""'], Preferences(respond_async=True)),
        (["respond-async, wait=10"], Preferences(wait=10, respond_async=True)),
        (["respond-async", "wait=10"], Preferences(wait=10, respond_async=True)),
        (['respond-async; a=b; c ; d="e;f" ;; , wait=10;x'], Preferences(wait=10, respond_async=True)),
        (["return=minimal, handling=lenient, wait=10"], wait(10)),
        (["\t, ,wait=3\t,"], wait(3)),
        # the first of a name counts, whatever it is worth
        (["wait=5, wait=6"], wait(5)),
        (["wait=5", "Wait=6"], wait(5)),
        (["wait=soon, wait=6"], NOTHING),
        # malformed
        (["wait"], NOTHING),
        (["wait="], NOTHING),
        (["wait=-5"], NOTHING),
        (["wait=5.5"], NOTHING),
        (["wait=5 6"], NOTHING),
        (["wait=\xb2"], NOTHING),
        (["respond-async=yes"], NOTHING),
        (["respond async"], NOTHING),
        (["wait==1, wait=6"], wait(6)),
        (["a/b, wait=6"], wait(6)),
        (["x; =y, wait=6"], wait(6)),
        # what looks like another, inside quotes
        (['foo="wait=5, wait=6"'], NOTHING),
        (['foo="a\\", wait=5", wait=6'], wait(6)),
        (['foo; bar=", wait=5", wait=6'], wait(6)),
        (['foo="a, wait=5'], NOTHING),
        (['foo="a, wait=5\\'], NOTHING),
        (['foo="a', "wait=6"], wait(6)),
        # large
        (["wait=" + "0" * 6000 + "7"], wait(7)),
        (["wait=999999999"], wait(999_999_999)),
        (["wait=1000000000"], wait(1_000_000_000)),
        (["wait=" + "9" * 6000], wait(1_000_000_000)),
    ],
)
def test_preferences(fields: list[str], expected: Preferences) -> None:
    """RFC 7240, section 2: names ignore case, no value and an empty one are the same."""
    assert read_preferences(fields) == expected


@given(st.lists(st.text(alphabet=string.ascii_lowercase + '=",; \t\\0159-', max_size=40), max_size=4))
def test_whatever_is_sent(fields: list[str]) -> None:
    """Nothing is an error."""
    found = read_preferences(fields)
    assert found.wait is None or 0 <= found.wait <= 10**9


TOKENS = st.text(alphabet=string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~", min_size=1, max_size=8)
VALUES = st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=12)
SPACES = st.text(alphabet=" \t", max_size=2)


@st.composite
def words(draw: st.DrawFn) -> str:
    """An equals sign and a token, or any text in quotes."""
    before, after = draw(SPACES), draw(SPACES)
    if draw(st.booleans()):
        return f"{before}={after}{draw(TOKENS)}"
    value = draw(VALUES).replace("\\", "\\\\").replace('"', '\\"')
    return f'{before}={after}"{value}"'


@st.composite
def preferences(draw: st.DrawFn) -> str:
    """A preference of another kind, with its parameters."""
    parts = [draw(TOKENS.filter(lambda name: name.lower() not in ("wait", "respond-async")))]
    parts.append(draw(words() | st.just("")))
    for _ in range(draw(st.integers(0, 3))):
        parts += (draw(SPACES), ";", draw(SPACES), draw(TOKENS | st.just("")))
        if parts[-1]:
            parts.append(draw(words() | st.just("")))
    return "".join(parts)


@given(
    st.lists(preferences(), max_size=3),
    st.integers(0, 10**9),
    st.lists(preferences(), max_size=3),
    st.sampled_from([", ", ",", " ,\t,"]),
    st.booleans(),
)
def test_among_others(before: list[str], seconds: int, after: list[str], comma: str, apart: bool) -> None:
    """What others stand around it, in one field or in several, makes no difference."""
    all_of_them = [*before, f"wait={seconds}", *after]
    assert read_preferences(all_of_them if apart else [comma.join(all_of_them)]) == wait(seconds)


def test_a_long_field_takes_no_long_time() -> None:
    """The longest that the channel lets pass, made to be looked at over and over."""
    for text in (
        ";" * 32000,
        "a;" * 16000 + "@",
        " " * 32000 + "@",
        "a;" + " " * 32000 + "@",
        '"\\' * 16000,
        '"a' * 16001,
    ):
        assert read_preferences([text]) == NOTHING


def test_applied() -> None:
    """In whole seconds, which is all that the field can say."""
    assert wait_applied(5) == "wait=5"
    assert wait_applied(2.5) == "wait=2"
