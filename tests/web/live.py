"""A server on a real port, in this process: for what only real sockets and threads do."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest_twisted  # type: ignore[import-untyped]
from doubles import FakeRecalls
from support import HOST, open_gate
from twisted.internet.endpoints import SSL4ServerEndpoint, TCP4ServerEndpoint
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.internet.task import Clock, deferLater

from pacarchive.access.service import AccessService
from pacarchive.backends.local.archive import LocalArchive
from pacarchive.backends.local.tree import FileTree
from pacarchive.launch.listening import server_endpoints
from pacarchive.launch.service import ArchiveService
from pacarchive.recall.settings import RecallSettings
from pacarchive.runtime.threads import BlockingPool
from pacarchive.settings.server import ServerSettings
from pacarchive.telemetry.process import Telemetry
from pacarchive.web.application import archive_site
from pacarchive.web.context import RouteContext
from pacarchive.web.download import Sender
from pacarchive.web.http.credentials import Context
from pacarchive.web.http.settings import LimitSettings

Test = TypeVar("Test", bound=Callable[..., Any])


def in_reactor(test: Test) -> Test:
    """Run a test in the reactor."""
    run: Test = pytest_twisted.ensureDeferred(test)
    return run


def _reactor() -> Any:
    from twisted.internet import reactor  # not before pytest_twisted has installed it

    return reactor


class _Ungoverned(AccessService):
    """Has no files to look at."""

    def __init__(self) -> None:
        """There is nothing to be made."""

    async def start(self) -> None:
        """There is nothing to read."""

    async def stop(self) -> None:
        """Nor to release."""


class Live:
    """
    A server on a real port of the loopback interface.

    @ivar clock: The time of transfers.
    @ivar backend: Its files.
    """

    def __init__(
        self,
        prefix: Path,
        certificate: DefaultOpenSSLContextFactory | None = None,
        own: Context | None = None,
        **settings: Any,
    ) -> None:
        self.reactor: Any = _reactor()
        self.clock = Clock()
        self.limits = LimitSettings(linger_timeout=1, progress_bytes=1)
        pool, disk_pool = BlockingPool(self.reactor, "send", 4), BlockingPool(self.reactor, "io", 4)
        self.backend = backend = LocalArchive(FileTree(prefix, str, [prefix]), disk_pool, self.reactor)
        timed = SimpleNamespace(
            addWriter=self.reactor.addWriter,
            removeWriter=self.reactor.removeWriter,
            callLater=self.clock.callLater,
            seconds=self.clock.seconds,
        )
        chosen = ServerSettings(**{"hosts": (HOST,), **settings})
        sender = Sender(timed, pool, chosen.verify_reads, self.limits)
        recalls: Any = FakeRecalls(self.clock)
        application = RouteContext(
            backend, sender, chosen, self.limits.body, self.clock, recalls, RecallSettings(), open_gate(self.clock)
        )
        self.site = archive_site(application, self.limits, self.reactor)
        endpoint: Any
        if own is not None:
            (endpoint,) = server_endpoints(self.reactor, (), ["tcp:0:interface=127.0.0.1"], own)
        elif certificate is None:
            endpoint = TCP4ServerEndpoint(self.reactor, 0, interface="127.0.0.1")
        else:
            endpoint = SSL4ServerEndpoint(self.reactor, 0, certificate, interface="127.0.0.1")
        self.service = ArchiveService(
            _Ungoverned(), None, backend, recalls, pool, Telemetry(self.reactor), self.site, [endpoint], 10
        )

    def connect(self, receive_buffer: int | None = None) -> socket.socket:
        """Connect a client."""
        client = socket.socket()
        client.settimeout(20)
        if receive_buffer is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.connect(self.address)
        return client

    @property
    def connections(self) -> set[Any]:
        """The open connections."""
        return set(self.site._connections)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host: Any = self.service.ports[0].getHost()
        return host.host, host.port

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let the reactor turn until something holds, for ten seconds at most."""
        for _ in range(1000):
            if condition():
                return
            await deferLater(self.reactor, 0.01)
        raise AssertionError("it never came to that")


@asynccontextmanager
async def live(
    prefix: Path, certificate: DefaultOpenSSLContextFactory | None = None, own: Context | None = None, **settings: Any
) -> AsyncIterator[Live]:
    """Run a server, and see at the end that no connection, delayed call or writer is left."""
    server = Live(prefix, certificate, own, **settings)
    writers = len(server.reactor.getWriters())
    await server.service.startService()
    try:
        yield server
    finally:
        await server.service.stopService()
    assert not server.clock.getDelayedCalls()
    assert len(server.reactor.getWriters()) == writers
