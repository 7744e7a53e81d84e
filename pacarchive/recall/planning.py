"""Estimates: for a job, for a file, and for a job that has not been submitted."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import attrs

from pacarchive.interfaces import IArchiveBackend, IRecaller
from pacarchive.model import Estimate, TapeLocation, Trouble
from pacarchive.recall import jobs, listing, waiting
from pacarchive.recall.accuracy import ForecastAccuracy
from pacarchive.recall.forecast import Load, Rates, Span, basis, forecast, position_share
from pacarchive.recall.holds import read_holds
from pacarchive.recall.lookup import find
from pacarchive.recall.settings import RecallSettings
from pacarchive.recall.store import Cursor, Read
from pacarchive.recall.waiting import Waiting, waiting_for_file
from pacarchive.recall.words import Asked, JobStatus, JobSummary, Plan

_SOONEST, _LATEST = 1, 3600
"""The least and the most seconds after which a client is asked to retry."""

_UNKNOWN = 60.0
"""The seconds after which a client is asked to retry if there is no forecast for its file."""

_NEGLIGIBLE = 0.1
"""The logarithm of a factor below which an estimate does not mention it."""

_TOGETHER = 500
"""The most files of one look-up."""


def learned_of(text: str) -> dict[str, Any]:
    """Decode what the dispatcher has stored of what it learned; empty if that is invalid."""
    with suppress(ValueError, RecursionError):
        if isinstance(stored := json.loads(text), dict):
            return stored
    return {}


@attrs.frozen
class Learned:
    """
    What the dispatcher has learned.

    @ivar rates: The rates of the tape library.
    @ivar stretch: How many times as long jobs take as their forecasts.
    @ivar ends: When each flow will have all of its files if the drives are shared fairly, by owner and priority.
    """

    rates: Rates
    stretch: float
    ends: Mapping[tuple[str, int], float]

    @classmethod
    def from_text(cls, text: str) -> Learned:
        """Decode what is in the store; invalid values are ignored."""
        rates, accuracy, ends = Rates(), ForecastAccuracy(), []
        if stored := learned_of(text):
            rates.load(stored.get("rates", {}))
            accuracy.load(stored.get("promises", {}))
            ends = stored.get("ends", [])
        return cls(rates, accuracy.stretch, {(owner, priority): end for owner, priority, end in ends})

    def basis(self, files: int, media: int, drives: int) -> str:
        """Describe for a person what an estimate is computed from."""
        description = basis(files, media, drives, self.rates)
        if abs(math.log(self.stretch)) < _NEGLIGIBLE:
            return description
        return f"{description}; times {self.stretch:.1f}, as jobs have lately taken so much of what was forecast"


def _when(waiting: Waiting, rates: Rates, now: float) -> float | None:
    """Return the seconds until the last of some files is on disk; C{None} if there is no forecast."""
    times = []
    if waiting.until is not None:
        # After its pause, it needs a drive; how many others wait for one by then is not known.
        times.append(max(0.0, waiting.until - now) + rates.mount_seconds + rates.cost(waiting.size // waiting.files))
    if waiting.backing_off < waiting.files:
        if waiting.begins is None or waiting.ends is None or waiting.lowest is None or waiting.highest is None:
            return None
        part = position_share(waiting.furthest, waiting.lowest, waiting.highest)
        times.append(max(0.0, Span(begin=waiting.begins, ready=waiting.begins, end=waiting.ends).at(part) - now))
    return max(times)


def time_left(waiting: Sequence[Waiting], rates: Rates, now: float) -> float | None:
    """
    Return the seconds until the last file of a job is on disk, by the forecast alone.

    @param waiting: What the job waits for.
    @param rates: The rates of the tape library.
    @param now: The time.
    @return: C{None} if that is not known: some of it has not been looked up or forecast; or an attempt has failed, and
        the next may fail too.
    """
    if any(each.failures for each in waiting):
        return None
    times = [_when(each, rates, now) for each in waiting]
    known = [time for time in times if time is not None]
    return max(known, default=0.0) if len(known) == len(times) else None


def job_estimate(
    job: JobSummary, waiting: Sequence[Waiting], learned: Learned, obstacle: str, drives: int, now: float
) -> Estimate | None:
    """
    Estimate when the last file of a job will be on disk.

    @param job: The job.
    @param waiting: What it waits for.
    @param learned: What the dispatcher has learned.
    @param obstacle: What keeps everything from being recalled; empty if nothing does.
    @param drives: The count of drives.
    @param now: The time.
    @return: C{None} if that is not known, as for L{time_left}, or because of an obstacle.
    """
    if obstacle or not waiting:
        return None
    seconds = time_left(waiting, learned.rates, now)
    if seconds is None:
        return None
    # A cartridge is not read to its end for a flow while others that had less than it wait.
    if (end := learned.ends.get((job.owner, job.priority))) is not None and not any(
        each.backing_off for each in waiting
    ):
        seconds = min(seconds, max(0.0, end - now))
    files = sum(each.files for each in waiting)
    return Estimate(seconds=seconds * learned.stretch, basis=learned.basis(files, len(waiting), drives))


def answer_for(cursor: Cursor, job: str, file_id: int, now: float) -> Asked:
    """
    Return the answer to a request for one file.

    @param job: The job that it is part of.
    @param file_id: The file.
    @param now: The time.
    """
    waiting = waiting_for_file(cursor, file_id)
    if waiting is None:  # it is on disk already
        return Asked(job=job, retry_after=_SOONEST)
    learned = Learned.from_text(listing.circumstances(cursor)[2])
    seconds = _when(waiting, learned.rates, now)
    if waiting.backing_off:
        assert seconds is not None, "it is known when it is retried"
    elif seconds is None or waiting.failures:
        seconds = _UNKNOWN
    else:
        seconds *= learned.stretch
    return Asked(job=job, retry_after=min(_LATEST, max(_SOONEST, math.ceil(seconds))))


def earlier_answer(cursor: Cursor, file_id: int, owner: str, now: float) -> Asked | None:
    """
    Return the answer to a request for one file, if an earlier request of the same owner is still under way; else
    C{None}.
    """
    job = jobs.single_job(cursor, file_id, owner)
    return None if job is None else answer_for(cursor, job, file_id, now)


async def make_plan(
    backend: IArchiveBackend,
    recaller: IRecaller | None,
    read: Read | None,
    file_ids: Sequence[int],
    drives: int,
    now: float,
) -> Plan:
    """
    Plan a job, without recalling anything.

    @param backend: The archive.
    @param recaller: Its recalls, if it has any.
    @param read: Reads from the store, if there is one.
    @param file_ids: The files.
    @param drives: The count of drives.
    @param now: The time.
    @raise errors.BackendUnavailable: The storage does not answer.
    """
    to_recall: list[TapeLocation] = []
    missing: list[int] = []
    on_disk = 0
    for start in range(0, len(file_ids), _TOGETHER):
        some = file_ids[start : start + _TOGETHER]
        locations = await recaller.locate(some) if recaller is not None else {}
        for file_id, found in (await find(backend, locations, some)).items():
            if found.location is not None:
                to_recall.append(found.location)
            elif found.on_disk:
                on_disk += 1
            else:
                missing.append(file_id)
    if not to_recall or read is None:
        return Plan(
            files=len(file_ids),
            on_disk=on_disk,
            missing=sorted(missing),
            recalls=0,
            media=0,
            size=0,
            estimate=Estimate(seconds=0, basis="nothing has to be recalled"),
        )
    ahead, text = await read(listing.queue_ahead)
    learned = Learned.from_text(text)
    rates = learned.rates
    loads: dict[str, tuple[int, int]] = {}
    for location in to_recall:
        files, size = loads.get(location.medium, (0, 0))
        loads[location.medium] = files + 1, size + location.size
    # A cartridge that other jobs wait for is read once for all of them; any other comes after those.
    known = {medium: end for medium, _, end in ahead}
    joined = [
        max(0.0, known[medium] - now) + rates.reading_time(*load) for medium, load in loads.items() if medium in known
    ]
    busy = sorted(max(0.0, end - now) for end in known.values())[-drives:]
    own = [
        Load(medium=medium, files=files, size=size) for medium, (files, size) in loads.items() if medium not in known
    ]
    own.sort(key=lambda load: (-load.files, load.medium))
    spans = forecast(own, [], drives, rates, min(busy) if len(busy) == drives else 0.0)
    seconds = max([*joined, *(span.end for span in spans.values())], default=0.0)
    return Plan(
        files=len(file_ids),
        on_disk=on_disk,
        missing=sorted(missing),
        recalls=len(to_recall),
        media=len(loads),
        size=sum(location.size for location in to_recall),
        estimate=Estimate(seconds=seconds * learned.stretch, basis=learned.basis(len(to_recall), len(loads), drives)),
    )


def job_status(cursor: Cursor, job: str, settings: RecallSettings, now: float) -> JobStatus:
    """
    Return a job and its progress.

    @param job: The job's identifier.
    @param settings: The settings.
    @param now: Seconds since the epoch.
    @raise errors.NotFound: No job has this identifier.
    """
    number = listing.number_of(cursor, job)
    summary = listing.summary(cursor, number)
    tally = listing.tally(cursor, number)
    seq, obstacle, learned = listing.circumstances(cursor)
    estimate = trouble = None
    if summary.left:
        held = waiting.held(cursor, number)
        trouble = Trouble(files=summary.left, reason=obstacle) if obstacle else waiting.trouble(cursor, number) or held
        waiting_files = waiting.waiting(cursor, number)
        drives = read_holds(cursor).usable_drives(settings.drives)
        if held is None:
            estimate = job_estimate(summary, waiting_files, Learned.from_text(learned), obstacle, drives, now)
    elapsed = 0.0 if summary.started is None else (summary.ended or now) - summary.started
    return JobStatus(
        summary=summary,
        counts=tally.counts,
        size=tally.size,
        done=tally.done,
        rate=tally.done / elapsed if elapsed > 0 else 0.0,
        estimate=estimate,
        trouble=trouble,
        pin=tally.pin,
        most_attempts=settings.attempts,
        cursor=listing.cursor_text(seq),
        others=listing.others(cursor, number),
    )
