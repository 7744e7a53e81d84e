"""What goes to stdout, and names that come from a file system."""

from __future__ import annotations

import json
import sys


def print_json(value: object) -> None:
    """One line of JSON; names keep their odd bytes, as C{surrogateescape} has them."""
    sys.stdout.write(f"{json.dumps(value)}\n")
    sys.stdout.flush()


def shown(name: str) -> str:
    """A name as a person can see it: what is not printable would do things to his terminal."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in name)


def spoken_age(seconds: float) -> str:
    """A length of time, in the unit that fits."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} seconds"


def spoken_size(size: int) -> str:
    """A number of bytes, in the unit that fits."""
    amount, unit = float(size), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB", "PiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{size} bytes" if unit == "bytes" else f"{amount:.1f} {unit}"
