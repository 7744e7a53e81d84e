"""The files of the archive in memory, and the jobs that recall them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from pacarchive.client.words import FileState
from pacarchive.digests import PRIMARY, Digests


@attrs.frozen
class FakeFile:
    """
    A file of the archive's.

    @ivar on_tape: Whether it has to be recalled first.
    """

    data: bytes
    mtime_ns: int
    digests: Digests
    on_tape: bool = False

    @property
    def etag(self) -> str:
        """Its entity tag."""
        return f'"{self.digests[PRIMARY].hex()}"'


@attrs.define
class _Job:
    ids: Sequence[int]
    created: float
    changed: int = 0


class Jobs:
    """
    The jobs; a test recalls their files.

    @param files: The archive's, by id.
    """

    def __init__(self, files: Mapping[int, FakeFile]) -> None:
        self._files = files
        self._jobs: dict[str, _Job] = {}

    def __contains__(self, job: object) -> bool:
        return job in self._jobs

    def make(self, ids: Sequence[int]) -> str:
        """
        Make one.

        @return: Its name.
        """
        job = secrets.token_hex(16)
        self._jobs[job] = _Job(list(ids), time.time())
        return job

    def recalling(self, file_id: int) -> str:
        """The job that recalls a file; a new one where there is none."""
        return next((name for name, job in self._jobs.items() if file_id in job.ids), None) or self.make([file_id])

    def changes(self, job: str) -> list[dict[str, Any]]:
        """The documents of its files."""
        return [self._file_document(job, each) for each in self._jobs[job].ids]

    def plan(self, ids: Sequence[int]) -> dict[str, Any]:
        """What a job would mean."""
        recalls = [self._files[each] for each in ids if each in self._files and self._files[each].on_tape]
        missing = [str(each) for each in ids if each not in self._files]
        return {
            "message": f"{len(recalls)} files on {len(recalls)} cartridges",
            "files": len(ids),
            "on_disk": len(ids) - len(recalls) - len(missing),
            "missing": missing,
            "recalls": len(recalls),
            "cartridges": len(recalls),
            "bytes": sum(len(each.data) for each in recalls),
            "estimate": {"seconds": 60.0 * len(recalls), "basis": "a minute a file"},
        }

    def _state(self, file_id: int) -> FileState:
        if file_id not in self._files:
            return FileState.FAILED
        return FileState.STARTED if self._files[file_id].on_tape else FileState.COMPLETED

    def document(self, job: str) -> dict[str, Any]:
        """The document of one."""
        made = self._jobs[job]
        states = [self._state(each) for each in made.ids]
        left = sum(not each.ended for each in states)
        there = [self._files[each] for each in made.ids if each in self._files]
        made.changed += 1
        return {
            "job": job,
            "state": "running" if left else "ended",
            "owner": "test",
            "priority": "normal",
            "created": made.created,
            "started": made.created,
            "ended": None if left else made.created,
            "deadline": made.created + 86400,
            "files": len(states),
            "left": left,
            "counts": {state.value: states.count(state) for state in FileState},
            "bytes": {
                "total": sum(len(each.data) for each in there),
                "done": sum(len(each.data) for each in there if not each.on_tape),
            },
            "rate": 0.0,
            "estimate": None,
            "cursor": str(made.changed),
        }

    def _file_document(self, job: str, file_id: int) -> dict[str, Any]:
        made, state = self._jobs[job], self._state(file_id)
        return {
            "file": str(file_id),
            "state": state.value,
            "bytes": len(self._files[file_id].data) if file_id in self._files else None,
            "started": made.created,
            "ended": made.created if state.ended else None,
            "deadline": made.created + 86400,
            "heard": made.created,
            "attempts": 1,
            "reason": "No file has this id." if state is FileState.FAILED else "",
            "pinned": None,
        }
