"""What checks are asked to do, and how one says that something is not as it should be."""

from __future__ import annotations

import textwrap
from typing import NoReturn

import attrs

_LONGEST = 300
"""How many characters of what came are reported."""


class Failed(Exception):
    """
    Something is not as it should be.

    @ivar expected: What should be.
    @ivar came: What is.
    @ivar why: Why that matters.
    """

    def __init__(self, expected: str, came: object, why: str) -> None:
        super().__init__()
        self.expected = expected
        self.came = textwrap.shorten(str(came), _LONGEST, placeholder=" ...")
        self.why = why


class NotApplicable(Exception):
    """The check means nothing here.  C{str()} says why."""


class Refused(Exception):
    """The checks must not begin.  C{str()} says why, and what to do."""


def require(holds: object, expected: str, came: object, why: str) -> None:
    """
    See that something holds.

    @raise Failed: It does not.
    """
    if not holds:
        fail(expected, came, why)


def fail(expected: str, came: object, why: str) -> NoReturn:
    """
    @raise Failed: Always.
    """
    raise Failed(expected, came, why)


@attrs.frozen
class Speed:
    """
    How fast something went.

    @ivar amount: How much it was.
    @ivar unit: Of what: C{bytes} or C{files}.
    """

    what: str
    amount: int
    unit: str
    seconds: float

    @property
    def rate(self) -> float:
        """How much a second."""
        return self.amount / max(self.seconds, 1e-9)

    def __str__(self) -> str:
        if self.unit == "bytes":
            return f"{self.rate / 2**20:.0f} MiB/s"
        return f"{self.rate:.0f} {self.unit}/s"


@attrs.frozen(kw_only=True)
class Options:
    """
    What the command line, or the environment, says about the checks.

    @ivar large: Bytes of the large file.
    @ivar many: How many small files.
    @ivar first_id: Where the block of ids begins.
    @ivar stage_timeout: For how many seconds to wait for files on tape.
    @ivar move_from: A file in the archive's storage that may be used up, as the server sees it.
    @ivar keep: Whether to leave the test files.
    @ivar predecessor: Whether what is known of pacifica-archiveinterface is expected.
    """

    large: int
    many: int
    first_id: int
    stage_timeout: float = 600.0
    move_from: str | None = None
    keep: bool = False
    predecessor: bool = False
