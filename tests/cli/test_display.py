"""What is told where there is no screen, and how often."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from pacarchive.cli.printing import clock_words, decapitalised, wait_words
from pacarchive.cli.progress import SELDOM, Display
from pacarchive.client import Progress
from pacarchive.texts import counted


class Watched:
    """A display without a screen, and when its lines came."""

    def __init__(self, capsys: pytest.CaptureFixture[str], clock: Clock) -> None:
        self._capsys = capsys
        self._clock = clock
        self.lines: list[tuple[float, str]] = []

    def spend(self, seconds: int) -> list[float]:
        """Let time pass.  @return: When lines came meanwhile."""
        before = len(self.lines)
        for _ in range(seconds):
            self._clock.advance(1)
            self.lines += [(self._clock.seconds(), line) for line in self._capsys.readouterr().err.splitlines()]
        return [when for when, _ in self.lines[before:]]


def test_lines_become_fewer_while_nothing_changes(capsys: pytest.CaptureFixture[str]) -> None:
    """At last one in some minutes; news is told within a second, but never more than a line in five seconds."""
    clock = Clock()
    display, watched = Display("get", 4, clock=clock), Watched(capsys, clock)
    with display.shown():
        progress = display.begin(1, "1")
        assert watched.spend(2000) == [5, 10, 20, 40, 80, 160, 320, 640, 960, 1280, 1600, 1920]
        assert SELDOM == 320
        display.notes = ["the tape system dropped the request", "4 files, attempt 2 of 20, next try at 10:12"]
        assert watched.spend(30) == [2001, 2006, 2016]
        assert watched.lines[-1][1].endswith(
            "; the tape system dropped the request; 4 files, attempt 2 of 20, next try at 10:12"
        )
        for done in range(1, 21):
            progress(Progress(done, 100))
            watched.spend(1)
        assert [when for when, _ in watched.lines[-4:]] == [2031, 2036, 2041, 2046]
        display.notes = ()
        display.end(1, 100)
        assert watched.spend(5) == [2051]
        assert watched.lines[-1][1].startswith("get: 1 of 4 files")
        assert "tape" not in watched.lines[-1][1]


def test_nothing_is_told_to_who_wants_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """--quiet."""
    clock = Clock()
    display = Display("get", 4, clock=clock)
    with display.shown(quiet=True):
        clock.advance(100)
    assert capsys.readouterr().err == ""


def test_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers, waits and times."""
    monkeypatch.setenv("TZ", "UTC")
    assert [counted(each, "file") for each in (0, 1, 2, 1000)] == ["0 files", "1 file", "2 files", "1,000 files"]
    waits = [wait_words(each) for each in (0, 1, 1.5, 59, 60, 61, 3600, 86400, 86401)]
    assert waits[:4] == ["1 second", "1 second", "2 seconds", "59 seconds"]
    assert waits[4:] == ["1 minute", "2 minutes", "1 hour", "1 day", "2 days"]
    assert [decapitalised(each) for each in ("The tape", "HPSS is", "", "A")] == ["the tape", "HPSS is", "", "A"]
    assert len(clock_words(1e9, 1e9)) == 5
    assert clock_words(1e9 + 86400, 1e9).startswith("2001-09-")
    assert clock_words(1e30, 1e9) == "1e+30"
