"""Releasing files in the storage system."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.logger import Logger

from pacarchive import errors
from pacarchive.interfaces import IRecaller

_log = Logger()


async def release_all(recaller: IRecaller, file_ids: Sequence[int]) -> None:
    """Tell the storage system that files need not stay on disk; failures are only logged."""
    for file_id in file_ids:
        try:
            await recaller.release(file_id)
        except errors.ArchiveError as error:
            _log.warn("file {file_id} cannot be released: {error}", file_id=file_id, error=error)
