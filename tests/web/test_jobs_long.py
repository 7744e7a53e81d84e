"""Stage jobs of many files: long documents and long answers leave the reactor to others, and are not gathered."""

from __future__ import annotations

import json

import pytest
from doubles import job_file, job_status
from job_server import JSON, URL, server
from support import Server, chunked, compose, read_answer, serving

from pacarchive.recall.settings import RecallSettings
from pacarchive.web.http.documents import LARGE, SLICE

__all__ = ["server"]  # the fixture


def turn(server: Server) -> None:
    """One turn of the reactor; C{Clock.advance} goes on until there is nothing to do."""
    (call,) = [call for call in server.clock.calls if call.getTime() <= server.clock.seconds()]
    server.clock.calls.remove(call)
    call.called = 1
    call.func(*call.args, **call.kw)


def test_submit_in_many_chunks(server: Server) -> None:
    """The work grows with the bytes, and not with their square."""
    body = b'{"files": [1]' + b" " * 100_000 + b"}"
    client = server.connect().send(compose("POST", "/jobs", JSON, "Transfer-Encoding: chunked"))
    client.send(chunked(*(body[at : at + 3] for at in range(0, len(body), 3))))
    server.finish_work()
    (answer,) = client.answers()
    assert answer.status == 201


def test_a_long_list_lets_others_have_their_turn() -> None:
    """And a client that leaves meanwhile has asked for nothing."""
    with serving(Server(recall=RecallSettings(job_files=20_000))) as server:
        body = json.dumps({"files": [*range(6000)]}).encode()
        for stays in (True, False):
            client = server.connect().send(compose("POST", "/jobs", JSON, body=body))
            for _ in range(3):
                turn(server)
                assert server.recalls.calls == []
            if not stays:
                client.hang_up()
            server.clock.advance(0)
            assert len(server.recalls.called("submit")) == stays
            server.recalls.calls.clear()


def long_job(server: Server, count: int) -> None:
    """A job with many files."""
    server.recalls.place(job_status(files=count), *(job_file(file_id, reason="x" * 30) for file_id in range(count)))


def test_a_long_answer_lets_others_have_their_turn(server: Server) -> None:
    """It is written in slices, and sent when all is."""
    long_job(server, 10 * SLICE + 1)
    client = server.connect().send(compose("GET", f"{URL}/files?limit=10000"))
    turns = 0
    while not (data := client.take()):
        turn(server)
        turns += 1
    assert 10 <= turns <= 40, "it rests between two slices, and not for long"
    answer, rest = read_answer(data)
    assert rest == b""
    assert [each["file"] for each in json.loads(answer.body)["files"]] == [*map(str, range(10 * SLICE + 1))]
    assert client.connected
    assert client.ask("GET", "/").status == 200


@pytest.mark.parametrize("count", [0, 1, SLICE - 1, SLICE, SLICE + 1, 2 * SLICE])
def test_at_the_edges_of_slices(server: Server, count: int) -> None:
    """No entry is lost, nor comes twice."""
    long_job(server, count)
    client = server.connect().send(compose("GET", f"{URL}/files"))
    server.clock.advance(0)
    (answer,) = client.answers()
    assert [each["file"] for each in json.loads(answer.body)["files"]] == [*map(str, range(count))]


def test_a_client_that_leaves_before_a_long_answer(server: Server) -> None:
    """Nothing goes on."""
    long_job(server, 5 * SLICE)
    client = server.connect().send(compose("GET", f"{URL}/files"))
    client.hang_up()
    server.clock.advance(0)  # the turn that it was in line for
    assert server.clock.getDelayedCalls() == []


def test_a_long_answer_waits_for_the_client(server: Server) -> None:
    """What it does not take is not put into the connection's buffer; one that takes nothing is cut off."""
    long_job(server, 5000)
    client = server.connect()
    client.transport.room = 1
    client.send(compose("GET", f"{URL}/files?limit=5000"))
    server.clock.advance(0)
    first = client.take()
    assert LARGE <= len(first) < 2 * LARGE
    received = first
    while not received.endswith(b"]}"):
        client.transport.producer.resumeProducing()  # type: ignore[union-attr]
        received += client.take()
    client.transport.producer.resumeProducing()  # type: ignore[union-attr]
    answer, _ = read_answer(received)
    assert len(json.loads(answer.body)["files"]) == 5000
    client.send(compose("GET", f"{URL}/files?limit=5000"))
    server.clock.advance(0)
    client.take()
    client.transport.kernel[0].send(b"not taken")
    server.clock.pump([server.limits.progress_timeout] * 2)
    assert client.transport.closed == "aborted"
    assert server.site.events["stalled"] == 1


def test_head_of_a_long_answer(server: Server) -> None:
    """It has the length, and nothing of it."""
    long_job(server, 1000)
    client = server.connect().send(compose("HEAD", f"{URL}/files"))
    server.clock.advance(0)
    answer, rest = read_answer(client.take(), "HEAD")
    assert (answer.status, rest) == (200, b"")
    assert int(answer.field("Content-Length") or 0) > LARGE


@pytest.mark.parametrize("number", ["1e-400", "1.5", "9e-324"])
def test_numbers_that_take_long_to_read(server: Server, number: str) -> None:
    """A few are read as any; a document that is full of them is none."""
    few, many = (json.dumps({"files": [1], "note": []}).replace("[]", f"[{','.join([number] * n)}]") for n in (9, 9000))
    assert "Invalid JSON" not in str(server.ask("POST", "/jobs", JSON, body=few.encode()).body)
    answer = server.ask("POST", "/jobs", JSON, body=many.encode())
    assert (answer.status, answer.error["message"]) == (400, "Invalid JSON document")


@pytest.mark.parametrize("element", ["[],", "{},", "1,", '"",'])
def test_elements_that_take_long_to_read(server: Server, element: str) -> None:
    """As many as lists have are read; a document that is full of them is refused before it is read."""
    few, many = (f'{{"files":[1],"note":[{element * count}1]}}'.encode() for count in (30_000, 100_000))
    assert server.ask("POST", "/jobs", JSON, body=few).error["message"] == 'A job has no "note".'
    answer = server.ask("POST", "/jobs", JSON, body=many)
    assert (answer.status, "100000 commas" in answer.error["message"]) == (413, True)
