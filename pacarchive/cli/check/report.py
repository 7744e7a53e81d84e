"""The report: a table on a terminal, lines elsewhere, or JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from pacarchive.cli.check.checks import Check, Outcome, Result, Summary
from pacarchive.cli.printing import print_json, write_line
from pacarchive.texts import counted

if TYPE_CHECKING:
    from pacarchive.cli.check.session import Session

_STYLES = {
    Outcome.PASSED: "green",
    Outcome.FAILED: "bold red",
    Outcome.EXPECTED: "yellow",
    Outcome.UNEXPECTED: "bold yellow",
    Outcome.NOT_APPLICABLE: "dim",
}

_NAMED = 12
"""How many ids of test files that were left are listed."""


def _begun(session: Session, checks: Sequence[Check]) -> str:
    mode = "" if session.strict else ", with the predecessor's statuses (compatibility = pacifica)"
    url = session.wire.place.whole_url
    return f"{url}: {session.server}{mode}\n{len(checks)} checks, with ids from {session.ids[0]} on"


def _description(result: Result) -> str:
    """Return the details of a result, in one line."""
    if result.outcome in (Outcome.FAILED, Outcome.EXPECTED):
        said = f"expected {result.expected}, got {result.came}: {result.why}"
        return f"{said} ({result.reason})" if result.reason else said
    if result.outcome is Outcome.UNEXPECTED:
        return f"it was expected to fail: {result.reason}"
    return result.detail


def _counted(summary: Summary) -> str:
    counts = [f"{summary.count(outcome)} {outcome.value}" for outcome in Outcome if summary.count(outcome)]
    return ", ".join(counts) or "nothing was checked"


def left_over(summary: Summary) -> Iterator[str]:
    """Return the lines about test files that are still stored."""
    if summary.kept:
        yield f"{counted(len(summary.kept), 'test file')} kept; to remove: --clean-up"
    if not summary.left:
        return
    yield f"{counted(len(summary.left), 'test file')} could not be removed:"
    for file_id, why in summary.left[:_NAMED]:
        yield f"  {file_id}: {why}"
    if len(summary.left) > _NAMED:
        yield f"  and {len(summary.left) - _NAMED} more"
    yield "Run --clean-up later, or remove them on the archive's own host:"
    for file_id, _ in summary.left[:_NAMED]:
        yield f"  pacarchive admin delete {file_id}    (or: pacifica-archiveinterface-cmd delete {file_id})"


class Plain:
    """
    Reports with a line for each check, as it ends.

    @param say: Writes a line.
    """

    def __init__(self, say: Callable[[str], None] = write_line) -> None:
        self._say = say

    def begin(self, session: Session, checks: Sequence[Check]) -> None:
        """As in L{Report<pacarchive.cli.check.run.Report>}, like all of these."""
        self._say(_begun(session, checks))

    def start(self, check: Check) -> None:
        pass

    def end(self, result: Result) -> None:
        said = _description(result)
        self._say(f"{result.outcome.value:16} {result.check.name:20} {said}".rstrip())

    def finish(self, session: Session, summary: Summary) -> None:
        if summary.interrupted:
            self._say("interrupted")
        if session.overwrite:
            self._say(f"\nOn this archive {session.overwrite}.")
        for speed in summary.speeds:
            self._say(f"{speed.what}: {speed}")
        for line in left_over(summary):
            self._say(line)
        self._say(_counted(summary))


class Tables(Plain):
    """Reports on a terminal: failures as they happen, above the progress bars, and a table of all checks at the end."""

    def end(self, result: Result) -> None:
        if result.outcome is Outcome.FAILED:
            self._say(f"{result.check.name}: {_description(result)}")

    def finish(self, session: Session, summary: Summary) -> None:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, padding=(0, 2, 0, 0))
        for name in ("check", "outcome", "s"):
            table.add_column(name, justify="right" if name == "s" else "left", no_wrap=True)
        table.add_column("")
        for result in summary.results:
            table.add_row(
                result.check.name, Text(result.outcome.value, style=_STYLES[result.outcome]),
                f"{result.seconds:.1f}", Text(_description(result), overflow="fold"),
            )  # fmt: skip
        Console().print(table)
        super().finish(session, summary)


class Lines:
    """Reports in JSON, one document a line; its C{event} says what has happened."""

    def _say(self, event: str, **document: object) -> None:
        print_json({"event": event, **document})

    def begin(self, session: Session, checks: Sequence[Check]) -> None:
        """As in L{Report<pacarchive.cli.check.run.Report>}, like all of these."""
        self._say(
            "begin", url=session.wire.place.whole_url, server=session.server,
            compatibility="none" if session.strict else "pacifica", first_id=str(session.ids[0]),
            checks=[check.name for check in checks],
        )  # fmt: skip

    def start(self, check: Check) -> None:
        self._say("start", name=check.name, purpose=check.purpose)

    def end(self, result: Result) -> None:
        self._say(
            "check", name=result.check.name, purpose=result.check.purpose, outcome=result.outcome.value,
            seconds=round(result.seconds, 3), detail=result.detail, expected=result.expected, came=result.came,
            why=result.why, reason=result.reason,
        )  # fmt: skip

    def finish(self, session: Session, summary: Summary) -> None:
        for speed in summary.speeds:
            self._say("speed", what=speed.what, amount=speed.amount, unit=speed.unit, seconds=round(speed.seconds, 3))
        self._say(
            "end", overwrite=session.overwrite, interrupted=summary.interrupted,
            outcomes={outcome.value: summary.count(outcome) for outcome in Outcome},
            left=[{"id": str(file_id), "reason": why} for file_id, why in summary.left],
            kept=[str(file_id) for file_id in summary.kept],
        )  # fmt: skip
