"""The nouns: a check, what came of it, and how one says that something is not as it should be."""

from __future__ import annotations

import enum
import textwrap
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

import attrs

if TYPE_CHECKING:
    from pacarchive.cli.check.session import Session

_LONGEST = 300
"""How much is told of what came."""


class Outcome(enum.Enum):
    """What came of a check."""

    PASSED = "passed"
    FAILED = "failed"
    EXPECTED = "expected failure"
    """It failed, as this kind of archive is known to."""

    UNEXPECTED = "unexpected pass"
    """It passed, although this kind of archive is known to fail."""

    NOT_APPLICABLE = "not applicable"


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
class Check:
    """
    One thing to see.

    @ivar name: What it is called by.
    @ivar purpose: What holds if it passes, in one line.
    @ivar run: Sees it.  What it returns is worth telling.
    """

    name: str
    purpose: str
    run: Callable[[Session], Awaitable[str | None]]


class Group:
    """The checks of one module, in order."""

    def __init__(self) -> None:
        self.checks: list[Check] = []

    def check(
        self, name: str, purpose: str
    ) -> Callable[[Callable[[Session], Awaitable[str | None]]], Callable[[Session], Awaitable[str | None]]]:
        """Decorate the function that sees it."""

        def add(function: Callable[[Session], Awaitable[str | None]]) -> Callable[[Session], Awaitable[str | None]]:
            self.checks.append(Check(name, purpose, function))
            return function

        return add


@attrs.frozen(kw_only=True)
class Result:
    """
    What came of one check.

    @ivar detail: What is worth telling of one that passed, or why it means nothing here.
    @ivar reason: Why the failure is expected.
    """

    check: Check
    outcome: Outcome
    seconds: float
    detail: str = ""
    expected: str = ""
    came: str = ""
    why: str = ""
    reason: str = ""


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
class Wishes:
    """
    What is wanted of the checks.

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


@attrs.frozen(kw_only=True)
class Summary:
    """
    How it all ended.

    @ivar left: Test files that could not be removed, with the reason.
    @ivar kept: Those that were to stay.
    """

    results: Sequence[Result]
    speeds: Sequence[Speed]
    left: Sequence[tuple[int, str]]
    kept: Sequence[int]
    interrupted: bool

    def count(self, outcome: Outcome) -> int:
        """How many ended so."""
        return sum(each.outcome is outcome for each in self.results)
