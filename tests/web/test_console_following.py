"""Pages of the console that are open, and kept up to date."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from console import Browser
from doubles import JOB, job_file
from support import Server, serving
from test_access import AT_HOME
from test_console import fill, guarded, words
from test_console_failing import LIVE, path_to, sent
from test_job_events import Follower
from twisted.internet.defer import Deferred

from pacarchive import errors
from pacarchive.access.rights import EVERYTHING
from pacarchive.recall.words import FileState
from pacarchive.web.settings import ConsoleSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pacarchive.telemetry.parts import Part
    from pacarchive.web.console.asking import Screen


@pytest.fixture
def server() -> Iterator[Server]:
    """One that lets everyone do everything, with a job of three files, and a pin."""
    with serving(Server()) as server:
        fill(server)
        yield server


def test_changes_are_sent_as_they_happen(server: Server) -> None:
    """What is the same is not sent again; a sign of life is."""
    follower = Follower(server, target=f"/console/live/jobs/{JOB}")
    assert follower.head.status == 200
    assert follower.head.field("Content-Type") == "text/event-stream"
    assert "being recalled" in sent(follower.text)
    server.clock.pump([0.5] * 4)
    assert not follower.read()
    server.recalls.changes[JOB][0] = job_file(12, state=FileState.COMPLETED)
    server.clock.pump([0.5] * 4)
    assert "on disk" in sent(follower.read())
    server.clock.pump([1] * 20)
    assert ": nothing new" in follower.read()
    follower.client.hang_up()


def test_viewers_share_what_is_made_once_a_second(server: Server) -> None:
    """However many look; and nothing is made when nobody does."""
    followers = [Follower(server, target="/console/live/jobs") for _ in range(5)]
    server.clock.pump([0.1] * 100)
    assert 8 <= len(server.recalls.called("jobs")) <= 14
    for each in followers:
        each.client.hang_up()
    server.recalls.calls.clear()
    server.clock.pump([0.1] * 50)
    assert not server.recalls.calls


def test_a_viewer_more_takes_no_timer_more(server: Server) -> None:
    """There is one for all who look at the same."""
    long = [1.0] * 80  # nothing is left of what connections were waited for
    followers = [Follower(server, target="/console/live/jobs")]
    server.clock.pump(long)
    before = len(server.clock.getDelayedCalls())
    followers += [Follower(server, target="/console/live/jobs") for _ in range(20)]
    server.clock.pump(long)
    assert len(server.clock.getDelayedCalls()) == before
    for each in followers:
        each.client.hang_up()


def finish(server: Server, state: FileState) -> None:
    """Change what the screen of a job shows."""
    server.recalls.changes[JOB][0] = job_file(12, state=state)


def test_who_comes_later_is_told_nothing_twice(server: Server) -> None:
    """Those who came before are told what it has seen first."""
    target = f"/console/live/jobs/{JOB}"
    early = Follower(server, target=target)
    server.clock.advance(0.95)
    finish(server, FileState.COMPLETED)
    late = Follower(server, target=target)
    assert "on disk" in sent(late.text)
    assert not early.read()
    server.clock.pump([0.1] * 10)
    assert "on disk" in sent(early.read())
    assert not late.read()
    for each in (early, late):
        each.client.hang_up()


def test_a_viewer_that_takes_nothing_is_sent_the_last_of_what_it_missed(server: Server) -> None:
    """Nothing piles up for it, and the others do not wait for it."""
    target = f"/console/live/jobs/{JOB}"
    slow, fast = (Follower(server, target=target) for _ in range(2))
    producer = slow.client.transport.producer
    assert producer is not None
    producer.pauseProducing()
    for state in (FileState.COMPLETED, FileState.CANCELLED, FileState.COMPLETED, FileState.CANCELLED):
        finish(server, state)
        server.clock.pump([0.5] * 2)
        assert "event: screen" in fast.read()
    assert not slow.read()
    producer.resumeProducing()
    assert slow.read().count("event: screen") == 1
    for each in (slow, fast):
        each.client.hang_up()


def test_many_viewers_are_told_in_several_turns(server: Server) -> None:
    """So that others have theirs between."""
    target = f"/console/live/jobs/{JOB}"
    with serving(Server(console=ConsoleSettings(viewers=1000))) as server:
        fill(server)
        followers = [Follower(server, target=target) for _ in range(100)]
        finish(server, FileState.COMPLETED)
        told: list[int] = []

        class Other:
            """Somebody who is in line, too."""

            def take_turn(self) -> None:
                told.append(sum(bool(each.client.transport.io.tell()) for each in followers))
                if told[-1] < 100:
                    server.site.turns.get_in_line(self)

        server.clock.advance(0.9)
        server.site.turns.get_in_line(Other())
        server.clock.pump([0.1] * 5)
        assert told[0] == 0
        assert told[-1] == 100
        assert max(after - before for before, after in pairwise(told)) < 60
        for each in followers:
            each.client.hang_up()


def test_viewers_of_what_fails_come_again(server: Server) -> None:
    """All of them; who comes then sees what there is."""
    target = f"/console/live/jobs/{JOB}"
    followers = [Follower(server, target=target) for _ in range(3)]
    server.recalls.trouble["files"] = errors.NotFound("There is no such job.")
    server.clock.pump([0.5] * 3)
    for each in followers:
        each.read()
        assert each.ended
    assert server.connect().ask("GET", target).status == 404
    del server.recalls.trouble["files"]
    server.clock.advance(1)
    late = Follower(server, target=target)
    assert late.head.status == 200
    late.client.hang_up()


def counted_viewers(server: Server) -> float:
    """How many there are, as metrics say."""
    found: list[Part] = []
    Deferred.fromCoroutine(server.application.telemetry.part(shared=False)).addCallback(found.append)
    return found[0].gauges["console_viewers",]


def test_viewers_are_limited_for_each_client_and_in_sum() -> None:
    """Beyond, a page is not live, and says so."""
    with serving(Server(console=ConsoleSettings(viewers=8))) as server:
        fill(server)
        followers = [Follower(server, target="/console/live") for _ in range(2)]
        refused = server.connect().ask("GET", "/console/live")
        assert refused.status == 503
        assert b"Your address has as many live pages" in refused.body
        assert counted_viewers(server) == 2
        for each in followers:
            each.client.hang_up()
        assert counted_viewers(server) == 0
        assert Follower(server, target="/console/live").head.status == 200


def test_a_viewer_comes_again_after_a_while(server: Server) -> None:
    """And is looked at again: what it may see can have changed."""
    follower = Follower(server, target="/console/live")
    server.clock.pump([1] * 301)
    follower.read()
    assert follower.ended


def test_viewers_leave_when_the_service_stops(server: Server) -> None:
    """Within a second or two."""
    follower = Follower(server, target="/console/live")
    drained = server.site.drain(60)
    server.clock.pump([1, 1])
    follower.read()
    assert follower.ended
    assert drained.called


@LIVE
def test_all_that_is_live_says_where_its_changes_are(server: Server, screen: Screen) -> None:
    """The address is one that answers."""
    where = Browser(server).get(f"/console{path_to(screen)}").one("div", id="live").attributes["data-live"]
    assert where.startswith("/console/live")
    assert server.connect().ask("HEAD", where).status == 200


def test_rights_of_the_network_are_those_of_pages() -> None:
    """Nobody has to sign in who is known by the address."""
    with serving(guarded(("net:10.1.0.0/16", EVERYTHING))) as server:
        fill(server)
        assert "Storage:" in words(Browser(server, host=AT_HOME).get("/console"))
        Browser(server).get("/console", 401)
