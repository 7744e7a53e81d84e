"""C{pacarchive jobs}, C{pins}, C{hold} and C{retry}: the queue of recalls."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import attrs

from pacarchive.cli import exits
from pacarchive.cli.asking import agrees
from pacarchive.cli.printing import size_words, when_words
from pacarchive.cli.remote.operations import EVERY_DRIVE
from pacarchive.cli.remote.running import run
from pacarchive.cli.remote.session import Session
from pacarchive.cli.remote.words import parse_duration
from pacarchive.cli.words import Misunderstood
from pacarchive.client import Hold, HoldKind, JobState, JobSummary, Pin, Retried
from pacarchive.texts import counted, printable

if TYPE_CHECKING:
    import argparse

_JOBS = f"{'ID':32}  STATE    PRIORITY       FILES        LEFT  CREATED (UTC)        OWNER"
_PINS = f"{'FILE':>20}       SIZE  EXPIRES (UTC)        ID                                OWNER"


def jobs(arguments: argparse.Namespace) -> int:
    """Run it."""

    async def command(session: Session, owner: str | None) -> None:
        rows = (
            (_job_record(job), _job_line(job))
            async for page in session.archive.jobs(owner=owner)
            for job in page
            if not (arguments.running and job.state is JobState.ENDED)
        )
        await _list(session, rows, arguments.most, _JOBS, "there are no jobs")

    return run(arguments, lambda: arguments.owner, command)


async def _list(
    session: Session, rows: AsyncGenerator[tuple[dict[str, Any], str], None], most: int, head: str, none: str
) -> None:
    """
    Report results below a heading.

    @param rows: Each for programs, and for people.
    @param most: How many of them.
    @param none: What is said where there is none.
    """
    shown = 0
    async with aclosing(rows) as found:
        async for record, line in found:
            if not shown and not session.json:
                session.result({}, head)
            session.result(record, line)
            shown += 1
            if shown == most:
                break
    if not shown:
        session.note(none)


def _job_line(job: JobSummary) -> str:
    return (
        f"{job.id}  {job.state.value:7}  {job.priority:8}  {job.files:>10,}  {job.left:>10,}"
        f"  {when_words(job.created)}  {printable(job.owner)}"
    )


def _job_record(job: JobSummary) -> dict[str, Any]:
    record = attrs.asdict(job)
    return {"job": record.pop("id"), **record, "state": job.state.value}


def pins(arguments: argparse.Namespace) -> int:
    """Run it."""

    async def command(session: Session, owner: str | None) -> None:
        rows = ((_pin_record(pin), _pin_line(pin)) async for page in session.archive.pins(owner=owner) for pin in page)
        await _list(session, rows, arguments.most, _PINS, "nothing is pinned")

    return run(arguments, lambda: arguments.owner, command)


def _pin_line(pin: Pin) -> str:
    until = " or until it is read" if pin.until_read else ""
    where = f"{pin.file_id:>20}  {size_words(pin.size):>9}  {when_words(pin.expires)}"
    return f"{where}  {pin.job}  {printable(pin.owner)}{until}"


def _pin_record(pin: Pin) -> dict[str, Any]:
    record = attrs.asdict(pin)
    return {"file": str(record.pop("file_id")), **record}


def hold(arguments: argparse.Namespace) -> int:
    """Run it."""

    async def command(session: Session, lasts: float | None) -> None:
        archive, cartridge, drives = session.archive, arguments.cartridge, arguments.drives
        if arguments.end:
            found = await archive.resume(cartridge=cartridge, drives=drives is not None, why=arguments.why)
            session.note("the hold has ended")
        elif cartridge is None and drives is None and not arguments.everything:
            found = await archive.holds()
        else:
            found = [await archive.hold(cartridge=cartridge, drives=drives, why=arguments.why, lasts=lasts)]
        for each in found:
            session.result(_hold_record(each), _hold_line(each))
        if not found:
            session.note("nothing is held")

    return run(arguments, lambda: _hold_wanted(arguments), command)


def _hold_wanted(arguments: argparse.Namespace) -> float | None:
    """For how long; the rest is checked."""
    cartridge, drives = arguments.cartridge, arguments.drives
    named = cartridge is not None or drives is not None or arguments.everything
    if (arguments.end or arguments.why or arguments.lasts) and not named:
        raise Misunderstood("say what is held: --cartridge NAME, --drives N or --everything")
    if drives == EVERY_DRIVE and not arguments.end:
        raise Misunderstood("say how many drives may still be used: --drives N")
    if arguments.end and arguments.lasts:
        raise Misunderstood("--end ends a hold now, and --for does so later")
    return None if arguments.lasts is None else parse_duration(arguments.lasts)


def _hold_line(hold: Hold) -> str:
    what = {
        HoldKind.ALL: "everything is",
        HoldKind.DRIVES: f"all drives but {hold.drives} are" if hold.drives else "all drives are",
        HoldKind.CARTRIDGE: f"cartridge {printable(hold.cartridge or '')} is",
    }[hold.kind]
    until = "" if hold.until is None else f" until {when_words(hold.until)} UTC"
    why = f": {printable(hold.why)}" if hold.why else ""
    return f"{what} held by {printable(hold.who)} since {when_words(hold.since)} UTC{until}{why}"


def _hold_record(hold: Hold) -> dict[str, Any]:
    return {**attrs.asdict(hold), "kind": hold.kind.value}


def retry(arguments: argparse.Namespace) -> int:
    """Run it."""

    async def command(session: Session, filters: dict[str, Any]) -> None:
        if arguments.since is not None:
            filters["since"] = session.reactor.seconds() - parse_duration(arguments.since)
        found = await session.archive.retry(**filters, dry_run=True)
        words = _retry_words(found)
        if arguments.dry_run or not (found.failed or found.hurried):
            session.result(_retry_record(found, dry_run=True), words)
            return
        # The reactor does nothing else meanwhile, and need not.
        if not (arguments.yes or session.json or agrees(f"{words}. Retry them?")):
            session.refused("", "nothing was retried", exits.USAGE)
            return
        done = await session.archive.retry(**filters, why=arguments.why)
        session.result(_retry_record(done, dry_run=False), f"retried: {_retry_words(done)}")

    return run(arguments, lambda: _retry_wanted(arguments), command)


def _retry_wanted(arguments: argparse.Namespace) -> dict[str, Any]:
    names = ("cartridge", "owner", "reason", "job")
    filters = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    if arguments.since is not None:
        parse_duration(arguments.since)
    elif not filters and not arguments.everything:
        raise Misunderstood("say which: --cartridge, --owner, --reason, --since or --job, or --everything")
    return filters


def _retry_words(found: Retried) -> str:
    later = f", {counted(found.hurried, 'file')} to be tried again later" if found.hurried else ""
    return f"{counted(found.failed, 'recall')} failed{later}"


def _retry_record(found: Retried, *, dry_run: bool) -> dict[str, Any]:
    return {"dry_run": dry_run, **attrs.asdict(found)}
