"""The report: live on a terminal, lines elsewhere, or JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from pacarchive.cli.check.words import Check, Outcome, Result, Summary
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
"""How many ids are named one by one."""


def _begun(session: Session, checks: Sequence[Check]) -> str:
    mode = "" if session.strict else ", with the predecessor's statuses (compatibility = pacifica)"
    url = session.wire.place.whole_url
    return f"{url}: {session.server}{mode}\n{len(checks)} checks, with ids from {session.ids[0]} on"


def _spoken(result: Result) -> str:
    """What there is to say of one, in one line."""
    if result.outcome in (Outcome.FAILED, Outcome.EXPECTED):
        said = f"expected {result.expected}, got {result.came}: {result.why}"
        return f"{said} ({result.reason})" if result.reason else said
    if result.outcome is Outcome.UNEXPECTED:
        return f"it was known to fail: {result.reason}"
    return result.detail


def _counted(summary: Summary) -> str:
    counts = [f"{summary.count(outcome)} {outcome.value}" for outcome in Outcome if summary.count(outcome)]
    return ", ".join(counts) or "nothing was checked"


def left_over(summary: Summary) -> Iterator[str]:
    """What is to be told of files that are still there."""
    if summary.kept:
        yield f"{counted(len(summary.kept), 'test file')} kept; to remove: --clean-up"
    if not summary.left:
        return
    yield f"{counted(len(summary.left), 'test file')} could not be removed:"
    for file_id, why in summary.left[:_NAMED]:
        yield f"  {file_id}: {why}"
    if len(summary.left) > _NAMED:
        yield f"  and {len(summary.left) - _NAMED} more"
    yield "Try --clean-up later, or remove them where the archive is:"
    for file_id, _ in summary.left[:_NAMED]:
        yield f"  pacarchive admin delete {file_id}    (or: pacifica-archiveinterface-cmd delete {file_id})"


class Plain:
    """A line for each check, as it ends."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def _say(self, line: str) -> None:
        self._out.write(f"{line}\n")
        self._out.flush()

    def begin(self, session: Session, checks: Sequence[Check]) -> None:
        """As in L{Report<pacarchive.cli.check.run.Report>}, like all of these."""
        self._say(_begun(session, checks))

    def start(self, check: Check) -> None:
        pass

    def progress(self, what: str, done: int, total: int) -> None:
        pass

    def end(self, result: Result) -> None:
        said = _spoken(result)
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


class Live:
    """What goes on, as it goes on; at the end a table of all."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=20),
            TextColumn("{task.fields[what]}"), TimeElapsedColumn(), console=console, transient=True,
        )  # fmt: skip
        self._task: TaskID | None = None
        self._all: TaskID | None = None

    def stop(self) -> None:
        """Take the display away."""
        self._progress.stop()

    def begin(self, session: Session, checks: Sequence[Check]) -> None:
        """As in L{Report<pacarchive.cli.check.run.Report>}, like all of these."""
        self._console.print(Text(_begun(session, checks)))
        self._reset()
        self._all = self._progress.add_task("checks", total=len(checks), what="")

    def start(self, check: Check) -> None:
        self._reset()
        self._task = self._progress.add_task(check.name, total=None, what="")

    def _reset(self) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None

    def progress(self, what: str, done: int, total: int) -> None:
        self._progress.start()
        if self._task is None:
            self._task = self._progress.add_task(what, total=total, what="")
        self._progress.update(self._task, completed=done, total=total, what=what)

    def end(self, result: Result) -> None:
        self._progress.start()
        self._reset()
        if self._all is not None:
            self._progress.advance(self._all)
        if result.outcome is Outcome.FAILED:
            self._progress.console.print(Text(f"{result.check.name}: {_spoken(result)}", style="red"))

    def finish(self, session: Session, summary: Summary) -> None:
        self.stop()
        print_ = self._console.print
        table = Table(box=None, padding=(0, 2, 0, 0))
        for name in ("check", "outcome", "s"):
            table.add_column(name, justify="right" if name == "s" else "left", no_wrap=True)
        table.add_column("")
        for result in summary.results:
            table.add_row(
                result.check.name, Text(result.outcome.value, style=_STYLES[result.outcome]),
                f"{result.seconds:.1f}", Text(_spoken(result), overflow="fold"),
            )  # fmt: skip
        print_(table)
        if summary.interrupted:
            print_(Text("interrupted", style="bold red"))
        if session.overwrite:
            print_(Text(f"\nOn this archive {session.overwrite}."))
        if summary.speeds:
            speeds = Table(box=None, padding=(0, 2, 0, 0))
            speeds.add_column("speed")
            speeds.add_column("", justify="right")
            for speed in summary.speeds:
                speeds.add_row(speed.what, str(speed))
            print_(speeds)
        for line in left_over(summary):
            print_(Text(line, style="yellow"))
        print_(Text(_counted(summary), style="bold"))


class Lines:
    """JSON, one document a line: what happens is its C{event}."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def _say(self, event: str, **document: object) -> None:
        self._out.write(json.dumps({"event": event, **document}) + "\n")
        self._out.flush()

    def begin(self, session: Session, checks: Sequence[Check]) -> None:
        """As in L{Report<pacarchive.cli.check.run.Report>}, like all of these."""
        self._say(
            "begin", url=session.wire.place.whole_url, server=session.server,
            compatibility="none" if session.strict else "pacifica", first_id=str(session.ids[0]),
            checks=[check.name for check in checks],
        )  # fmt: skip

    def start(self, check: Check) -> None:
        self._say("start", name=check.name, purpose=check.purpose)

    def progress(self, what: str, done: int, total: int) -> None:
        pass

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
