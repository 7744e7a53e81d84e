"""The C{hsmsideband} backend keeps the contract, with its database and without."""

from __future__ import annotations

import atexit
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path

from pacarchive.backends.contract import make_backend_tests
from pacarchive.backends.contract.handling import in_reactor, pattern, store
from pacarchive.interfaces import IArchiveBackend
from pacarchive.model import Locality
from sideband.archives import CAPABILITIES, serving
from sideband.server import MariaDB, Sideband


@cache
def _database() -> Sideband:
    """One that knows no file, on a server for all of these tests: the factory of the contract takes no fixture."""
    server = MariaDB()
    atexit.register(server.close)
    server.start()
    server.create_database("sam_contract")
    return Sideband(server, "sam_contract", *server.create_reader("sam_contract"))


@asynccontextmanager
async def _archive(directory: Path) -> AsyncIterator[IArchiveBackend]:
    async with serving(directory, _database(), sam_qfs_prefix="/", connections=1) as backend:
        yield backend


@asynccontextmanager
async def _without_database(directory: Path) -> AsyncIterator[IArchiveBackend]:
    async with serving(directory, None) as backend:
        yield backend


TestContract = make_backend_tests(_archive, CAPABILITIES)


class TestWithoutDatabase(make_backend_tests(_without_database, CAPABILITIES)):  # type: ignore[misc]
    """All but one thing that a status tells."""

    @in_reactor
    async def test_the_status_is_complete(self, backend: IArchiveBackend) -> None:
        """It is complete but for where the bytes are, which nobody knows."""
        stated = await store(backend, 1, pattern(1000), mtime=1234567890)
        asked = await backend.status(1)
        assert (asked.size, asked.mtime, asked.digests) == (1000, 1234567890, stated.digests)
        assert (asked.locality, asked.storage_media) == (Locality.UNAVAILABLE, "error")
