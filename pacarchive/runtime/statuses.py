"""Look up the statuses of many files, in any backend."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import CancelledError

from pacarchive import errors
from pacarchive.interfaces import IArchiveBackend, IBatchStatus
from pacarchive.model import FileStatus
from pacarchive.runtime.shared import all_of

_SIDE_BY_SIDE = 32
"""How many files are looked up at the same time in a backend without batches."""


async def statuses_of(backend: IArchiveBackend, file_ids: Sequence[int]) -> dict[int, FileStatus | Exception]:
    """
    Look files up, a limited number at a time: in the backend's own batches, or side by side.

    @return: For each file its status, or the error that L{IArchiveBackend.status} raises for it.
    """
    found: dict[int, FileStatus | Exception] = {}
    batches = IBatchStatus(backend) if IBatchStatus.providedBy(backend) else None
    most = _SIDE_BY_SIDE if batches is None else batches.batch_most
    for start in range(0, len(file_ids), most):
        some = file_ids[start : start + most]
        if batches is None:
            found |= zip(some, await all_of(_status(backend, each) for each in some), strict=True)
            continue
        try:
            found |= await batches.statuses(some)
        except CancelledError:
            raise
        except Exception as error:  # noqa: BLE001  (the caller handles it, as with one file)
            found |= dict.fromkeys(some, error)
    return found


async def _status(backend: IArchiveBackend, file_id: int) -> FileStatus | Exception:
    try:
        return await backend.status(file_id)
    except CancelledError:  # the caller was cancelled: that is no property of the file
        raise
    except Exception as error:  # noqa: BLE001  (the caller handles it)
        return errors.light(error)
