"""What a connection takes that waits: few objects, and no timer but one, whatever it was used for."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest
from support import Server, compose, serving
from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.web.resource import Resource
from twisted.web.server import Site

from pacarchive.web.http.request import ArchiveRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

SHARED = 30
"""How many names the instances of a class can have in one table; with more, each has one of its own (CPython)."""


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server()) as started:
        yield started


def test_connections_have_no_table_of_their_own(server: Server) -> None:
    """It would be a quarter of all that they take."""
    clients = [server.connect() for _ in range(3)]
    names: set[str] = set()
    for client in clients:
        client.ask("PUT", "/1", body=b"data")
        for method in ("GET", "HEAD", "GET"):
            client.ask(method, "/1")
        client.ask("GET", "/health")
        whole = compose("GET", "/1")
        client.send(whole[:20])
        names |= vars(client.protocol).keys()
        client.send(whole[20:])
        names |= vars(client.protocol).keys()
    assert len(names) <= SHARED, sorted(names)
    for client in clients:
        client.hang_up()


def test_a_used_connection_has_the_timer_that_it_had(server: Server) -> None:
    """One that is cancelled for each request would be kept until its time had come."""
    client = server.connect()
    (before,) = server.clock.getDelayedCalls()
    for method, body in (("PUT", b"data"), ("GET", None), ("HEAD", None), ("GET", None)):
        server.clock.advance(1)
        client.ask(method, "/1", body=body)
    assert before in server.clock.getDelayedCalls()
    client.hang_up()
    assert not server.clock.getDelayedCalls()


def test_the_timer_is_set_again_for_what_is_left(server: Server) -> None:
    """A connection is closed as long after its last request as it may be idle, and not before."""
    limit = server.site.limits.idle_timeout
    client = server.connect()
    server.clock.advance(limit - 1)
    client.ask("GET", "/health")
    server.clock.pump([1.0] * round(limit - 1))
    assert client.connected
    server.clock.advance(1.0)
    assert not client.connected


def test_a_shorter_patience_begins_at_once(server: Server) -> None:
    """Although the timer was set for longer."""
    client = server.connect()
    ended = []
    client.protocol.timeoutConnection = lambda: ended.append(server.clock.seconds())
    begun = server.clock.seconds()
    client.protocol.setTimeout(5)
    server.clock.advance(4.5)
    assert not ended
    server.clock.advance(0.5)
    assert ended == [begun + 5]
    client.hang_up()


def test_without_patience_nothing_ends(server: Server) -> None:
    """The timer that is left does nothing."""
    client = server.connect()
    client.protocol.setTimeout(None)
    server.clock.advance(10_000)
    assert client.connected
    client.hang_up()


def test_requests_leave_nothing_to_the_garbage_collector(server: Server) -> None:
    """What it finds stays until then: of connections that were used once, more than they take themselves."""
    client = server.connect()
    gc.collect()
    others = {id(each) for each in gc.get_objects() if isinstance(each, ArchiveRequest)}
    gc.disable()
    try:
        for method, body in (("PUT", b"data"), ("GET", None), ("HEAD", None), ("PUT", b"more")):
            client.ask(method, "/1", "X-Unusual: so that there is a request", body=body)
        there = [each for each in gc.get_objects() if isinstance(each, ArchiveRequest)]
        assert [each for each in there if id(each) not in others] == []
    finally:
        gc.enable()
    client.hang_up()


def test_twisted_gives_a_channel_no_more_than_ours_have() -> None:
    """What its site sets on each is set on the class here."""
    site = Site(Resource(), reactor=MemoryReactorClock())
    site.protocol = Protocol  # type: ignore[assignment, method-assign]
    made = site.buildProtocol(None)
    assert vars(made).keys() == {"factory", "callLater", "timeOut", "requestFactory", "site"}
