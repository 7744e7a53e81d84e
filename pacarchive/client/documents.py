"""The archive's JSON documents and header fields, read into the client's nouns."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import attrs

from pacarchive.client.errors import ProtocolError
from pacarchive.client.fields import parse_levels, parse_mtime, parse_path, parse_repr_digest
from pacarchive.client.words import FileState, Job, JobFile, JobState, ListedFile, Located, Plan, Status
from pacarchive.ids import MAX_FILE_ID, parse_file_id
from pacarchive.model import Estimate, Locality, Trouble
from pacarchive.times import parse_iso

if TYPE_CHECKING:
    from pacarchive.client.wire import Answer

P = ParamSpec("P")
T = TypeVar("T")

_LONGEST_TEXT = 256 << 10
"""How long the list of files in a request gets: half of what the archive reads."""

_JOB = re.compile(r"[0-9a-f]{32}(,[0-9a-f]{32})*", re.ASCII)


def understood(read: Callable[P, T]) -> Callable[P, T]:
    """Have what an archive's answer lacks, or has in another form, fail with L{ProtocolError}, in plain words."""

    @wraps(read)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return read(*args, **kwargs)
        except KeyError as error:
            raise ProtocolError(f"The archive's answer does not say its {error.args[0]!r}.") from None
        except (TypeError, ValueError, AttributeError, IndexError) as error:
            raise ProtocolError(f"The archive's answer has something in it that is not understood: {error}") from None

    return checked


# in


def check_id(file_id: int) -> int:
    """
    @raise ValueError: It is no id.
    """
    if isinstance(file_id, bool) or not isinstance(file_id, int) or not 0 <= file_id <= MAX_FILE_ID:
        raise ValueError(f"a file id is a whole number from 0 to 2**64 - 1, and not {file_id!r}")
    return file_id


def job_ids(job: Job | str) -> list[str]:
    """
    The archive's jobs that one is made of.

    @raise ValueError: It is none.
    """
    text = job.id if isinstance(job, Job) else job
    if _JOB.fullmatch(text) is None:
        raise ValueError(f"{text!r} is not a valid job id; one is what stage printed")
    return text.split(",")


def file_lists(ids: Iterable[int]) -> list[list[int | str]]:
    """
    Write ids the short way, as ranges, in lists that the archive reads.

    @raise ValueError: One is no id, or there is none.
    """
    found: list[list[int | str]] = [[]]
    length = 0
    for first, last in ranges(ids):
        entry = str(first) if first == last else f"{first}-{last}"
        length += len(entry) + 4
        if length > _LONGEST_TEXT:
            found.append([])
            length = len(entry) + 4
        found[-1].append(entry)
    if not found[0]:
        raise ValueError("one file at least must be named")
    return found


def ranges(ids: Iterable[int]) -> Iterator[tuple[int, int]]:
    """The runs of ids without a gap, in order."""
    first = last = None
    for file_id in sorted({check_id(each) for each in ids}):
        if first is None or last is None:
            first = last = file_id
        elif file_id == last + 1:
            last = file_id
        else:
            yield first, last
            first = last = file_id
    if first is not None and last is not None:
        yield first, last


def halves(entries: Sequence[int | str]) -> tuple[list[int | str], list[int | str]] | None:
    """A list of files in two, by the number of files; C{None} where it is only one."""
    spans = [span(each) for each in entries]
    total = sum(last - first + 1 for first, last in spans)
    if total < 2:
        return None
    left: list[int | str] = []
    right: list[int | str] = []
    room = total // 2
    for first, last in spans:
        size = last - first + 1
        if size <= room:
            left.append(_entry(first, last))
        elif room > 0:
            left.append(_entry(first, first + room - 1))
            right.append(_entry(first + room, last))
        else:
            right.append(_entry(first, last))
        room = max(0, room - size)
    return left, right


def span(entry: int | str) -> tuple[int, int]:
    """The first and the last id of an entry in a list of files."""
    first, _, last = str(entry).partition("-")
    return int(first), int(last or first)


def _entry(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


# out


@understood
def read_status(file_id: int, answer: Answer) -> Status:
    """A file's status, out of the header fields of HEAD."""
    for name in ("X-Content-Length", "X-Pacifica-Ctime", "Last-Modified"):
        if not answer.field(name):
            raise KeyError(name)
    locality = answer.field("X-Pacarchive-Locality")
    media = answer.field("X-Pacifica-File-Storage-Media")
    if (mtime_ns := parse_mtime(answer.field)) is None:
        raise ValueError(f"Last-Modified: {answer.field('Last-Modified')}")
    return Status(
        file_id=file_id,
        size=int(answer.field("X-Content-Length")),
        mtime_ns=mtime_ns,
        ctime=float(answer.field("X-Pacifica-Ctime")),
        etag=answer.field("ETag"),
        digests=parse_repr_digest(answer.field("Repr-Digest")),
        # The predecessor says it with the medium.
        locality=Locality(locality) if locality else Locality.TAPE if media == "tape" else Locality.DISK,
        media=media,
        path=parse_path(answer.field("X-Pacifica-File")),
        bytes_per_level=parse_levels(answer.field("X-Pacifica-Bytes-Per-Level")),
    )


@understood
def read_job(document: Mapping[str, Any]) -> Job:
    """A job."""
    estimate = document["estimate"]
    counts = document["counts"]
    if _JOB.fullmatch(document["job"]) is None:
        raise ValueError(f"{document['job']!r} as the id of a job")
    return Job(
        id=document["job"],
        state=JobState(document["state"]),
        owner=document["owner"],
        priority=document["priority"],
        created=float(document["created"]),
        started=document["started"],
        ended=document["ended"],
        deadline=float(document["deadline"]),
        files=int(document["files"]),
        left=int(document["left"]),
        counts={state: int(counts[state.value]) for state in FileState},
        bytes_total=int(document["bytes"]["total"]),
        bytes_done=int(document["bytes"]["done"]),
        rate=float(document["rate"]),
        estimate=None if estimate is None else read_estimate(estimate),
        cursor=str(document["cursor"]),
        trouble=None if (trouble := document.get("trouble")) is None else _trouble(trouble),
        most_attempts=int(document.get("most_attempts", 0)),
        pin=document.get("pin"),
        effect={name: int(count) for name, count in document.get("effect", {}).items()},
    )


def _trouble(document: Mapping[str, Any]) -> Trouble:
    return Trouble(
        files=int(document["files"]),
        reason=str(document["reason"]),
        attempts=int(document["attempts"]),
        next_try=document["next_try"],
    )


@understood
def read_estimate(document: Mapping[str, Any]) -> Estimate:
    """An estimate."""
    return Estimate(seconds=float(document["seconds"]), basis=str(document["basis"]))


@understood
def read_files(entries: Sequence[Mapping[str, Any]]) -> list[JobFile]:
    """Files of a job."""
    return [
        JobFile(
            file_id=parse_file_id(each["file"]),
            state=FileState(each["state"]),
            size=each["bytes"],
            started=each["started"],
            ended=each["ended"],
            deadline=float(each["deadline"]),
            attempts=int(each["attempts"]),
            reason=str(each["reason"]),
            pinned=each["pinned"],
            next_try=each.get("next_try"),
        )
        for each in entries
    ]


@understood
def read_plan(document: Mapping[str, Any]) -> Plan:
    """A plan."""
    return Plan(
        message=str(document["message"]),
        files=int(document["files"]),
        on_disk=int(document["on_disk"]),
        missing=[parse_file_id(each) for each in document["missing"]],
        recalls=int(document["recalls"]),
        cartridges=int(document["cartridges"]),
        bytes=int(document["bytes"]),
        estimate=read_estimate(document["estimate"]),
    )


@understood
def read_located(document: Sequence[Mapping[str, Any]]) -> list[Located]:
    """The answer to archiveinfo."""
    found = []
    for each in document:
        locality = each.get("locality")
        found.append(
            Located(
                file_id=parse_file_id(each["path"].strip("/")),
                locality=None if locality is None else Locality(locality),
                error=each.get("error"),
            )
        )
    return found


@understood
def read_listed(document: Mapping[str, Any]) -> list[ListedFile]:
    """The files of a page of the archive's list."""
    return [
        ListedFile(
            file_id=parse_file_id(each["file"]),
            size=each.get("bytes"),
            mtime_ns=_time(each.get("mtime")),
            ctime_ns=_time(each.get("ctime")),
            locality=None if each.get("locality") is None else Locality(each["locality"]),
            digests={name: bytes.fromhex(digest) for name, digest in each.get("digests", {}).items()},
            error=None if (error := each.get("error")) is None else str(error["message"]),
        )
        for each in document["files"]
    ]


def _time(text: str | None) -> int | None:
    if text is None:
        return None
    if (time := parse_iso(text)) is None:
        raise ValueError(f"{text!r} as a time")
    return time


@understood
def member(document: Any, name: str) -> Any:
    """A member of a document."""
    return document[name]


# jobs that are several


def joined(jobs: Sequence[Job]) -> Job:
    """Several jobs as one."""
    if len(jobs) == 1:
        return jobs[0]
    states = {each.state for each in jobs}
    over = all(each.ended is not None for each in jobs)
    state = states.pop() if len(states) == 1 else JobState.RUNNING
    estimates = [each.estimate for each in jobs if each.left]
    known = [each for each in estimates if each is not None]
    troubles = [each.trouble for each in jobs if each.trouble is not None]
    pins = [each.pin for each in jobs if each.pin is not None]
    started = [each.started for each in jobs if each.started is not None]
    return Job(
        id=",".join(each.id for each in jobs),
        state=state,
        owner=jobs[0].owner,
        priority=jobs[0].priority,
        created=min(each.created for each in jobs),
        started=min(started, default=None),
        ended=max(each.ended or 0.0 for each in jobs) if over else None,
        deadline=max(each.deadline for each in jobs),
        files=sum(each.files for each in jobs),
        left=sum(each.left for each in jobs),
        counts={state: sum(each.counts[state] for each in jobs) for state in FileState},
        bytes_total=sum(each.bytes_total for each in jobs),
        bytes_done=sum(each.bytes_done for each in jobs),
        rate=sum(each.rate for each in jobs),
        # One that has no estimate may be the last.
        estimate=max(known, key=lambda each: each.seconds, default=None) if len(known) == len(estimates) else None,
        cursor=",".join(each.cursor for each in jobs),
        trouble=_troubles_joined(troubles) if troubles else None,
        most_attempts=max(each.most_attempts for each in jobs),
        pin=max(pins, default=None),
        effect=effects_joined(each.effect for each in jobs),
    )


def _troubles_joined(troubles: Sequence[Trouble]) -> Trouble:
    """Told by the one that was tried most often, as of one job."""
    worst = max(troubles, key=lambda each: each.attempts)
    return attrs.evolve(worst, files=sum(each.files for each in troubles))


def effects_joined(effects: Iterable[Mapping[str, int]]) -> Mapping[str, int]:
    """What several calls have done, together."""
    total: Counter[str] = Counter()
    for each in effects:
        total.update(each)
    return dict(total)


def plans_joined(plans: Sequence[Plan]) -> Plan:
    """Several plans as one: a cartridge that is in two of them counts twice."""
    if len(plans) == 1:
        return plans[0]
    return Plan(
        message="; ".join(each.message for each in plans),
        files=sum(each.files for each in plans),
        on_disk=sum(each.on_disk for each in plans),
        missing=[file_id for each in plans for file_id in each.missing],
        recalls=sum(each.recalls for each in plans),
        cartridges=sum(each.cartridges for each in plans),
        bytes=sum(each.bytes for each in plans),
        estimate=Estimate(
            seconds=sum(each.estimate.seconds for each in plans),
            basis="; ".join(dict.fromkeys(each.estimate.basis for each in plans)),
        ),
    )
