"""Credentials: they are sent with each request, and nowhere else; what is refused is read again."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from pacarchive.client import (
    NEVER,
    ArchiveClient,
    ClientError,
    NotPermitted,
    ProtocolError,
    TokenFile,
    TokenUnusable,
    Unauthorised,
)
from pacarchive.client.addresses import Place
from pacarchive.client.fields import parse_challenges
from pacarchive.client.testing import FakeArchive, result_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

DATA = bytes(range(256)) * 20


@pytest.fixture
def archive() -> FakeArchive:
    """One with a file, where only tokens are answered that have been changed once."""
    archive = FakeArchive()
    archive.add(1, DATA)
    archive.tokens = {"new"}
    return archive


class Issuer:
    """Gives one token after the other, the last one for ever."""

    def __init__(self, *tokens: str | None) -> None:
        self.tokens = list(tokens)
        self.asked = 0

    def __call__(self) -> str | None:
        self.asked += 1
        return self.tokens.pop(0) if len(self.tokens) > 1 else self.tokens[0]


async def pieces() -> AsyncIterator[bytes]:
    """What can be read once only."""
    yield DATA[:100]
    yield DATA[100:]


CALLS: dict[str, Any] = {
    "put bytes": lambda client, path: client.put(2, DATA),
    "put a path": lambda client, path: client.put(2, path),
    "put a path, hashed on the way": lambda client, path: client.put(2, path, hash_first=False),
    "get": lambda client, path: client.get(1, path.with_name("target")),
    "get into a function": lambda client, path: client.get(1, lambda piece: None),
    "status": lambda client, path: client.status(1),
    "delete": lambda client, path: client.delete(1),
    "move": lambda client, path: client.move(2, "/incoming"),
    "stage": lambda client, path: client.stage([1]),
    "plan": lambda client, path: client.plan([1]),
    "archiveinfo": lambda client, path: client.archiveinfo([1]),
    "health": lambda client, path: client.health(),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file to put."""
    (tmp_path / "source").write_bytes(DATA)
    return tmp_path / "source"


# what is sent


@pytest.mark.parametrize("call", CALLS)
def test_a_token_goes_with_every_request(archive: FakeArchive, path: Path, call: str) -> None:
    """And without it none is answered; nothing is repeated then."""
    archive.sources["/incoming"] = DATA
    with pytest.raises(Unauthorised, match=r"no credentials|requires authentication") as caught:
        result_of(CALLS[call](archive.client(), path))
    assert caught.value.status == 401
    assert len(archive.requests) == 1
    result_of(CALLS[call](archive.client(token="new"), path))


@pytest.mark.parametrize("call", CALLS)
def test_so_does_a_user_with_a_password(archive: FakeArchive, path: Path, call: str) -> None:
    """In UTF-8, with what characters there may be."""
    archive.sources["/incoming"] = DATA
    archive.tokens, archive.users = set(), {"alice": "sécret: 密"}
    result_of(CALLS[call](archive.client(user="alice", password="sécret: 密"), path))
    with pytest.raises(Unauthorised) as caught:
        result_of(CALLS[call](archive.client(user="alice", password="other"), path))
    assert caught.value.schemes == ("Basic",)


def test_the_job_that_is_followed_is_asked_for_by_the_same(archive: FakeArchive) -> None:
    """The events, and each look at it."""
    archive.to_tape(1)
    client = archive.client(token=Issuer("old", "new"))
    job = result_of(client.stage([1]))
    waiting = Deferred.fromCoroutine(client.wait_for(job))
    archive.clock.advance(3)
    archive.tokens = {"newer"}
    archive.clock.advance(3)
    failures: list[Any] = []
    waiting.addErrback(lambda failure: failures.append(failure.value))
    assert isinstance(failures[0], Unauthorised)


# a token that is read


@pytest.mark.parametrize("call", CALLS)
def test_a_token_that_is_refused_is_read_again(archive: FakeArchive, path: Path, call: str) -> None:
    """And all is sent once more, whatever it is: nothing was done."""
    archive.sources["/incoming"] = DATA
    issuer = Issuer("old", "new", "newer")
    client = archive.client(token=issuer)
    result_of(CALLS[call](client, path))
    assert issuer.asked == 2
    assert archive.requests[0] == archive.requests[1]
    asked = len(archive.requests)
    result_of(client.health())
    assert (issuer.asked, len(archive.requests)) == (2, asked + 1)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("tokens", "requests"), [(["old", "old"], 1), (["old", None], 1), (["old", "older", "new"], 2)]
)
def test_it_is_sent_once_more_and_only_with_another_token(
    archive: FakeArchive, path: Path, call: str, tokens: list[str | None], requests: int
) -> None:
    """Not with the same, not without any, and not a third time."""
    archive.sources["/incoming"] = DATA
    issuer = Issuer(*tokens)
    with pytest.raises(Unauthorised):
        result_of(CALLS[call](archive.client(token=issuer), path))
    assert (len(archive.requests), issuer.asked) == (requests, 2)
    assert 2 not in archive.files


def test_before_what_can_be_sent_once_only_it_is_read_anew(archive: FakeArchive) -> None:
    """One that has ended meanwhile would be refused when it is too late."""
    issuer = Issuer("old", "new")
    client = archive.client(token=issuer)
    archive.tokens = {"old"}
    assert result_of(client.health()).ready
    archive.tokens = {"new"}
    result_of(client.put(2, pieces()))
    assert archive.files[2].data == DATA
    assert [each for each in archive.requests if each[0] == "PUT"] == [("PUT", "/2")]


def test_no_token_where_none_is_found(archive: FakeArchive) -> None:
    """Who has none asks as anybody; it is looked for again when that is refused."""
    archive.tokens = set()
    issuer = Issuer(None, None, "new")
    client = archive.client(token=issuer)
    assert result_of(client.health()).ready
    archive.tokens = {"new"}
    with pytest.raises(Unauthorised):
        result_of(client.health())
    assert result_of(client.health()).ready
    assert issuer.asked == 3


def test_what_cannot_be_read_is_said(archive: FakeArchive, tmp_path: Path) -> None:
    """Without what was read, and nothing is sent."""

    def broken() -> str:
        raise ZeroDivisionError

    with pytest.raises(TokenUnusable) as caught:
        result_of(archive.client(token=lambda: "a secret\r\n").health())
    assert "secret" not in f"{caught.value} {caught.value!r} {vars(caught.value)}"
    with pytest.raises(ZeroDivisionError):
        result_of(archive.client(token=broken).health())
    with pytest.raises(FileNotFoundError):
        result_of(archive.client(token=TokenFile(tmp_path / "none")).health())
    assert not archive.requests


def test_a_file_that_is_replaced_is_read_again(archive: FakeArchive, tmp_path: Path) -> None:
    """As agents replace them."""
    (tmp_path / "token").write_text("old\n")
    client = archive.client(token=TokenFile(tmp_path / "token"))
    archive.tokens = {"old"}
    assert result_of(client.status(1)).size == len(DATA)
    archive.tokens = {"new"}
    (tmp_path / "other").write_text("  new\r\n")
    os.replace(tmp_path / "other", tmp_path / "token")
    assert result_of(client.status(1)).size == len(DATA)


# refusals


def test_what_may_not_be_done_is_another_failure(archive: FakeArchive) -> None:
    """With the archive's words and the scope that is missing; nothing is read or asked again."""
    issuer = Issuer("new")
    client = archive.client(token=issuer)
    field = 'Bearer realm="x", error="insufficient_scope", scope="storage.modify:/1"'
    archive.answer_with(403, WWW_Authenticate=field)
    with pytest.raises(NotPermitted, match="The test wants it so") as caught:
        result_of(client.delete(1))
    assert caught.value.scope == "storage.modify:/1"
    assert (issuer.asked, archive.requests) == (1, [("DELETE", "/1")])


def test_a_refusal_of_a_head_has_words(archive: FakeArchive) -> None:
    """Those of the challenge, or of another request, or some of its own."""
    client = archive.client(token="new", retry=NEVER)
    archive.answer_with(401, WWW_Authenticate='Bearer error="invalid_token", error_description="It ended \\"today\\"."')
    with pytest.raises(Unauthorised, match=r'^It ended "today"\.$'):
        result_of(client.status(1))
    archive.answer_with(401)
    with pytest.raises(Unauthorised, match="The archive requires authentication"):
        result_of(client.status(1))
    archive.answer_with(403)
    archive.answer_with(403)
    with pytest.raises(NotPermitted, match="The test wants it so"):
        result_of(client.status(1))
    archive.answer_with(403)
    archive.answer_with(500)
    with pytest.raises(NotPermitted, match="The archive does not allow this"):
        result_of(client.status(1))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("Bearer", [("Bearer", {})]),
        ('Basic realm="a, b", charset="UTF-8"', [("Basic", {"realm": "a, b", "charset": "UTF-8"})]),
        ('Bearer scope="x" , Basic realm=y', [("Bearer", {"scope": "x"}), ("Basic", {"realm": "y"})]),
        ('BEARER Error = "a\\"b\\\\c", error=second', [("BEARER", {"error": 'a"b\\c'})]),
        ("Negotiate, Bearer", [("Negotiate", {}), ("Bearer", {})]),
        ('Bearer realm="never ends', [("Bearer", {"realm": '"never'}), ("ends", {})]),
    ],
)
def test_challenges_are_read(text: str, found: list[tuple[str, dict[str, str]]]) -> None:
    """RFC 9110, 11.6.1."""
    assert parse_challenges(text) == found


@given(st.text())
def test_whatever_stands_there_a_challenge_is_no_trouble(text: str) -> None:
    """A header is what others write."""
    for scheme, parameters in parse_challenges(text):
        assert scheme
        assert scheme in text
        assert all(name == name.lower() for name in parameters)


# where nothing goes


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_takes_it_elsewhere(archive: FakeArchive, status: int) -> None:
    """None is followed, so that there is no second request."""
    client = archive.client(token=Issuer("new"))
    archive.answer_with(status, Location="http://elsewhere.example.org/1")
    with pytest.raises(ProtocolError):
        result_of(client.put(2, DATA))
    assert archive.requests == [("PUT", "/2")]


PLACES = [
    ("https://archive.example.org", True),
    ("http://localhost:8080", True),
    ("http://LOCALHOST.", True),
    ("http://a.localhost", True),
    ("http://127.0.0.1", True),
    ("http://127.9.9.9:1", True),
    ("http://[::1]:8080", True),
    ("http://archive.example.org", False),
    ("http://localhost.example.org", False),
    ("http://notlocalhost", False),
    ("http://127.0.0.1.example.org", False),
    ("http://128.0.0.1", False),
    ("http://10.0.0.1", False),
    ("http://[fe80::1%25lo]", False),
    ("http://[::ffff:10.0.0.1]", False),
]


@pytest.mark.parametrize(("url", "safe"), PLACES)
@pytest.mark.parametrize(
    "caller", [{"token": "secret"}, {"token": lambda: "secret"}, {"user": "alice", "password": "secret"}]
)
def test_without_tls_it_goes_nowhere_but_to_this_machine(url: str, safe: bool, caller: dict[str, Any]) -> None:
    """Unless that is allowed in so many words."""
    assert (Place.of(url).secure or Place.of(url).is_loopback) is safe
    treq = object()
    ArchiveClient(Clock(), url, treq=treq)
    ArchiveClient(Clock(), url, treq=treq, allow_plain_http=True, **caller)
    if safe:
        ArchiveClient(Clock(), url, treq=treq, **caller)
        return
    with pytest.raises(ValueError, match=r"without TLS.*https://") as caught:
        ArchiveClient(Clock(), url, treq=treq, **caller)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "caller",
    [
        {"token": "secret", "user": "alice", "password": "secret"},
        {"user": "alice"},
        {"password": "secret"},
        {"user": "a:b", "password": "secret"},
        {"user": "alice", "password": "secret\r\nX: y"},
        {"token": ""},
        {"token": "secret and more"},
        {"token": "=secret"},
        {"token": "sécret"},
    ],
)
def test_what_cannot_be_meant_is_refused_without_its_secrets(archive: FakeArchive, caller: dict[str, Any]) -> None:
    """When the client is made."""
    with pytest.raises(ValueError) as caught:
        archive.client(**caller)
    assert "cret" not in str(caught.value)


@given(st.text(), st.text())
def test_a_password_is_in_no_text(user: str, password: str) -> None:
    """Whatever it is: neither in that of the client nor in that of a complaint."""
    try:
        client = FakeArchive().client(user=user, password=f"SECRET{password}")
        told = f"{client!r} {client._wire._credentials!r}"
    except ValueError as error:
        told = f"{error!r} {error}"
    assert "SECRET" not in told


def test_a_client_error_is_what_each_of_them_is(archive: FakeArchive) -> None:
    """So that one C{except} is enough; and each has advice."""
    for kind in (Unauthorised, NotPermitted, TokenUnusable):
        assert issubclass(kind, ClientError)
        assert kind.advice != ClientError.advice
