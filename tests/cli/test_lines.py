"""What a person sees: sizes, times, and lines that fit any screen."""

from __future__ import annotations

import io
import os
import re
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from twisted.internet.task import Clock

from pacarchive.cli.bars import SHOWN, Bars
from pacarchive.cli.printing import amount_words, size_words, time_words
from pacarchive.cli.progress import Display
from pacarchive.cli.remote.words import failure_words, parse_duration
from pacarchive.cli.words import Misunderstood
from pacarchive.client import ConnectionFailed, Offline, Progress

SIZES = st.integers(0, 2**64)
TRANSFERS = st.tuples(st.text(max_size=60), SIZES, st.none() | SIZES)


@st.composite
def displays(draw: st.DrawFn) -> Display:
    """Any that can be."""
    total = draw(st.none() | st.integers(1, 10**7))
    files = draw(st.integers(0, 10**7 if total is None else total))
    found = Display(
        draw(st.sampled_from(["put", "get", "verify", "stage"])), total, draw(st.none() | SIZES), clock=Clock(),
        counts_bytes=draw(st.booleans()), estimates=draw(st.booleans()),
    )  # fmt: skip
    found.files, found.failed, found.size = files, draw(st.integers(0, files)), draw(SIZES)
    found.left = draw(st.none() | st.floats(0, 1e12))
    found.table, found.notes = draw(st.lists(st.just("x" * 50), max_size=4)), draw(st.lists(st.just("y" * 5)))
    for key, (name, done, size) in enumerate(draw(st.lists(TRANSFERS, max_size=9 if total != 1 else 1))):
        found.begin(key, name, size)(Progress(done, None))
    return found


def lines_of(bars: Bars, width: int = 80) -> list[str]:
    """What is on a terminal of that width now."""
    with patch.dict(os.environ, {"COLUMNS": str(width)}):
        lines = Console(file=io.StringIO(), force_terminal=True).render_lines(bars.draw(), pad=False)
    return ["".join(segment.text for segment in line) for line in lines]


def drawn(display: Display, width: int = 80) -> list[str]:
    """What is drawn at first."""
    with patch.dict(os.environ, {"COLUMNS": str(width)}):
        return lines_of(Bars(display, (display.clock or Clock()).seconds), width)


def sent(*done: int) -> str:
    """What is drawn of one file while bytes are sent, at the end: so many in all after each second."""
    clock = Clock()
    display = Display("put", 1, clock=clock)
    progress, bars = display.begin(1, "x", 10 << 20), Bars(display, (display.clock or Clock()).seconds)
    for each in done:
        clock.advance(1)
        progress(Progress(each, None))
        (line,) = lines_of(bars)
    return line


@given(displays(), st.integers(1, 300))
def test_no_line_is_wider_than_the_screen(found: Display, width: int) -> None:
    """However narrow that is, and whatever files are called; nor is there anything that a terminal would obey."""
    lines = drawn(found, width)
    own = 0 if found.total == 1 and found.counts_bytes else min(SHOWN, len(found.under_way))
    assert len(lines) == 1 + own + len(found.table) + len(found.notes)
    for line in lines:
        assert cell_len(line) <= max(1, width - 4)
        assert line.isprintable()


@given(displays())
def test_all_is_told_at_80_columns(found: Display) -> None:
    """A bar, the percentage, and the files; and the time that is left, if it is known."""
    line = drawn(found)[0]
    assert "━" in line
    if found.total is None:
        assert f"counting: {found.files:,} " in line
    elif found.total > 1:
        assert f"{found.files:,}/{found.total:,} files" in line
        assert f"{min(99, int(found.share * 100))}%" in line
        if found.total <= 10_000 and not found.failed:
            assert found.left_words(None) in line


def test_it_is_only_done_when_it_is() -> None:
    """All bytes may have been sent, and the last file is not stored yet."""
    found = Display("put", 10, 100, clock=Clock())
    found.add(files=10, size=90)
    found.begin(1, "x", 10)(Progress(10, None))
    assert all("99%" in line for line in drawn(found))


def test_rate_and_time_of_one_file() -> None:
    """They are worked out from what was sent in the last seconds; a file that begins anew has none of before."""
    usual = r"x ━[━╸╺]+ +30%  +1\.0 MiB/s  +7\.0 s left  +3\.0/10\.0 MiB"
    assert re.fullmatch(usual, sent(1 << 20, 2 << 20, 3 << 20))
    assert re.fullmatch(r"x ━[━╸╺]+ +10%  +1\.0/10\.0 MiB", sent(1 << 20, 2 << 20, *[1 << 20] * 12)), "it stands still"


def test_which_transfers_are_shown() -> None:
    """Those that began first; each stays in its line until it has ended."""
    found = Display("put", 9, clock=Clock())
    for number in range(9):
        found.begin(number, f"run-{number}")
    bars = Bars(found, Clock().seconds)
    for ended, names in ((None, "01234"), (2, "01345"), (0, "13456")):
        if ended is not None:
            found.end(ended)
        assert [line.split()[0] for line in lines_of(bars)[1:]] == [f"run-{name}" for name in names]


def test_long_names_keep_their_ends() -> None:
    """Which differ among many; of other lines, the beginnings are kept."""
    found = Display("put", 2, clock=Clock())
    found.begin(1, "/data/of/some/experiment/run-77.dat")
    found.notes = ["the tape system dropped the request"]
    lines = drawn(found, 40)
    assert lines[1].startswith("…")
    assert "77.dat ━" in lines[1]
    assert lines[2] == "  the tape system dropped the reque…"


def test_nothing_jumps() -> None:
    """There are never fewer lines than before."""
    found = Display("put", 9, clock=Clock())
    bars = Bars(found, Clock().seconds)
    found.begin(1, "x")
    assert len(lines_of(bars)) == 2
    found.end(1)
    assert len(lines_of(bars)) == 2


def test_a_line_without_a_screen() -> None:
    """It says the same."""
    clock = Clock()
    found = Display("put", 10_000, 4 << 30, clock=clock)
    found.line()
    for files, failed in ((2, 0), (1, 1)):
        clock.advance(1)
        found.add(files=files, failed=failed, size=512 << 20)
        line = found.line()
    assert line == "put: 3 of 10,000 files, 1 failed, 1.0/4.0 GiB, 512.0 MiB/s, 8.0 s left"
    found.left, found.details, found.notes = 3072, "3 completed", ["no cartridge", "next try at 10:12"]
    assert found.line().endswith(", 51:12 min left (3 completed); no cartridge; next try at 10:12")


def test_files_that_need_not_be_moved_are_not_fast() -> None:
    """They count for what is done, and not for the rate."""
    clock = Clock()
    found = Display("digests", 4, 4 << 20, clock=clock)
    found.line()
    for skipped in (0, 1 << 20, 0):
        clock.advance(1)
        found.add(files=1, size=1 << 20, skipped=skipped)
        line = found.line()
    assert line.startswith("digests: 3 of 4 files, 3.0/4.0 MiB, 512.0 KiB/s")


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
