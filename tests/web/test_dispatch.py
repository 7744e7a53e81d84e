"""A request for a file goes to its route by a table: what comes of it is what comes of it through Klein."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from doubles import Archive
from hypothesis import given
from hypothesis import strategies as st
from support import DATA, Server, come_of, compose, serving
from test_access import TOKEN, governed, rule
from twisted.internet.defer import CancelledError, Deferred

from pacarchive.access.rights import NOTHING, Right
from pacarchive.model import FileStatus
from pacarchive.web.application import ROUTER
from pacarchive.web.dispatch import Dispatch
from pacarchive.web.files import FILE

BEARER = f"Authorization: Bearer {TOKEN}"


@contextmanager
def both(**settings: Any) -> Iterator[tuple[Server, Server]]:
    """Two servers with the same files, of which the second knows no table."""
    with serving(Server(Archive, **settings)) as table, serving(Server(Archive, **settings)) as klein:
        dispatch = klein.site.resource
        assert isinstance(dispatch, Dispatch)
        assert dispatch._of_files == ROUTER.routes_at(FILE)
        dispatch._of_files = {}
        for server in (table, klein):
            server.archive.place(1, DATA)
            server.archive.place(2, b"", mtime_ns=5)
            server.archive.place(2**64 - 1, DATA)
        yield table, klein


requests = st.builds(
    lambda method, target, fields, body: compose(method, target, *fields, body=body),
    st.sampled_from(("GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "PROPFIND", "OPTIONS", "LOCK", "get")),
    st.sampled_from(
        (
            "/1",
            "/2",
            "/3",
            f"/{2**64 - 1}",
            f"/{2**64}",
            f"/{10**19}",
            "/01",
            "/-1",
            "/1/",
            "//1",
            "/1?a=b",
            "/1/2",
            "/x",
        )
    ),
    st.lists(
        st.sampled_from(
            (
                "Range: bytes=1-3",
                "If-Match: *",
                "If-None-Match: *",
                'If-Match: "x"',
                "Content-Type: application/json",
                "Depth: 0",
                "Connection: close",
                "Repr-Digest: sha-256=:AAAA:",
            )
        ),
        max_size=2,
    ),
    st.sampled_from((None, b"", b"words", b'{"path": "/nowhere"}', bytes(100_000))),
)


@given(st.lists(requests, min_size=1, max_size=3))
def test_the_same_comes_of_it(asked: list[bytes]) -> None:
    """Whatever is asked, with whatever body."""
    with both() as (table, klein):
        assert come_of(table, table.connect(), *asked) == come_of(klein, klein.connect(), *asked)


@pytest.mark.parametrize("method", sorted(method for method, url in ROUTER.needs if url == FILE))
@pytest.mark.parametrize("fields", [(), (BEARER,), (BEARER + "x",)], ids=["nobody", "a robot", "a forger"])
def test_rights(method: str, fields: tuple[str, ...]) -> None:
    """Each route asks for its own."""

    def gate(clock: Any) -> Any:
        return governed(clock, NOTHING, rule("token:robot", Right.STAT), rule("token:robot", Right.READ, "2-3"))

    with both(gate=gate) as (table, klein):
        asked = [compose(method, target, *fields) for target in ("/1", "/2", "/3", "/99")]
        assert come_of(table, table.connect(), *asked) == come_of(klein, klein.connect(), *asked)


@pytest.mark.parametrize(
    "error", [RuntimeError("nobody foresaw it"), KeyError(1), CancelledError("by whom?")], ids=repr
)
def test_what_nobody_foresaw(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is answered, and an incident."""

    async def status(archive: Archive, file_id: int) -> FileStatus:
        raise error

    monkeypatch.setattr(Archive, "status", status)
    with both() as (table, klein):
        answers = []
        for each in (table, klein):
            answer, connected, *_ = come_of(each, each.connect(), compose("PROPFIND", "/1", "Depth: 0"))
            answers.append((re.sub(rb"[0-9a-f]{12}", b"incident", answer), connected))
            assert each.site.events["incident"] == 1
        assert all(len(each.failures()) == 2 for each in (table, klein))  # each hears of both
        assert answers[0] == answers[1]
        assert answers[0][0].startswith(b"HTTP/1.1 500")


def test_a_client_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    """The route is cancelled, and that is no failure."""
    under_way: list[Deferred[FileStatus]] = []
    cancelled: list[object] = []

    async def status(archive: Archive, file_id: int) -> FileStatus:
        under_way.append(Deferred(cancelled.append))
        return await under_way[-1]

    monkeypatch.setattr(Archive, "status", status)
    with both() as (table, klein):
        for each in (table, klein):
            client = each.connect()
            client.send(compose("PROPFIND", "/1", "Depth: 0"))
            client.hang_up()
            each.finish_work()
            assert cancelled == under_way
            assert each.site.events["incident"] == 0
        assert len(cancelled) == 2


def test_what_the_table_has() -> None:
    """All that was declared for a file, and nothing else."""
    assert {method.decode() for method in ROUTER.routes_at(FILE)} == {
        method for method, url in ROUTER.needs if url == FILE
    }
