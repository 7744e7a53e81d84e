"""What the figures of several servers say beside each other: ratios, and what they are to be."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

import attrs
from machine import size_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from machine import Findings

OURS = "pacarchive"

WORSE = 0.1
"""From which part on a figure counts as worse, if it is so in every round."""

FOREIGN_MUCH = 10.0
"""The share of the machine, in percent, from which what others use is worth a note."""

Figures = dict[str, list[float | None]]
"""What each figure was, round by round."""


@attrs.frozen
class Goal:
    """
    What a figure of ours is to be.

    @ivar name: In a few words.
    @ivar of: Whose figure it is a ratio to; C{None}: it is a figure by itself.
    """

    name: str
    figure: str
    bar: float
    at_least: bool
    of: str | None = None

    def value(self, found: Mapping[str, Figures]) -> float | None:
        """The ratio, or the figure; C{None} where it was not measured."""
        if self.of is None:
            return summary(self.figure, found[OURS].get(self.figure, []))
        return ratio(self.figure, found[OURS], found.get(self.of, {}))

    def is_met(self, value: float) -> bool:
        """Whether that is good enough."""
        return value >= self.bar if self.at_least else value <= self.bar

    def words(self, value: float) -> str:
        """What is asked, and whether it is so."""
        asked = f"{'at least' if self.at_least else 'at most'} {self.bar:g}{f' of {self.of}' if self.of else ''}"
        return f"{asked}: {value:.2f}, {'met' if self.is_met(value) else '**missed**'}"


def goals(size: int) -> list[Goal]:
    """
    All of them.

    @param size: Of the large object, in bytes.
    """
    one, four = f"{size_words(size)} x1", f"{size_words(size // 4)} x4"
    cpu = "server CPU us a request"
    return [
        Goal("GET c64", "GET 1 KiB c64, ops/s", 1.5, True, "rclone"),
        Goal("its CPU", f"GET 1 KiB c64, {cpu}", 0.7, False, "rclone"),
        Goal("HEAD c8", "HEAD c8, ops/s", 1.5, True, "rclone"),
        Goal("its CPU", f"HEAD c8, {cpu}", 0.7, False, "rclone"),
        Goal("PUT c1", "PUT 1 KiB c1, ops/s", 1.0, True, "pai-uwsgi"),
        Goal("c8", "PUT 1 KiB c8, ops/s", 1.3, True, "pai-uwsgi"),
        Goal("c32", "PUT 1 KiB c32, ops/s", 2.0, True, "pai-uwsgi"),
        Goal("PUT c8", "PUT 1 KiB c8, ops/s", 0.9, True, "machine"),
        Goal("c32", "PUT 1 KiB c32, ops/s", 0.9, True, "machine"),
        Goal("large PUT", f"PUT {one}, MB/s", 0.95, True, "nginx"),
        Goal("its CPU s/GiB", f"PUT {one}, server CPU s/GiB", 1.7, False),
        Goal("four", f"PUT {four}, MB/s", 0.9, True, "machine"),
        Goal("large GET", f"GET {one}, MB/s", 1.0, True, "nginx"),
        Goal("four", f"GET {four}, MB/s", 1.0, True, "nginx"),
        Goal("p99 under a PUT", f"GET at 300/s under a {size_words(size)} PUT, p99 ms", 1.5, False, "nginx"),
        Goal("p99 beside slow clients, ms", "GET at 100/s beside 200 slow clients, p99 ms", 1.5, False),
        Goal("idle, KiB", "10000 idle connections, KiB of memory each", 8.0, False),
    ]


def collect(rounds: Sequence[Findings]) -> Figures:
    """What each figure was, round by round."""
    labels = dict.fromkeys(label for each in rounds for label in each.figures)
    return {label: [each.figures.get(label) for each in rounds] for label in labels}


def summary(label: str, figures: Sequence[float | None]) -> float | None:
    """The least CPU, as others only ever add to it; of all else the median."""
    known = [figure for figure in figures if figure is not None]
    if not known:
        return None
    return min(known) if "CPU" in label else statistics.median(known)


def ratios(label: str, ours: Figures, theirs: Figures) -> list[float]:
    """Ours to theirs, in each round that has both."""
    pairs = zip(ours.get(label, []), theirs.get(label, []), strict=False)
    return [mine / other for mine, other in pairs if mine is not None and other]


def ratio(label: str, ours: Figures, theirs: Figures) -> float | None:
    """The ratio of the least CPU; of all else the median of the ratios in the same round."""
    if "CPU" in label:
        mine, other = summary(label, ours.get(label, [])), summary(label, theirs.get(label, []))
        return mine / other if mine is not None and other else None
    found = ratios(label, ours, theirs)
    return statistics.median(found) if found else None


def is_worse(label: str, ours: Figures, theirs: Figures) -> bool:
    """Whether ours is clearly worse, in every round."""
    found = ratios(label, ours, theirs)
    if label.endswith("/s"):
        return bool(found) and max(found) < 1 / (1 + WORSE)
    return bool(found) and min(found) > 1 + WORSE


def figure_words(figure: float | None) -> str:
    """A figure, as exact as is worth it."""
    if figure is None:
        return "-"
    return f"{figure:.{0 if figure >= 100 else 1 if figure >= 10 else 2}f}"


def table(found: Mapping[str, Figures], wanted: Sequence[Goal], before: str | None) -> list[str]:
    """
    The lines of the table: what ours has, the others with the ratio of ours to them, and what was to be.

    @param before: Who must not have been better, if anyone.
    """
    ours, others = found[OURS], [name for name in found if name != OURS]
    lines = [f"| figure | {OURS} | {' | '.join(others)} | |", "|---" * (3 + len(others)) + "|"]
    for label, figures in ours.items():
        if "failed" in label and not any(any(found[name].get(label, [])) for name in found):
            continue
        cells = [figure_words(summary(label, figures))]
        for name in others:
            quotient = ratio(label, ours, found[name])
            theirs = figure_words(summary(label, found[name].get(label, [])))
            cells.append(theirs if quotient is None else f"{theirs} ({quotient:.2f})")
        values = [(goal, goal.value(found)) for goal in wanted if goal.figure == label]
        remarks = [goal.words(value) for goal, value in values if value is not None]
        if before is not None and is_worse(label, ours, found[before]):
            remarks.append(f"**worse than {before}**")
        lines.append(f"| {label} | {' | '.join(cells)} | {'; '.join(remarks)} |")
    return lines


def remarks(rounds: Sequence[Findings], who: str = "") -> list[str]:
    """
    What went wrong, and what was disturbed.

    @param who: Whose rounds they are.
    """
    lines = []
    for number, each in enumerate(rounds, 1):
        where = f"in round {number}{who and f' of {who}'}"
        lines += [f"PROBLEM {where}: {problem}" for problem in each.problems]
        if much := [f"{name} {share:.0f} %" for name, share in each.foreign.items() if share >= FOREIGN_MUCH]:
            lines.append(f"CPU used by others {where}: {', '.join(much)}. Distrust these figures.")
    return lines
