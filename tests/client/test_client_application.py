"""The client and the real application, joined in memory: no sockets, no threads."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from doubles import Archive
from support import DATA, Server, serving
from treq.testing import StubTreq
from twisted.internet.task import Clock
from zope.interface import alsoProvides

from pacarchive import errors
from pacarchive.client import (
    NEVER,
    AlreadyExists,
    ArchiveClient,
    DigestMismatch,
    Locality,
    NoSpace,
    NotFound,
    NotPermitted,
    Offline,
    PreconditionFailed,
    ServerUnavailable,
)
from pacarchive.client.testing import URL, result_of
from pacarchive.interfaces import IRecaller
from pacarchive.recall.words import Priority

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def tapes(clock: Clock) -> Archive:
    """A backend that can be asked for files on tape, which only the engine does."""
    archive = Archive(clock)
    alsoProvides(archive, IRecaller)
    return archive


@contextmanager
def joined(backend: Callable[[Clock], Archive] = Archive, **settings: Any) -> Iterator[tuple[Server, ArchiveClient]]:
    """The application and a client of it."""
    with serving(Server(backend, hosts=("archive.example.org",), **settings)) as server:
        stub: Any = StubTreq(server.site.resource)  # type: ignore[no-untyped-call]
        stub._agent._serverFactory = server.site  # the site that it makes itself knows nothing of our requests
        yield server, ArchiveClient(server.clock, URL, treq=stub, retry=NEVER)


@pytest.mark.parametrize("mode", ["none", "pacifica"])
def test_a_file_goes_in_and_out(tmp_path: Path, mode: str) -> None:
    """In both modes of the server, with its digest both ways."""
    from pacarchive.settings.server import Compatibility

    with joined(compatibility=Compatibility(mode)) as (server, client):
        stored = result_of(
            client.put(12345, DATA, digests=["md5", "sha1", "adler32", "sha512"], mtime_ns=1000_500000001)
        )
        assert server.archive.data(12345) == DATA
        status = result_of(client.status(12345))
        assert (status.etag, status.size, status.mtime_ns) == (stored.etag, 36, 1000_500000001)
        assert status.locality is Locality.DISK
        assert stored.digests.items() >= status.digests.items()
        fetched = result_of(client.get(12345, tmp_path / "target"))
        assert fetched.verified
        assert fetched.etag == stored.etag
        assert (tmp_path / "target").read_bytes() == DATA
        result_of(client.put(1, b""))
        assert result_of(client.get(1, tmp_path / "empty")).size == 0
        result_of(client.delete(12345))
        assert server.archive.data(12345) is None


def test_what_the_application_refuses_is_told_by_name() -> None:
    """Each refusal of its own is a failure of its own."""
    with joined() as (server, client):
        with pytest.raises(NotFound, match="No file"):
            result_of(client.get(1, print))
        with pytest.raises(NotFound):
            result_of(client.status(1))
        result_of(client.put(1, DATA))
        with pytest.raises(PreconditionFailed):
            result_of(client.put(1, DATA, if_absent=True))
        for trouble, kind in (
            (errors.AlreadyExists("taken"), AlreadyExists),
            (errors.NoSpace("full"), NoSpace),
            (errors.BackendUnavailable("away", retry_after=7), ServerUnavailable),
            (errors.DigestMismatch("The sha256 digest of the body is a, not b as given with it."), DigestMismatch),
        ):
            server.archive.trouble["commit"] = trouble
            with pytest.raises(kind) as caught:
                result_of(client.put(2, DATA))
            assert type(caught.value) is kind
            server.clock.advance(0)  # all of it is more than a turn has room for
        del server.archive.trouble["commit"]
        server.archive.trouble["move"] = errors.NotPermitted("outside")
        with pytest.raises(NotPermitted):
            result_of(client.move(2, "/etc/passwd"))


FULL = "The archive has no space left for this file."


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        (None, FULL),
        ("Can't write with error: [Errno 28] No space left on device", FULL),
        ("Can't write with error: [Errno 122] Disk quota exceeded", f"{FULL} (Can't write with error: [Errno 122]"),
    ],
)
def test_a_full_archive_says_so_once(reason: str | None, told: str) -> None:
    """What the system said of it is told where it says more."""
    with joined() as (server, client):
        server.archive.trouble["commit"] = errors.NoSpace(FULL, reason=reason)
        with pytest.raises(NoSpace) as caught:
            result_of(client.put(1, DATA))
        assert str(caught.value).startswith(told)
        assert str(caught.value).count("rror") == told.count("rror")
        assert caught.value.reason == (reason or told)


@pytest.mark.parametrize("mode", ["none", "pacifica"])
def test_bytes_that_do_not_have_their_digest_are_a_mismatch(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the predecessor's mode too, where the status is 500 for everything."""
    from pacarchive.settings.server import Compatibility

    monkeypatch.setattr("pacarchive.client.upload.digest_fields", lambda digests: {"Repr-Digest": WRONG})
    with joined(compatibility=Compatibility(mode)) as (server, client):
        with pytest.raises(DigestMismatch):
            result_of(client.put(1, DATA))
        assert server.archive.data(1) is None


WRONG = "sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:"


def test_a_file_that_the_archive_has_no_digest_of_is_compared_when_it_has(tmp_path: Path) -> None:
    """The predecessor stored none; without one nothing is believed that was to be checked."""
    from pacarchive.client import NotVerifiable

    with joined() as (server, client):
        server.archive.place(1, DATA, digests={})
        try:
            fetched = result_of(client.get(1, tmp_path / "target"))
        except NotVerifiable:
            assert not (tmp_path / "target").exists()
        else:
            assert fetched.verified
        assert not result_of(client.get(1, tmp_path / "target", verify=False)).verified
        assert (tmp_path / "target").read_bytes() == DATA


def test_the_health_and_the_places_are_the_applications() -> None:
    """As it tells them."""
    with joined() as (_, client):
        result_of(client.put(1, DATA))
        assert result_of(client.health()).ready
        assert [each.locality for each in result_of(client.archiveinfo([1, 2]))] == [Locality.DISK, None]


def test_a_file_on_tape_is_offline() -> None:
    """And the job is the one to wait for."""
    with joined(tapes) as (server, client):
        server.archive.place(1, DATA, locality=Locality.TAPE)
        server.archive.trouble["open"] = errors.Offline("It is on tape.", job=None, retry_after=10)
        with pytest.raises(Offline) as caught:
            result_of(client.get(1, print))
        assert caught.value.retry_after >= 1
        assert caught.value.job is not None


@pytest.mark.parametrize(("pin", "pins"), [(None, {}), (3600, {1: 3600, 2: 3600}), (0, {1: 0, 2: 0})])
@pytest.mark.parametrize("deadline", [None, 7200])
def test_what_a_job_is_to_be_arrives(pin: float | None, pins: dict[int, float], deadline: float | None) -> None:
    """As it was given, and nothing of what was not: that is the archive's to choose."""
    with joined(tapes) as (server, client):
        result_of(client.stage([1, 2], pin=pin, deadline=deadline, priority="high"))
        ((request,),) = server.recalls.called("submit")
        assert (sorted(request.file_ids), dict(request.pins), request.deadline) == ([1, 2], pins, deadline)
        assert request.priority is Priority.HIGH
