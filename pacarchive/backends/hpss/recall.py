"""Request HPSS to stage files, and find out the progress.

HPSS stages in its own order; it is asked by C{hpss_StageCallBack}, which returns at once and holds nothing open.  A
second call for a file that is being staged makes a second request of it, so the state is read first, under a request id
that any process can compute from the request and the file.  HPSS reports neither success nor failure: a recall is
complete when the file's attributes show its bytes on disk.

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
from pacarchive.backends.hpss.translation import archive_error
from pacarchive.backends.hpss.tree import HpssTree
from pacarchive.model import RecallProgress, RecallState, TapeLocation

BATCH_MOST = 100
"""The most files of one batch; HPSS has been seen to refuse larger ones."""

_STATES = {
    StageStatus.UNKNOWN: RecallState.UNKNOWN,
    StageStatus.QUEUED: RecallState.QUEUED,
    StageStatus.ACTIVE: RecallState.ACTIVE,
}
_ABSENT = RecallProgress(RecallState.FAILED, "No file has this id.")
_RESIDENT = RecallProgress(RecallState.RESIDENT)
_FULL = RecallProgress(RecallState.UNKNOWN, "The disk that files are recalled to is full.")


class Stager:
    """
    Stages files of a tree.

    @param tree: The files.
    """

    def __init__(self, tree: HpssTree) -> None:
        self._tree = tree
        self._submitting = IdLocks(f"{tree.prefix} recalls")
        # HPSS's ids of batches.  They cannot be computed, so after a restart files are looked up by their own requests.
        self._batches: dict[tuple[UUID, int], bytes] = {}

    @property
    def batches(self) -> bool:
        """Whether HPSS accepts many files in one request, and orders them by tape and position."""
        return "batch_stage" in client.FEATURES

    def locate(self, file_ids: Sequence[int]) -> dict[int, TapeLocation | None]:
        """Return where files lie on tape (L{pacarchive.interfaces.IRecaller.locate})."""
        found: dict[int, TapeLocation | None] = {}
        for file_id in file_ids:
            attributes = self._attributes(file_id)
            found[file_id] = None if attributes is None else location_of(attributes.size, attributes.levels)
        return found

    def recall(self, request: UUID, file_ids: Sequence[int]) -> dict[int, RecallProgress]:
        """Request that files be staged (L{pacarchive.interfaces.IRecaller.recall})."""
        # Else two callers, in this process or another, might both find that a file has not been requested yet.
        with self._submitting.held_where_free(file_ids) as mine:
            progress = self._recall(request, mine)
        # The others are being requested by another caller; that may take long, and is not waited for.
        return dict.fromkeys(file_ids, RecallProgress(RecallState.QUEUED)) | progress

    def poll(self, request: UUID, file_ids: Sequence[int]) -> dict[int, RecallProgress]:
        """Return the progress of files (L{pacarchive.interfaces.IRecaller.poll})."""
        return {file_id: self._progress(request, file_id, self._attributes(file_id)) for file_id in file_ids}

    def _recall(self, request: UUID, file_ids: Sequence[int]) -> dict[int, RecallProgress]:
        progress: dict[int, RecallProgress] = {}
        to_stage: list[tuple[int, Attributes]] = []
        for file_id in file_ids:
            attributes = self._attributes(file_id)
            progress[file_id] = self._progress(request, file_id, attributes)
            if progress[file_id].state is RecallState.UNKNOWN and attributes is not None:
                to_stage.append((file_id, attributes))
        most = BATCH_MOST if self.batches else 1
        for start in range(0, len(to_stage), most):
            progress |= self._submit_all(request, dict(to_stage[start : start + most]))
        return progress

    def _progress(self, request: UUID, file_id: int, attributes: Attributes | None) -> RecallProgress:
        if attributes is None:
            self._batches.pop((request, file_id), None)
            return _ABSENT
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
            stage = _stage_request_id(request, attributes)
            return RecallProgress(_STATES[self._tree.session.call(client.stage_status, stage, attributes.bitfile)])
        except HpssError as error:
            raise archive_error(error, "Can't stage hpss file") from error

    def _submit_all(self, request: UUID, to_stage: dict[int, Attributes]) -> dict[int, RecallProgress]:
        """Submit files, as a batch where there are several."""
        if len(to_stage) > 1:
            try:
                self._submit_batch(request, to_stage)
                return dict.fromkeys(to_stage, RecallProgress(RecallState.QUEUED))
            except errors.NoSpace:
                return dict.fromkeys(to_stage, _FULL)
            except errors.NotFound:  # one of them has been removed, and HPSS has refused all
                pass
        return {file_id: self._submit(request, file_id, attributes) for file_id, attributes in to_stage.items()}

    def _submit(self, request: UUID, file_id: int, attributes: Attributes) -> RecallProgress:
        try:
            stage = _stage_request_id(request, attributes)
            self._tree.session.call(client.submit_stage, self._tree.path_of(file_id), stage)
        except HpssError as error:
            failure = archive_error(error, "Can't stage hpss file")
            if isinstance(failure, errors.NotFound):
                return _ABSENT
            if isinstance(failure, errors.NoSpace):
                return _FULL
            raise failure from error
        return RecallProgress(RecallState.QUEUED)

    def _submit_batch(self, request: UUID, to_stage: dict[int, Attributes]) -> None:
        bitfiles = [attributes.bitfile for attributes in to_stage.values()]
        try:
            batch = self._tree.session.call(client.submit_batch, bitfiles, uuid5(request, f"batch {min(to_stage):x}"))
        except HpssError as error:
            raise archive_error(error, "Can't stage hpss file") from error
        self._batches |= {(request, file_id): batch for file_id in to_stage}

    def _attributes(self, file_id: int) -> Attributes | None:
        try:
            return self._tree.attributes(self._tree.path_of(file_id))
        except errors.NotFound:
            return None


def _stage_request_id(request: UUID, attributes: Attributes) -> UUID:
    """Return the id of the request to stage one file: files under the same id are staged one after the other."""
    return uuid5(request, f"{attributes.file_id:x}")
