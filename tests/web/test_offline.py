"""
Files whose bytes are on tape: what each verb answers, and when the storage is asked to recall them.

The backend is the memory backend with a tape that forgets nothing: how a recall stands is what the test says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from uuid import UUID

import pytest
from support import DATA, Answer, Archive, Client, Server, compose, serving
from twisted.internet.task import Clock
from zope.interface import implementer
from zope.interface.verify import verifyObject

from pacarchive import errors
from pacarchive.config import Compatibility
from pacarchive.interfaces import IRecaller, IStoredFile
from pacarchive.model import Locality, RecallProgress, RecallState, TapeLocation

WAIT = 61
"""Seconds after which a client is told to come back."""

both_modes = pytest.mark.parametrize("mode", list(Compatibility), ids=lambda mode: mode.value)
under_way = pytest.mark.parametrize("state", [RecallState.QUEUED, RecallState.ACTIVE])
in_vain = pytest.mark.parametrize(
    "progress",
    [
        RecallProgress(RecallState.UNKNOWN, "The disk that files are recalled to is full."),
        RecallProgress(RecallState.UNKNOWN),
        RecallProgress(RecallState.FAILED, "The cartridge is lost."),
        RecallProgress(RecallState.FAILED),
    ],
    ids=lambda progress: f"{progress.state.value}{'-with-words' if progress.words else ''}",
)


class SilentTapes(Archive):
    """Opens no file that is on tape, and has no way to be asked for one."""

    async def open(self, file_id: int) -> IStoredFile:
        if (await Archive.status(self, file_id)).locality is Locality.TAPE:
            raise errors.Offline("The file is on tape.", job=None, retry_after=WAIT)
        return await super().open(file_id)


@implementer(IRecaller)
class Tapes(SilentTapes):
    """
    The same, and it can be asked.

    @ivar progress: How every recall stands.
    @ivar recalls: The requests, and the files of each.
    """

    batch_limit = 1

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.progress = RecallProgress(RecallState.QUEUED)
        self.recalls: list[tuple[UUID, list[int]]] = []

    async def locate(self, file_ids: Sequence[int]) -> Mapping[int, TapeLocation | None]:
        raise AssertionError("nobody needs an order for single files")

    async def recall(self, request: UUID, file_ids: Sequence[int]) -> Mapping[int, RecallProgress]:
        self.recalls.append((request, list(file_ids)))
        await self.pass_by("recall")
        return dict.fromkeys(file_ids, self.progress)

    async def poll(self, request: UUID, file_ids: Sequence[int]) -> Mapping[int, RecallProgress]:
        raise AssertionError("a recall tells how it stands")

    async def cancel(self, request: UUID, file_ids: Sequence[int]) -> frozenset[int]:
        raise AssertionError("nobody gives a single file up")

    async def release(self, file_id: int) -> None:
        raise AssertionError("nobody knows that nobody needs the file")


def place_on_tape(server: Server, file_id: int) -> None:
    """Let a file be on tape only."""
    server.archive.place(file_id, DATA, locality=Locality.TAPE, bytes_per_level=(0, len(DATA)), media=("disk", "tape"))


@pytest.fixture
def server() -> Iterator[Server]:
    """102 is on tape; 7 is on disk."""
    with serving(Server(Tapes)) as server:
        place_on_tape(server, 102)
        server.archive.place(7, DATA)
        yield server


@pytest.fixture
def pacifica() -> Iterator[Server]:
    """The same, for the predecessor's clients."""
    with serving(Server(Tapes, compatibility=Compatibility.PACIFICA)) as server:
        place_on_tape(server, 102)
        server.archive.place(7, DATA)
        yield server


@pytest.fixture(params=["server", "pacifica"])
def either(request: pytest.FixtureRequest) -> Server:
    """In both modes."""
    server: Server = request.getfixturevalue(request.param)
    return server


def assert_later(server: Server, answer: Answer, seconds: int, words: str) -> None:
    """See that a client is told to come back, and why."""
    if server.settings.compatibility is Compatibility.PACIFICA:
        # The predecessor knew no 503; its tools look for words here.
        assert (answer.status, answer.error["traceback"]) == (500, words)
    else:
        assert (answer.status, answer.error["message"]) == (503, words)
    assert answer.field("Retry-After") == str(seconds)


def test_the_double_keeps_the_contract(server: Server) -> None:
    """It is what the application takes it for."""
    assert verifyObject(IRecaller, server.archive)


# GET


@under_way
def test_get_asks_for_the_file_and_says_when_to_come_back(either: Server, state: RecallState) -> None:
    """The bytes are on their way; a client that only ever repeats its GET gets them in the end."""
    either.archive.progress = RecallProgress(state)
    assert_later(either, either.ask("GET", "/102"), WAIT, "The file is on tape.")
    assert [files for _, files in either.archive.recalls] == [[102]]
    either.archive.place(102, DATA)
    answer = either.ask("GET", "/102")
    assert (answer.status, answer.body) == (200, DATA)
    assert len(either.archive.recalls) == 1


@pytest.mark.parametrize(
    "field", ["Range: bytes=0-3", "Range: bytes=99-", 'If-None-Match: "x"', "If-Modified-Since: x", "Want-Digest: md5"]
)
def test_no_field_makes_a_success_of_it(either: Server, field: str) -> None:
    """Not even of a part, however small."""
    assert_later(either, either.ask("GET", "/102", field), WAIT, "The file is on tape.")
    assert_later(either, either.ask("GET", "/102?byte_range=0-3", field), WAIT, "The file is on tape.")
    assert [files for _, files in either.archive.recalls] == [[102], [102]]


@in_vain
def test_get_of_a_file_that_cannot_be_recalled(either: Server, progress: RecallProgress) -> None:
    """Says what is known of the reason, and that it may be otherwise later."""
    either.archive.progress = progress
    assert_later(either, either.ask("GET", "/102"), 10, progress.words or "The file cannot be recalled.")


def test_get_when_the_recall_cannot_be_asked_for(either: Server) -> None:
    """As any other failure of the storage."""
    either.archive.trouble["recall"] = errors.BackendUnavailable("HPSS does not answer.", retry_after=17)
    assert_later(either, either.ask("GET", "/102"), 17, "HPSS does not answer.")


def test_get_of_a_file_that_came_meanwhile(either: Server) -> None:
    """It was on tape when it was opened, so this answer is as if it still were; the next one has the bytes."""
    either.archive.progress = RecallProgress(RecallState.RESIDENT)
    assert_later(either, either.ask("GET", "/102"), WAIT, "The file is on tape.")


def test_many_who_ask_have_one_wish(either: Server) -> None:
    """The storage is to see one request, whoever asks and however often, or it would begin anew for each."""
    place_on_tape(either, 103)
    asked = either.archive.hold("recall")
    clients = [either.connect() for _ in range(20)]
    for number, client in enumerate(clients):
        client.send(compose("GET", f"/{102 + number % 2}"))
    del either.archive.waits["recall"]
    asked.callback(None)
    for client in clients:
        (answer,) = client.answers()
        assert_later(either, answer, WAIT, "The file is on tape.")
        client.hang_up()
    either.ask("POST", "/102")
    assert len(either.archive.recalls) == 21
    assert {tuple(files) for _, files in either.archive.recalls} == {(102,), (103,)}
    (request,) = {request for request, _ in either.archive.recalls}
    other = Server(Tapes)
    try:
        place_on_tape(other, 102)
        other.ask("GET", "/102")
        assert other.archive.recalls == [(request, [102])], "another process, or this one after its next start"
    finally:
        other.stop()


def test_a_client_that_leaves_while_the_storage_is_asked(either: Server) -> None:
    """The file is asked for all the same, and nothing is left of the request."""
    asked = either.archive.hold("recall")
    client: Client = either.connect().send(compose("GET", "/102"))
    client.hang_up()
    asked.callback(None)
    assert client.take() == b""
    assert len(either.archive.recalls) == 1


# what never recalls


@pytest.mark.parametrize("method", ["HEAD", "PROPFIND", "OPTIONS"])
def test_to_ask_about_a_file_recalls_nothing(either: Server, method: str) -> None:
    """A crawler may look at everything."""
    assert 200 <= either.ask(method, "/102").status < 300
    assert either.archive.recalls == []
    assert either.archive.unclosed == 0
    assert "open" not in either.archive.calls


def test_head_says_where_the_bytes_are(either: Server) -> None:
    """In the predecessor's words, which its clients wait for, and in those of the tape API."""
    answer = either.ask("HEAD", "/102")
    assert answer.status == 204
    assert answer.field("X-Pacifica-File-Storage-Media") == "tape"
    assert answer.field("X-Pacarchive-Locality") == "TAPE"
    assert answer.field("X-Pacifica-Bytes-Per-Level") == "(0, 36)"
    assert answer.field("X-Content-Length") == "36"
    either.archive.place(102, DATA, locality=Locality.DISK_AND_TAPE, bytes_per_level=(36, 36), media=("disk", "tape"))
    answer = either.ask("HEAD", "/102")
    assert answer.field("X-Pacifica-File-Storage-Media") == "disk"
    assert answer.field("X-Pacarchive-Locality") == "DISK_AND_TAPE"


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("file_id", [7, 8])
def test_only_what_is_on_tape_is_recalled(either: Server, method: str, file_id: int) -> None:
    """Not what is on disk, nor what is not there."""
    assert either.ask(method, f"/{file_id}").status == (200 if file_id == 7 else 404 if is_none(either) else 500)
    assert either.archive.recalls == []


def test_writing_recalls_nothing(server: Server) -> None:
    """The old bytes are of no use to anybody."""
    assert server.ask("PUT", "/102", body=DATA).status == 201
    place_on_tape(server, 102)
    assert server.ask("DELETE", "/102").status == 200
    assert server.archive.recalls == []


# POST


@under_way
def test_post_says_that_the_file_is_not_there_yet(server: Server, state: RecallState) -> None:
    """Accepted, not done (RFC 9110, section 15.3.3)."""
    server.archive.progress = RecallProgress(state)
    answer = server.ask("POST", "/102")
    assert answer.line == "HTTP/1.1 202 Accepted"
    assert answer.body == b'{"message": "File is being staged", "file": "102"}'
    assert answer.field("Content-Type") == "application/json"
    assert [files for _, files in server.archive.recalls] == [[102]]


@under_way
def test_post_of_the_predecessors_clients(pacifica: Server, state: RecallState) -> None:
    """They take nothing but 200 for an answer, and ask with HEAD afterwards."""
    pacifica.archive.progress = RecallProgress(state)
    answer = pacifica.ask("POST", "/102")
    assert (answer.status, answer.body) == (200, b'{"message": "File was staged", "file": "102"}')
    assert [files for _, files in pacifica.archive.recalls] == [[102]]


def test_post_of_a_file_that_is_there(either: Server) -> None:
    """On disk already, or come meanwhile, or never to come to a disk: it can be read."""
    either.archive.progress = RecallProgress(RecallState.RESIDENT)
    for target in ("/7", "/102"):
        answer = either.ask("POST", target)
        assert answer.status == 200
        assert b'"message": "File was staged"' in answer.body


@in_vain
def test_post_of_a_file_that_cannot_be_recalled(either: Server, progress: RecallProgress) -> None:
    """Nobody is told that it will come."""
    either.archive.progress = progress
    assert_later(either, either.ask("POST", "/102"), 10, progress.words or "The file cannot be recalled.")


def test_post_when_the_recall_cannot_be_asked_for(either: Server) -> None:
    """As any other failure of the storage."""
    either.archive.trouble["recall"] = errors.BackendUnavailable("HPSS does not answer.", retry_after=17)
    assert_later(either, either.ask("POST", "/102"), 17, "HPSS does not answer.")


# a backend that cannot be asked


@both_modes
def test_a_storage_that_recalls_by_itself(mode: Compatibility) -> None:
    """There is nothing to ask it for: come back later."""
    with serving(Server(SilentTapes, compatibility=mode)) as server:
        place_on_tape(server, 102)
        assert_later(server, server.ask("GET", "/102"), WAIT, "The file is on tape.")
        assert server.ask("POST", "/102").status == 200


def is_none(server: Server) -> bool:
    """Whether the server speaks for itself, and not for the predecessor."""
    return server.settings.compatibility is Compatibility.NONE
