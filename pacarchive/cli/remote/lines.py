"""What a person sees while it goes on: a few lines, made to fit the screen.

All of it is arithmetic over plain data; L{pacarchive.cli.remote.display} puts it on the screen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import attrs
from rich.cells import cell_len, set_cell_size

from pacarchive.cli.printing import amount_words, size_words, time_words
from pacarchive.texts import counted, printable

SHOWN = 5
"""How many transfers are shown by themselves."""

_WINDOW = 10.0
"""Over how many seconds a rate is the mean."""

_LEAST_BAR, _LONGEST_BAR = 6, 40
_NAME = 24
_PERCENT = 4
_SIZE_CELLS = 17


@attrs.define
class Transfer:
    """
    A transfer that is under way.

    @ivar name: What the user calls it.
    @ivar done: Bytes.
    @ivar total: Bytes; C{None} while they are not known.
    """

    name: str
    done: int = 0
    total: int | None = None

    @property
    def fraction(self) -> float:
        """Less than 1: when all is sent it is not stored yet, and when all has come it is not checked."""
        return min(0.99, self.done / self.total) if self.total else 0.0


class Speed:
    """How fast something grows."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, float]] = deque()

    def note(self, now: float, amount: float) -> None:
        """It has grown to C{amount}; less than before means that something began anew."""
        if self._samples and amount < self._samples[-1][1]:
            self._samples.clear()
        self._samples.append((now, amount))
        while len(self._samples) > 2 and self._samples[1][0] <= now - _WINDOW:
            self._samples.popleft()

    @property
    def rate(self) -> float | None:
        """A second; C{None} while that cannot be told."""
        if len(self._samples) < 2:
            return None
        (begun, before), (now, amount) = self._samples[0], self._samples[-1]
        return (amount - before) / (now - begun) if now - begun >= 0.5 else None


@attrs.frozen(kw_only=True)
class Amounts:
    """
    How far all of it is.

    @ivar what: What is done to the files.
    @ivar files: How many are done, with those that failed.
    @ivar size: Bytes that have moved.
    @ivar total_size: Bytes in all; C{None} where nobody knows.
    @ivar rate: Bytes a second, or files a second where bytes do not count; C{None} where that cannot be told.
    @ivar left: Seconds.
    """

    what: str
    files: int
    total: int
    failed: int
    size: int = 0
    total_size: int | None = None
    rate: float | None = None
    left: float | None = None
    counts_bytes: bool = True

    @property
    def fraction(self) -> float:
        """Between 0 and 1, which is for the end."""
        if self.files >= self.total:
            return 1.0
        return min(0.99, self.size / self.total_size if self.total_size else self.files / self.total)

    @property
    def rate_part(self) -> tuple[str, int]:
        """With how many cells it may take."""
        return self.rate_words, 12 if self.counts_bytes else 15

    @property
    def left_part(self) -> tuple[str, int]:
        """With how many cells it may take."""
        return self.left_words, 14

    @property
    def size_part(self) -> tuple[str, int]:
        """With how many cells it may take; none where bytes do not count."""
        return self.size_words, _SIZE_CELLS if self.counts_bytes else 0

    @property
    def rate_words(self) -> str:
        """As a person reads it; empty where it cannot be told."""
        if self.rate is None:
            return ""
        return f"{size_words(self.rate)}/s" if self.counts_bytes else f"{self.rate:,.0f} files/s"

    @property
    def left_words(self) -> str:
        """The same of the time that is left."""
        return "" if self.left is None or self.left < 0.05 else f"{time_words(self.left)} left"

    @property
    def size_words(self) -> str:
        """The same of the bytes."""
        if not self.counts_bytes:
            return ""
        return amount_words(self.size, self.total_size)


def bar(fraction: float, width: int) -> str:
    """A bar; it is full only when all is done."""
    full = min(int(fraction * width), width if fraction >= 1 else width - 1)
    return "█" * full + "░" * (width - full)


def fitted(name: str, name_width: int, fraction: float, parts: Sequence[tuple[str, int]], width: int) -> str:
    """
    One line: a name, a bar, a percentage, and of what else there is to tell as much as there is room for.

    @param parts: The most important first, and how many cells each is given, so that nothing jumps when one grows.
    @param width: Of the screen.  The line is shorter: behind the last one a terminal may write C{^C}.
    """
    room, shown = max(1, width - 4), list(parts)
    percent = f"{int(fraction * 100):3}%"
    while shown and name_width + 1 + _LEAST_BAR + 1 + _tail_width(shown) > room:
        shown.pop()
    left = room - _tail_width(shown) - 1
    if left < min(name_width, _NAME // 2) + 1 + _LEAST_BAR:
        return set_cell_size(f"{shortened(name, max(1, room - 5))} {percent}", room)
    name_width = min(name_width, left - _LEAST_BAR - 1)
    tail = "".join(f"  {part[:cells]:>{cells}}" for part, cells in shown)
    return f"{shortened(name, name_width)} {bar(fraction, min(_LONGEST_BAR, left - name_width - 1))} {percent}{tail}"


def _tail_width(parts: Sequence[tuple[str, int]]) -> int:
    return _PERCENT + sum(cells + 2 for _, cells in parts)


def shortened(name: str, width: int) -> str:
    """A name in just so many cells; of a long one the end is kept, which is what differs among many."""
    name = printable(name)
    if cell_len(name) <= width:
        return set_cell_size(name, width)
    kept = name[-width:]
    while kept and cell_len(kept) > width - 1:
        kept = kept[1:]
    return set_cell_size(f"…{kept}", width)


def indented(lines: Sequence[str], width: int) -> list[str]:
    """Lines below another; of one that is too long the beginning is kept."""
    room = max(1, width - 4)
    return [f"  {line}" if cell_len(line) <= room - 2 else f"{set_cell_size(f'  {line}', room - 1)}…" for line in lines]


def screen(amounts: Amounts, transfers: Sequence[Transfer], width: int) -> list[str]:
    """All lines: one for all of it, where there are several, and one for each transfer that is shown."""
    if amounts.total == 1:
        only = transfers[0] if transfers else Transfer("")
        parts = (amounts.rate_part, amounts.left_part, amounts.size_part)
        return [fitted(only.name, min(_NAME, cell_len(printable(only.name))), only.fraction, parts, width)]
    lines = [overall(amounts, width)]
    for each in transfers[:SHOWN]:
        part = (amount_words(each.done, each.total), _SIZE_CELLS)
        lines.append(fitted(f"  {each.name}", _NAME, each.fraction, [part], width))
    # Always as many, so that nothing jumps.
    return lines + [""] * (1 + min(SHOWN, amounts.total) - len(lines))


def overall(amounts: Amounts, width: int) -> str:
    """The line for all of it."""
    files = f"{amounts.files:,}/{counted(amounts.total, 'file')}"
    parts = [(files, 2 * len(f"{amounts.total:,}") + 7), amounts.left_part, amounts.rate_part, amounts.size_part]
    if amounts.failed:
        parts.insert(1, (failed := f"{amounts.failed:,} failed", len(failed)))
    return fitted(amounts.what, len(amounts.what), amounts.fraction, parts, width)


def plain(amounts: Amounts) -> str:
    """The same where there is no screen: one line, now and then."""
    parts = [f"{amounts.what}: {amounts.files:,} of {counted(amounts.total, 'file')}"]
    if amounts.failed:
        parts.append(f"{amounts.failed:,} failed")
    return ", ".join([*parts, *filter(None, (amounts.size_words, amounts.rate_words, amounts.left_words))])
