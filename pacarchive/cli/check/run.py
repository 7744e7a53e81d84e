"""Run the checks, one after the other, and remove the test files however that ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

import attrs
from twisted.internet.defer import CancelledError, Deferred

from pacarchive.cli.check.checks import Check, Outcome, Result, Summary
from pacarchive.cli.check.predecessor import EXPECTED
from pacarchive.cli.check.session import Session, require_archive
from pacarchive.cli.check.testfiles import all_of, delete, is_test_file
from pacarchive.cli.check.wire import NoAnswer, Unreachable, Wire
from pacarchive.cli.check.words import Failed, NotApplicable, Options
from pacarchive.cli.progress import Display

if TYPE_CHECKING:
    from pacarchive.cli.server import Server

CONNECTIONS = 8

_CURRENT = 0
"""The key of the running check in the display."""

_NO_ANSWER = "an archive that does not answer is of no use"
_GONE = "The archive cannot be reached any more."


class Report(Protocol):
    """Reports a run and its results."""

    def begin(self, session: Session, checks: Sequence[Check]) -> None:
        """Report that the ids are free, and the first check is about to begin."""

    def start(self, check: Check) -> None:
        """Report that a check begins."""

    def end(self, result: Result) -> None:
        """Report the result of a check."""

    def finish(self, session: Session, summary: Summary) -> None:
        """Report that the run has ended."""


@attrs.define
class Run:
    """
    One run of the checks.

    @ivar checks: The checks to run.
    @ivar report: Reports the results.
    @ivar draws: Whether to show the progress.
    @ivar display: Shows the progress.
    @ivar interrupted: Whether it was interrupted.
    """

    reactor: Any
    server: Server
    options: Options
    checks: Sequence[Check]
    report: Report
    draws: bool
    display: Display = attrs.field(init=False)
    interrupted: bool = False
    _current: Deferred[Any] | None = None

    def __attrs_post_init__(self) -> None:
        self.display = Display(
            "checks", len(self.checks), clock=self.reactor, counts_bytes=False, noun="check", estimates=False
        )

    def interrupt(self) -> None:
        """Cancel the running check, begin no other, and clean up."""
        self.interrupted = True
        if self._current is not None:
            self._current.cancel()

    def _was_interrupted(self) -> bool:
        return self.interrupted

    def wire(self) -> Wire:
        """
        Return connections to the archive.

        @raise ValueError: The URL is invalid.
        @raise OSError: The certificates cannot be read.
        """
        return Wire(self.reactor, self.server, CONNECTIONS)

    async def check(self) -> Summary | None:
        """
        Run the checks.

        @return: The results; C{None} where the run was interrupted before the first check.
        @raise Refused: The checks must not begin.
        @raise NoAnswer: The archive does not answer.
        """
        wire = self.wire()
        session = Session(self.reactor, wire, self.options, self.progress)
        results: list[Result] = []
        try:
            with self.display.shown(quiet=not self.draws):
                if not await self._interruptible(session.prepare):
                    return None
                self.display.under_way.clear()
                self.report.begin(session, self.checks)
                try:
                    await self._interruptible(lambda: self._all(session, results))
                finally:
                    left, kept = await self._clean(session)
        finally:
            await wire.close()
        summary = Summary(results=results, speeds=session.speeds, left=left, kept=kept, interrupted=self.interrupted)
        self.report.finish(session, summary)
        return summary

    def progress(self, what: str, done: int, total: int) -> None:
        """Show the progress of the running check."""
        if _CURRENT not in self.display.under_way:
            self.display.begin(_CURRENT, what)
        current = self.display.under_way[_CURRENT]
        current.done, current.total = done, total
        current.words = "" if current.name == what else what

    async def _interruptible(self, what: Callable[[], Any]) -> bool:
        """Run something that L{interrupt} can cancel.  @return: Whether it was not interrupted."""
        if self.interrupted:
            return False
        self._current = Deferred.fromCoroutine(what())
        with suppress(CancelledError):  # only L{interrupt} cancels it
            await self._current
        self._current = None
        return not self._was_interrupted()

    async def _all(self, session: Session, results: list[Result]) -> None:
        gone = False
        for check in self.checks:
            if gone:
                result = Result(check=check, outcome=Outcome.NOT_APPLICABLE, seconds=0.0, detail=_GONE)
            else:
                self.report.start(check)
                self.display.begin(_CURRENT, check.name)
                result = self._expected(await self._one(session, check))
                if self.interrupted:
                    return  # a request that was cancelled may look like one that has failed
                gone = result.outcome is Outcome.FAILED and not await _answers(session.wire)
            results.append(result)
            self.display.end(_CURRENT, failed=result.outcome is Outcome.FAILED)
            self.report.end(result)

    async def _one(self, session: Session, check: Check) -> Result:
        began = self.reactor.seconds()

        def result(outcome: Outcome, **more: str) -> Result:
            return Result(check=check, outcome=outcome, seconds=self.reactor.seconds() - began, **more)

        try:
            detail = await check.run(session)
        except CancelledError:
            raise
        except NotApplicable as error:
            return result(Outcome.NOT_APPLICABLE, detail=str(error))
        except Failed as error:
            return result(Outcome.FAILED, expected=error.expected, came=error.came, why=error.why)
        except NoAnswer as error:
            return result(Outcome.FAILED, expected="an answer", came=str(error), why=_NO_ANSWER)
        except Exception as error:  # noqa: BLE001  (an unforeseen answer fails this check only)
            return result(
                Outcome.FAILED, expected="an answer that can be understood", came=f"{type(error).__name__}: {error}",
                why="it is not the answer of an archive",
            )  # fmt: skip
        return result(Outcome.PASSED, detail=detail or "")

    def _expected(self, result: Result) -> Result:
        reason = EXPECTED.get(result.check.name) if self.options.predecessor else None
        if reason is None:
            return result
        if result.outcome is Outcome.FAILED:
            return attrs.evolve(result, outcome=Outcome.EXPECTED, reason=reason)
        if result.outcome is Outcome.PASSED:
            return attrs.evolve(result, outcome=Outcome.UNEXPECTED, reason=reason)
        return result

    async def _clean(self, session: Session) -> tuple[list[tuple[int, str]], Sequence[int]]:
        if self.options.keep and not self.interrupted:
            return [], session.test_files.ids
        left = await session.test_files.clean(lambda done, total: self.progress("cleaning up", done, total))
        return left, []


async def _answers(wire: Wire) -> bool:
    try:
        await wire.ask("GET", "/")
    except Unreachable:
        return False
    except NoAnswer:
        return True
    return True


@attrs.frozen
class Cleaned:
    """
    The result of a clean-up.

    @ivar removed: The ids of test files that were removed.
    @ivar left: The ids of test files that could not be removed, and why.
    @ivar foreign: The ids of other files.
    """

    removed: Sequence[int]
    left: Sequence[tuple[int, str]]
    foreign: Sequence[int]


async def clean_up(wire: Wire, ids: Sequence[int], progress: Callable[[], object]) -> Cleaned:
    """
    Remove the test files that earlier checks have left.

    @param ids: The ids to look at.
    @param progress: Called after each id.
    @raise NoAnswer: The archive does not answer.
    """
    removed: list[int] = []
    left: list[tuple[int, str]] = []
    foreign: list[int] = []

    async def clean(file_id: int) -> None:
        found = await wire.ask("HEAD", file_id)
        if found.status // 100 == 2:
            if not await is_test_file(wire, file_id, found):
                foreign.append(file_id)
            else:
                answer = await delete(wire, file_id, found.field("ETag"))
                if answer.status // 100 == 2:
                    removed.append(file_id)
                else:
                    left.append((file_id, f"DELETE was answered with {answer}"))
        progress()

    try:
        await require_archive(wire)
        await all_of(wire.connections, ids, clean)
    finally:
        await wire.close()
    return Cleaned(sorted(removed), sorted(left), sorted(foreign))
