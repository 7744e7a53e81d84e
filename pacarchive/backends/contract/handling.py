"""What tests of a backend do over and over: the tests of the contract, and a backend's own."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, ParamSpec, TypeAlias, TypeVar

import attrs
from pytest_twisted import blockon, ensureDeferred  # type: ignore[import-untyped]
from twisted.internet.defer import CancelledError, Deferred

from pacarchive import errors
from pacarchive.digests import Hasher
from pacarchive.interfaces import IArchiveBackend, IIncomingFile
from pacarchive.model import FileStatus, Overwrite, WriteConditions
from pacarchive.times import SECOND

P = ParamSpec("P")
T = TypeVar("T")

Factory: TypeAlias = Callable[[Path], AbstractAsyncContextManager[IArchiveBackend]]
"""
Makes a backend that has started, and stops it in the end.  The path is an existing scratch directory of the test.  A
durable backend's factory is called several times with the same one, and finds the same files each time.
"""

ALLOW = WriteConditions()
DENY = WriteConditions(overwrite=Overwrite.DENY)
IDENTICAL = WriteConditions(overwrite=Overwrite.IDENTICAL)
ABSENT = WriteConditions(if_absent=True)


@attrs.frozen(kw_only=True)
class Capabilities:
    """
    What the contract leaves open to a backend.

    @ivar durable: Files outlive the backend object: the factory finds them again in the same directory.
    @ivar moves: Puts a file with the given name and bytes where C{move} may take it from, below the scratch directory
        or elsewhere, and returns its absolute path.  C{None}: the backend refuses every move.
    @ivar mtime_step_ns: Modification times are kept in steps of so many nanoseconds.
    @ivar earliest_mtime_ns: The earliest that is kept, where that is known.
    """

    durable: bool = False
    moves: Callable[[Path, str, bytes], str] | None = None
    mtime_step_ns: int = 1
    earliest_mtime_ns: int | None = None


def matching(*tags: str) -> WriteConditions:
    """The condition of C{If-Match}."""
    return WriteConditions(if_match=frozenset(tags))


@lru_cache(maxsize=32)
def pattern(size: int, seed: int = 0) -> bytes:
    """Bytes in which no two blocks are alike, so that a block in the wrong place shows."""
    return hashlib.shake_128(f"{size} {seed}".encode()).digest(size)


def digest(name: str, data: bytes) -> bytes:
    """A digest of bytes."""
    hasher = Hasher([name])
    hasher.update(data)
    return hasher.digests()[name]


def cut(data: bytes, size: int) -> Iterator[bytes]:
    """Pieces of a size."""
    return (data[start : start + size] for start in range(0, len(data), size))


async def store(
    backend: IArchiveBackend,
    file_id: int,
    data: bytes,
    conditions: WriteConditions = ALLOW,
    *,
    pieces: Sequence[Sequence[bytes]] | None = None,
    announced: bool = True,
    mtime: int | None = None,
    mtime_ns: int | None = None,
    expected: Mapping[str, bytes] | None = None,
    algorithms: Collection[str] = (),
) -> FileStatus:
    """
    Store a file as the HTTP side does.

    @param pieces: The arguments of the single writes, where it is not all in one.
    @param announced: Whether the size is given at the start.
    @param mtime: The modification time in whole seconds; C{mtime_ns} in nanoseconds.
    """
    incoming = await backend.receive(file_id, len(data) if announced else None, conditions, algorithms)
    try:
        for some in [[data]] if pieces is None else pieces:
            await incoming.write(some)
        return await incoming.commit(mtime_ns if mtime is None else mtime * SECOND, expected or {})
    except BaseException:
        await incoming.abort()
        raise


async def load(backend: IArchiveBackend, file_id: int) -> tuple[FileStatus, bytes]:
    """A whole file with its status, both of one version."""
    stored = await backend.open(file_id)
    try:
        return stored.status, await stored.read(0, stored.status.size)
    finally:
        stored.close()


async def content(backend: IArchiveBackend, file_id: int) -> bytes | None:
    """The bytes under an id, C{None} where there are none."""
    try:
        return (await load(backend, file_id))[1]
    except errors.NotFound:
        return None


async def begin(
    backend: IArchiveBackend, file_id: int, data: bytes, conditions: WriteConditions = ALLOW
) -> IIncomingFile:
    """A file that has all its bytes and is not committed yet."""
    incoming = await backend.receive(file_id, len(data), conditions, ())
    await incoming.write([data])
    return incoming


def in_reactor(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Make a test of a coroutine function; it runs in the real reactor."""
    decorated: Callable[P, None] = ensureDeferred(test)
    return decorated


def wait_for(work: Coroutine[Any, Any, T]) -> T:
    """Let the reactor run until a coroutine has ended; for fixtures."""
    result: T = blockon(Deferred.fromCoroutine(work))
    return result


def running(work: Awaitable[T]) -> Deferred[T]:
    """Work that goes on by itself."""

    async def wait() -> T:
        return await work

    return Deferred.fromCoroutine(wait())


async def cancelled(times: int, call: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T | None:
    """
    Call something and leave at once.

    @param times: How often the caller is cancelled.
    @return: The result if it was there already, or was not to be stopped; C{None} if the call was cancelled.
    """
    work = running(call(*args, **kwargs))
    for _ in range(times):
        work.cancel()
    try:
        return await work
    except CancelledError:
        return None


def open_descriptors() -> dict[str, str]:
    """The descriptors that this process has open, and what they refer to."""
    found = {}
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the listing's own
            found[descriptor] = os.readlink(f"/proc/self/fd/{descriptor}")
    return found
