# ruff: noqa: RUF001  (the dash that stands for nothing)
"""What the screens of the console say of the queue, of jobs, pins and holds, and how one leafs through them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import pytest
from console import Browser, forms, pages_of, rows, said_in
from doubles import JOB, NOW, job_file, job_status
from support import Server, serving
from test_access import TOKEN
from test_console import HOLD, fill, guarded, words

from pacarchive.access.rights import Right
from pacarchive.model import Estimate, Trouble
from pacarchive.recall.views import (
    Age,
    Amount,
    CartridgeOrder,
    CartridgeRow,
    Drive,
    OwnerRow,
    Reason,
    States,
)
from pacarchive.recall.words import FileState, HoldKind, Pin, Priority
from pacarchive.web.console.asking import ROWS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

GIB = 1 << 30
OPERATOR = Right.STAT | Right.ADMIN
SCRIPT = "<script>alert(1)</script>"


@pytest.fixture
def server() -> Iterator[Server]:
    """One that lets everyone do everything, with nothing in it."""
    with serving(Server()) as server:
        yield server


@pytest.fixture
def browser(server: Server) -> Browser:
    return Browser(server)


# the queue


def row(cartridge: str = "A1", **changes: Any) -> CartridgeRow:
    """A cartridge for which one file waits."""
    return CartridgeRow(
        **{"cartridge": cartridge, "states": States(queued=Amount(1, GIB)), "failed": Amount(), "oldest": NOW - 3600,
           "reading": False, "place": None, "begins": None, "ends": None, "hold": None, **changes}
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "○ queued"),
        ({"place": 1234}, "○ 1,234. in line"),
        ({"reading": True, "place": 1}, "▸ being read"),
        ({"hold": HOLD, "reading": True}, "– held"),
        ({"states": States(backing_off=Amount(1))}, "✕ waits for another attempt"),
        ({"states": States(), "failed": Amount(1)}, "✕ failed"),
    ],
)
def test_how_a_cartridge_stands(server: Server, browser: Browser, changes: dict[str, Any], state: str) -> None:
    """In the queue and on its own page: a word and a sign, never a colour alone."""
    server.recalls.operations.rows = [row(**changes)]
    (cells,) = rows(browser.get("/console/queue"), "cartridges")
    assert cells[:2] == ["A1", state]
    assert f"State{state}" in said_in(browser.get("/console/cartridge?name=A1"), "cartridge")


def test_what_waits_for_a_cartridge(server: Server, browser: Browser) -> None:
    """All of it, with the times."""
    states = States(queued=Amount(1000, GIB), backing_off=Amount(2, GIB), looked_up=Amount(3), started=Amount(4))
    server.recalls.operations.rows = [
        row(states=states, failed=Amount(5), begins=NOW + 60, ends=NOW + 7200),
        row("", oldest=None),
    ]
    known, unknown = rows(browser.get("/console/queue"), "cartridges")
    assert known[2:] == ["1,005", "2.0 GiB", "4", "2", "5", "1 h", "in 2 h"]
    assert (unknown[0], unknown[7:]) == ("not known yet", ["–", "–"])


def test_the_page_of_a_cartridge_for_which_nothing_waits(server: Server, browser: Browser) -> None:
    """It can be held all the same, before something is asked of it; one without a name cannot."""
    page = browser.get("/console/cartridge?name=Z9")
    assert "Nothing waits for Z9" in words(page)
    assert forms(page) == ["/console/hold"]
    assert forms(browser.get("/console/cartridge")) == []
    assert [each[1] for each in server.recalls.operations.calls if each[0] == "cartridge"] == ["Z9"]


@pytest.mark.parametrize(
    ("changes", "offered", "retried"),
    [
        ({}, ["/console/hold"], False),
        ({"failed": Amount(1)}, ["/console/hold"], True),
        ({"states": States(backing_off=Amount(1))}, ["/console/hold"], True),
        ({"hold": HOLD}, ["/console/resume"], False),
    ],
)
def test_what_can_be_done_with_a_cartridge(
    server: Server, browser: Browser, changes: dict[str, Any], offered: list[str], retried: bool
) -> None:
    """What is held is resumed, and what has failed is retried."""
    server.recalls.operations.rows = [row(**changes)]
    page = browser.get("/console/cartridge?name=A1")
    assert forms(page) == offered
    assert bool(page.one("main").all("a", href="/console/retry?cartridge=A1")) == retried


@pytest.mark.parametrize("order", CartridgeOrder, ids=lambda each: each.value)
def test_the_orders_of_the_queue(server: Server, browser: Browser, order: CartridgeOrder) -> None:
    """The engine sorts; the page says by what, and leads to the others."""
    server.recalls.operations.rows = [row()]
    page = browser.get(f"/console/queue?order={order.value}")
    assert [each[2] for each in server.recalls.operations.calls if each[0] == "cartridges"] == [order]
    (nav,) = page.all("nav", **{"aria-label": "Order of cartridges"})
    assert len(nav.all("strong", **{"aria-current": "true"})) == 1
    assert {each.attributes["href"] for each in nav.all("a")} == {
        f"/console/queue?order={each.value}" for each in CartridgeOrder if each is not order
    }


def test_an_order_that_there_is_not(server: Server, browser: Browser) -> None:
    assert "cannot be sorted by that" in words(browser.get("/console/queue?order=colour", 400))
    assert not [each for each in server.recalls.operations.calls if each[0] == "cartridges"]


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "▸ reading"),
        ({"ending": True}, "▸ reading, to its end"),
        ({"mounted": False}, "▸ being mounted"),
        ({"stuck": True, "last": NOW - 7200}, "✕ stuck: nothing for 2 h"),
        ({"stuck": True, "mounted": False, "ending": True, "last": NOW - 60}, "✕ stuck: nothing for 1 min"),
    ],
)
def test_how_a_drive_stands(server: Server, browser: Browser, changes: dict[str, Any], state: str) -> None:
    """On the first page and in the queue; that it is stuck counts more than all else."""
    drive = Drive(cartridge="A1", owner="ada", begun=NOW - 900, mounted=True, ending=False,
                  submitted=Amount(1234, GIB), last=NOW, stuck=False)  # fmt: skip
    operations = server.recalls.operations
    operations.seen = attrs.evolve(operations.seen, drives=[attrs.evolve(drive, **changes)])
    for path in ("", "/queue"):
        expected = ["A1", "ada", state, "1,234 (1.0 GiB)", "15 min ago"]
        assert rows(browser.get(f"/console{path}"), "drives") == [expected]


def test_why_files_are_not_there(server: Server, browser: Browser) -> None:
    """With the way to retry those of a reason; what is tried again by itself is told apart."""
    operations = server.recalls.operations
    reasons = [
        Reason(reason="The tape broke & tore.", amount=Amount(1234), for_good=True),
        Reason(reason="The drive is busy.", amount=Amount(2), for_good=False),
        Reason(reason="", amount=Amount(1), for_good=True),
    ]
    operations.seen = attrs.evolve(operations.seen, reasons=reasons)
    page = browser.get("/console/queue")
    assert rows(page, "reasons") == [
        ["The tape broke & tore.", "1,234", "✕ failed", "Retry"],
        ["The drive is busy.", "2", "○ tried again", "Retry"],
        ["no reason is known", "1", "✕ failed", ""],
    ]
    (first, _) = page.all("section", **{"aria-labelledby": "reasons"})[0].all("a")
    browser.get(first.attributes["href"])
    ((_, wanted),) = [each for each in operations.calls if each[0] == "count_retries"]
    assert wanted.reason == "The tape broke & tore."


def test_how_long_files_have_waited(server: Server, browser: Browser) -> None:
    """Each age begins where the one before ends."""
    ages = [Age(below=3600, amount=Amount(5)), Age(below=86400, amount=Amount(0)), Age(below=None, amount=Amount(15))]
    operations = server.recalls.operations
    operations.seen = attrs.evolve(operations.seen, ages=ages)
    said = said_in(browser.get("/console/queue"), "ages")
    assert "less than 1 h" in said
    assert "less than 24 h" in said
    assert "more than 24 h" in said


def test_a_queue_with_nothing_in_it(server: Server, browser: Browser) -> None:
    """Each table says so in words."""
    page = browser.get("/console/queue")
    for panel, text in (
        ("drives", "No cartridge is being read."),
        ("reasons", "Nothing has failed."),
        ("cartridges", "No file waits for a cartridge, and none has failed."),
    ):
        assert text in said_in(page, panel)


# pages of lists


def test_pages_of_cartridges(server: Server, browser: Browser) -> None:
    """Of as many as a person reads, and each leads to the next, with its order and owner."""
    server.recalls.operations.rows = [row(f"A{each}") for each in range(ROWS + 1)]
    page = browser.get("/console/queue?order=name&owner=ada")
    assert len(rows(page, "cartridges")) == ROWS
    assert f"{ROWS + 1} cartridges" in said_in(page, "cartridges")
    following = pages_of(page)
    assert list(following) == ["Next"]
    second = browser.get(following["Next"])
    asked = [each for each in server.recalls.operations.calls if each[0] == "cartridges"]
    assert asked[-1] == ("cartridges", "ada", CartridgeOrder.NAME, str(ROWS))
    assert pages_of(second)["First"] == "/console/queue?owner=ada&order=name"


def test_pages_of_owners(server: Server, browser: Browser) -> None:
    """With how many there are; each leads to what waits for it, and to its jobs."""
    owner = OwnerRow(
        owner="a&b", states=States(queued=Amount(1234, GIB)), completed_day=Amount(9), failed=Amount(2), pins=Amount(1),
        jobs=3, kept_files=99, oldest=None,
    )  # fmt: skip
    server.recalls.operations.owner_rows = [owner] * (ROWS + 1)
    page = browser.get("/console/owners")
    found = rows(page, "owners")
    assert len(found) == ROWS
    assert found[0] == ["a&b", "1,234", "1.0 GiB", "0", "9", "2", "1", "3", "–"]
    targets = {each.attributes["href"] for each in page.one("main").all("a")}
    assert {"/console/queue?owner=a%26b", "/console/jobs?owner=a%26b"} <= targets
    second = browser.get(pages_of(page)["Next"])
    assert [each for each in server.recalls.operations.calls if each[0] == "owners"][-1] == ("owners", None, str(ROWS))
    assert pages_of(second)["First"] == "/console/owners"


def test_pages_of_jobs(server: Server, browser: Browser) -> None:
    """Of one owner or of all, by the number of the last."""
    server.recalls.listed["jobs"] = [
        attrs.evolve(job_status().summary, number=1000 - each) for each in range(ROWS)
    ]  # fmt: skip
    page = browser.get("/console/jobs?owner=ada")
    earlier = pages_of(page)["Earlier"]
    assert earlier == f"/console/jobs?owner=ada&before={1000 - ROWS + 1}"
    second = browser.get(earlier)
    assert server.recalls.called("jobs") == [["ada", None, ROWS], ["ada", 1000 - ROWS + 1, ROWS]]
    assert pages_of(second)["Latest"] == "/console/jobs?owner=ada"
    for before in ("-1", "x", str(2**63)):
        browser.get(f"/console/jobs?before={before}", 400)


def test_pages_of_pins(server: Server, browser: Browser) -> None:
    """By file and job; the last page leads nowhere but back."""
    pin = Pin(file_id=1, job=JOB, owner="ada", size=GIB, expires=NOW + 90, until_read=False)
    server.recalls.listed["pins"] = [attrs.evolve(pin, file_id=each) for each in range(ROWS)]
    page = browser.get("/console/pins")
    assert rows(page, "pins")[0][:6] == ["0", "1.0 GiB", "ada", JOB[:8], "in 1 min", "–"]
    second = browser.get(pages_of(page)["Next"])
    assert server.recalls.called("pins")[-1] == [None, (ROWS - 1, JOB), ROWS]
    server.recalls.listed["pins"] = []
    server.clock.advance(2)
    last = browser.get(pages_of(second)["Next"])
    assert list(pages_of(last)) == ["First"]
    assert "Nothing is pinned" in words(last)
    browser.get("/console/pins?after=nonsense", 400)


def test_pages_of_the_files_of_a_job(server: Server, browser: Browser) -> None:
    """By a cursor, which is not believed."""
    server.recalls.place(job_status(files=ROWS + 1), *(job_file(each) for each in range(ROWS + 1)))
    page = browser.get(f"/console/jobs/{JOB}")
    assert len(rows(page, "files")) == ROWS
    assert pages_of(page) == {"Next": f"/console/jobs/{JOB}?since={ROWS}"}
    second = browser.get(pages_of(page)["Next"])
    assert [each[0] for each in rows(second, "files")] == [str(ROWS)]
    assert pages_of(second) == {"First": f"/console/jobs/{JOB}"}
    browser.get(f"/console/jobs/{JOB}?since=nonsense", 400)


# jobs


@pytest.mark.parametrize(
    ("changes", "state", "left"),
    [
        ({}, "○ queued", "3 of 3 left"),
        ({"started": NOW, "left": 1}, "▸ running", "1 of 3 left"),
        ({"started": NOW, "ended": NOW, "left": 0}, "– ended", "3"),
        ({"ended": NOW, "left": 0, "files": 1234567}, "– ended", "1,234,567"),
    ],
)
def test_how_a_job_stands(server: Server, browser: Browser, changes: dict[str, Any], state: str, left: str) -> None:
    """In the list, and on the first page; one that has ended has no deadline any more."""
    server.recalls.listed["jobs"] = [attrs.evolve(job_status().summary, **changes)]
    for path in ("/jobs", ""):
        (cells,) = rows(browser.get(f"/console{path}"), "jobs")
        assert (cells[0], cells[2], cells[4]) == (JOB[:8], state, left)
        assert (cells[7] == "–") == ("ended" in changes)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"estimate": Estimate(seconds=7200, basis="the queue")}, ["Donein about 2 h", "Estimated fromthe queue"]),
        ({"estimate": None}, ["Donenot known yet"]),
        ({"rate": 1024.0, "done": GIB, "size": 4 * GIB}, ["Rate1.0 KiB/s", "Bytes1.0 GiB of 4.0 GiB"]),
        ({"rate": 0.0}, ["Rate–"]),
        ({"trouble": Trouble(files=2, reason="No drive.")}, ["2 files: No drive."]),
        ({"priority": Priority.LOW}, ["Prioritylow"]),
        ({"ended": NOW - 60, "left": 0}, ["Ended1 min ago"]),
    ],
)
def test_the_progress_of_a_job(
    server: Server, browser: Browser, changes: dict[str, Any], expected: Sequence[str]
) -> None:
    """And when it will be done, as far as that is known."""
    server.recalls.place(job_status(**changes))
    said = said_in(browser.get(f"/console/jobs/{JOB}"), "progress")
    for each in expected:
        assert each in said
    assert ("Deadline" in said) == ("ended" not in changes)


def test_what_somebody_holds_is_no_fault_of_a_job(server: Server, browser: Browser) -> None:
    """Nor is there anything to retry; what else keeps its files from coming is, and can be."""
    operations = server.recalls.operations
    operations.seen = attrs.evolve(operations.seen, holds=[HOLD])
    for reason, sign in ((f"Cartridge A1 is {HOLD.by_whom}.", "○"), ("No drive.", "✕")):
        server.recalls.place(job_status(trouble=Trouble(files=2, reason=reason)))
        page = browser.get(f"/console/jobs/{JOB}")
        assert f"{sign} 2 files: {reason}" in said_in(page, "progress")
        assert (f"/console/jobs/{JOB}/retry" in forms(page)) == (sign == "✕")
        server.clock.advance(1)


@pytest.mark.parametrize(
    ("file", "cells"),
    [
        ({}, ["○ queued", "–", "–", "–", "", "–"]),
        ({"state": FileState.STARTED, "started": NOW - 120, "attempts": 2},
         ["▸ being recalled", "–", "2", "2 min ago"]),
        ({"state": FileState.COMPLETED, "size": GIB, "ended": NOW, "pinned": 0.0},
         ["✓ on disk", "1.0 GiB", "–", "just now", "", "1970-01-01 00:00 UTC"]),
        ({"state": FileState.FAILED, "reason": "It broke."}, ["✕ failed", "–", "–", "–", "It broke."]),
        ({"state": FileState.CANCELLED}, ["– cancelled"]),
        ({"state": FileState.CANCELLING}, ["– being cancelled"]),
        ({"reason": "It broke.", "next_try": NOW + 600},
         ["○ queued", "–", "–", "–", "It broke. Next attempt in 10 min."]),
    ],
    ids=["queued", "started", "completed", "failed", "cancelled", "cancelling", "to be tried again"],
)  # fmt: skip
def test_how_a_file_of_a_job_stands(server: Server, browser: Browser, file: dict[str, Any], cells: list[str]) -> None:
    """With a sign and a word, when, and why."""
    server.recalls.place(job_status(files=1), job_file(2**64 - 1, **file))
    (found,) = rows(browser.get(f"/console/jobs/{JOB}"), "files")
    assert found[0] == str(2**64 - 1)
    assert found[1 : 1 + len(cells)] == cells


def test_which_files_can_be_chosen(server: Server, browser: Browser) -> None:
    """Those that have not ended; each says which it is to those who hear the page."""
    states = (FileState.QUEUED, FileState.COMPLETED, FileState.STARTED, FileState.FAILED)
    server.recalls.place(job_status(files=4), *(job_file(each, state=state) for each, state in enumerate(states)))
    boxes = browser.get(f"/console/jobs/{JOB}").all("input", type="checkbox")
    assert [each.attributes["value"] for each in boxes] == ["0", "2"]
    assert [each.attributes["aria-label"] for each in boxes] == ["Choose file 0", "Choose file 2"]


@pytest.mark.parametrize("job", ["f" * 32, "x", JOB.upper()])
def test_the_page_of_what_is_no_job(server: Server, browser: Browser, job: str) -> None:
    assert "There is no such job." in words(browser.get(f"/console/jobs/{job}", 404))


def test_a_job_of_somebody_else_is_none() -> None:
    """Neither its page nor what follows it is there."""
    with serving(guarded(("token:robot", Right.STAGE))) as server:
        fill(server, "token:other")
        browser = Browser(server, f"Authorization: Bearer {TOKEN}")
        browser.get(f"/console/jobs/{JOB}", 404)
        assert browser.ask("GET", f"/console/live/jobs/{JOB}").status == 404


# pins


def test_who_may_only_look_ends_no_pins() -> None:
    """There is no column for it, either."""
    for right, columns in ((Right.POLL, 6), (Right.STAGE, 7)):
        with serving(guarded(("token:robot", right))) as server:
            fill(server, "token:robot")
            page = Browser(server, f"Authorization: Bearer {TOKEN}").get("/console/pins")
            assert len(page.all("th", scope="col")) == columns
            assert len(forms(page)) == columns - 6
            assert server.recalls.called("pins") == [["token:robot", None, ROWS]]


# holds


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"kind": HoldKind.ALL, "cartridge": ""}, "All recalls are held by user:ada, 2 h ago: it squeaks"),
        ({"kind": HoldKind.DRIVES, "cartridge": "", "drives": 1}, "All drives but 1 are held by user:ada"),
        ({"kind": HoldKind.DRIVES, "cartridge": "", "drives": 0}, "All drives are held by user:ada"),
        ({}, "Cartridge A1 is held by user:ada, 2 h ago: it squeaks"),
        ({"why": ""}, "Cartridge A1 is held by user:ada, 2 h ago"),
        ({"until": NOW + 3600}, "Cartridge A1 is held by user:ada, 2 h ago, until in 1 h: it squeaks"),
    ],
)
def test_what_is_held(server: Server, browser: Browser, changes: dict[str, Any], text: str) -> None:
    """By whom, since when, for how long, and why."""
    operations = server.recalls.operations
    operations.seen = attrs.evolve(operations.seen, holds=[attrs.evolve(HOLD, **changes)])
    (banner,) = browser.get("/console/jobs").all("p", **{"class": "hold"})
    assert text in " ".join(banner.text.split())
    assert ": " in banner.text or not changes.get("why", "it squeaks")


def test_more_holds_than_a_page_has_room_for(server: Server, browser: Browser) -> None:
    """Some are shown, and of the others how many."""
    operations = server.recalls.operations
    operations.seen = attrs.evolve(operations.seen, holds=[HOLD] * 12)
    banners = browser.get("/console/jobs").all("p", **{"class": "hold"})
    assert len(banners) == 6
    assert banners[-1].text == "and 7 more holds"


@pytest.mark.parametrize(
    ("kinds", "offered"),
    [
        ((), [("hold", "all"), ("hold", "drives")]),
        ((HoldKind.ALL,), [("resume", "all"), ("hold", "drives")]),
        ((HoldKind.DRIVES,), [("hold", "all"), ("hold", "drives"), ("resume", "drives")]),
        ((HoldKind.ALL, HoldKind.DRIVES), [("resume", "all"), ("hold", "drives"), ("resume", "drives")]),
        ((HoldKind.CARTRIDGE,), [("hold", "all"), ("hold", "drives")]),
    ],
)
def test_what_can_be_held_and_resumed(
    server: Server, browser: Browser, kinds: tuple[HoldKind, ...], offered: list[tuple[str, str]]
) -> None:
    """What is held is resumed; how many drives may be used can be changed at any time."""
    operations = server.recalls.operations
    operations.seen = attrs.evolve(operations.seen, holds=[attrs.evolve(HOLD, kind=each, drives=1) for each in kinds])
    found = [
        (each.attributes["action"].rpartition("/")[2], each.one("input", name="kind").attributes["value"])
        for each in browser.get("/console/queue").one("main").all("form", method="post")
    ]
    assert found == offered
