"""Recalls: asking HPSS to stage files, and how that stands.

HPSS stages by itself, in its own order; it is asked with C{hpss_StageCallBack}, which returns at once and holds nothing
open.  Asking again for a file that is being staged makes a second request out of it, so its status is looked at first,
under a name that any process can work out again from the request and the file.  Neither success nor failure is told in
the end: where the bytes are is the truth.

Everything here blocks and is called in pool threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID, uuid5

from pacarchive import errors
from pacarchive.backends.hpss import client
from pacarchive.backends.hpss.client import Attributes, HpssError, StageStatus
from pacarchive.backends.hpss.locks import IdLocks
from pacarchive.backends.hpss.residency import Residency, location_of, residency_of
from pacarchive.backends.hpss.tree import HpssTree
from pacarchive.backends.hpss.words import in_words
from pacarchive.model import RecallProgress, RecallState, TapeLocation

BATCH_MOST = 100
"""Files of one batch; larger ones have been seen to be refused."""

_STATES = {
    StageStatus.UNKNOWN: RecallState.UNKNOWN,
    StageStatus.QUEUED: RecallState.QUEUED,
    StageStatus.ACTIVE: RecallState.ACTIVE,
}
_GONE = RecallProgress(RecallState.FAILED, "No file has this id.")
_RESIDENT = RecallProgress(RecallState.RESIDENT)
_FULL = RecallProgress(RecallState.UNKNOWN, "The disk that files are recalled to is full.")


class Stager:
    """
    Stages files of a tree.

    @param tree: The files.
    """

    def __init__(self, tree: HpssTree) -> None:
        self._tree = tree
        self._asking = IdLocks(f"{tree.prefix} recalls")
        # What HPSS calls batches: it cannot be worked out, so after a restart their files are looked at one by one.
        self._batches: dict[tuple[UUID, int], bytes] = {}

    @property
    def batches(self) -> bool:
        """Whether HPSS takes many files in one request, and orders them by tape and position."""
        return "batch_stage" in client.FEATURES

    def locate(self, file_ids: Sequence[int]) -> dict[int, TapeLocation | None]:
        """L{pacarchive.interfaces.IRecaller.locate}."""
        found: dict[int, TapeLocation | None] = {}
        for file_id in file_ids:
            attributes = self._attributes(file_id)
            found[file_id] = None if attributes is None else location_of(attributes.size, attributes.levels)
        return found

    def recall(self, request: UUID, file_ids: Sequence[int]) -> dict[int, RecallProgress]:
        """L{pacarchive.interfaces.IRecaller.recall}."""
        # Two who ask at once, in this process or another, must not both find that nobody has asked.
        with self._asking.those_free(file_ids) as mine:
            progress = self._recall(request, mine)
        # Nobody waits for the answer to somebody else's request: it may not come for long.
        return dict.fromkeys(file_ids, RecallProgress(RecallState.QUEUED)) | progress

    def poll(self, request: UUID, file_ids: Sequence[int]) -> dict[int, RecallProgress]:
        """L{pacarchive.interfaces.IRecaller.poll}."""
        return {file_id: self._progress(request, file_id, self._attributes(file_id)) for file_id in file_ids}

    def _recall(self, request: UUID, file_ids: Sequence[int]) -> dict[int, RecallProgress]:
        progress: dict[int, RecallProgress] = {}
        wanted: list[tuple[int, Attributes]] = []
        for file_id in file_ids:
            attributes = self._attributes(file_id)
            progress[file_id] = self._progress(request, file_id, attributes)
            if progress[file_id].state is RecallState.UNKNOWN and attributes is not None:
                wanted.append((file_id, attributes))
        most = BATCH_MOST if self.batches else 1
        for start in range(0, len(wanted), most):
            progress |= self._submit_all(request, dict(wanted[start : start + most]))
        return progress

    def _progress(self, request: UUID, file_id: int, attributes: Attributes | None) -> RecallProgress:
        if attributes is None:
            self._batches.pop((request, file_id), None)
            return _GONE
        if residency_of(attributes.size, attributes.levels) is not Residency.ARCHIVED:
            self._batches.pop((request, file_id), None)
            return _RESIDENT
        batch = self._batches.get((request, file_id))
        try:
            if batch is not None:
                (status,) = self._tree.session.call(client.batch_status, batch, [attributes.bitfile])
                if status is not StageStatus.UNKNOWN:
                    return RecallProgress(_STATES[status])
                self._batches.pop((request, file_id), None)
            stage = _name(request, attributes)
            return RecallProgress(_STATES[self._tree.session.call(client.stage_status, stage, attributes.bitfile)])
        except HpssError as error:
            raise in_words(error, "Can't stage hpss file") from error

    def _submit_all(self, request: UUID, wanted: dict[int, Attributes]) -> dict[int, RecallProgress]:
        """Some files, as a batch where they are several."""
        if len(wanted) > 1:
            try:
                self._submit_batch(request, wanted)
                return dict.fromkeys(wanted, RecallProgress(RecallState.QUEUED))
            except errors.NoSpace:
                return dict.fromkeys(wanted, _FULL)
            except errors.NotFound:  # one of them is not there any more, and HPSS has refused all
                pass
        return {file_id: self._submit(request, file_id, attributes) for file_id, attributes in wanted.items()}

    def _submit(self, request: UUID, file_id: int, attributes: Attributes) -> RecallProgress:
        try:
            self._tree.session.call(client.submit_stage, self._tree.path_of(file_id), _name(request, attributes))
        except HpssError as error:
            words = in_words(error, "Can't stage hpss file")
            if isinstance(words, errors.NotFound):
                return _GONE
            if isinstance(words, errors.NoSpace):
                return _FULL
            raise words from error
        return RecallProgress(RecallState.QUEUED)

    def _submit_batch(self, request: UUID, wanted: dict[int, Attributes]) -> None:
        bitfiles = [attributes.bitfile for attributes in wanted.values()]
        try:
            batch = self._tree.session.call(client.submit_batch, bitfiles, uuid5(request, f"batch {min(wanted):x}"))
        except HpssError as error:
            raise in_words(error, "Can't stage hpss file") from error
        self._batches |= {(request, file_id): batch for file_id in wanted}

    def _attributes(self, file_id: int) -> Attributes | None:
        try:
            return self._tree.attributes(self._tree.path_of(file_id))
        except errors.NotFound:
            return None


def _name(request: UUID, attributes: Attributes) -> UUID:
    """One name for each file of a request: HPSS works off one after the other what has the same name."""
    return uuid5(request, f"{attributes.file_id:x}")
