"""How the changes of a stage job are told to those who follow it."""

from __future__ import annotations

import json
from typing import Any

from doubles import JOB, NOW, job_file, job_status
from job_server import URL, either, server
from support import Client, Server, compose, read_answer
from twisted.internet.error import ConnectionDone

from pacarchive import errors
from pacarchive.model import Estimate
from pacarchive.recall.words import FilesPage, FileState
from pacarchive.web.http.documents import SLICE

__all__ = ["either", "server"]  # the fixtures


class Follower:
    """A client of the events of a job."""

    def __init__(self, server: Server, *fields: str, target: str = f"{URL}/events", version: str = "1.1") -> None:
        self.server = server
        self.client: Client = server.connect()
        request = compose("GET", target, *fields).replace(b"HTTP/1.1", b"HTTP/%b" % version.encode())
        self.chunked = version == "1.1"
        self.client.send(request)
        server.finish_work()
        self._raw = self.client.take()
        head, _, self._raw = self._raw.partition(b"\r\n\r\n")
        self.head = read_answer(
            head.replace(b"Transfer-Encoding: chunked", b"X: y") + b"\r\nContent-Length: 0\r\n\r\n"
        )[0]
        assert (b"\r\nTransfer-Encoding: chunked" in head) == self.chunked
        self.ended = False
        self.text = ""
        self.read()

    def read(self) -> str:
        """What has come since the last call."""
        self._raw += self.client.take()
        before = len(self.text)
        if not self.chunked:
            self.text += self._raw.decode()
            self._raw = b""
        while self._raw:
            size, _, rest = self._raw.partition(b"\r\n")
            length = int(size, 16)
            self.text += rest[:length].decode()
            assert rest[length : length + 2] == b"\r\n"
            self._raw = rest[length + 2 :]
            self.ended = not length
        return self.text[before:]

    def events(self) -> list[dict[str, Any]]:
        """The same, as events."""
        text = self.read()
        assert text.endswith("\n\n")
        found = []
        for block in text[:-2].split("\n\n"):
            lines = [line.partition(": ") for line in block.split("\n")]
            fields = {name: value for name, _, value in lines}
            assert len(fields) == len(lines)
            if fields.keys() != {""} and block != ":":
                found.append({**fields, "data": json.loads(fields["data"])})
        return found


def page(*file_ids: int, cursor: str = "7-all") -> FilesPage:
    """A page of changes."""
    return FilesPage(files=[job_file(file_id, FileState.STARTED) for file_id in file_ids], cursor=cursor, more=False)


def test_events(either: Server) -> None:
    """What changes, with how the job stands; signs of life; and the end."""
    recalls = either.recalls
    recalls.place(job_status(started=NOW))
    follower = Follower(either)
    assert follower.head.status == 200
    assert follower.head.field("Content-Type") == "text/event-stream"
    assert follower.head.field("Cache-Control") == "no-store"
    assert follower.head.field("X-Accel-Buffering") == "no"
    assert follower.text.startswith(":"), "the head goes out before anything changes"
    assert recalls.called("follow") == [[JOB, ""]]
    recalls.tell(page(12, 13))
    (event,) = follower.events()
    assert (event["id"], event["event"]) == ("7-all", "progress")
    data = event["data"]
    assert [each["file"] for each in data.pop("changes")] == ["12", "13"]
    assert (data["state"], data["cursor"], data["files"]) == ("running", "7-all", 3)
    recalls.place(job_status(started=NOW, estimate=Estimate(seconds=2.5, basis="2 drives")))
    recalls.tell(page())
    (event,) = follower.events()
    assert (event["event"], event["data"]["changes"]) == ("progress", [])
    assert event["data"]["estimate"]["seconds"] == 2.5, "what is expected has changed, although no file has"
    recalls.tell(page(13, cursor="8-all"))
    assert [event["id"] for event in follower.events()] == ["8-all"]
    recalls.place(job_status(started=NOW, ended=NOW + 5, left=0, cursor="9-all"))
    recalls.tell(None)
    (event,) = follower.events()
    assert (event["id"], event["event"], event["data"]["state"]) == ("9-all", "end", "ended")
    assert follower.ended
    assert recalls.followers == 0
    assert follower.client.ask("GET", "/").status == 200


def test_events_are_found_again(server: Server) -> None:
    """By the last event's id, or by the URL where the client has none yet."""
    follower = Follower(server, "Last-Event-ID: 2", target=f"{URL}/events?since=1")
    follower.client.hang_up()
    Follower(server, target=f"{URL}/events?since=1").client.hang_up()
    assert server.recalls.called("follow") == [[JOB, "2"], [JOB, "1"]]
    answer = server.ask("GET", f"{URL}/events", "Last-Event-ID: nonsense")
    assert answer.status == 400, "while there still is an answer to give"
    assert len(server.recalls.called("follow")) == 2


def test_events_over_http_1_0(server: Server) -> None:
    """The end of the connection is the end."""
    follower = Follower(server, version="1.0")
    assert follower.head.closes
    server.recalls.tell(page(12))
    assert len(follower.events()) == 1
    server.recalls.tell(None)
    assert follower.client.transport.closed == "closed"


def test_head_of_events(server: Server) -> None:
    """There is nothing to follow."""
    answer = server.ask("HEAD", f"{URL}/events")
    assert (answer.status, answer.field("Content-Type")) == (200, "text/event-stream")
    assert server.recalls.called("follow") == []


def test_a_follower_that_leaves(server: Server) -> None:
    """Nothing is left of it: while it waits for changes, and while a change is being written."""
    follower = Follower(server)
    assert server.recalls.followers == 1
    follower.client.hang_up(ConnectionDone())
    assert server.recalls.followers == 0
    follower = Follower(server)
    server.recalls.tell(page(*range(5 * SLICE)))
    assert server.site.turns.waiting == 1
    follower.client.hang_up()
    assert server.recalls.followers == 0
    server.clock.advance(0)  # the turn that it was in line for
    assert server.clock.getDelayedCalls() == []


def test_a_slow_follower(server: Server) -> None:
    """The next change is not asked for before there is room for it, so that nothing piles up here."""
    follower = Follower(server)
    transport = follower.client.transport
    transport.room = 1
    server.recalls.tell(page(12))
    server.recalls.tell(page(13))
    server.recalls.tell(page(14, cursor="8-all"))
    assert [event["data"]["changes"][0]["file"] for event in follower.events()] == ["12"]
    server.clock.advance(server.limits.progress_timeout - 1)
    assert follower.read() == ""
    transport.room = None
    transport.producer.resumeProducing()  # type: ignore[union-attr]
    assert [event["data"]["changes"][0]["file"] for event in follower.events()] == ["13", "14"]
    follower.client.hang_up()


def test_a_follower_that_takes_nothing(server: Server) -> None:
    """It is cut off, and what it followed is let go; until then there is one event in its buffer."""
    follower = Follower(server)
    follower.client.transport.room = 1
    follower.client.transport.kernel[0].send(b"not taken")
    server.recalls.tell(page(12))
    server.recalls.tell(page(13))
    server.clock.advance(server.limits.progress_timeout)
    server.clock.advance(0)
    assert follower.client.transport.closed == "aborted"
    assert server.recalls.followers == 0
    assert server.site.events["stalled"] == 1


def test_a_follower_of_what_does_not_change(server: Server) -> None:
    """It is no idle connection, however long it takes."""
    follower = Follower(server)
    for _ in range(20):
        server.clock.pump([10] * 10)
        server.recalls.tell(page())
    assert [event["data"]["changes"] for event in follower.events()] == [[]] * 20
    assert follower.client.connected
    follower.client.hang_up()


def test_the_service_stops_while_a_job_is_followed(server: Server) -> None:
    """The job has not ended, so the client is not told so; it comes again by itself."""
    follower = Follower(server)
    drained = server.site.drain(60)
    server.recalls.stop_waiting()
    assert follower.read() == ""
    assert follower.ended
    server.clock.advance(0)
    assert drained.called


def test_a_job_that_is_deleted_while_it_is_followed(server: Server) -> None:
    """That is an end too."""
    follower = Follower(server)
    server.recalls.tell(errors.NotFound("There is no such job."))
    assert follower.events() == [{"event": "end", "data": {"job": JOB, "state": "deleted"}}]
    assert follower.ended


def test_the_store_fails_while_a_job_is_followed(server: Server) -> None:
    """The answer has begun: it ends, and the client comes again, and hears of the trouble if there still is some."""
    follower = Follower(server)
    server.recalls.tell(errors.BackendUnavailable("The store does not answer."))
    assert follower.read() == ""
    assert follower.ended
    assert server.site.events["BackendUnavailable"] == 1


def test_what_goes_wrong_while_a_job_is_followed(server: Server) -> None:
    """It is an incident, and no part of the events."""
    follower = Follower(server)
    server.recalls.tell(ZeroDivisionError())
    assert follower.read() == ""
    assert follower.client.transport.closed == "aborted"
    (failure,) = server.failures()
    assert failure.check(ZeroDivisionError)
