"""The ids that a check uses: a block of its own, far from ids that are assigned by counting.

They differ in their highest bytes only.  A tree with C{use_id2filename}, and one in HPSS, has directories of the lowest
bytes first (L{pacarchive.ids.id_to_path}), so that a thousand consecutive ids would make a thousand paths of seven
directories each, which stay when the files are gone.  Of these ids, each hundred share a directory.  All are below
2**63, the limit of a signed integer in SQL.
"""

from __future__ import annotations

FIRST_ID = 2**56
"""The default, which counting does not reach.  Its lowest bytes are zero."""

_TOP = 100
"""The number of values of the highest byte that are used: 1 to 100 by default."""

LARGEST_COUNT = _TOP * 2**16


def block(first: int, count: int) -> list[int]:
    """
    Return the ids of a check.

    @param first: The first of them.
    @param count: The number of ids.
    @raise ValueError: There is no block of so many that begins there.
    """
    top, rest = divmod(first, 2**56)
    if not 0 <= first < 2**63 or top + _TOP > 2**7 or rest >= 2**40:
        raise ValueError("the first id is below 2**40, or up to 28 times 2**56 more than such a one")
    if not 0 < count <= LARGEST_COUNT:
        raise ValueError(f"a check uses {LARGEST_COUNT} files at the most")
    found = []
    for number in range(count):
        second, high = divmod(number, _TOP)
        # When the highest byte has had all its values the byte below is counted up, and then the one below that.
        found.append(first + high * 2**56 + (second % 256) * 2**48 + (second // 256) * 2**40)
    return found


def following(first: int) -> int:
    """Return the first id of a block that has no id in common with this one, to be suggested to the user."""
    return first + 1 if (first + 1) % 2**40 else first + 2**56
