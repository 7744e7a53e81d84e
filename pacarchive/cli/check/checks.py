"""The data types of checks and their results."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import attrs

if TYPE_CHECKING:
    from pacarchive.cli.check.session import Session
    from pacarchive.cli.check.words import Speed

CheckFunction: TypeAlias = "Callable[[Session], Awaitable[str | None]]"
"""Checks something.  Returns details for the report; raises L{Failed} if the check fails."""


class Outcome(enum.Enum):
    """The outcome of a check."""

    PASSED = "passed"
    FAILED = "failed"
    EXPECTED = "expected failure"
    """It failed, as this kind of archive is known to do."""

    UNEXPECTED = "unexpected pass"
    """It passed, although this kind of archive is known to fail."""

    NOT_APPLICABLE = "not applicable"


@attrs.frozen
class Check:
    """
    One check.

    @ivar name: Its name.
    @ivar purpose: What holds if it passes, in one line.
    @ivar run: The function that checks it.
    """

    name: str
    purpose: str
    run: CheckFunction


class Group:
    """The checks of one module, in order."""

    def __init__(self) -> None:
        self.checks: list[Check] = []

    def check(self, name: str, purpose: str) -> Callable[[CheckFunction], CheckFunction]:
        """Decorate the function of a check."""

        def add(function: CheckFunction) -> CheckFunction:
            self.checks.append(Check(name, purpose, function))
            return function

        return add


@attrs.frozen(kw_only=True)
class Result:
    """
    The result of one check.

    @ivar seconds: How long it took.
    @ivar detail: Details of one that passed, or why it is not applicable.
    @ivar expected: What was expected, where it failed.
    @ivar came: What came instead.
    @ivar why: Why that matters.
    @ivar reason: Why the failure is expected of this kind of archive.
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
    The results of a run.

    @ivar results: The result of each check.
    @ivar speeds: The speeds that were measured.
    @ivar left: The ids of test files that could not be removed, with the reasons.
    @ivar kept: The ids of test files that were kept on request.
    @ivar interrupted: Whether the run was interrupted.
    """

    results: Sequence[Result]
    speeds: Sequence[Speed]
    left: Sequence[tuple[int, str]]
    kept: Sequence[int]
    interrupted: bool

    def count(self, outcome: Outcome) -> int:
        """Return how many checks had this outcome."""
        return sum(each.outcome is outcome for each in self.results)
