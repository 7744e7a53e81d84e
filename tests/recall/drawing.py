"""The drawings of C{docs/recall.md}: the transitions of requests for files and of recalls."""

from __future__ import annotations

import re
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs/recall.md"

BEGINNING, GONE = "(requested)", "(gone)"

_BLOCK = re.compile(r"^```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ARROW = re.compile(r" [├└]─► (\S+) +\S")

Arrow = tuple[str, str]


def drawn() -> tuple[frozenset[Arrow], frozenset[Arrow]]:
    """Return the arrows of requests, and those of recalls."""
    requests, recalls = _BLOCK.findall(DOCUMENT.read_text())
    return _arrows(requests), _arrows(recalls)


def _arrows(block: str) -> frozenset[Arrow]:
    found, state = [], ""
    for line in block.splitlines():
        if (arrow := _ARROW.match(line)) is not None:
            found.append((state, arrow[1]))
        elif not line.startswith(" "):
            state = line
    assert len(set(found)) == len(found), "an arrow is drawn twice"
    return frozenset(found)
