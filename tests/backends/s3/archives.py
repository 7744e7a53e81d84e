"""The backend over real stores, each archive at the start of keys of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
from twisted.internet import reactor

from backends.s3.servers import ACCESS_KEY, BUCKET, SECRET_KEY, ObjectServer
from pacarchive.backends.contract import Factory, started
from pacarchive.backends.s3.bucket import Promises
from pacarchive.backends.s3.making import make
from pacarchive.backends.s3.settings import S3Settings
from pacarchive.interfaces import BackendSettings, IArchiveBackend
from pacarchive.model import Durability


def settings_for(server: ObjectServer, name: str, bucket: str = BUCKET, **own: Any) -> BackendSettings:
    """The settings of an archive."""
    own = {
        "endpoint": server.endpoint,
        "access_key": ACCESS_KEY,
        "secret_key": SECRET_KEY,
        "retry_for": 20,
        **own,
    }
    return BackendSettings(
        prefix=Path(f"/{bucket}/{name}"),
        move_roots=(Path(f"/{BUCKET}/{name}-imports"),),
        digests=(),
        durability=Durability.FULL,
        io_threads=1,
        own=S3Settings(**own),
    )


@asynccontextmanager
async def archive(
    server: ObjectServer,
    name: str,
    change: Callable[[Promises], Promises] | None = None,
    bucket: str = BUCKET,
    **own: Any,
) -> AsyncIterator[IArchiveBackend]:
    """
    A backend that runs.

    @param change: Changes what is believed of the store after it was found out.
    """
    backend: Any = make(reactor, settings_for(server, name, bucket, **own))
    async with started(backend):
        if change is not None:
            backend._bucket.promises = change(backend._bucket.promises)
        yield backend


def factory_for(
    server: Callable[[], ObjectServer], change: Callable[[Promises], Promises] | None = None, **own: Any
) -> Factory:
    """What makes archives for the contract, which compares the open descriptors: so no connection is kept."""

    def factory(directory: Path) -> AbstractAsyncContextManager[IArchiveBackend]:
        return archive(server(), directory.name, change, idle_connections=0, **own)

    return factory


def importing(server: Callable[[], ObjectServer]) -> Callable[[Path, str, bytes], str]:
    """What puts objects where files may be moved from."""

    def put(directory: Path, name: str, data: bytes) -> str:
        path = f"/{BUCKET}/{directory.name}-imports/{name}"
        status, answer = server().ask("PUT", path, data)
        assert status == 200, answer
        return f"s3:/{path}"

    return put


def with_tombstones(promises: Promises) -> Promises:
    """As if the store ignored the condition of a DELETE."""
    return attrs.evolve(promises, conditional_delete=False)
