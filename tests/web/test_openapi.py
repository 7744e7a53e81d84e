"""The description of the API: all routes are in it, it is well formed, and it is sent to whoever asks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from openapi_spec_validator import validate
from support import Server, serving

from pacarchive.access.gate import Gate
from pacarchive.access.policy import Policy
from pacarchive.access.rights import NOTHING, Right
from pacarchive.web.application import ROUTER
from pacarchive.web.description import FILES, Answer, Body, Operation, path, query
from pacarchive.web.http.schemas import array, or_null, record, resolved, text
from pacarchive.web.openapi import METHODS, URL, description
from pacarchive.web.routing import Open, Router

DOCUMENT = description(ROUTER)


async def route(*_: object, **__: object) -> bytes:
    """Some route."""
    return b""


def described(method: str, *urls: str, needs: Right | Open = Right.STAT, **more: Any) -> dict[str, Any]:
    """How a route is described, by an operation that has C{more}."""
    router = Router()
    given = {"tag": FILES, "summary": "Do it", "gives": (Answer(200, "Done."),), **more}
    router.answers(method, *urls, needs=needs, described=Operation(**given))(route)
    document = description(router)
    validate(document)
    (item,) = document["paths"].values()
    found: dict[str, Any] = item[method.lower()]
    return found


@pytest.fixture
def server() -> Iterator[Server]:
    """One where nobody may do anything."""
    with serving(Server(gate=lambda clock: Gate(clock, Policy(NOTHING, {})))) as it:
        yield it


# The document


def test_it_is_well_formed() -> None:
    """By the schema of OpenAPI 3.1, and by what that cannot say: names that are there, defaults that fit."""
    validate(DOCUMENT)


def test_every_route_is_in_it() -> None:
    """Under its method; HEAD beside each GET; a second spelling of a URL is none of its own."""
    found = {
        (method.upper(), place)
        for place, item in DOCUMENT["paths"].items()
        for method in (*item, *item.get("x-additionalOperations", ()))
        if method != "x-additionalOperations"
    }
    assert {url.split("/")[1] for _, url in ROUTER.undescribed} == {"console"}, "what people read, and no program"
    needs = ROUTER.needs.keys() - ROUTER.undescribed
    routes = {(method, url.replace("<file_id:", "<").translate({60: "{", 62: "}"})) for method, url in needs}
    spelled_twice = {(method, url) for method, url in routes if url.endswith("/") and url != "/"}
    assert len(spelled_twice) > 5
    heads = {("HEAD", url) for method, url in routes - spelled_twice if method == "GET"}
    assert found == (routes - spelled_twice) | heads


def test_a_route_without_description() -> None:
    """It cannot be declared."""
    with pytest.raises(TypeError, match="described"):
        Router().answers("GET", "/new", needs=Right.STAT)  # type: ignore[call-arg]


def test_operations_have_names_of_their_own() -> None:
    """So that programs can be generated."""
    names = [
        operation["operationId"]
        for item in DOCUMENT["paths"].values()
        for method, operation in item.items()
        if method.upper() in METHODS
    ]
    assert len(names) == len(set(names)) > 40
    assert {"get_root", "put_file_id", "get_jobs_job_files", "post_api_v1_stage_job_cancel"} <= set(names)


def test_no_name_of_a_site_is_in_it() -> None:
    """It is the same on every server."""
    assert DOCUMENT["servers"] == [{"url": "/", "description": "The server that gave this description."}]


# One operation


def test_what_every_request_may_get() -> None:
    """Whatever it is."""
    answers = described("GET", "/new", needs=Open.TO_ALL)
    assert set(answers["responses"]) == {"200", "400", "408", "414", "421", "431", "500", "501", "503"}
    assert answers["security"] == []
    assert answers["description"] == "Everyone may ask."


def test_what_follows_from_a_right() -> None:
    """Who asks may be refused, and how to say who one is."""
    answers = described("GET", "/new")
    assert {"401", "403", "429"} <= set(answers["responses"])
    assert answers["security"] == [{}, {"token": []}, {"password": []}, {"certificate": []}]
    assert answers["description"] == "Needs the right `stat`."


def test_what_follows_from_a_path() -> None:
    """There may be no such thing; the parts of the path are described."""
    answers = described("GET", "/new/<file_id:file_id>/<job>")
    assert "404" in answers["responses"]
    assert [(each["name"], each["in"], each["required"]) for each in answers["parameters"]] == [
        ("file_id", "path", True),
        ("job", "path", True),
    ]


def test_a_path_of_its_own() -> None:
    """A route says itself what nobody knows; where it does not, it cannot be described."""
    answers = described("GET", "/tapes/<tape>", takes=(query("n", text()), path("tape", text("A tape."))))
    assert [(each["name"], each["description"]) for each in answers["parameters"]] == [("tape", "A tape."), ("n", "")]
    with pytest.raises(KeyError):
        described("GET", "/tapes/<tape>")


def test_what_follows_from_a_body() -> None:
    """Or from there being none."""
    answers = described("POST", "/new", body=Body("What.", record("What", "", {"a": text()})))
    assert answers["requestBody"]["content"] == {"application/json": {"schema": {"$ref": "#/components/schemas/What"}}}
    assert {"413", "415"} <= set(answers["responses"])
    assert "415" in described("POST", "/new")["responses"]
    assert "413" not in described("POST", "/new")["responses"]
    assert "415" not in described("GET", "/new")["responses"]


def test_a_reason_of_its_own() -> None:
    """It stands before the one that there is anyway, and beside the others."""
    answers = described("GET", "/new", refuses={400: "It is odd.", 409: "It is taken."})["responses"]
    assert answers["400"]["description"] == "It is odd. The request is malformed."
    assert answers["409"]["description"] == "It is taken."
    assert answers["409"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Error"}


def test_an_answer_that_is_no_refusal_counts() -> None:
    """As that of a 503 with a document of its own."""
    answers = described("GET", "/new", gives=(Answer(503, "Not well.", text()),))["responses"]
    assert answers["503"]["content"] == {"application/json": {"schema": {"type": "string"}}}


def test_problem_details() -> None:
    """Below /api; but what is refused before a path is looked at is told as everywhere."""
    answers = described("GET", "/api/v1/new", refuses={400: "It is odd."})["responses"]
    assert set(answers["400"]["content"]) == {"application/problem+json", "application/json"}
    router = Router()
    operation = Operation(FILES, "Do it", (Answer(200, "Done."),))
    router.answers("GET", "/api/v1/new", needs=Right.STAT, described=operation)(route)
    common = description(router)["components"]["responses"]
    assert set(common["403Problem"]["content"]) == {"application/problem+json"}


def test_head_has_no_body() -> None:
    """It is described beside GET, with what is in the header."""
    head = DOCUMENT["paths"][URL]["head"]
    assert "ETag" in head["responses"]["200"]["headers"]
    assert "content" not in head["responses"]["200"]
    assert "content" not in DOCUMENT["components"]["responses"]["400Head"]


# Schemas


def test_named_schemas_are_referred_to() -> None:
    """However deep they are, and once."""
    found: dict[str, Any] = {}
    inner = record("Inner", "It.", {"a": text()}, {"b": text()})
    assert resolved({"x": [array(inner), or_null(inner)]}, found) == {
        "x": [
            {"type": "array", "items": {"$ref": "#/components/schemas/Inner"}},
            {"anyOf": [{"$ref": "#/components/schemas/Inner"}, {"type": "null"}]},
        ]
    }
    assert found == {
        "Inner": {
            "type": "object",
            "description": "It.",
            "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
            "required": ["a"],
        }
    }


def test_one_name_for_two_things() -> None:
    """It is a mistake."""
    with pytest.raises(ValueError, match="two schemas have the name Thing"):
        resolved([record("Thing", "", {"a": text()}), record("Thing", "", {"b": text()})], {})


# The route


def test_it_is_sent_to_everyone(server: Server) -> None:
    """Whole, whoever asks."""
    answer = server.ask("GET", URL)
    assert (answer.status, answer.field("Content-Type")) == (200, "application/json")
    assert answer.field("Cache-Control") == "no-cache"
    assert json.loads(answer.body) == DOCUMENT
    head = server.ask("HEAD", URL)
    assert (head.status, head.field("ETag")) == (200, answer.field("ETag"))
    assert head.field("Content-Length") == str(len(answer.body))


def test_a_copy_is_held(server: Server) -> None:
    """It is not sent again."""
    etag = server.ask("GET", URL).field("ETag")
    for given, status in ((etag, 304), (f'"x", W/{etag}', 304), ("*", 304), ('"x"', 200), ("nonsense", 200)):
        assert server.ask("GET", URL, f"If-None-Match: {given}").status == status


def test_it_is_sent_as_it_is_taken(server: Server) -> None:
    """One who does not read has no more than a piece of it waiting."""
    client = server.connect()
    client.transport.room = 1000
    client.send(b"GET /openapi.json HTTP/1.1\r\nHost: archive\r\n\r\n")
    assert len(client.transport.value()) < len(json.dumps(DOCUMENT)) * 0.75  # type: ignore[no-untyped-call]
