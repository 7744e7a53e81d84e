"""Archives of the C{hpss} backend, in this process and on the simulator."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import hpss_build
from twisted.internet import reactor

from pacarchive.backends.contract import Capabilities, started

hpss_build.use_extension()

from hpss_simulator import Archive  # noqa: E402  (found only now)

from pacarchive.backends import hpss  # noqa: E402
from pacarchive.backends.hpss import client  # noqa: E402
from pacarchive.backends.hpss.archive import HpssArchive  # noqa: E402
from pacarchive.backends.hpss.settings import HpssSettings  # noqa: E402
from pacarchive.interfaces import BackendSettings  # noqa: E402
from pacarchive.model import Durability  # noqa: E402
from pacarchive.times import SECOND  # noqa: E402

PREFIX, INCOMING = "/archive", "/incoming"


_in_use: dict[Path, Archive] = {}


@contextmanager
def simulated(directory: Path) -> Iterator[Archive]:
    """
    The simulated HPSS of a scratch directory, made when there is none.

    There is one object for each at a time: SQLite keeps descriptors of the same file open for each other.
    """
    if directory in _in_use:
        yield _in_use[directory]
        return
    place = directory / "hpss"
    if place.exists():
        archive = Archive(place)
    else:
        archive = Archive.create(place)
        for each in (PREFIX, INCOMING):
            archive.mkdir(each)
    _in_use[directory] = archive
    try:
        yield archive
    finally:
        del _in_use[directory]
        archive.close()


def settings_for(archive: Archive, *, digests: tuple[str, ...] = (), **own: Any) -> BackendSettings:
    """Settings of an archive in a simulated HPSS."""
    values: dict[str, Any] = {
        "auth": os.fspath(archive.keytab),
        "user": archive.principal,
        "sitename": archive.site,
        "threads": 4,
        "data_threads": 4,
        "block_size": 4 << 20,
    }
    return BackendSettings(
        prefix=Path(PREFIX),
        move_roots=(Path(PREFIX), Path(INCOMING)),
        digests=digests,
        durability=Durability.FULL,
        io_threads=4,
        own=HpssSettings(**(values | own)),
    )


@asynccontextmanager
async def serving(archive: Archive, **settings: Any) -> AsyncIterator[HpssArchive]:
    """A backend that runs on a simulated HPSS; in the end it has nothing open there."""
    backend = hpss.make(reactor, settings_for(archive, **settings))
    assert isinstance(backend, HpssArchive)
    before = archive.descriptors()
    async with started(backend):
        yield backend
    assert archive.descriptors() == before


@asynccontextmanager
async def archive(directory: Path) -> AsyncIterator[HpssArchive]:
    """The same on the HPSS of a scratch directory, for the contract."""
    with simulated(directory) as simulator:
        async with serving(simulator) as backend:
            client.thread_start()  # for put_for_move: now, so that no test sees what this opens
            yield backend
        client.thread_end()


def put_for_move(directory: Path, name: str, data: bytes) -> str:
    """A file in the second of the move roots, put there as another client of HPSS would."""
    path = f"{INCOMING}/{name}"
    descriptor = client.create(path, size=len(data))
    rest = memoryview(data)
    while rest:
        rest = rest[client.write(descriptor, rest) :]
    client.close(descriptor)
    return path


CAPABILITIES = Capabilities(durable=True, moves=put_for_move, mtime_step_ns=SECOND, earliest_mtime_ns=SECOND)
