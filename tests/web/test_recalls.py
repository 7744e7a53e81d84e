"""The queue of recalls over HTTP: what is asked of the engine, who may, and what is answered."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import attrs
import pytest
from doubles import JOB, NOW, job_status
from job_server import JSON, document_of, either, post, server
from support import Server
from test_access import TOKEN, make_server, rule

from pacarchive import errors
from pacarchive.access.rights import Right
from pacarchive.recall.views import (
    Age,
    Amount,
    Buffer,
    CartridgeOrder,
    CartridgeRow,
    Drive,
    Overview,
    OwnerRow,
    Reason,
    States,
    Upcoming,
)
from pacarchive.recall.words import Hold, HoldKind, Priority, Retried, RetryFilter

__all__ = ["either", "make_server", "server"]  # the fixtures

STATES = States(queued=Amount(5, 500), started=Amount(1, 100))

ROWS = [
    CartridgeRow(
        cartridge=name, states=STATES, failed=Amount(2, 20), oldest=NOW - 10, reading=name == "V1", place=None,
        begins=NOW, ends=NOW + 60, hold=None,
    )
    for name in ("V1", "V2")
]  # fmt: skip

OWNER = OwnerRow(
    owner="ada", states=STATES, completed_day=Amount(7, 70), failed=Amount(), pins=Amount(1, 1), jobs=4, kept_files=9,
    oldest=None,
)  # fmt: skip

SEEN = Overview(
    made=NOW, planned=NOW - 3, dispatcher="host:1", states=STATES, completed_hour=Amount(1, 1),
    completed_day=Amount(7, 70), failed=Amount(4, 40),
    ages=[Age(below=3600.0, amount=Amount(5, 500)), Age(below=None, amount=Amount())], drive_limit=4, drives_usable=3,
    drives=[
        Drive(
            cartridge="V1", owner="ada", begun=NOW - 60, mounted=True, ending=False, submitted=Amount(1, 100),
            last=NOW - 5, stuck=False,
        )
    ],
    upcoming=[Upcoming(cartridge="V2", files=5, begins=NOW + 60, ends=NOW + 90)], through=NOW + 90,
    reasons=[Reason(reason="It is torn.", amount=Amount(4, 40), for_good=True)],
    holds=[Hold(kind=HoldKind.ALL, who="eve", why="It is torn.", since=NOW)], problems=["It is torn."],
    buffer=Buffer(limit=1000, pinned=Amount(1, 1), coming=Amount(1, 100)), cartridges=2, owners=1,
)  # fmt: skip


def called(server: Server, name: str) -> list[list[Any]]:
    """The arguments of all calls of a method."""
    return [arguments for method, *arguments in server.recalls.operations.calls if method == name]


EVE = f"Authorization: Bearer {TOKEN}"


def test_overview(either: Server) -> None:
    either.recalls.operations.seen = SEEN
    document = document_of(either.ask("GET", "/recall"))
    assert (document["made"], document["planned"], document["problems"]) == (NOW, NOW - 3, ["It is torn."])
    assert document["states"]["queued"] == {"files": 5, "bytes": 500}
    assert document["next"] == [{"cartridge": "V2", "files": 5, "begins": NOW + 60, "ends": NOW + 90}]
    assert document["holds"] == [{"kind": "all", "who": "eve", "why": "It is torn.", "since": NOW, "until": None}]
    assert either.ask("OPTIONS", "/recall").field("Allow") == "GET, HEAD, OPTIONS"


def test_cartridges(server: Server) -> None:
    """In pages, and in the order that is asked for."""
    server.recalls.operations.rows = ROWS
    document = document_of(server.ask("GET", "/recall/cartridges?limit=1&order=files"))
    assert [each["cartridge"] for each in document["cartridges"]] == ["V1"]
    assert document["total"] == 2
    assert called(server, "cartridges") == [[None, CartridgeOrder.FILES, None]]
    server.recalls.operations.calls.clear()
    document_of(server.ask("GET", document["next"]))
    assert called(server, "cartridges") == [[None, CartridgeOrder.FILES, "1"]]
    assert server.ask("GET", "/recall/cartridges?order=size").status == 400


def test_owners(server: Server) -> None:
    server.recalls.operations.owner_rows = [OWNER]
    (owner,) = document_of(server.ask("GET", "/recall/owners?owner=ada"))["owners"]
    assert (owner["owner"], owner["jobs"], owner["oldest"]) == ("ada", 4, None)
    assert called(server, "owners") == [["ada", None]]


@pytest.mark.parametrize(
    ("document", "wanted", "more"),
    [
        ({"kind": "all"}, [HoldKind.ALL, "", None, "", None], {}),
        ({"kind": "drives", "drives": 0}, [HoldKind.DRIVES, "", 0, "", None], {"drives": 0}),
        (
            {"kind": "cartridge", "cartridge": "V1", "why": "torn", "for": "PT1M"},
            [HoldKind.CARTRIDGE, "V1", None, "torn", NOW + 60],
            {"cartridge": "V1"},
        ),
    ],
    ids=["all", "drives", "cartridge"],
)
def test_hold(either: Server, document: Any, wanted: list[Any], more: dict[str, Any]) -> None:
    answer = document_of(post(either, "/recall/holds", document, "X-User: eve"))
    assert answer == {
        "kind": document["kind"],
        "who": "eve",
        "why": wanted[3],
        "since": NOW,
        "until": wanted[4],
        **more,
    }
    ((kind, who, rest),) = called(either, "hold")
    assert (who, [kind, *rest.values()]) == ("eve", wanted)


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        {"kind": "everything"},
        {"kind": 1},
        {"kind": "all", "drives": 1},
        {"kind": "all", "cartridge": "V1"},
        {"kind": "cartridge"},
        {"kind": "cartridge", "cartridge": ""},
        {"kind": "cartridge", "cartridge": "x" * 251},
        {"kind": "cartridge", "cartridge": "a\nb"},
        {"kind": "cartridge", "cartridge": 7},
        {"kind": "drives"},
        {"kind": "drives", "drives": -1},
        {"kind": "drives", "drives": True},
        {"kind": "drives", "drives": 1.5},
        {"kind": "all", "for": "soon"},
        {"kind": "all", "why": "\ud800"},
        {"kind": "all", "until": 5},
    ],
    ids=str,
)
def test_no_holds(server: Server, document: Any) -> None:
    assert post(server, "/recall/holds", document).status == 400
    assert called(server, "hold") == []


def test_list_and_end_holds(either: Server) -> None:
    drives = Hold(kind=HoldKind.DRIVES, who="eve", since=NOW, drives=2, until=NOW + 5)
    either.recalls.operations.seen = attrs.evolve(SEEN, holds=[*SEEN.holds, drives])
    found = document_of(either.ask("GET", "/recall/holds"))["holds"]
    assert [(each["kind"], each.get("drives"), each["until"]) for each in found] == [
        ("all", None, None),
        ("drives", 2, NOW + 5),
    ]
    either.recalls.operations.seen = attrs.evolve(SEEN, holds=[])
    assert document_of(either.ask("DELETE", "/recall/holds?kind=cartridge&cartridge=V1&why=mended")) == {"holds": []}
    assert called(either, "resume") == [[HoldKind.CARTRIDGE, "V1"]]
    either.recalls.operations.trouble = errors.NotFound("There is no such hold.")
    assert either.ask("DELETE", "/recall/holds?kind=all").status == 404


@pytest.mark.parametrize("query", ["", "?kind=x", "?kind=cartridge", "?kind=all&cartridge=V1", "?kind=all&kind=all"])
def test_no_ends_of_holds(server: Server, query: str) -> None:
    assert server.ask("DELETE", f"/recall/holds{query}").status == 400
    assert called(server, "resume") == []


def test_retry(either: Server) -> None:
    """What it is about can be counted first."""
    either.recalls.operations.retried = Retried(failed=3, hurried=2)
    either.recalls.place(job_status())
    document = {"cartridge": "V1", "owner": "ada", "reason": "It is torn.", "since": 5.5, "job": JOB}
    wanted = RetryFilter(cartridge="V1", owner="ada", reason="It is torn.", since=5.5, job=JOB)
    answer = document_of(post(either, "/recall/retry", {**document, "dry_run": True}))
    assert answer == {"dry_run": True, "failed": 3, "hurried": 2}
    assert called(either, "count_retries") == [[wanted]]
    assert called(either, "retry") == []
    answer = document_of(post(either, "/recall/retry", {**document, "why": "mended"}))
    assert answer == {"dry_run": False, "failed": 3, "hurried": 2}
    assert called(either, "retry") == [[wanted]]
    document_of(post(either, "/recall/retry", {}))
    assert called(either, "retry")[1:] == [[RetryFilter()]]


@pytest.mark.parametrize(
    ("document", "status"),
    [
        ([], 400),
        ({"dry_run": 1}, 400),
        ({"since": "now"}, 400),
        ({"since": True}, 400),
        ({"since": 1e300}, 400),
        ({"job": "x"}, 404),
        ({"job": 5}, 400),
        ({"files": [1]}, 400),
    ],
    ids=str,
)
def test_no_retries(server: Server, document: Any, status: int) -> None:
    assert post(server, "/recall/retry", document).status == status
    assert called(server, "retry") == []


def test_change_a_jobs_priority(either: Server) -> None:
    either.recalls.place(job_status())
    body = json.dumps({"priority": "high", "why": "it is needed"}).encode()
    document = document_of(either.ask("PATCH", f"/jobs/{JOB}", JSON, body=body))
    assert document["job"] == JOB
    assert called(either, "change_priority") == [[JOB, Priority.HIGH]]
    for wrong in ({}, {"priority": "urgent"}, {"priority": "low", "owner": "me"}):
        assert either.ask("PATCH", f"/jobs/{JOB}", JSON, body=json.dumps(wrong).encode()).status == 400
    assert either.ask("PATCH", f"/jobs/{'f' * 32}", JSON, body=body).status == 404


OPERATORS = [
    ("GET", "/recall", None),
    ("POST", "/recall/holds", {"kind": "all"}),
    ("DELETE", "/recall/holds?kind=all", None),
]


@pytest.mark.parametrize(("method", "url", "document"), OPERATORS, ids=lambda value: str(value))
def test_are_for_operators(make_server: Any, method: str, url: str, document: Any) -> None:
    """Who is one for some files only is none here: a cartridge has any files."""
    for right, ids, status in ((Right.STAGE, "all", 403), (Right.ADMIN, "0-9", 403), (Right.ADMIN, "all", 200)):
        server = make_server(rule("token:robot", right, ids))
        fields = [EVE] if document is None else [EVE, JSON]
        body = None if document is None else json.dumps(document).encode()
        assert server.ask(method, url, *fields, body=body).status == status


def test_owners_see_and_retry_their_own(make_server: Any) -> None:
    server = make_server(rule("token:robot", Right.STAGE))
    server.recalls.place(job_status(owner="token:robot"))
    for path in ("/recall/cartridges", "/recall/owners"):
        document_of(server.ask("GET", path, EVE))
        assert called(server, urlsplit(path).path.rpartition("/")[2])[0][0] == "token:robot"
        assert server.ask("GET", f"{path}?owner=ada", EVE).status == 403
    assert server.ask("GET", "/recall/holds", EVE).status == 200
    document_of(post(server, "/recall/retry", {}, EVE))
    assert called(server, "retry") == [[RetryFilter(owner="token:robot")]]
    assert post(server, "/recall/retry", {"owner": "ada"}, EVE).status == 403
    server.recalls.place(job_status("a" * 32))
    assert post(server, "/recall/retry", {"job": "a" * 32}, EVE).status == 404
    body = json.dumps({"priority": "high"}).encode()
    assert server.ask("PATCH", f"/jobs/{'a' * 32}", EVE, JSON, body=body).status == 404
    assert server.ask("PATCH", f"/jobs/{JOB}", EVE, JSON, body=body).status == 200
