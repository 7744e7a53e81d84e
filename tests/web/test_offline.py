"""
Files whose bytes are on tape: what each verb answers, what it asks of the recall engine, and how long it waits.

The backend is the memory backend with a tape; the engine does as the test says.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from uuid import UUID

import pytest
from doubles import COME_BACK, JOB, NOW, Archive, FakeRecalls
from support import DATA, Answer, Client, Server, compose, serving
from twisted.internet.address import UNIXAddress
from twisted.internet.error import ConnectionDone, ConnectionLost
from zope.interface import implementer
from zope.interface.verify import verifyObject

from pacarchive import errors
from pacarchive.interfaces import IRecaller, IStoredFile
from pacarchive.model import Locality, RecallProgress, TapeLocation
from pacarchive.recall.engine import RecallEngine
from pacarchive.recall.settings import RecallSettings
from pacarchive.settings.server import Compatibility
from pacarchive.web.arrival import LOOK_AGAIN
from pacarchive.web.http.turns import ALLOWANCE

LINK = f'</jobs/{JOB}>; rel="monitor"'
GET_WAIT = 100

both_modes = pytest.mark.parametrize("mode", list(Compatibility), ids=lambda mode: mode.value)


class SilentTapes(Archive):
    """Opens no file that is on tape, and has no way to be asked for one."""

    async def open(self, file_id: int) -> IStoredFile:
        if (await Archive.status(self, file_id)).locality is Locality.TAPE:
            self.calls.append("offline")
            raise errors.Offline("The file is on tape.", job=None, retry_after=7)
        return await super().open(file_id)


@implementer(IRecaller)
class Tapes(SilentTapes):
    """The same, and it can be asked; but only the engine does."""

    batch_limit = 1

    async def locate(self, file_ids: Sequence[int]) -> Mapping[int, TapeLocation | None]:
        raise AssertionError("this is the engine's")

    async def recall(self, request: UUID, file_ids: Sequence[int]) -> Mapping[int, RecallProgress]:
        raise AssertionError("this is the engine's")

    async def poll(self, request: UUID, file_ids: Sequence[int]) -> Mapping[int, RecallProgress]:
        raise AssertionError("this is the engine's")

    async def cancel(self, request: UUID, file_ids: Sequence[int]) -> frozenset[int]:
        raise AssertionError("this is the engine's")

    async def release(self, file_id: int) -> None:
        raise AssertionError("this is the engine's")


def place_on_tape(server: Server, file_id: int) -> None:
    """Let a file be on tape only."""
    server.archive.place(file_id, DATA, locality=Locality.TAPE, bytes_per_level=(0, len(DATA)), media=("disk", "tape"))


def arrive(server: Server, file_id: int = 102) -> None:
    """Let a file come to disk, of which the engine says nothing."""
    server.archive.place(file_id, DATA, locality=Locality.DISK_AND_TAPE)


def make_server(mode: Compatibility = Compatibility.NONE) -> Server:
    """102 is on tape; 7 is on disk.  To be started and stopped by its user, who calls L{furnish} between."""
    return Server(Tapes, recall=RecallSettings(get_wait=GET_WAIT), compatibility=mode)


def furnish(server: Server) -> Server:
    place_on_tape(server, 102)
    server.archive.place(7, DATA)
    return server


@pytest.fixture
def server() -> Iterator[Server]:
    """102 is on tape; 7 is on disk."""
    with serving(make_server()) as server:
        yield furnish(server)


@pytest.fixture
def pacifica() -> Iterator[Server]:
    """The same, for the predecessor's clients."""
    with serving(make_server(Compatibility.PACIFICA)) as server:
        yield furnish(server)


@pytest.fixture(params=["server", "pacifica"])
def either(request: pytest.FixtureRequest) -> Server:
    """In both modes."""
    server: Server = request.getfixturevalue(request.param)
    return server


def send(server: Server, method: str, target: str, *fields: str) -> Client:
    """Send a request, and see that it is not answered yet."""
    client = server.connect().send(compose(method, target, *fields))
    assert client.take() == b""
    return client


def answer_of(client: Client) -> Answer:
    """The one answer that has come; the connection goes on."""
    (answer,) = client.answers()
    assert client.connected
    return answer


def assert_later(server: Server, answer: Answer, seconds: int, words: str) -> None:
    """See that a client is told to come back, and why."""
    if not is_none(server):
        # The predecessor knew no 503; its tools look for words here.
        assert (answer.status, answer.error["traceback"]) == (500, words)
    else:
        assert (answer.status, answer.error["message"]) == (503, words)
    assert answer.field("Retry-After") == str(seconds)


def assert_on_tape(server: Server, answer: Answer) -> None:
    """See that a client is told that the file is on its way, and where to ask how it stands."""
    assert_later(server, answer, COME_BACK, "The file is on tape.")
    assert answer.field("Link") == LINK


def is_none(server: Server) -> bool:
    """Whether the server speaks for itself, and not for the predecessor."""
    return server.settings.compatibility is Compatibility.NONE


def test_the_doubles_keep_the_contract(server: Server) -> None:
    """They are what the application takes them for."""
    assert verifyObject(IRecaller, server.archive)
    for name, method in inspect.getmembers(FakeRecalls, inspect.isfunction):
        if not name.startswith("_") and name not in ("called", "place", "ended", "tell", "startService", "stopService"):
            assert inspect.signature(method) == inspect.signature(getattr(RecallEngine, name)), name


# GET


def test_get_asks_for_the_file_and_says_when_to_come_back(server: Server) -> None:
    """The bytes are on their way; a client that only ever repeats its GET gets them in the end."""
    assert_on_tape(server, server.ask("GET", "/102"))
    assert server.recalls.called("want") == [[102, "192.168.1.1"]]
    assert server.recalls.called("wait") == [], "nobody waits who did not say so"
    arrive(server)
    answer = server.ask("GET", "/102")
    assert (answer.status, answer.body, answer.field("Link")) == (200, DATA, None)
    assert len(server.recalls.called("want")) == 1


@pytest.mark.parametrize(
    "field", ["Range: bytes=0-3", "Range: bytes=99-", 'If-None-Match: "x"', "If-Modified-Since: x", "Want-Digest: md5"]
)
def test_no_field_makes_a_success_of_it(server: Server, field: str) -> None:
    """Not even of a part, however small."""
    assert_on_tape(server, server.ask("GET", "/102", field))
    assert_on_tape(server, server.ask("GET", "/102?byte_range=0-3", field))
    assert [file_id for file_id, _ in server.recalls.called("want")] == [102, 102]


def test_respond_async_makes_no_success_of_it_either(server: Server) -> None:
    """RFC 7240 would have 202, whose body the predecessor's clients would take for the file's."""
    assert_on_tape(server, server.ask("GET", "/102", "Prefer: respond-async"))


def test_get_of_a_file_whose_recall_has_failed(server: Server) -> None:
    """Says why; it is asked for again, as trouble may be over, and the monitor tells of that."""
    server.recalls.reasons[102] = "The cartridge is lost."
    answer = server.ask("GET", "/102")
    assert_later(server, answer, COME_BACK, "The cartridge is lost.")
    assert answer.field("Link") == LINK
    assert [name for name, *_ in server.recalls.calls] == ["reason", "want"]
    assert server.failures() == []
    assert [word for word in server.words() if "The cartridge is lost." in word]


def test_one_who_waits_does_not_hear_of_the_last_failure(either: Server) -> None:
    """But of what comes of this try."""
    either.recalls.reasons[102] = "The cartridge was in the way."
    client = waiting(either)
    arrive(either)
    either.recalls.ended(102)
    assert answer_of(client).status == 200
    place_on_tape(either, 102)
    client = waiting(either)
    either.clock.advance(60)
    assert_on_tape(either, answer_of(client))
    assert either.recalls.called("reason") == []


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_when_the_recall_cannot_be_asked_for(either: Server, method: str) -> None:
    """As any other failure of the storage."""
    either.recalls.trouble["want"] = errors.BackendUnavailable("The store does not answer.", retry_after=17)
    assert_later(either, either.ask(method, "/102"), 17, "The store does not answer.")


# GET that waits


def waiting(server: Server) -> Client:
    """A client that wants to wait for 60 seconds, in either mode."""
    return send(server, "GET", "/102", "Prefer: wait=60")


def test_get_waits_for_the_engines_word(either: Server) -> None:
    """The file is sent as soon as it has come, as if it had been there from the start."""
    client = waiting(either)
    assert either.recalls.called("wait") == [[102, 60]]
    either.clock.advance(3)
    arrive(either)
    either.recalls.ended(102)
    answer = answer_of(client)
    assert (answer.status, answer.body) == (200, DATA)
    assert answer.field("Preference-Applied") == "wait=60"
    assert (answer.field("Link"), answer.field("Retry-After")) == (None, None)
    assert either.recalls.called("was_read") == [[102]]


def test_get_of_a_part_waits_too(server: Server) -> None:
    """What is answered at the end is what was asked for at the start."""
    client = send(server, "GET", "/102", "Range: bytes=10-12", "Prefer: wait=60")
    arrive(server)
    server.recalls.ended(102)
    answer = answer_of(client)
    assert (answer.status, answer.body, answer.field("Preference-Applied")) == (206, b"abc", "wait=60")


def test_a_word_before_anyone_listens(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine may know at once that it is there."""

    async def wait(file_id: int, seconds: float) -> bool:
        arrive(server)
        return True

    monkeypatch.setattr(server.recalls, "wait", wait)
    assert server.ask("GET", "/102", "Prefer: wait=60").status == 200


def test_get_waits_in_vain(either: Server) -> None:
    """After the time, the answer is that of one who did not wait."""
    client = waiting(either)
    either.clock.pump([10] * 5 + [9.9])
    assert client.take() == b""
    either.clock.advance(0.1)
    answer = answer_of(client)
    assert_on_tape(either, answer)
    assert answer.field("Preference-Applied") == "wait=60"


def test_the_backend_is_looked_at_while_a_request_waits(either: Server) -> None:
    """A file may come without the engine's doing, and the engine's word may be late."""
    client = waiting(either)
    looked = either.archive.calls.count("offline")
    either.clock.advance(LOOK_AGAIN)
    assert either.archive.calls.count("offline") == looked + 1
    arrive(either)
    either.clock.advance(LOOK_AGAIN - 1)
    assert client.take() == b""
    either.clock.advance(1)
    assert answer_of(client).status == 200
    assert either.recalls.waiting == []


def test_the_storage_has_trouble_while_a_request_waits(server: Server) -> None:
    """It may be over before the file would have come; only at the end it is the answer."""
    client = waiting(server)
    server.archive.trouble["open"] = errors.BackendUnavailable("HPSS does not answer.", retry_after=3)
    arrive(server)
    server.clock.advance(LOOK_AGAIN)
    assert client.take() == b""
    server.clock.pump([LOOK_AGAIN] * 3)
    assert_later(server, answer_of(client), 3, "HPSS does not answer.")
    client = server.connect().send(compose("GET", "/102"))
    assert_later(server, answer_of(client), 3, "HPSS does not answer.")


def test_a_file_that_is_removed_while_a_request_waits(server: Server) -> None:
    """There is nothing to wait for."""
    client = waiting(server)
    assert server.ask("DELETE", "/102").status == 200
    server.recalls.ended(102)
    assert answer_of(client).status == 404


def test_a_recall_that_fails_while_a_request_waits(either: Server) -> None:
    """Its reason is the answer, at once."""
    client = waiting(either)
    either.recalls.reasons[102] = "The cartridge is lost."
    either.recalls.ended(102)
    answer = answer_of(client)
    assert_later(either, answer, 10, "The cartridge is lost.")
    assert answer.field("Link") is None


def test_the_service_stops_while_a_request_waits(either: Server) -> None:
    """It is told to come back: there is somebody else then, or this server after its restart."""
    client = waiting(either)
    either.recalls.ended(102, False)
    assert_on_tape(either, answer_of(client))


def test_what_goes_wrong_in_the_engine_is_no_answer_about_the_file(server: Server) -> None:
    """It is an incident."""
    server.recalls.trouble["wait"] = ZeroDivisionError()
    assert server.ask("GET", "/102", "Prefer: wait=60").status == 500
    (failure,) = server.failures()
    assert failure.check(ZeroDivisionError)


@pytest.mark.parametrize("seconds", [0, LOOK_AGAIN])
def test_a_client_that_leaves_while_it_waits(either: Server, seconds: float) -> None:
    """Nothing is left of it, with the engine or in the reactor."""
    client = waiting(either)
    either.clock.advance(seconds)
    client.hang_up(ConnectionDone())
    assert either.recalls.waiting == []
    either.clock.advance(0)
    assert either.clock.getDelayedCalls() == []
    assert client.take() == b""


def test_a_client_that_leaves_before_it_waits(server: Server) -> None:
    """Its route goes on before it is its turn to be cancelled: nobody waits for the file."""
    opening = server.archive.hold("status")
    client = server.connect().send(compose("POST", "/102", "Prefer: wait=60"))
    server.site.turns.spend(2 * ALLOWANCE)
    client.transport.lose(ConnectionLost())
    opening.callback(None)
    assert server.recalls.waiting == []
    assert not server.failures()


def test_a_client_that_leaves_while_the_storage_looks(server: Server) -> None:
    """What was opened for it is closed."""
    client = waiting(server)
    arrive(server)
    opening = server.archive.hold("open")
    server.clock.advance(LOOK_AGAIN)
    client.hang_up()
    if not opening.called:
        opening.callback(None)
    assert server.recalls.waiting == []


def test_a_client_that_may_have_left(either: Server) -> None:
    """To end its side is all that is seen of one that is gone, as long as nothing is sent to it: it waits no longer."""
    client = waiting(either)
    client.end()
    (answer,) = client.answers()
    assert_on_tape(either, answer)
    assert client.transport.closed


@pytest.mark.parametrize(
    ("mode", "fields", "seconds", "applied"),
    [
        (Compatibility.NONE, [], None, None),
        (Compatibility.NONE, ["Prefer: wait=0"], None, None),
        (Compatibility.NONE, ["Prefer: wait=x"], None, None),
        (Compatibility.NONE, ["Prefer: respond-async"], None, None),
        (Compatibility.NONE, ["Prefer: wait=5"], 5, "wait=5"),
        (Compatibility.NONE, ["Prefer: wait=5, respond-async"], 5, "wait=5"),
        (Compatibility.NONE, ["Prefer: wait=5000"], GET_WAIT, f"wait={GET_WAIT}"),
        (Compatibility.PACIFICA, [], GET_WAIT, None),
        (Compatibility.PACIFICA, ["Prefer: respond-async"], None, None),
        (Compatibility.PACIFICA, ["Prefer: wait=0"], None, None),
        (Compatibility.PACIFICA, ["Prefer: wait=5"], 5, "wait=5"),
        (Compatibility.PACIFICA, ["Prefer: wait=5000"], GET_WAIT, f"wait={GET_WAIT}"),
    ],
)
def test_how_long_a_get_waits(
    mode: Compatibility, fields: list[str], seconds: float | None, applied: str | None
) -> None:
    """As long as the client says, within the setting; the predecessor's clients say nothing and mean all of it."""
    with serving(make_server(mode)) as server:
        furnish(server)
        client = server.connect().send(compose("GET", "/102", *fields))
        if seconds is not None:
            server.clock.advance(seconds - 0.5)
            assert client.take() == b""
            server.clock.advance(0.5)
        answer = answer_of(client)
        assert_on_tape(server, answer)
        assert answer.field("Preference-Applied") == applied
        assert server.recalls.called("wait") == ([] if seconds is None else [[102, seconds]])


def test_no_one_waits_where_nobody_may() -> None:
    """The setting can be nothing."""
    with serving(Server(Tapes, recall=RecallSettings(get_wait=0), compatibility=Compatibility.PACIFICA)) as server:
        furnish(server)
        assert_on_tape(server, server.ask("GET", "/102", "Prefer: wait=5"))
        assert_on_tape(server, server.ask("GET", "/102"))
        assert server.recalls.called("wait") == []


# what never recalls


@pytest.mark.parametrize("method", ["HEAD", "PROPFIND", "OPTIONS"])
def test_to_ask_about_a_file_recalls_nothing(either: Server, method: str) -> None:
    """A crawler may look at everything."""
    assert 200 <= either.ask(method, "/102").status < 300
    assert either.recalls.calls == []
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
@pytest.mark.parametrize("fields", [[], ["Prefer: wait=9"]])
def test_only_what_is_on_tape_is_recalled(either: Server, method: str, file_id: int, fields: list[str]) -> None:
    """Not what is on disk, nor what is not there."""
    status = 200 if file_id == 7 else 404 if is_none(either) else 500
    assert either.ask(method, f"/{file_id}", *fields).status == status
    assert [name for name, *_ in either.recalls.calls if name != "was_read"] == []


def test_writing_recalls_nothing(server: Server) -> None:
    """The old bytes are of no use to anybody."""
    assert server.ask("PUT", "/102", body=DATA).status == 201
    place_on_tape(server, 102)
    assert server.ask("DELETE", "/102").status == 200
    assert server.recalls.calls == [("was_removed", 102)]


# what the engine is told


def test_a_whole_read_is_told(server: Server) -> None:
    """Pins that last until then end."""
    for fields in ([], ["Range: bytes=0-35"], ["Range: bytes=0-"]):
        assert len(server.ask("GET", "/7", *fields).body) == len(DATA)
    assert server.ask("GET", "/7?byte_range=0-99").body == DATA
    assert server.recalls.called("was_read") == [[7]] * 4


def test_an_empty_file_is_read_whole(server: Server) -> None:
    """There is no more of it."""
    server.archive.place(8, b"")
    assert server.ask("GET", "/8").status == 200
    assert server.recalls.called("was_read") == [[8]]


def test_what_is_no_whole_read_is_not_told(server: Server) -> None:
    """The rest is still to be read."""
    etag = server.ask("HEAD", "/7").field("ETag")
    for method, target, field in (
        ("GET", "/7", "Range: bytes=0-34"),
        ("GET", "/7", "Range: bytes=1-"),
        ("GET", "/7", "Range: bytes=36-"),
        ("GET", "/7", f"If-None-Match: {etag}"),
        ("GET", "/7", 'If-Match: "x"'),
        ("GET", "/7?byte_range=0-35", "X: y"),
        ("HEAD", "/7", "X: y"),
    ):
        server.ask(method, target, field)
    server.archive.trouble["read"] = errors.BackendUnavailable("It does not answer.")
    assert server.ask("GET", "/7").status == 503
    assert server.recalls.calls == []


def test_a_download_that_breaks_off_is_not_told(server: Server) -> None:
    """The client comes again."""
    server.archive.place(9, bytes(3 << 20))
    client = server.connect()
    client.transport.room = 1
    client.send(compose("GET", "/9"))
    client.hang_up()
    assert server.recalls.calls == []


def test_a_removal_that_fails_is_not_told(server: Server) -> None:
    """The file is still there."""
    assert server.ask("DELETE", "/102", 'If-Match: "x"').status == 412
    assert server.ask("DELETE", "/8").status == 404
    assert server.recalls.calls == []


# POST


def test_post_says_that_the_file_is_not_there_yet(server: Server) -> None:
    """Accepted, not done (RFC 9110, section 15.3.3)."""
    answer = server.ask("POST", "/102")
    assert answer.line == "HTTP/1.1 202 Accepted"
    assert list(json.loads(answer.body).items()) == [
        ("message", "File is being staged"),
        ("file", "102"),
        ("job", f"/jobs/{JOB}"),
        ("retry_after", COME_BACK),
    ]
    assert answer.field("Content-Type") == "application/json"
    assert answer.field("Location") == f"/jobs/{JOB}"
    assert answer.field("Link") == LINK
    assert answer.field("Retry-After") == str(COME_BACK)
    assert answer.field("Preference-Applied") is None
    assert server.recalls.called("want") == [[102, "192.168.1.1"]]


def test_post_asks_again_for_what_has_failed(server: Server) -> None:
    """Unlike GET, it means just that."""
    server.recalls.reasons[102] = "The cartridge is lost."
    assert server.ask("POST", "/102").status == 202
    assert len(server.recalls.called("want")) == 1


@pytest.mark.parametrize("fields", [[], ["Prefer: wait=9"], ["Prefer: respond-async"]])
def test_post_of_the_predecessors_clients(pacifica: Server, fields: list[str]) -> None:
    """They take nothing but 200 for an answer, and ask with HEAD afterwards."""
    answer = pacifica.ask("POST", "/102", *fields)
    assert (answer.status, answer.body) == (200, b'{"message": "File was staged", "file": "102"}')
    assert len(pacifica.recalls.called("want")) == 1
    assert pacifica.recalls.called("wait") == []


def test_post_of_a_file_that_is_there(either: Server) -> None:
    """It can be read."""
    answer = either.ask("POST", "/7")
    assert (answer.status, answer.body) == (200, b'{"message": "File was staged", "file": "7"}')


@pytest.mark.parametrize("word", [True, False])
def test_post_waits(server: Server, word: bool) -> None:
    """For the engine's word, or until the file is seen to be there."""
    client = send(server, "POST", "/102", "Prefer: wait=60")
    arrive(server)
    if word:
        server.recalls.ended(102)
    else:
        server.clock.advance(LOOK_AGAIN)
    answer = answer_of(client)
    assert (answer.status, answer.body) == (200, b'{"message": "File was staged", "file": "102"}')
    assert answer.field("Preference-Applied") == "wait=60"
    assert (answer.field("Location"), answer.field("Retry-After")) == (None, None)
    assert "open" not in server.archive.calls


def test_post_waits_in_vain(server: Server) -> None:
    """The answer is that of one who did not wait."""
    client = send(server, "POST", "/102", "Prefer: wait=6000")
    server.clock.advance(GET_WAIT)
    answer = answer_of(client)
    assert (answer.status, answer.field("Location")) == (202, f"/jobs/{JOB}")
    assert answer.field("Preference-Applied") == f"wait={GET_WAIT}"


def test_post_that_waits_for_what_fails(server: Server) -> None:
    """Nobody is told that it will come."""
    client = send(server, "POST", "/102", "Prefer: wait=60")
    server.recalls.reasons[102] = "The cartridge is lost."
    server.recalls.ended(102)
    assert_later(server, answer_of(client), 10, "The cartridge is lost.")


def test_post_that_will_not_wait(server: Server) -> None:
    """It says that it does not; without saying anything, it does not either."""
    answer = server.ask("POST", "/102", "Prefer: respond-async")
    assert (answer.status, answer.field("Preference-Applied")) == (202, "respond-async")


def test_a_client_that_leaves_while_its_post_waits(server: Server) -> None:
    """Nothing is left of it; the file comes all the same."""
    send(server, "POST", "/102", "Prefer: wait=60").hang_up()
    assert server.recalls.waiting == []


# who asks


@pytest.mark.parametrize(
    ("header", "fields", "owner"),
    [
        ("", ["X-User: ada"], "192.168.1.1"),
        ("X-User", [], "192.168.1.1"),
        ("X-User", ["X-User: ada"], "ada"),
        ("x-user", ["X-USER:   Ada Lovelace "], "Ada Lovelace"),
        ("X-User", ["X-User: mallory", "X-User: ada"], "ada"),
        ("X-User", ["X-User:"], "192.168.1.1"),
        ("X-User", ["X-User: ad\xe4"], "192.168.1.1"),
        ("X-User", ["X-User: a\x07da"], "192.168.1.1"),
        ("X-User", ["X-User: " + "a" * 300], "a" * 200),
    ],
)
def test_the_owner(header: str, fields: list[str], owner: str) -> None:
    """Whom the proxy names, where it is trusted to and does; else the address."""
    with serving(Server(Tapes, recall=RecallSettings(owner_header=header))) as server:
        furnish(server)
        server.ask("GET", "/102", *fields)
        assert server.recalls.called("want") == [[102, owner]]


def test_the_owner_without_an_address(server: Server) -> None:
    """Who comes through a socket of this machine is of this machine."""
    client = server.connect()
    client.transport.peerAddr = UNIXAddress("/run/socket")
    client.send(compose("GET", "/102"))
    client.answers()
    assert server.recalls.called("want") == [[102, "local"]]


# a backend that cannot be asked


@both_modes
@pytest.mark.parametrize("fields", [[], ["Prefer: wait=9"]])
def test_a_storage_that_recalls_by_itself(mode: Compatibility, fields: list[str]) -> None:
    """There is nothing to ask it for: come back later."""
    with serving(Server(SilentTapes, compatibility=mode)) as server:
        place_on_tape(server, 102)
        answer = server.ask("GET", "/102", *fields)
        assert_later(server, answer, 7, "The file is on tape.")
        assert (answer.field("Link"), answer.field("Preference-Applied")) == (None, None)
        assert server.ask("POST", "/102", *fields).status == 200
        assert server.recalls.calls == []


def test_the_clock_is_the_applications(server: Server) -> None:
    """What waits, waits by it."""
    waiting(server)
    server.clock.advance(0)
    idle = NOW + server.site.limits.idle_timeout  # the connection's, which is not one while it waits
    assert {call.getTime() for call in server.clock.getDelayedCalls()} == {NOW + LOOK_AGAIN, NOW + 60, idle}
