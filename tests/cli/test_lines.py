"""What a person sees: sizes, times, and lines that fit any screen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from pacarchive.cli.printing import amount_words, size_words, time_words
from pacarchive.cli.remote.lines import SHOWN, Amounts, Speed, Transfer, plain, screen
from pacarchive.cli.remote.words import failure_words, parse_duration
from pacarchive.cli.words import Misunderstood
from pacarchive.client import ConnectionFailed, Offline

SIZES = st.integers(0, 2**64)
TRANSFERS = st.builds(Transfer, st.text(max_size=60), SIZES, st.none() | SIZES)


@st.composite
def amounts(draw: st.DrawFn) -> Amounts:
    """Any that can be."""
    total = draw(st.integers(1, 10**7))
    files = draw(st.integers(0, total))
    return Amounts(
        what=draw(st.sampled_from(["put", "get", "verify", "stage"])),
        files=files,
        total=total,
        failed=draw(st.integers(0, files)),
        size=draw(SIZES),
        total_size=draw(st.none() | SIZES),
        rate=draw(st.none() | st.floats(0, 1e12)),
        left=draw(st.none() | st.floats(0, 1e12)),
        counts_bytes=draw(st.booleans()),
    )


@given(amounts(), st.lists(TRANSFERS, max_size=9), st.integers(1, 300))
def test_no_line_is_wider_than_the_screen(found: Amounts, transfers: list[Transfer], width: int) -> None:
    """However narrow that is, and whatever files are called; nor is there anything that a terminal would obey."""
    under_way = transfers[: found.total - found.files]  # those that are done are under way no more
    lines = screen(found, under_way, width)
    assert len(lines) == (1 if found.total == 1 else 1 + min(SHOWN, found.total))
    for line in lines:
        assert cell_len(line) < max(2, width)
        assert line.isprintable()


@given(amounts(), st.lists(TRANSFERS, min_size=1, max_size=1))
def test_all_is_told_at_80_columns(found: Amounts, transfers: list[Transfer]) -> None:
    """A bar, the percentage, and the files; and the rate and the time, if they are known."""
    line = screen(found, transfers, 80)[0]
    assert "█" in line or "░" in line
    assert f"{int((found.fraction if found.total > 1 else transfers[0].fraction) * 100)}%" in line
    if found.total > 1:
        assert f"{found.files:,}/{found.total:,} files" in line
    if found.total <= 10_000 and not found.failed and found.counts_bytes:
        assert found.rate_words in line
        assert found.left_words in line


def test_it_is_only_done_when_it_is() -> None:
    """All bytes may have been sent, and the last file is not stored yet."""
    found = Amounts(what="put", files=9, total=10, failed=0, size=100, total_size=100)
    assert "99%" in screen(found, [Transfer("x", 10, 10)], 80)[0]
    assert "░" in screen(found, [Transfer("x", 10, 10)], 80)[1]


def test_a_line_without_a_screen() -> None:
    """It says the same."""
    found = Amounts(
        what="put", files=3, total=10_000, failed=1, size=1 << 30, total_size=4 << 30, rate=2**20, left=3072
    )
    assert plain(found) == "put: 3 of 10,000 files, 1 failed, 1.0/4.0 GiB, 1.0 MiB/s, 51:12 min left"


@given(st.floats(0, 2**64), st.floats(0, 1e12))
def test_words_are_short(size: float, seconds: float) -> None:
    """So that they fit."""
    assert len(size_words(size)) <= 10
    assert len(time_words(seconds)) <= 10


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1024**2 - 1, "1.0 MiB"),
        (3 << 29, "1.5 GiB"),
        (1 << 50, "1.0 PiB"),
    ],
)
def test_sizes(size: int, words: str) -> None:
    """In the unit that fits."""
    assert size_words(size) == words


def test_amounts_are_in_one_unit() -> None:
    """Of the whole."""
    assert amount_words(512 << 20, 2 << 30) == "0.5/2.0 GiB"
    assert amount_words(5, 7) == "5/7 B"
    assert amount_words(5, None) == "5 B"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 ms"),
        (0.25, "250 ms"),
        (2.25, "2.2 s"),
        (59.4, "59 s"),
        (61, "1:01 min"),
        (3725, "1:02 h"),
        (3e5, "3 days"),
    ],
)
def test_times(seconds: float, words: str) -> None:
    """In the unit that fits."""
    assert time_words(seconds) == words


@given(st.lists(st.tuples(st.floats(0.01, 100), st.integers(0, 2**40)), min_size=3, max_size=20))
def test_a_rate_is_the_mean_of_the_last_seconds(steps: list[tuple[float, int]]) -> None:
    """Never negative, and never more than the fastest step."""
    speed, now, amount, fastest = Speed(), 0.0, 0, 0.0
    speed.note(0, 0)
    for passed, more in steps:
        now, amount, fastest = now + passed, amount + more, max(fastest, more / passed)
        speed.note(now, amount)
        assert speed.rate is None or 0 <= speed.rate <= fastest * 1.001 + 1


def test_a_rate_begins_anew_with_the_transfer() -> None:
    """What was sent before a cut is not told as speed."""
    speed = Speed()
    for now, amount in ((0, 0), (1, 1000), (2, 2000)):
        speed.note(now, amount)
    rates = [speed.rate]
    for now, amount in ((3, 0), (5, 20)):
        speed.note(now, amount)
        rates.append(speed.rate)
    assert rates == [1000, None, 10]


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("1.5m", 90), ("2h", 7200), ("7d", 604800), ("1w", 604800)])
def test_durations(text: str, seconds: float) -> None:
    """As people write them."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "x", "-5", "5 m", "1e5", "5y", "٣"])
def test_what_is_no_duration(text: str) -> None:
    """It is said."""
    with pytest.raises(Misunderstood, match=r"is not a valid time; write 90s, 15m, 2h or 7d"):
        parse_duration(text)


def test_a_duration_has_a_unit() -> None:
    """Seven of what?"""
    with pytest.raises(Misunderstood, match=r"'7' has no unit; write 7s, 7m, 7h or 7d"):
        parse_duration("7")


def test_failures_say_what_to_do() -> None:
    """In the words of the command."""
    offline = Offline("The file is on tape.", job="1" * 32, retry_after=300)
    assert (
        failure_words(offline)
        == "is on tape, and is being recalled now; add --wait (expected wait: at least 5 minutes)"
    )
    offline = Offline("The file is on tape.", job=None, retry_after=300)
    assert failure_words(offline) == "is on tape; add --wait (expected wait: at least 5 minutes)"
    assert "--url" in failure_words(ConnectionFailed("The archive cannot be reached: no."))
    assert failure_words(FileNotFoundError(2, "No such file", "a\nb")) == "a\\nb: No such file"


def test_a_file_is_named_once() -> None:
    """What stands before the words need not be said in them."""
    error = FileNotFoundError(2, "No such file", "a")
    assert failure_words(error, "a (id 5)") == "No such file"
    assert failure_words(error, "file 5") == "a: No such file"
