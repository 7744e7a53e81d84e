"""What C{pacarchive top} says, out of metrics and the health of an archive: lines for people, a record for programs."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from pacarchive.cli.printing import age_words, size_words, time_words
from pacarchive.cli.remote import troubles
from pacarchive.cli.remote.figures import PREFIX, START, Change, Figures, window
from pacarchive.cli.remote.troubles import counts_words
from pacarchive.model import Health
from pacarchive.texts import counted

RATES_OVER = 10.0
"""Seconds that rates are means over."""

LATENCIES_OVER = 60.0
"""Seconds of whose requests percentiles are, and whose failures are told of."""

_FIRST, _LAST = "pacarchive_http_time_to_first_byte_seconds", "pacarchive_http_request_duration_seconds"


class Mood(enum.Enum):
    """How a line is meant."""

    PLAIN = "plain"
    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"


@attrs.frozen
class Line:
    """
    A line for people.

    @ivar label: What it is about: a blank where that is the line above's, empty where it is about everything.
    """

    label: str
    text: str
    mood: Mood = Mood.PLAIN

    def __str__(self) -> str:
        return f"{self.label:<11}{self.text}" if self.label else self.text


@attrs.frozen
class Overview:
    """
    How a server is.

    @ivar url: The server's address.
    @ivar history: What was read, the last last; not empty.
    @ivar now: The seconds since the epoch.
    """

    url: str
    history: list[Figures]
    health: Health
    now: float

    @property
    def figures(self) -> Figures:
        """What was read last."""
        return self.history[-1]

    @property
    def recent(self) -> Change:
        """For rates."""
        return window(self.history, RATES_OVER)

    @property
    def lately(self) -> Change:
        """For percentiles, and for what happens seldom."""
        return window(self.history, LATENCIES_OVER)

    def lines(self) -> Iterator[Line]:
        """All that there is to say."""
        yield self._title()
        yield from self._state()
        yield Line("", "")
        yield from self._traffic()
        yield from self._refusals()
        yield from self._pools()
        yield from self._recalls()
        yield from self._storage()
        yield from self._workers()

    def summary(self) -> str:
        """The same in one line, without what is rarely wanted."""
        recent = self.recent
        parts = [
            self.state[1],
            f"{_rate(recent.rate(f'{PREFIX}http_requests_total'))} requests",
            f"in {size_words(recent.rate(f'{PREFIX}transfer_bytes_total', direction='in'))}/s",
            f"out {size_words(recent.rate(f'{PREFIX}transfer_bytes_total', direction='out'))}/s",
            f"{_whole(self.figures.sum(f'{PREFIX}transfers'))} transfers",
            f"refused {_rate(recent.rate(f'{PREFIX}refused_total'))}",
            f"failed {_rate(recent.rate(f'{PREFIX}failures_total') + recent.rate(f'{PREFIX}incidents_total'))}",
        ]
        if (files := self.figures.by(f"{PREFIX}recall_files", "state")) and any(files.values()):
            parts.append("recalls: " + counts_words(files))
        return "; ".join(parts)

    def record(self) -> dict[str, Any]:
        """The same for programs."""
        recent, lately, figures = self.recent, self.lately, self.figures
        return {
            "time": self.now,
            "well": not self.troubles(),
            "ready": self.health.ready,
            "troubles": [text for _, text in self.troubles()],
            "requests_per_second": recent.rate(f"{PREFIX}http_requests_total"),
            "requests_in_flight": figures.sum(f"{PREFIX}http_requests_in_flight"),
            "bytes_per_second": {
                each: recent.rate(f"{PREFIX}transfer_bytes_total", direction=each) for each in ("in", "out")
            },
            "transfers": figures.sum(f"{PREFIX}transfers"),
            "first_byte": {"p50": lately.quantile(0.5, _FIRST), "p99": lately.quantile(0.99, _FIRST)},
            "last_byte": {"p50": lately.quantile(0.5, _LAST), "p99": lately.quantile(0.99, _LAST)},
            "refused": figures.by(f"{PREFIX}refused_total", "kind"),
            "failed": figures.by(f"{PREFIX}failures_total", "kind"),
            "incidents": figures.sum(f"{PREFIX}incidents_total"),
            "recalls": figures.by(f"{PREFIX}recall_files", "state"),
            "oldest_queued_seconds": figures.sum(f"{PREFIX}recall_oldest_queued_seconds"),
            "workers": figures.sum(f"{PREFIX}workers"),
            "workers_reporting": figures.sum(f"{PREFIX}workers_reporting"),
        }

    @property
    def state(self) -> tuple[Mood, str]:
        """Whether it is well, in a word."""
        if not self.health.ready:
            return Mood.BAD, "NOT WELL"
        return (Mood.WARNING, "needs attention") if self.troubles() else (Mood.GOOD, "well")

    def troubles(self) -> list[tuple[Mood, str]]:
        """Why it is not, the worst first."""
        bad = troubles.bad(self.figures, self.lately, self.health)
        warnings = troubles.warnings(self.figures, self.lately, self.health, self.now)
        return [(Mood.BAD, each) for each in bad] + [(Mood.WARNING, each) for each in warnings]

    def _title(self) -> Line:
        version = self.figures.label(f"{PREFIX}build_info", "version")
        parts = [f"pacarchive {version} at {self.url}".replace("  ", " ")]
        if begun := self.figures.sum(START):
            parts.append(f"up {time_words(max(0.0, self.now - begun))}")
        if (workers := self.figures.sum(f"{PREFIX}workers")) is not None:
            reporting = self.figures.sum(f"{PREFIX}workers_reporting") or 0
            parts.append(f"{reporting:.0f} of {counted(int(workers), 'worker')}")
        return Line("", ", ".join(parts))

    def _state(self) -> Iterator[Line]:
        mood, word = self.state
        yield Line("", f"The archive is {word}.", mood)
        for each, text in self.troubles():
            yield Line("", f"  {text}", each)

    def _traffic(self) -> Iterator[Line]:
        figures, recent, lately = self.figures, self.recent, self.lately
        each = recent.counted_by(f"{PREFIX}http_requests_total", "method")
        methods = ", ".join(f"{method} {count / recent.seconds:,.1f}" for method, count in each.items())
        failing = sum(
            count
            for code, count in recent.counted_by(f"{PREFIX}http_requests_total", "code").items()
            if code[:1] == "5"
        )
        parts = [f"{_rate(recent.rate(f'{PREFIX}http_requests_total'))}{f' ({methods})' if methods else ''}"]
        if failing:
            parts.append(f"{_rate(failing / recent.seconds)} of them 5xx")
        parts.append(f"{_whole(figures.sum(f'{PREFIX}http_requests_in_flight'))} under way")
        yield Line("requests", ", ".join(parts))
        yield Line("answers", "; ".join(
            f"{what} byte p50 {_seconds(lately.quantile(0.5, name))}, p99 {_seconds(lately.quantile(0.99, name))}"
            for what, name in (("first", _FIRST), ("last", _LAST))
        ))  # fmt: skip
        rates = [
            f"{way} {size_words(recent.rate(f'{PREFIX}transfer_bytes_total', direction=way))}/s"
            for way in ("in", "out")
        ]
        limits = [self._of_limit(name) for name in ("transfers", "connections")]
        aborted = counts_words(recent.counted_by(f"{PREFIX}transfers_aborted_total", "by"))
        yield Line("bytes", ", ".join([*rates, *limits, *([f"broken off by {aborted}"] if aborted else [])]))

    def _of_limit(self, name: str) -> str:
        used, limit = self.figures.sum(PREFIX + name), self.figures.sum(f"{PREFIX}{name}_limit")
        return f"{_whole(used)} of {_whole(limit)} {name}" if limit else f"{_whole(used)} {name}"

    def _refusals(self) -> Iterator[Line]:
        recent, figures = self.recent, self.figures
        for label, name in (("refused", f"{PREFIX}refused_total"), ("failed", f"{PREFIX}failures_total")):
            total = {kind: count for kind, count in figures.by(name, "kind").items() if count}
            extra = figures.sum(f"{PREFIX}incidents_total") if label == "failed" else 0
            if extra:
                total["incident"] = extra
            now = recent.counted_by(name, "kind")
            text = f"{_rate(recent.rate(name))}{f' ({_kinds(now, recent.seconds)})' if now else ''}"
            since = counts_words(dict(sorted(total.items(), key=lambda each: -each[1])), most=5)
            yield Line(label, f"{text}; since the start {since or 'none'}")

    def _pools(self) -> Iterator[Line]:
        figures = self.figures
        words = []
        for pool, size in figures.by(f"{PREFIX}pool_size", "pool").items():
            busy, queued = (figures.sum(f"{PREFIX}pool_{what}", pool=pool) or 0 for what in ("busy", "queued"))
            words.append(f"{pool} {busy:.0f} of {size:.0f}{f', {queued:,.0f} waiting' if queued else ''}")
        if words:
            yield Line("threads", "; ".join(words))

    def _recalls(self) -> Iterator[Line]:
        figures = self.figures
        if not (files := figures.by(f"{PREFIX}recall_files", "state")):
            return
        parts = [counts_words(files) or "none"]
        if oldest := figures.sum(f"{PREFIX}recall_oldest_queued_seconds"):
            parts.append(f"the oldest queued for {age_words(oldest)}")
        if cartridges := figures.sum(f"{PREFIX}cartridges_active"):
            parts.append(f"{counted(int(cartridges), 'cartridge')} being read")
        if pinned := figures.sum(f"{PREFIX}pinned_bytes"):
            parts.append(f"{size_words(pinned)} pinned")
        yield Line("recalls", "; ".join(parts))

    def _storage(self) -> Iterator[Line]:
        figures = self.figures
        words = []
        for backend, free in figures.by(f"{PREFIX}storage_free_bytes", "backend").items():
            size = figures.sum(f"{PREFIX}storage_size_bytes", backend=backend)
            words.append(f"{backend} {size_words(free)}{f' of {size_words(size)}' if size else ''} free")
        if words:
            yield Line("storage", "; ".join(words))

    def _workers(self) -> Iterator[Line]:
        figures, recent = self.figures, self.recent
        memory = figures.by("process_resident_memory_bytes", "worker")
        for place, worker in enumerate(sorted(memory, key=lambda each: (len(each), each))):
            cpu = recent.rate("process_cpu_seconds_total", worker=worker)
            used, most = (figures.sum(f"process_{what}_fds", worker=worker) for what in ("open", "max"))
            text = (
                f"{worker}: {cpu:.0%} CPU, {size_words(memory[worker])}, {_whole(used)} of {_whole(most)} descriptors"
            )
            yield Line(" " if place else "processes", text)


def _rate(value: float) -> str:
    return f"{value:,.1f}/s"


def _whole(value: float | None) -> str:
    return "?" if value is None else f"{value:,.0f}"


def _seconds(value: float | None) -> str:
    return "-" if value is None else time_words(value)


def _kinds(counts: Mapping[str, float], seconds: float) -> str:
    return ", ".join(f"{kind} {count / seconds:,.1f}" for kind, count in counts.items())
