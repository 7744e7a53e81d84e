"""The bars of a L{Tally<pacarchive.cli.tally.Tally>}, made of rich's columns."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Self

from rich.cells import cell_len, set_cell_size
from rich.console import Console, Group, RenderableType
from rich.constrain import Constrain
from rich.live import Live
from rich.progress import BarColumn, Progress, ProgressColumn, Task
from rich.table import Column, Table
from rich.text import Text

from pacarchive.cli.printing import amount_words, size_words, time_words
from pacarchive.texts import printable

if TYPE_CHECKING:
    from pacarchive.cli.tally import Tally, Transfer

_REFRESH = 8
"""How many times per second the bars are drawn."""

_RATE_OVER = 10.0
"""The seconds over which rates are means."""

_RESERVED_COLUMNS = 4
"""
Columns that stay free: a terminal prints ^C behind the last line, and the bars would remain if that took another line.
"""

SHOWN = 5
"""The most transfers that have a bar of their own."""

_LEAST_BAR, _NAME = 6, 24


class _Words(ProgressColumn):
    """
    A column of text about a task, right-aligned, of a given width and one more cell.

    @param words: Returns the text.
    @param cells: The width, in cells.
    @ivar cells: The width with the additional cell.
    """

    def __init__(self, words: Callable[[Task], str], cells: int) -> None:
        super().__init__(Column(width=cells + 1, justify="right", no_wrap=True, overflow="crop"))
        self._words = words
        self.cells = cells + 1

    def render(self, task: Task) -> Text:
        return Text(self._words(task))


_PERCENT = _Words(lambda task: "" if task.total is None else f"{min(99, int(task.percentage))}%", 3)
"""At most 99: when all bytes are sent they are not stored yet, and when all are received they are not verified."""

_SIZE = _Words(lambda task: amount_words(int(task.completed), int(task.total)) if task.total else "", 17)
_RATE = _Words(lambda task: f"{size_words(task.speed)}/s" if task.speed else "", 12)
_LEFT = _Words(lambda task: f"{time_words(task.time_remaining)} left" if task.time_remaining else "", 14)


class Bars:
    """
    Draws a tally.  A context manager, which draws in a thread until its end.

    @param tally: The tally.
    @param seconds: Returns the time.
    @ivar live: What draws on the terminal.
    """

    def __init__(self, tally: Tally, seconds: Callable[[], float]) -> None:
        console = Console(file=sys.stderr, markup=False, highlight=False, emoji=False, soft_wrap=True)
        self._tally = tally
        self._height = 0
        self._shown: dict[Transfer, Task] = {}
        # It only keeps the tasks and computes rates, as it cannot draw several tables of columns.
        self._progress = Progress(console=console, disable=True, get_time=seconds, speed_estimate_period=_RATE_OVER)
        self._all = self._task(tally.what)
        self._moved = self._task("")
        self.live = Live(
            console=console,
            get_renderable=self.draw,
            refresh_per_second=_REFRESH,
            transient=True,
            redirect_stdout=False,
        )

    def __enter__(self) -> Self:
        self.live.start(refresh=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def _task(self, name: str) -> Task:
        self._progress.add_task(name, total=None, words="")
        return self._progress.tasks[-1]

    def sample(self) -> tuple[float | None, float | None]:
        """
        Update the rates.

        @return: How much is done per second, and how many seconds are left; C{None} where that is not known.
        """
        tally = self._tally
        total = None if tally.total is None else 1.0
        self._progress.update(self._all.id, completed=tally.share, total=total)
        moved = tally.done - tally.skipped if tally.counts_bytes else tally.files
        self._progress.update(self._moved.id, completed=moved)
        return self._moved.speed, self._all.time_remaining

    def draw(self) -> RenderableType:
        """Return what the terminal shows now."""
        lines, height = [], 0
        for line, rows in self._lines(max(1, self._progress.console.width - _RESERVED_COLUMNS)):
            lines.append(line)
            height += rows
        # Never fewer lines than before, so that nothing jumps.
        self._height = max(self._height, height)
        return Group(*lines, *[Text("")] * (self._height - height))

    def _lines(self, width: int) -> Iterator[tuple[RenderableType, int]]:
        """Return what is drawn, and how many lines each part takes."""
        tally, (rate, left) = self._tally, self.sample()
        shown = self._transfers()
        if tally.total == 1 and tally.counts_bytes and shown:
            yield self._table([_RATE, _LEFT, _SIZE], shown, width), 1
        else:
            yield self._table(self._overall(rate, left), [self._all], width), 1
            if shown:
                words = [_SIZE, _RATE]
                if not tally.counts_bytes:
                    cells = max(len(task.fields["words"]) for task in shown)
                    words = [_Words(lambda task: task.fields["words"], cells), _Words(self._elapsed, 9)]
                yield self._table(words, shown, width, indent="  "), len(shown)
        for line in (*tally.table, *tally.notes):
            yield Constrain(Text(f"  {line}", no_wrap=True, overflow="ellipsis"), width), 1

    def _overall(self, rate: float | None, left: float | None) -> Sequence[_Words]:
        tally = self._tally
        cells = 2 * len(f"{tally.total or 0:,}") + len(tally.noun) + 3
        files = _Words(lambda task: tally.files_words, cells if tally.total else len(tally.files_words))
        failed = _Words(lambda task: tally.failed_words, len(tally.failed_words))
        time = _Words(lambda task: tally.left_words(left) or self._elapsed(task), 14)
        rate_words = tally.rate_words(rate)
        speed = _Words(lambda task: rate_words, 12 if tally.counts_bytes else 15)
        size = _Words(lambda task: tally.size_words, 17 if tally.counts_bytes else 0)
        return [each for each in (files, failed, time, speed, size) if each.cells > 1]

    def _elapsed(self, task: Task) -> str:
        return "" if self._tally.estimates else time_words(task.elapsed or 0.0)

    def _transfers(self) -> list[Task]:
        """Return the transfers that are shown: those that began first, so that each keeps its line."""
        transfers = list(self._tally.under_way.values())[:SHOWN]
        for each in set(self._shown) - set(transfers):
            self._progress.remove_task(self._shown.pop(each).id)
        for each in transfers:
            task = self._shown.get(each) or self._shown.setdefault(each, self._task(each.name))
            self._progress.update(task.id, completed=each.done, total=each.total, words=each.words)
        return [self._shown[each] for each in transfers]

    def _table(self, words: Sequence[_Words], tasks: Sequence[Task], width: int, indent: str = "") -> RenderableType:
        """
        Make lines of a name, a bar, a percentage, and as many of the further columns as fit.

        @param words: The columns, the most important first.
        @param tasks: The tasks, one for each line.
        @param width: The width, in cells.
        @param indent: What precedes each name.
        """
        names = [indent + printable(task.description) for task in tasks]
        cells = _NAME if indent else min(_NAME, max(map(cell_len, names)))
        cells = max(1, min(cells, width - _LEAST_BAR - 6))
        left = width - cells - _LEAST_BAR - 6
        shown: list[_Words] = []
        for each in words:
            if (left := left - each.cells - 1) < 0:
                break
            shown.append(each)
        bar = BarColumn(
            None, complete_style="green", finished_style="green", table_column=Column(ratio=1, no_wrap=True)
        )
        columns = [bar, _PERCENT, *shown]
        table = Table.grid(
            Column(width=cells, no_wrap=True, overflow="crop"),
            *(each.get_table_column().copy() for each in columns),
            padding=(0, 1),
            expand=True,
        )
        for name, task in zip(names, tasks, strict=True):
            table.add_row(Text(shortened(name, cells)), *(each(task) for each in columns))
        return Constrain(table, width)


def shortened(name: str, width: int) -> str:
    """Fit a name into a given number of cells; of a long one the end is kept, which is what differs among many."""
    if cell_len(name) <= width:
        return set_cell_size(name, width)
    kept = name[-width:]
    while kept and cell_len(kept) > width - 1:
        kept = kept[1:]
    return set_cell_size(f"…{kept}", width)
