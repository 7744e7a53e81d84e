"""A check, what came of it, and what came of all."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import attrs

if TYPE_CHECKING:
    from pacarchive.cli.check.session import Session
    from pacarchive.cli.check.words import Speed

See: TypeAlias = "Callable[[Session], Awaitable[str | None]]"
"""Sees whether something holds.  What it returns is worth telling."""


class Outcome(enum.Enum):
    """What came of a check."""

    PASSED = "passed"
    FAILED = "failed"
    EXPECTED = "expected failure"
    """It failed, as this kind of archive is known to."""

    UNEXPECTED = "unexpected pass"
    """It passed, although this kind of archive is known to fail."""

    NOT_APPLICABLE = "not applicable"


@attrs.frozen
class Check:
    """
    One thing to see.

    @ivar name: What it is called by.
    @ivar purpose: What holds if it passes, in one line.
    @ivar run: Sees it.
    """

    name: str
    purpose: str
    run: See


class Group:
    """The checks of one module, in order."""

    def __init__(self) -> None:
        self.checks: list[Check] = []

    def check(self, name: str, purpose: str) -> Callable[[See], See]:
        """Decorate the function that sees it."""

        def add(function: See) -> See:
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
