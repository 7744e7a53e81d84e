"""C{pacarchive get}: files out of the archive."""

from __future__ import annotations

import errno
import math
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet import defer
from twisted.internet.defer import Deferred, DeferredQueue
from twisted.internet.threads import deferToThread

from pacarchive.cli.printing import time_words
from pacarchive.cli.progress import Display
from pacarchive.cli.remote.hashing import digest_of, may_have, sizes_of
from pacarchive.cli.remote.ids import parse_ids
from pacarchive.cli.remote.maps import read_map
from pacarchive.cli.remote.pipes import Stdout
from pacarchive.cli.remote.running import run
from pacarchive.cli.remote.session import Session
from pacarchive.cli.remote.staging import trouble_lines
from pacarchive.cli.remote.totals import Totals
from pacarchive.cli.remote.words import parse_duration
from pacarchive.cli.words import Misunderstood
from pacarchive.client import ClientError, FileState, Job, JobFile, Locality, NotFound, ServerError
from pacarchive.client.download import together
from pacarchive.digests import PRIMARY
from pacarchive.runtime.directories import make_durable
from pacarchive.texts import printable

if TYPE_CHECKING:
    import argparse

_ON_TAPE = frozenset({Locality.TAPE})

_AGAIN = 600.0
"""For how many seconds to wait for a file that has come from tape, and was removed from disk before it was read."""

_GRACE = 15.0
"""For how many seconds longer than it was told to wait the archive may be silent about what has not come."""


@attrs.define
class _Get:
    """
    What is got, and how.

    @ivar waits: For how many seconds to wait for tape, all in all; 0 for not at all.
    """

    session: Session
    display: Display
    totals: Totals
    output: str
    into_directory: bool
    paths: Mapping[int, str]
    force: bool
    verify: bool
    keep_times: bool
    waits: float
    _begun: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._begun = self.session.reactor.seconds()

    @property
    def _patience(self) -> float:
        """What is left of the time to wait for tape."""
        left: float = self._begun + self.waits - self.session.reactor.seconds()
        return max(0.0, left)

    def _path(self, file_id: int) -> str:
        if (path := self.paths.get(file_id)) is not None:
            return path
        return os.path.join(self.output, str(file_id)) if self.into_directory else self.output

    async def file(self, file_id: int) -> None:
        """Get one file, and report it."""
        path = self._path(file_id)
        record: dict[str, Any] = {"file": str(file_id), "path": path}
        progress = self.display.begin(file_id, str(file_id))
        begun = self.session.reactor.seconds()
        try:
            there = None if path == "-" or self.force else await self._there(file_id, path)
            if there is None:
                fetched = await self.session.archive.get(
                    file_id,
                    Stdout(self.session.reactor).write if path == "-" else path,
                    wait=min(self._patience, _AGAIN) if self.waits else None,
                    verify=self.verify,
                    keep_time=self.keep_times,
                    on_progress=progress,
                )
        except (ClientError, OSError) as error:
            if isinstance(error, BrokenPipeError):
                raise
            self.failed(file_id, error, record)
            return
        if there is not None:
            size, digest = there
            record |= {"verified": True, "sha256": digest.hex()}
            self.totals.end(
                file_id, path, size, f"sha256:{digest.hex()[:16]}…", "was there already", record, there=True
            )
            return
        if path == "-":
            self.display.end(file_id, fetched.size)
            return
        took = time_words(self.session.reactor.seconds() - begun)
        checked = "not checked"
        record |= {"verified": fetched.verified, "resumed": fetched.resumed}
        if fetched.verified:
            record["sha256"] = fetched.digests[PRIMARY].hex()
            checked = f"sha256:{record['sha256'][:16]}…"
        self.totals.end(file_id, path, fetched.size, checked, f"in {took}", record, there=False)

    async def _there(self, file_id: int, path: str) -> tuple[int, bytes] | None:
        """
        See whether a local file is the archive's: then the same command was typed before.

        @return: Size and digest; C{None} where there is none.
        @raise FileExistsError: It is something else.
        """
        if not await deferToThread(os.path.lexists, path):
            if file_id in self.paths:
                await deferToThread(_make_room, os.path.dirname(path) or ".")
            return None
        other = FileExistsError(errno.EEXIST, "exists and differs; --force replaces it", path)
        if not await deferToThread(os.path.isfile, path):
            raise FileExistsError(errno.EEXIST, "exists and is not a file", path)
        status = await self.session.archive.status(file_id)
        if not may_have(status.size, *await sizes_of([path])):
            raise other
        size, digest = await digest_of(path)
        if status.digests.get(PRIMARY) != digest:
            raise other
        return size, digest

    def failed(self, file_id: int, error: Exception, record: dict[str, Any] | None = None) -> None:
        """Report that a file did not come."""
        self.display.end(file_id, failed=True)
        self.session.failed(f"file {file_id}", error, record or {"file": str(file_id), "path": self._path(file_id)})

    async def all(self, ids: Sequence[int]) -> None:
        """Get files, those that are on tape in the order in which they come."""
        offline = await self._offline(ids) if self.waits else []
        on_tape = set(offline)
        takers = self.session.connections if offline else 0
        recalled: DeferredQueue[int | None] = DeferredQueue()

        async def take() -> None:
            while (file_id := await recalled.get()) is not None:
                await self.file(file_id)

        async def recall() -> None:
            try:
                if offline:
                    await self._recall(offline, recalled)
            finally:
                for _ in range(takers):
                    recalled.put(None)

        await together(
            recall(),
            self.session.each([each for each in ids if each not in on_tape], self.file),
            *(take() for _ in range(takers)),
        )

    async def _offline(self, ids: Sequence[int]) -> list[int]:
        """Which of them are on tape only."""
        try:
            located = await self.session.archive.archiveinfo(ids)
        except (NotFound, ServerError):
            return []  # the predecessor has no tape API: its GET waits for the recall
        return [each.file_id for each in located if each.locality in _ON_TAPE]

    async def _recall(self, offline: Sequence[int], recalled: DeferredQueue[int | None]) -> None:
        """Have files recalled by one job, and pass on each that has come."""
        told: set[int] = set()
        patience = self._patience
        deadline = None if math.isinf(patience) else patience
        job = await self.session.archive.stage(offline, deadline=deadline)
        estimate = "" if job.estimate is None else f", perhaps in {time_words(job.estimate.seconds)}"
        one = len(offline) == 1
        what, pronoun = ("1 file is on tape", "it") if one else (f"{len(offline):,} of the files are on tape", "them")
        self.session.note(f"{what}; job {job.id} brings {pronoun}{estimate}")

        def progress(job: Job, files: Sequence[JobFile]) -> None:
            self.display.notes = trouble_lines(job, self.session.reactor.seconds())
            for each in files:
                if each.state.ended and each.file_id not in told:
                    told.add(each.file_id)
                    if each.state is FileState.COMPLETED:
                        recalled.put(each.file_id)
                    else:
                        self.failed(each.file_id, ClientError(each.reason or "It did not come from tape."))

        waiting = Deferred.fromCoroutine(self.session.archive.wait_for(job, progress))
        if deadline is not None:
            # The archive ends the wait with its reasons.  This is for one that does not.
            waiting.addTimeout(deadline + _GRACE, self.session.reactor)
        try:
            result = await waiting
        except defer.TimeoutError:
            for file_id in set(offline) - told:
                self.failed(file_id, ClientError("It did not come from tape in the time that --wait-limit gives."))
        else:
            progress(result.job, list(result.files.values()))


def _make_room(directory: str) -> None:
    if not os.path.isdir(directory):
        make_durable(directory)


def get(arguments: argparse.Namespace) -> int:
    """Run it."""

    output = arguments.output or "."

    async def command(session: Session, wanted: tuple[list[int], bool, Mapping[int, str], float]) -> None:
        ids, into_directory, paths, waits = wanted
        display = Display("get", len(ids), clock=session.reactor)
        get = _Get(
            session=session,
            display=display,
            totals=Totals(session, display, "got"),
            output=output,
            into_directory=into_directory,
            paths=paths,
            force=arguments.force,
            verify=not arguments.no_verify,
            keep_times=not arguments.no_times,
            waits=waits,
        )
        try:
            with session.showing(display):
                await get.all(ids)
        finally:
            get.totals.sum_up()

    return run(arguments, lambda: _wanted(arguments, output), command)


def _wanted(arguments: argparse.Namespace, output: str) -> tuple[list[int], bool, Mapping[int, str], float]:
    """
    What is wanted: ids, whether they go into a directory, or to which paths, and for how many seconds to wait for tape.

    @raise Misunderstood: That cannot be.
    """
    waits = parse_duration(arguments.wait_limit) if arguments.wait_limit else math.inf if arguments.wait else 0.0
    if arguments.id_file is not None:
        paths = _mapped(arguments)
        return list(paths), False, paths, waits
    if not arguments.ids:
        raise Misunderstood("which files? Give their ids, or --id-file")
    ids = parse_ids(arguments.ids, sys.stdin)
    into_directory = output.endswith("/") or os.path.isdir(output)
    if output == "-" and (arguments.json or len(ids) > 1):
        raise Misunderstood("stdout takes a single file, without --json")
    if len(ids) > 1 and not into_directory:
        raise Misunderstood(f"{len(ids):,} files need a directory to go to: -o {output}/")
    if output.endswith("/"):
        make_durable(output)
    return ids, into_directory, {}, waits


def _mapped(arguments: argparse.Namespace) -> Mapping[int, str]:
    """
    Where files go by a map.

    @raise Misunderstood: That cannot be.
    """
    if arguments.ids or arguments.output is not None:
        raise Misunderstood("with --id-file, the ids and the paths are in there")
    paths = dict(read_map(arguments.id_file, sys.stdin))
    places: set[str] = set()
    for path in paths.values():
        if path == "-" or (place := os.path.normpath(path)) in places:
            raise Misunderstood(f"{arguments.id_file}: one file only can go to '{printable(path)}', and none to '-'")
        places.add(place)
    return paths
