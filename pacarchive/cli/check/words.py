"""The options of checks, and how a check fails."""

from __future__ import annotations

import textwrap
from typing import NoReturn

import attrs

_LONGEST = 300
"""The most characters of what came that are reported."""


class Failed(Exception):
    """
    A check has failed.

    @ivar expected: What was expected.
    @ivar came: What came instead, in one line.
    @ivar why: Why that matters.
    """

    def __init__(self, expected: str, came: object, why: str) -> None:
        super().__init__()
        self.expected = expected
        self.came = textwrap.shorten(str(came), _LONGEST, placeholder=" ...")
        self.why = why


class NotApplicable(Exception):
    """The check is not applicable to this archive.  C{str()} says why."""


class Refused(Exception):
    """The checks must not begin.  C{str()} says why, and what to do."""


def require(holds: object, expected: str, came: object, why: str) -> None:
    """
    Fail the check unless something holds.

    @param holds: Whether it does.
    @param expected: What is expected.
    @param came: What came.
    @param why: Why that matters.
    @raise Failed: It does not hold.
    """
    if not holds:
        fail(expected, came, why)


def fail(expected: str, came: object, why: str) -> NoReturn:
    """
    Fail the check; parameters as those of L{require}.

    @raise Failed: Always.
    """
    raise Failed(expected, came, why)


@attrs.frozen
class Speed:
    """
    A speed that was measured.

    @ivar what: What was done.
    @ivar amount: How many bytes or files.
    @ivar unit: C{bytes} or C{files}.
    @ivar seconds: How long it took.
    """

    what: str
    amount: int
    unit: str
    seconds: float

    @property
    def rate(self) -> float:
        """The amount per second."""
        return self.amount / max(self.seconds, 1e-9)

    def __str__(self) -> str:
        if self.unit == "bytes":
            return f"{self.rate / 2**20:.0f} MiB/s"
        return f"{self.rate:.0f} {self.unit}/s"


@attrs.frozen(kw_only=True)
class Options:
    """
    The options of the command.

    @ivar large: The size of the large file, in bytes.
    @ivar many: The number of small files.
    @ivar first_id: The first of the ids.
    @ivar stage_timeout: Seconds to wait for files on tape.
    @ivar move_from: The path of a file in the archive's storage that may be moved, as the server sees it.
    @ivar keep: Whether to leave the test files.
    @ivar predecessor: Whether the known failures of pacifica-archiveinterface are expected.
    """

    large: int
    many: int
    first_id: int
    stage_timeout: float = 600.0
    move_from: str | None = None
    keep: bool = False
    predecessor: bool = False
