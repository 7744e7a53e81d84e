"""C{pacarchive stage} and C{job}: files from tape to disk."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError

from pacarchive.cli import exits
from pacarchive.cli.printing import size_words, time_words, when_words
from pacarchive.cli.remote.display import Display
from pacarchive.cli.remote.ids import parse_ids
from pacarchive.cli.remote.lines import Amounts, Speed, overall, plain, shortened
from pacarchive.cli.remote.running import run
from pacarchive.cli.remote.session import Session, write
from pacarchive.cli.remote.words import parse_duration
from pacarchive.client import ClientError, Job, JobFile, Plan, WishState
from pacarchive.texts import printable

if TYPE_CHECKING:
    import argparse

_TROUBLES = 3
"""How many of the last failures stay on the screen."""

_USUAL = (WishState.QUEUED, WishState.STARTED, WishState.COMPLETED, WishState.FAILED)
"""The states that have a line when no file is in them, too."""

_NAMED = 20
"""How many failed files are named at the end."""


def stage(arguments: argparse.Namespace) -> int:
    """Run it."""

    async def command(session: Session, wanted: tuple[list[int], float | None, float | None]) -> None:
        ids, pin, deadline = wanted
        if arguments.plan:
            _tell_plan(session, await session.archive.plan(ids))
            return
        job = await session.archive.stage(ids, pin=pin, deadline=deadline, priority=arguments.priority)
        if not arguments.wait:
            session.result(_record(job), _made(job))
            return
        session.note(f"job {job.id}; Ctrl-C leaves it running")
        await _wait(session, job)

    return run(arguments, lambda: _wanted(arguments), command)


def _wanted(arguments: argparse.Namespace) -> tuple[list[int], float | None, float | None]:
    """The ids, the pin and the deadline."""
    pin = None if arguments.pin is None else parse_duration(arguments.pin)
    deadline = None if arguments.deadline is None else parse_duration(arguments.deadline)
    return parse_ids(arguments.ids, sys.stdin), pin, deadline


def job(arguments: argparse.Namespace) -> int:
    """Run it."""

    async def command(session: Session, name: str) -> None:

        try:
            if arguments.cancel:
                found = await session.archive.cancel(name)
            elif arguments.release:
                found = await session.archive.release(name)
            else:
                found = await session.archive.job(name)
        except ValueError as error:
            session.refused("", str(error), exits.USAGE, error)
            return
        if arguments.wait:
            await _wait(session, found)
        else:
            session.result(_record(found), "\n".join(_job_lines(found)))

    return run(arguments, lambda: arguments.job, command)


async def _wait(session: Session, job: Job) -> None:
    watched = _Watched(session, job)
    try:
        with session.showing(watched.display()):
            result = await session.archive.wait_for(job, watched.progress)
    except (CancelledError, ClientError):
        what = f"pacarchive job {job.id}"
        write(sys.stderr, f"pacarchive: the job goes on; '{what} --wait' comes back to it, '{what} --cancel' ends it")
        raise
    missing = [each for each in result.files.values() if each.state is not WishState.COMPLETED]
    if session.json:
        for each in result.files.values():
            session.result(_file_record(each), None)
        session.result({"summary": _record(result.job)}, None)
        if missing:
            session.note_code(exits.FAILED)
        return
    for each in missing[:_NAMED]:
        session.refused(f"file {each.file_id}", _reason(each), exits.FAILED)
    if len(missing) > _NAMED:
        session.refused("", f"and {len(missing) - _NAMED:,} more files", exits.FAILED)
    done = len(result.files) - len(missing)
    took = (result.job.ended or result.job.created) - result.job.created
    size = size_words(result.job.bytes_done)
    words = f"{done:,} of {len(result.files):,} files are on disk, {size} in {time_words(took)}"
    session.result({}, None if session.quiet else words)


class _Watched:
    """A job on the screen."""

    def __init__(self, session: Session, job: Job) -> None:
        self._session = session
        self._job = job
        self._speed = Speed()
        self._troubles: deque[str] = deque(maxlen=_TROUBLES)
        self._told: set[int] = set()

    def display(self) -> Display:
        """What shows it."""
        return Display(self._session.reactor, self._draw, lambda: f"{plain(self._amounts())} ({_counts(self._job)})")

    def progress(self, job: Job, files: Iterable[JobFile]) -> None:
        """It has gone on."""
        self._job = job
        for each in files:
            if each.state is WishState.FAILED and each.file_id not in self._told:
                self._told.add(each.file_id)
                self._troubles.append(f"file {each.file_id}: {_reason(each)}")

    def _amounts(self) -> Amounts:
        job = self._job
        self._speed.note(self._session.reactor.seconds(), job.bytes_done)
        return Amounts(
            what="stage",
            files=job.files - job.left,
            total=job.files,
            failed=job.counts[WishState.FAILED],
            size=job.bytes_done,
            total_size=job.bytes_total or None,
            rate=self._speed.rate,
            left=None if job.estimate is None else job.estimate.seconds,
        )

    def _draw(self, width: int) -> Sequence[str]:
        job, room = self._job, max(1, width - 4)
        cells = len(f"{job.files:,}")
        lines = [overall(self._amounts(), width)]
        shown = [state for state in WishState if job.counts[state] or state in _USUAL]
        lines += [f"  {state.value:10} {job.counts[state]:{cells},}"[:room] for state in shown]
        lines += [shortened(f"  {trouble}", room).rstrip() for trouble in self._troubles]
        # Always as many, so that nothing jumps.
        return lines + [""] * (1 + len(_USUAL) + min(_TROUBLES, job.files) - len(lines))


def _counts(job: Job) -> str:
    return "  ".join(f"{job.counts[state]:,} {state.value}" for state in WishState if job.counts[state])


def _reason(file: JobFile) -> str:
    return printable(file.reason.rstrip(".") or f"ended as {file.state.value}")


def _made(job: Job) -> str:
    lines = [f"job {job.id}: {job.files:,} files"]
    if job.estimate is not None:
        lines.append(f"done in {time_words(job.estimate.seconds)}, perhaps ({job.estimate.basis})")
    return "\n".join([*lines, f"see how it goes on: pacarchive job {job.id} --wait"])


def _job_lines(job: Job) -> list[str]:
    lines = [
        f"job       {job.id}",
        f"state     {job.state.value}: {_counts(job)}",
        f"files     {job.files:,}, {size_words(job.bytes_done)} of {size_words(job.bytes_total)} are there",
        f"asked     {when_words(job.created)} UTC, by {printable(job.owner)}, priority {job.priority}",
        f"deadline  {when_words(job.deadline)} UTC",
    ]
    if job.ended is not None:
        lines.append(f"ended     {when_words(job.ended)} UTC")
    if job.estimate is not None:
        lines.append(f"estimate  {time_words(job.estimate.seconds)} ({job.estimate.basis})")
    return lines


def _tell_plan(session: Session, plan: Plan) -> None:
    record = {
        "files": plan.files,
        "on_disk": plan.on_disk,
        "missing": [str(each) for each in plan.missing],
        "recalls": plan.recalls,
        "cartridges": plan.cartridges,
        "bytes": plan.bytes,
        "estimate": {"seconds": plan.estimate.seconds, "basis": plan.estimate.basis},
        "message": plan.message,
    }
    lines = [printable(plan.message)]
    if plan.missing:
        named = ", ".join(map(str, plan.missing[:_NAMED]))
        lines.append(f"no file has these ids: {named}{', ...' if len(plan.missing) > _NAMED else ''}")
    session.result(record, "\n".join(lines))


def _record(job: Job) -> dict[str, Any]:
    return {
        "job": job.id,
        "state": job.state.value,
        "files": job.files,
        "left": job.left,
        "counts": {state.value: count for state, count in job.counts.items()},
        "bytes": {"total": job.bytes_total, "done": job.bytes_done},
        "created": job.created,
        "ended": job.ended,
        "deadline": job.deadline,
        "estimate": None if job.estimate is None else {"seconds": job.estimate.seconds, "basis": job.estimate.basis},
    }


def _file_record(file: JobFile) -> dict[str, Any]:
    record: dict[str, Any] = {"file": str(file.file_id), "state": file.state.value, "size": file.size}
    if file.state is not WishState.COMPLETED:
        record["error"] = {"kind": "RecallFailed", "message": _reason(file)}
    return record
