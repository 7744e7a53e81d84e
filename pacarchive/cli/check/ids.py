"""Which ids a check uses: a block of its own, far from those that are counted up.

They differ in their highest bytes only.  A tree with C{use_id2filename}, and one in HPSS, makes directories of the
lowest bytes first (L{pacarchive.ids.id_to_path}), so that a thousand files whose ids are in a row would be a thousand
paths of seven directories each, which stay when the files are gone.  These ids have their directories in common, as a
hundred files do.  All are below 2**63: that is what a signed integer of SQL holds.
"""

from __future__ import annotations

FIRST_ID = 2**56
"""The default: ids of that size are not reached by counting.  Its lowest bytes are zero."""

_TOP = 100
"""How many values of the highest byte are used: 1 to 100 by default."""

LARGEST_COUNT = _TOP * 2**16


def block(first: int, count: int) -> list[int]:
    """
    The ids of a check.

    @param first: The first of them.
    @param count: How many.
    @raise ValueError: There are not as many from this one on.
    """
    top, rest = divmod(first, 2**56)
    if not 0 <= first < 2**63 or top + _TOP > 2**7 or rest >= 2**40:
        raise ValueError("the first id is below 2**40, or up to 28 times 2**56 more than such a one")
    if not 0 < count <= LARGEST_COUNT:
        raise ValueError(f"a check uses {LARGEST_COUNT} files at the most")
    found = []
    for number in range(count):
        second, high = divmod(number, _TOP)
        # The byte below the highest counts on, and then the one below that.
        found.append(first + high * 2**56 + (second % 256) * 2**48 + (second // 256) * 2**40)
    return found


def following(first: int) -> int:
    """The first id of a block that has nothing in common with this one, to suggest it."""
    return first + 1 if (first + 1) % 2**40 else first + 2**56
