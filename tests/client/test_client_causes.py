"""Where no archive is, and why one does not answer: what is told is the cause."""

from __future__ import annotations

import pytest
from twisted.web.server import Request

from pacarchive.client import NEVER, ArchiveClient, NotFound, ServerError, ServerUnavailable, WrongScheme
from pacarchive.client.testing import URL, FakeArchive, result_of


class Elsewhere(FakeArchive):
    """A web server with no archive, at the URL that was given."""

    page = b"<html>404</html>"
    status = 404

    def render(self, request: Request) -> bytes:
        self.requests.append((request.method.decode(), request.path.decode()))
        request.setResponseCode(self.status)
        return b"" if request.method == b"HEAD" else self.page


class Troubled(FakeArchive):
    """An archive whose storage is away; a HEAD has no room for the words."""

    status = 503
    told = b'{"status": "503", "message": "The core server is down.", "traceback": "The core server is down."}'

    def render(self, request: Request) -> bytes:
        self.requests.append((request.method.decode(), request.path.decode()))
        request.setResponseCode(self.status)
        return b"" if request.method == b"HEAD" else self.told


def all_calls(client: ArchiveClient) -> list[object]:
    return [
        client.status(1),
        client.get(1, print),
        client.put(1, b"x"),
        client.delete(1),
        client.stage([1]),
        client.health(),
    ]


@pytest.mark.parametrize(
    "page", [b"<html>404</html>", b"", b'{"message": "No such resource: a path here is one file id."}']
)
def test_a_path_without_an_archive_is_no_missing_file(page: bytes) -> None:
    """Whoever answers there, and whatever is asked."""
    archive = Elsewhere()
    archive.page = page
    for call in all_calls(archive.client(retry=NEVER)):
        with pytest.raises(NotFound, match=f"No archive answers at {URL}: check the address"):
            result_of(call)  # type: ignore[arg-type]


def test_a_missing_file_is_no_missing_archive() -> None:
    """Whether there is an archive is asked once, however many files there are not."""
    archive = FakeArchive()
    client = archive.client()
    for file_id in range(5):
        with pytest.raises(NotFound, match="No file has this id"):
            result_of(client.status(file_id))
    assert [path for method, path in archive.requests if method == "GET"] == ["/"]


def test_an_archive_that_does_not_say_is_one() -> None:
    """Its root may be busy, or not be passed on."""
    archive = FakeArchive()
    client = archive.client()
    archive.answer_with(404)
    archive.answer_with(503)
    with pytest.raises(NotFound, match="No file has this id"):
        result_of(client.status(1))


@pytest.mark.parametrize(("status", "kind"), [(503, ServerUnavailable), (500, ServerError)])
def test_why_a_status_cannot_be_told(status: int, kind: type[Exception]) -> None:
    """It is asked in another way, once; and told without saying it twice."""
    archive = Troubled()
    archive.status = status
    with pytest.raises(kind) as caught:
        result_of(archive.client(retry=NEVER).status(1))
    assert str(caught.value) == "The core server is down."
    assert archive.requests == [("HEAD", "/1"), ("PROPFIND", "/1")]
    with pytest.raises(kind) as caught:
        result_of(archive.client(retry=NEVER).get(1, print))
    assert str(caught.value) == "The core server is down."


@pytest.mark.parametrize(
    "page",
    [
        b"<center>The plain HTTP request was sent to HTTPS port</center>",
        b"Reason: You're speaking plain HTTP to an SSL-enabled server port.<br />",
    ],
)
def test_a_proxy_that_wants_tls(page: bytes) -> None:
    """nginx and Apache say so."""
    archive = Elsewhere()
    archive.page, archive.status = page, 400
    with pytest.raises(WrongScheme, match=f"{URL} speaks TLS: write https:// instead of http://"):
        result_of(archive.client(retry=NEVER).health())
