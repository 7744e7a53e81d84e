"""What the predecessor may have meant by a name that stands for no id."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pacarchive.ids import MAX_FILE_ID

if TYPE_CHECKING:
    from pacarchive.backends.local.layout import Layout

_LOOSE_HEX = re.compile(r"(?:.*/)?(?:file\.)?([0-9a-f]{1,40})\Z", re.ASCII | re.IGNORECASE | re.DOTALL)


def loose_id(path: str, layout: Layout) -> int | None:
    """
    Return the id that the predecessor may have meant by a name which stands for none: C{007}, C{1_0}, C{39/0003039}.

    @return: C{None} if the name cannot be read as a number.
    """
    if layout.has_directories:
        match = _LOOSE_HEX.match(path)
        value = int(match[1], 16) if match is not None else -1
    else:
        try:
            value = int(path) if len(path) <= 40 else -1
        except ValueError:
            return None
    return value if 0 <= value <= MAX_FILE_ID else None
