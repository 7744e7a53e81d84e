"""Plain tables and quantities, for people."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}


def table(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Columns side by side; numbers stand to the right."""
    cells = [[*map(str, row)] for row in rows]
    numeric = [
        bool(cells) and all(row[i][:1].isdigit() or row[i] in ("", "-") for row in cells) for i in range(len(titles))
    ]
    widths = [max(len(row[i]) for row in [titles, *cells]) for i in range(len(titles))]
    lines = []
    for row in [titles, *cells]:
        padded = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        )
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def pairs(rows: Iterable[tuple[str, object]]) -> str:
    """Names and values, one a line."""
    found = list(rows)
    width = max((len(name) for name, _ in found), default=0)
    return "\n".join(f"{name.ljust(width)}  {value}" for name, value in found)


def amount(size: float) -> str:
    """Bytes in decimal units."""
    for unit, factor in reversed(_UNITS.items()):
        if unit and size >= factor:
            return f"{size / factor:.1f} {unit}B"
    return f"{size:g} B"


def parse_amount(text: str) -> int:
    """
    The inverse, for arguments: C{100}, C{20M}, C{1.5GB}.

    @raise ValueError: It is none of these.
    """
    number = text.strip().upper().removesuffix("B").strip()
    unit = number[-1:] if number[-1:] in _UNITS else ""
    size = float(number.removesuffix(unit)) * _UNITS[unit]
    if size < 0 or not size.is_integer():
        raise ValueError("not a whole number of bytes")
    return int(size)


def listed(words: Iterable[object], last: str = "or") -> str:
    """A list in a sentence."""
    *before, end = map(str, words)
    return f"{', '.join(before)} {last} {end}" if before else end


def counted(number: int, noun: str) -> str:
    """So many of something that has its plural in s."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def duration(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:04.1f} s" if minutes else f"{rest:.1f} s"


def moment(seconds: float | None) -> str:
    """A simulated time, in UTC."""
    return "-" if seconds is None else time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))
