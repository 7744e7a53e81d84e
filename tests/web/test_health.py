"""C{GET /health}: what balancers and people are told of the storage."""

from __future__ import annotations

import json

import pytest
from doubles import Archive
from support import DATA, Server, compose, serving

from pacarchive import errors
from pacarchive.model import Health, Locality


@pytest.mark.parametrize(
    ("health", "status", "document"),
    [
        (Health(True, "9 MiB free"), 200, {"ready": True, "degraded": False, "message": "9 MiB free"}),
        (Health(True, "no map", degraded=True), 200, {"ready": True, "degraded": True, "message": "no map"}),
        (Health(False, "0 MiB free"), 503, {"ready": False, "degraded": False, "message": "0 MiB free"}),
    ],
)
def test_the_status_tells_balancers_and_the_words_tell_people(
    monkeypatch: pytest.MonkeyPatch, health: Health, status: int, document: dict[str, object]
) -> None:
    """A server that knows less is still one that serves."""

    async def answer(self: Archive) -> Health:
        return health

    monkeypatch.setattr(Archive, "health", answer)
    with serving(Server()) as server:
        found = server.ask("GET", "/health")
        assert (found.status, json.loads(found.body)) == (status, document)
        assert found.field("Content-Type") == "application/json"
        assert server.ask("PUT", "/health", body=DATA).status == 405


def test_a_file_whose_place_nobody_knows_is_asked_for() -> None:
    """Staging what is on disk does no harm; answering that it was staged, when it was not, does."""
    from test_offline import Tapes

    with serving(Server(Tapes)) as server:
        server.archive.place(102, DATA, locality=Locality.UNAVAILABLE)
        assert server.ask("POST", "/102").status == 202
        assert [file_id for file_id, _ in server.recalls.called("want")] == [102]


def test_jobs_that_cannot_be_taken() -> None:
    """Files can be read and stored all the same."""
    with serving(Server()) as server:
        server.recalls.obstacle = "The list of recalls does not answer."
        answer = server.ask("GET", "/health")
        document = json.loads(answer.body)
        assert (answer.status, document["ready"], document["degraded"]) == (200, True, True)
        assert document["message"].endswith("; recalls: The list of recalls does not answer.")


def test_one_look_is_enough_for_all_who_ask_at_once() -> None:
    """Probes from many balancers take no more of the storage than one does; one that leaves takes nobody's answer."""
    with serving(Server()) as server:
        held = server.archive.hold("health")
        clients = [server.connect().send(compose("GET", "/health")) for _ in range(20)]
        clients[0].hang_up()
        held.callback(None)
        for client in clients[1:]:
            (answer,) = client.answers("GET")
            assert answer.status == 200
        assert server.archive.calls == ["health"]
        assert server.ask("GET", "/health").status == 200
        assert server.archive.calls == ["health", "health"], "it is looked again for who asks later"


def test_storage_that_does_not_say_how_it_is() -> None:
    """It is not ready after ten seconds, for who comes later at once, and is looked at no second time meanwhile."""
    with serving(Server()) as server:
        held = server.archive.hold("health")
        first = server.connect().send(compose("GET", "/health"))
        server.clock.advance(9.9)
        assert first.answers("GET") == []
        server.clock.advance(0.2)
        (answer,) = first.answers("GET")
        assert (answer.status, json.loads(answer.body)["ready"]) == (503, False)
        assert "has not said for 10 s" in json.loads(answer.body)["message"]
        assert server.ask("GET", "/health").status == 503
        assert server.archive.calls == ["health"]
        held.callback(None)
        assert server.ask("GET", "/health").status == 200
        assert [line.partition(":")[0] for line in server.words()] == ["not ready", "ready again"]


def test_a_look_that_fails() -> None:
    """What the backend raises is not ready either, in its words, and told to the log once."""
    with serving(Server()) as server:
        server.archive.trouble["health"] = errors.BackendUnavailable("No thread is free.")
        for _ in range(3):
            answer = server.ask("GET", "/health")
            assert (answer.status, json.loads(answer.body)["message"]) == (503, "No thread is free.")
        assert server.words() == ["not ready: No thread is free."]
