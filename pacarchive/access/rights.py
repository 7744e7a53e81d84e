"""What can be allowed, and for which file ids."""

from __future__ import annotations

import enum
import re
from bisect import bisect_right
from functools import reduce
from itertools import chain
from operator import or_
from typing import TYPE_CHECKING, Self

import attrs

from pacarchive.ids import MAX_FILE_ID, parse_file_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Right(enum.Flag):
    """
    What a route needs, and a rule gives.

    A greater right holds the lesser ones that it makes no sense without (L{with_implied}).
    """

    READ = enum.auto()
    """The bytes of files that are on disk: GET."""
    STAT = enum.auto()
    """Size, times, digests, residency: HEAD, PROPFIND."""
    CREATE = enum.auto()
    """PUT of an id that is free: add, never change."""
    MODIFY = enum.auto()
    """PUT over a file, and DELETE."""
    STAGE = enum.auto()
    """Recalls from tape: POST, jobs and their pins, GET of a file that is offline."""
    POLL = enum.auto()
    """How one's own jobs stand, and where files are."""
    IMPORT = enum.auto()
    """PATCH, which takes over a file that lies in the storage already.  Only a rule of the site gives it."""
    ADMIN = enum.auto()
    """The jobs and pins of others, and what is for operators.  Only a rule of the site gives it."""

    def __str__(self) -> str:
        """Text that L{parse_rights} turns into the same rights."""
        if self == EVERYTHING:
            return "all"
        return " ".join(name for name, right in _NAMES.items() if right in self) or "none"


NOTHING = Right(0)
EVERYTHING = reduce(or_, Right)
LOCAL = Right.IMPORT | Right.ADMIN
"""What no credential of an issuer carries, whatever it says."""

_IMPLIED = {
    Right.READ: Right.STAT,
    Right.CREATE: Right.STAT,
    Right.MODIFY: Right.CREATE | Right.STAT,
    Right.STAGE: Right.POLL | Right.STAT,
}
_NAMES = {right.name.lower(): right for right in Right if right.name}
_RANGE = re.compile(r"([0-9]+)(?:-([0-9]+))?", re.ASCII)


def with_implied(rights: Right) -> Right:
    """Rights, and those that they hold: whoever may modify may create, and who may read may see what is there."""
    return reduce(or_, (implied for right, implied in _IMPLIED.items() if right in rights), rights)


def parse_rights(text: str) -> Right:
    """
    Read rights as people write them: C{read stage}, C{all}, C{none}; with blanks or commas between them.

    @raise ValueError: A word is no right.
    """
    words = re.split(r"[\s,]+", text.strip().lower())
    if words == ["none"]:
        return NOTHING
    if words == ["all"]:
        return EVERYTHING
    if unknown := [word for word in words if word not in _NAMES]:
        raise ValueError(f"{unknown[0]!r} is no right; there are {', '.join(_NAMES)}, or all, or none")
    return with_implied(reduce(or_, (_NAMES[word] for word in words)))


@attrs.frozen
class IdRanges:
    """
    A set of file ids.

    @ivar bounds: The first and the last id of each range, in order; no two of them touch.
    """

    bounds: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, ranges: Iterable[tuple[int, int]]) -> Self:
        """Of ranges in any order, which may overlap."""
        joined: list[tuple[int, int]] = []
        for first, last in sorted(ranges):
            if joined and first <= joined[-1][1] + 1:
                joined[-1] = joined[-1][0], max(joined[-1][1], last)
            else:
                joined.append((first, last))
        return cls(tuple(joined))

    def __contains__(self, file_id: object) -> bool:
        if not isinstance(file_id, int):
            return False
        place = bisect_right(self.bounds, (file_id, MAX_FILE_ID))
        return place > 0 and file_id <= self.bounds[place - 1][1]

    def __bool__(self) -> bool:
        return bool(self.bounds)

    @property
    def count(self) -> int:
        """How many ids there are."""
        return sum(last - first + 1 for first, last in self.bounds)

    def since(self, file_id: int) -> Iterator[int]:
        """The ids from one on, in order."""
        return chain.from_iterable(range(max(first, file_id), last + 1) for first, last in self.bounds)

    def __and__(self, other: IdRanges) -> IdRanges:
        common = ((max(mine[0], its[0]), min(mine[1], its[1])) for mine in self.bounds for its in other.bounds)
        return IdRanges.of((first, last) for first, last in common if first <= last)

    def __str__(self) -> str:
        """Text that L{parse_id_ranges} turns into the same set."""
        if self == ALL_IDS:
            return "all"
        return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in self.bounds) or "none"


ALL_IDS = IdRanges(((0, MAX_FILE_ID),))


def parse_id_ranges(text: str) -> IdRanges:
    """
    Read ids and ranges of them: C{5, 1000000-1999999}; C{all} for every id.

    @raise ValueError: It is none.
    """
    if text.strip().lower() == "all":
        return ALL_IDS
    ranges = []
    for item in re.split(r"[\s,]+", text.strip()):
        if (match := _RANGE.fullmatch(item)) is None:
            raise ValueError(f"{item!r} is neither an id nor a range of ids; write for example 5, 1000-1999")
        first = parse_file_id(match[1])
        last = parse_file_id(match[2]) if match[2] else first
        if last < first:
            raise ValueError(f"{item!r} ends before it begins")
        ranges.append((first, last))
    return IdRanges.of(ranges)


@attrs.frozen
class Grant:
    """
    Rights, for some files or all.

    @ivar bits: The rights, as a number: a flag's own operators take a microsecond.
    @ivar ids: For which; C{None} for all.
    @ivar source: Where they come from, in words for an operator.
    """

    bits: int
    ids: IdRanges | None
    source: str

    @property
    def rights(self) -> Right:
        """The rights."""
        return Right(self.bits)


def grant(rights: Right, ids: IdRanges | None = None, source: str = "") -> Grant:
    """A L{Grant} of rights with all that they imply; all ids are the same as no limit."""
    return Grant(with_implied(rights).value, None if ids == ALL_IDS else ids, source)
