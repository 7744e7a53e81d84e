"""C{pacarchive stage} and C{job}: files from tape to disk."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import CancelledError

from pacarchive.cli import exits
from pacarchive.cli.printing import (
    age_words,
    clock_words,
    decapitalised,
    size_words,
    time_words,
    when_words,
    write_line,
)
from pacarchive.cli.progress import Display
from pacarchive.cli.remote.ids import parse_ids
from pacarchive.cli.remote.running import run
from pacarchive.cli.remote.session import Session
from pacarchive.cli.remote.words import parse_duration
from pacarchive.client import ClientError, FileState, Job, JobFile, Plan
from pacarchive.texts import counted, printable

if TYPE_CHECKING:
    import argparse

_TROUBLES = 3
"""How many of the last failures stay on the screen."""

_USUAL = (FileState.QUEUED, FileState.STARTED, FileState.COMPLETED, FileState.FAILED)
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
            session.result(_record(job), _made(job, pin))
            return
        session.note(f"job {job.id}; Ctrl-C leaves it running")
        for line in _granted(job, pin):
            session.note(line)
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
            elif arguments.priority:
                found = await session.archive.set_priority(name, arguments.priority)
            else:
                found = await session.archive.job(name)
        except ValueError as error:
            session.refused("", str(error), exits.USAGE, error)
            return
        if arguments.wait:
            await _wait(session, found)
        else:
            now = session.reactor.seconds()
            session.result(_record(found), "\n".join([*_effect_lines(found), *_job_lines(found, now)]))

    return run(arguments, lambda: arguments.job, command)


async def _wait(session: Session, job: Job) -> None:
    display = Display("stage", clock=session.reactor)
    failures: deque[str] = deque(maxlen=_TROUBLES)
    told = set[int]()

    def progress(job: Job, files: Iterable[JobFile]) -> None:
        for each in files:
            if each.state is FileState.FAILED and each.file_id not in told:
                told.add(each.file_id)
                failures.append(f"file {each.file_id}: {_reason(each)}")
        _update(display, job, failures, session.reactor.seconds())

    progress(job, ())
    try:
        with session.showing(display):
            result = await session.archive.wait_for(job, progress)
    except (CancelledError, ClientError):
        what = f"pacarchive job {job.id}"
        words = f"pacarchive: the job goes on; '{what} --wait' comes back to it, '{what} --cancel' ends it"
        write_line(words, sys.stderr)
        raise
    missing = [each for each in result.files.values() if each.state is not FileState.COMPLETED]
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
        session.refused("", f"and {counted(len(missing) - _NAMED, 'more file')}", exits.FAILED)
    done = len(result.files) - len(missing)
    took = (result.job.ended or result.job.created) - result.job.created
    size = size_words(result.job.bytes_done)
    total = len(result.files)
    files = f"{counted(total, 'file')} {'is' if total == 1 else 'are'}"
    words = f"{done:,} of {files} on disk, {size} in {time_words(took)}"
    session.result({}, None if session.quiet else words)


def _update(display: Display, job: Job, failures: Iterable[str], now: float) -> None:
    """Have a job shown as it stands."""
    display.total, display.total_size = job.files, job.bytes_total or None
    display.files, display.failed, display.size = job.files - job.left, job.counts[FileState.FAILED], job.bytes_done
    display.left = None if job.estimate is None else job.estimate.seconds
    cells = len(f"{job.files:,}")
    states = [state for state in FileState if job.counts[state] or state in _USUAL]
    display.table = [*(f"{state.value:10} {job.counts[state]:{cells},}" for state in states), *failures]
    display.details = _counts(job)
    display.notes = trouble_lines(job, now)


def _counts(job: Job) -> str:
    return "  ".join(f"{job.counts[state]:,} {state.value}" for state in FileState if job.counts[state])


def _reason(file: JobFile) -> str:
    return printable(file.reason.rstrip(".") or f"ended as {file.state.value}")


def trouble_lines(job: Job, now: float) -> list[str]:
    """Why a job's files do not come, and when they are tried again; nothing where nothing is known to be wrong."""
    trouble = job.trouble
    if trouble is None:
        return []
    parts = [counted(trouble.files, "file")]
    if trouble.attempts:
        parts.append(f"attempt {trouble.attempts}" + (f" of {job.most_attempts}" if job.most_attempts else ""))
    if trouble.next_try is not None:
        parts.append(f"next try at {clock_words(trouble.next_try, now)}")
    return [printable(decapitalised(trouble.reason.rstrip("."))), ", ".join(parts)]


def _granted(job: Job, pin: float | None) -> list[str]:
    """What to say where files are pinned for less time than was asked for."""
    if pin is None or job.pin is None or job.pin >= pin:
        return []
    return [f"pinned for {age_words(job.pin)}, the most that this archive grants; {age_words(pin)} were asked for"]


def _made(job: Job, pin: float | None) -> str:
    lines = [f"job {job.id}: {counted(job.files, 'file')}", *_granted(job, pin)]
    if job.estimate is not None:
        lines.append(f"done in {time_words(job.estimate.seconds)}, perhaps ({job.estimate.basis})")
    return "\n".join([*lines, f"see how it goes on: pacarchive job {job.id} --wait"])


_EFFECTS = (
    ("cancelled", "{files} cancelled"),
    ("cancelling", "{files} asked for already, and cancelled when the tape system agrees"),
    ("ended", "{files} had ended before"),
    ("released", "{files} not pinned any more"),
    ("coming", "{files} still to come, and not pinned then"),
    ("unpinned", "{files} had no pin"),
)


def _effect_lines(job: Job) -> list[str]:
    """What C{--cancel} or C{--release} has done."""
    said = [words.format(files=counted(job.effect[name], "file")) for name, words in _EFFECTS if job.effect.get(name)]
    return ["; ".join(said) or "there was nothing to do"] if job.effect else []


def _job_lines(job: Job, now: float) -> list[str]:
    lines = [
        f"job       {job.id}",
        f"state     {job.state.value}: {_counts(job)}",
        f"files     {job.files:,}, {size_words(job.bytes_done)} of {size_words(job.bytes_total)} are there",
        f"asked     {when_words(job.created)} UTC, by {printable(job.owner)}, priority {job.priority}",
        f"deadline  {when_words(job.deadline)} UTC",
    ]
    if job.ended is not None:
        lines.append(f"ended     {when_words(job.ended)} UTC")
    if job.pin:
        lines.append(f"pin       {age_words(job.pin)} for each file that has come")
    if job.estimate is not None:
        lines.append(f"estimate  {time_words(job.estimate.seconds)} ({job.estimate.basis})")
    elif job.ended is None:
        lines.append("estimate  unknown")
    lines += [f"{word:8}  {line}" for word, line in zip(("trouble", ""), trouble_lines(job, now), strict=False)]
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
    on_disk = f"{counted(plan.on_disk, 'file')} {'is' if plan.on_disk == 1 else 'are'} on disk"
    lines = [printable(plan.message) if plan.recalls else f"nothing is to be recalled: {on_disk}"]
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
        "trouble": None if job.trouble is None else attrs.asdict(job.trouble),
        "most_attempts": job.most_attempts,
        "pin": job.pin,
        **({"effect": dict(job.effect)} if job.effect else {}),
    }


def _file_record(file: JobFile) -> dict[str, Any]:
    record: dict[str, Any] = {"file": str(file.file_id), "state": file.state.value, "size": file.size}
    if file.state is not FileState.COMPLETED:
        record["error"] = {"kind": "RecallFailed", "message": _reason(file)}
    return record
