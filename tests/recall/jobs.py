"""What the tests of stage jobs do with an engine, and ask it."""

from __future__ import annotations

from typing import Any

from pacarchive.recall.engine import RecallEngine
from pacarchive.recall.listing import circumstances
from pacarchive.recall.tables import RecallState
from pacarchive.recall.words import FileState, JobFile, JobRequest
from recall.surroundings import done, ids

HIGHEST = (1 << 64) - 1
EXTREMES = [0, 1, (1 << 63) - 1, 1 << 63, HIGHEST]

QUEUED, STARTED, CANCELLING, COMPLETED, FAILED, CANCELLED = FileState


def submit(engine: RecallEngine, *file_ids: int, owner: str = "a", **more: Any) -> str:
    return done(engine.submit(JobRequest(owner=owner, file_ids=file_ids, **more)))


def files(engine: RecallEngine, job: str) -> dict[int, JobFile]:
    return {each.file_id: each for each in done(engine.files(job)).files}


def states(engine: RecallEngine, job: str) -> dict[int, FileState]:
    return {file_id: each.state for file_id, each in files(engine, job).items()}


def state(engine: RecallEngine, job: str) -> FileState:
    """That of the only file."""
    (found,) = states(engine, job).values()
    return found


def recalls(engine: RecallEngine) -> dict[int, RecallState]:
    """What is to be recalled, as the store has it; by key."""
    return {
        file: RecallState(state)
        for file, state in done(engine._store.read(lambda cursor: cursor.rows("SELECT file, state FROM recalls")))
    }


def priority_of(engine: RecallEngine, key: int) -> tuple[int, int]:
    """The state of a recall, and its priority."""
    ((state, priority),) = done(
        engine._store.read(lambda cursor: cursor.rows("SELECT state, priority FROM recalls WHERE file = ?", key))
    )
    return state, priority


def last_change(engine: RecallEngine) -> int:
    """Its number."""
    return done(engine._store.read(circumstances))[0]


def pinned(engine: RecallEngine) -> list[int]:
    return ids(done(engine.pins()))


async def awaited(work: Any) -> Any:
    return await work


async def all_of(engine: RecallEngine, job: str) -> list[Any]:
    return [page async for page in engine.follow(job)]
