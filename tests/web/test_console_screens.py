# ruff: noqa: RUF001  (the dash that stands for nothing)
"""What the screens of the console say, in each state of what they are about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import pytest
from console import Browser, Element, rows, said_in
from doubles import JOB, NOW, FakeAudit, job_file
from support import DATA, Server, serving
from test_access import TOKEN, governed, rule
from test_console import HOLD, fill, guarded, words

from pacarchive import errors
from pacarchive.access.rights import Right
from pacarchive.model import Estimate, Health, Locality, Trouble
from pacarchive.recall.views import (
    Amount,
    Buffer,
    Reason,
    States,
    Upcoming,
)
from pacarchive.telemetry.history import History
from pacarchive.telemetry.parts import Event, Totals, Transfer
from pacarchive.web.console.asking import ROWS
from pacarchive.web.console.screens import SCREENS
from pacarchive.web.health import EVERY

if TYPE_CHECKING:
    from collections.abc import Iterator

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


class Telling:
    """Stands for what the whole service says of itself."""

    def __init__(self, **said: Any) -> None:
        self.said: Totals | Exception = Totals(NOW, said.pop("counted", {}), said.pop("gauges", {}), **said)

    async def totals(self) -> Totals:
        if isinstance(self.said, Exception):
            raise self.said
        return self.said


def say(server: Server, **said: Any) -> Telling:
    """Have the service say something of itself."""
    telling = server.application.telemetry.whole = Telling(**said)
    return telling


def tell_health(server: Server, *, free: int | None, size: int | None, **more: Any) -> None:
    """Have the storage say how much room it has."""

    async def health() -> Health:
        return Health(**{"ready": True, "words": "some room", "free": free, "size": size, **more})

    server.archive.health = health


# all of them


@pytest.mark.parametrize(
    "path",
    [
        each.path.replace("<job>", JOB).replace("<file_id:file_id>", "1")
        for each in SCREENS
    ],
)  # fmt: skip
def test_what_comes_from_elsewhere_is_text(path: str) -> None:
    """Names of owners, cartridges and files, reasons and words of failures: whoever chose them writes no page."""
    with serving(Server()) as server:
        fill(server, SCRIPT)
        server.archive.place(1, DATA, path=SCRIPT)
        server.recalls.reasons[1] = SCRIPT
        operations = server.recalls.operations
        held = attrs.evolve(HOLD, cartridge=SCRIPT, who=SCRIPT, why=SCRIPT)
        operations.seen = attrs.evolve(
            operations.seen,
            holds=[held],
            problems=[SCRIPT],
            reasons=[Reason(reason=SCRIPT, amount=Amount(1), for_good=True)],
            upcoming=[Upcoming(cartridge=SCRIPT, files=1, begins=NOW, ends=NOW)],
            drives=[attrs.evolve(each, cartridge=SCRIPT, owner=SCRIPT) for each in operations.seen.drives],
        )
        operations.rows = [attrs.evolve(operations.rows[0], cartridge=SCRIPT, hold=held)]
        status = server.recalls.statuses[JOB]
        server.recalls.place(
            attrs.evolve(status, trouble=Trouble(files=1, reason=SCRIPT), estimate=Estimate(seconds=1, basis=SCRIPT)),
            job_file(1, reason=SCRIPT),
        )
        event = Event(NOW, "failed", SCRIPT, SCRIPT, SCRIPT, SCRIPT)
        moving = Transfer("in", SCRIPT, None, SCRIPT, SCRIPT, 1, 2, NOW, SCRIPT)
        counted = {("failures_total", SCRIPT): (1.0,)}
        say(server, counted=counted, events=(event,), transfers=(moving,))
        query = {"/cartridge": f"?name={SCRIPT}", "/retry": f"?cartridge={SCRIPT}&reason={SCRIPT}"}.get(path, "")
        page = Browser(server).get(f"/console{path}{query}")
        for script in page.all("script"):
            assert (script.text, script.attributes["src"]) == ("", "/console/console.js")
        if path != "/capacity":
            assert SCRIPT in page.one("main").text


@pytest.mark.parametrize("screen", SCREENS, ids=lambda each: each.path or "overview")
def test_each_says_what_a_table_holds(server: Server, screen: Any) -> None:
    """In a line, and each column has a heading, for those who hear a page."""
    fill(server)
    path = screen.path.replace("<job>", JOB).replace("<file_id:file_id>", "1")
    page = Browser(server).get(f"/console{path}{'?name=A1' if path == '/cartridge' else ''}")
    for table in page.all("table"):
        assert table.one("caption").text.endswith(".")
        heads = table.one("thead").all("th", scope="col")
        assert all(each.text for each in heads)
        for row in table.one("tbody").all("tr"):
            assert len(row.all("th", scope="row")) == 1
            assert len(row.all("td")) == len(heads) - 1
    idents = [each.attributes["id"] for kind in ("h2", "div", "span", "input", "form") for each in page.all(kind)
              if "id" in each.attributes]  # fmt: skip
    assert len(idents) == len(set(idents))


# the first page


@pytest.mark.parametrize(
    ("health", "queue", "state"),
    [
        ({}, {}, "Well: nothing needs anybody"),
        ({}, {"problems": ["No drive."]}, "Serving; the queue needs somebody"),
        ({"degraded": True}, {}, "Serving, but not all of it works"),
        ({"degraded": True}, {"problems": ["No drive."]}, "Serving, but not all of it works"),
        ({"ready": False, "words": "The disk is gone."}, {}, "Not ready: files cannot be read or stored"),
        ({"ready": False}, {"problems": ["No drive."]}, "Not ready: files cannot be read or stored"),
    ],
)
def test_how_it_is(server: Server, browser: Browser, health: dict[str, Any], queue: dict[str, Any], state: str) -> None:
    """The worst is said first, and why."""
    tell_health(server, free=None, size=None, **health)
    operations = server.recalls.operations
    operations.seen = attrs.evolve(operations.seen, **queue)
    said = said_in(browser.get("/console"), "health")
    assert state in said
    assert health.get("words", "some room") in said
    assert all(each in said for each in queue.get("problems", ()))


def test_what_is_held_is_no_fault(server: Server, browser: Browser) -> None:
    """Somebody wants it, so that it has another sign than what is out of order."""
    operations = server.recalls.operations
    problems = [f"All recalls are {HOLD.by_whom}.", "No drive."]
    for said_first in (problems, problems[::-1]):
        operations.seen = attrs.evolve(operations.seen, holds=[HOLD], problems=said_first)
        said = said_in(browser.get("/console"), "health")
        assert f"○ {problems[0]}" in said
        server.clock.advance(1)
    assert f"✕ {problems[1]}" in said


def test_what_keeps_jobs_from_being_taken_is_said_once(server: Server, browser: Browser) -> None:
    """Also where the queue says the same."""
    server.recalls.obstacle = "The list of recalls does not answer."
    operations = server.recalls.operations
    operations.seen = attrs.evolve(operations.seen, problems=["The list of recalls does not answer.", "No drive."])
    said = said_in(browser.get("/console"), "health")
    assert said.count("The list of recalls does not answer.") == 1
    assert "No drive." in said
    assert "not all of it works" in said


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, ("Queue through", "–nothing waits")),
        ({"through": NOW + 7200}, ("Queue through", "–nothing waits")),
        (
            {"through": NOW + 7200, "states": States(queued=Amount(3, GIB))},
            ("Queue through", "in 2 h"),
        ),
        ({"states": States(queued=Amount(3, GIB))}, ("Queue through", "–not known yet")),
        ({"drive_limit": 8, "drives_usable": 8}, ("Drives at work", "0 of 8none held")),
        ({"drive_limit": 8, "drives_usable": 2}, ("Drives at work", "0 of 82 usable: held")),
        ({"states": States(backing_off=Amount(1234))}, ("To be retried", "1,234by themselves, later")),
        ({"states": States(queued=Amount(2), backing_off=Amount(3), looked_up=Amount(4))}, ("Waiting", "90 B for 0")),
    ],
)
def test_the_figures(server: Server, browser: Browser, changed: dict[str, Any], expected: tuple[str, str]) -> None:
    """Each with a word of what it is."""
    operations = server.recalls.operations
    operations.seen = attrs.evolve(operations.seen, **changed)
    (figures,) = browser.get("/console").all("dl", **{"class": "figures"})
    found = {each.one("dt").text: each.one("dd").text for each in figures.all("div")}
    name, text = expected
    assert found[name].startswith(text)


@pytest.mark.parametrize("failed", [0, 1, 12])
def test_what_failed_is_led_to(server: Server, browser: Browser, failed: int) -> None:
    """Where something has; and only whoever may retry it is."""
    operations = server.recalls.operations
    operations.seen = attrs.evolve(operations.seen, failed=Amount(failed))
    links = browser.get("/console").one("main").all("a", href="/console/retry")
    assert len(links) == (1 if failed else 0)


def test_an_owner_of_whom_nothing_waits() -> None:
    """It is said, in place of figures; and so is that the store does not answer."""
    with serving(guarded(("token:robot", Right.STAGE))) as server:
        browser = Browser(server, f"Authorization: Bearer {TOKEN}")
        page = browser.get("/console")
        assert "Nothing of yours waits." in words(page)
        for each in ("moving", "room", "drives", "trouble"):
            assert not page.all("section", **{"aria-labelledby": each})
        server.recalls.operations.trouble = errors.BackendUnavailable("The store does not answer.")
        server.clock.advance(2)
        assert "The store does not answer." in said_in(browser.get("/console"), "own")


def test_an_owner_sees_its_own_figures() -> None:
    with serving(guarded(("token:robot", Right.POLL))) as server:
        fill(server, "token:robot")
        (figures,) = Browser(server, f"Authorization: Bearer {TOKEN}").get("/console").all("dl", **{"class": "figures"})
        found = {each.one("dt").text: each.one("dd").text for each in figures.all("div")}
        assert found["Waiting"] == "1,000,0035.0 TiB"
        assert found["Failed"] == "2see the job for why"


# what moves, and trouble


def test_what_moves(server: Server, browser: Browser) -> None:
    """The oldest first, of which file, how far, how fast, and whose; of more than a few, how many more."""
    moving = [
        Transfer("in", "PUT", 7, "token:robot", "192.0.2.9", GIB, 4 * GIB, NOW - 10, "r1"),
        Transfer("out", "GET", 2**64 - 1, None, "192.0.2.9", 5 << 20, None, NOW - 0.1, "r2"),
        Transfer("out", "GET", None, None, "192.0.2.9", 0, 100, NOW, "r3"),
        *(Transfer("in", "PUT", each, "ada", "192.0.2.9", 0, 1, NOW, f"x{each}") for each in range(9)),
    ]
    say(server, transfers=tuple(moving), gauges={("transfers",): 40.0})
    page = browser.get("/console")
    found = rows(page, "moving")
    assert len(found) == 8
    assert found[0] == ["7", "▸ upload", "25 % of 4.0 GiB", "102.4 MiB/s", "token:robot"]
    assert found[1] == [str(2**64 - 1), "▸ download", "5.0 MiB", "5.0 MiB/s", "192.0.2.9"]
    assert found[2][:3] == ["GET", "▸ download", "0 % of 100 B"]
    assert "and 32 more" in said_in(page, "moving")


def test_how_fast_bytes_move(server: Server, browser: Browser) -> None:
    """From two looks; what is little is not told, as the page itself is."""
    bytes_in, bytes_out = ("transfer_bytes_total", "in"), ("transfer_bytes_total", "out")
    telling = say(server, counted={bytes_in: (0.0,), bytes_out: (0.0,)})
    assert "in little, out little" in said_in(browser.get("/console"), "moving")
    server.clock.advance(2)
    telling.said = Totals(NOW + 2, {bytes_in: (float(2 * GIB),), bytes_out: (1000.0,)}, {})
    assert "in 1.0 GiB/s, out little" in said_in(browser.get("/console"), "moving")


def test_that_nobody_knows_what_moves(server: Server, browser: Browser) -> None:
    """The first page says so, and all else of it is there; the page of trouble is nothing without it."""
    say(server).said = errors.BackendUnavailable("The other processes do not answer.")
    page = browser.get("/console")
    for each in ("moving", "trouble"):
        assert "The other processes do not answer." in said_in(page, each)
    assert "Well" in said_in(page, "health")
    assert "The other processes do not answer." in words(browser.get("/console/trouble", 503))


EVENTS = (
    Event(NOW - 5, "incident", "incident", "GET /1: an incident, 0123456789ab", "192.0.2.1", "user:ada", "r1"),
    Event(NOW - 60, "failed", "BackendUnavailable", "GET /2: the disk is gone", "192.0.2.2"),
    Event(NOW - 3000, "refused", "framing", "a control character", "192.0.2.3"),
)


def test_the_trouble_of_the_last_hour(server: Server, browser: Browser) -> None:
    """In the words of the log, the last first, with who and from where; and sums since the start."""
    counted = {
        ("refused_total", "framing"): (1234.0,),
        ("refused_total", "memory"): (0.0,),
        ("failures_total", "NoSpace"): (2.0,),
        ("http_requests_total", "GET", "200"): (7.0,),
    }
    say(server, counted=counted, events=EVENTS)
    page = browser.get("/console/trouble")
    assert rows(page, "hour") == [
        ["just now", "✕ incident", "incident", EVENTS[0].words, "user:ada", "192.0.2.1"],
        ["1 min ago", "✕ failed", "BackendUnavailable", EVENTS[1].words, "–", "192.0.2.2"],
        ["50 min ago", "– refused", "framing", EVENTS[2].words, "–", "192.0.2.3"],
    ]
    assert rows(page, "sums") == [["framing", "– refused", "1,234"], ["NoSpace", "✕ failed", "2"]]
    assert "2 failed, 1 refused" in said_in(browser.get("/console"), "trouble")


def test_more_trouble_than_a_page_has_room_for(server: Server, browser: Browser) -> None:
    """A page stays one that can be read."""
    many = tuple(attrs.evolve(EVENTS[2], time=NOW - each) for each in range(1000))
    say(server, events=many)
    assert len(rows(browser.get("/console/trouble"), "hour")) == 2 * ROWS
    first = browser.get("/console")
    assert len(first.all("section", **{"aria-labelledby": "trouble"})[0].all("li")) == 6
    assert "0 failed, 1,000 refused" in said_in(first, "trouble")


@pytest.mark.parametrize(
    ("failed", "refused", "expected"),
    [(1, 1000, (1, 5)), (1000, 1000, (3, 3)), (1000, 1, (5, 1)), (2, 0, (2, 0)), (1000, 0, (6, 0)), (0, 1000, (0, 6))],
)
def test_no_flood_of_one_kind_hides_the_other(
    server: Server, browser: Browser, failed: int, refused: int, expected: tuple[int, int]
) -> None:
    """Of what failed and of what was refused there is something on the page, the last of each."""
    events = [attrs.evolve(EVENTS[1], time=NOW - 600 - each) for each in range(failed)]
    events += [attrs.evolve(EVENTS[2], time=NOW - each) for each in range(refused)]
    say(server, events=tuple(sorted(events, key=lambda each: -each.time)))
    (section,) = browser.get("/console").all("section", **{"aria-labelledby": "trouble"})
    kinds = [each.one("span", **{"class": "mark bad"}) if "failed" in each.text else None for each in section.all("li")]
    assert (sum(map(bool, kinds)), kinds.count(None)) == expected
    assert kinds == sorted(kinds, key=bool), "the last first"


def test_no_trouble_at_all(server: Server, browser: Browser) -> None:
    say(server)
    page = browser.get("/console/trouble")
    assert "Nothing was refused, and nothing failed." in said_in(page, "hour")
    assert "Nothing was ever refused." in said_in(page, "sums")


# room


def bar_of(page: Element, name: str) -> Element:
    """The bar of a name."""
    (found,) = [each for each in page.all("svg", role="img") if each.attributes["aria-label"].startswith(name)]
    return found


@pytest.mark.parametrize(("free", "kind"), [(50, "done"), (5, "done"), (4, "bad"), (0, "bad")])
def test_the_room_of_the_storage(server: Server, browser: Browser, free: int, kind: str) -> None:
    """In words and as a bar; where little is left it looks like it, too."""
    tell_health(server, free=free * GIB, size=100 * GIB)
    page = browser.get("/console/capacity")
    bar = bar_of(page, "Storage in use")
    assert "100.0 GiB" in bar.attributes["aria-label"]
    (used,) = [each for each in bar.all("rect") if each.attributes["class"] != "empty"]
    assert (used.attributes["class"], float(used.attributes["width"])) == (kind, 100 - free)


def test_a_storage_that_does_not_say_how_much_room_it_has(server: Server, browser: Browser) -> None:
    """That is said, rather than none."""
    tell_health(server, free=None, size=None)
    page = browser.get("/console/capacity")
    assert "does not say how much room it has" in said_in(page, "room")
    assert "There is no trend yet" in said_in(page, "trend")


@pytest.mark.parametrize(
    ("buffer", "expected"),
    [
        (Buffer(limit=None, pinned=Amount(1, GIB), coming=Amount()), "1.0 GiB pinned, 0 B coming; the storage system"),
        (Buffer(limit=4 * GIB, pinned=Amount(1, GIB), coming=Amount(1, GIB)), "of 4.0 GiB up to the high-water mark"),
        (Buffer(limit=GIB, pinned=Amount(1, 9 * GIB), coming=Amount(1, GIB)), "9.0 GiB pinned, 1.0 GiB coming"),
        (Buffer(limit=0, pinned=Amount(), coming=Amount()), "of 0 B up to the high-water mark"),
    ],
)
def test_the_disk_buffer(server: Server, browser: Browser, buffer: Buffer, expected: str) -> None:
    """What is pinned and what is coming; a bar is never longer than it is."""
    operations = server.recalls.operations
    operations.seen = attrs.evolve(operations.seen, buffer=buffer)
    page = browser.get("/console/capacity")
    assert expected in said_in(page, "room")
    if buffer.limit is not None:
        drawn = [each for each in bar_of(page, "Disk buffer").all("rect") if each.attributes["class"] != "empty"]
        assert sum(float(each.attributes["width"]) for each in drawn) <= 100
        assert all(float(each.attributes["width"]) >= 0 for each in drawn)


@pytest.mark.parametrize(
    ("free", "at_that_rate", "change"),
    [
        ((100, 90), "full in about 45 min", "+10.0 GiB"),
        ((90, 100), "not filling up", "-10.0 GiB"),
        ((90, 90), "–", "+0 B"),
        ((90, 90 - 1e-9), "not filling up", "+1 B"),
        ((10, 0), "full in about 0 s", "+10.0 GiB"),
    ],
)
def test_the_trend(server: Server, browser: Browser, free: tuple[float, float], at_that_rate: str, change: str) -> None:
    """How much more is in use, and when it will be all; of what gets less, that it will not."""
    for each in free:
        tell_health(server, free=round(each * GIB), size=1000 * GIB)
        page = browser.get("/console/capacity")
        server.clock.advance(EVERY)
    trend = said_in(page, "trend")
    assert f"At that rate{at_that_rate}" in trend
    assert f"Change{change} in 5 min" in trend
    assert len(page.all("svg", **{"class": "trend"})) == 1


def test_no_trend_is_made_of_a_moment(server: Server, browser: Browser) -> None:
    """Two looks that are near to each other say nothing of a day."""
    for free in (100, 50):
        tell_health(server, free=free * GIB, size=1000 * GIB)
        page = browser.get("/console/capacity")
        server.clock.advance(60)
    assert "There is no trend yet" in said_in(page, "trend")


def test_room_where_the_store_does_not_answer(server: Server, browser: Browser) -> None:
    """That of the storage is known all the same."""
    tell_health(server, free=GIB, size=2 * GIB)
    server.recalls.operations.trouble = errors.BackendUnavailable("The store does not answer.")
    page = words(browser.get("/console/capacity"))
    assert "1.0 GiB free of 2.0 GiB" in page
    assert "The store does not answer." in page
    assert "Disk buffer" not in page


# a file


@pytest.mark.parametrize(
    ("locality", "text"),
    [
        (Locality.DISK, "✓ on disk"),
        (Locality.DISK_AND_TAPE, "✓ on disk and on tape"),
        (Locality.TAPE, "○ on tape"),
        (Locality.LOST, "✕ lost: the storage system has no bytes of it"),
        (Locality.NONE, "– empty"),
        (Locality.UNAVAILABLE, "✕ unavailable: the storage system cannot give it now"),
    ],
)
def test_where_a_file_is(server: Server, browser: Browser, locality: Locality, text: str) -> None:
    server.archive.place(1, DATA, locality=locality)
    assert f"Where{text}" in said_in(browser.get("/console/files/1"), "file")


def test_what_is_known_of_a_file(server: Server, browser: Browser) -> None:
    """How much of it each level has, its digests, and why its last recall failed."""
    server.archive.place(
        7, bytes(2000), bytes_per_level=(500, 2000, 0), media=("disk", "tape", "tape"), locality=Locality.TAPE,
        digests={"sha256": b"\x01\xff", "adler32": b"\0\0\0\1"}, mtime_ns=0,
    )  # fmt: skip
    server.recalls.reasons[7] = "The cartridge is lost."
    page = browser.get("/console/files/7")
    said = said_in(page, "file")
    assert "Last recall✕ The cartridge is lost." in said
    assert "(2,000 bytes)" in said
    assert 'Version"01ff"' in said
    assert rows(page, "levels") == [
        ["1", "disk", "500", "25 %"],
        ["2", "tape", "2,000", "100 %"],
        ["3", "tape", "0", "0 %"],
    ]
    assert rows(page, "digests") == [["adler32", "00000001"], ["sha256", "01ff"]]


def test_a_file_of_which_little_is_known(server: Server, browser: Browser) -> None:
    """Neither digests nor levels; and the list of recalls does not answer."""
    server.archive.place(1, DATA, digests={}, bytes_per_level=(), media=())
    server.recalls.trouble["reason"] = errors.BackendUnavailable("The store does not answer.")
    page = browser.get("/console/files/1")
    assert "No digest is stored with it" in said_in(page, "digests")
    assert "The storage names no levels." in said_in(page, "levels")
    assert "The store does not answer." in said_in(page, "file")


@pytest.mark.parametrize("ids", ["1-9", "all"])
def test_who_sees_where_a_file_lies(ids: str) -> None:
    """Operators of all; the others see what they may know of their files, and none of those that they may not."""
    with serving(Server(gate=lambda clock: governed(clock, Right(0), rule("token:robot", OPERATOR, ids)))) as server:
        for file_id in (1, 10):
            server.archive.place(file_id, DATA, path=f"/secret/{file_id}")
        browser = Browser(server, f"Authorization: Bearer {TOKEN}")
        assert ("/secret/1" in words(browser.get("/console/files/1"))) == (ids == "all")
        browser.get("/console/files/10", 200 if ids == "all" else 403)


@pytest.mark.parametrize("given", ["", "-1", "01", "x", "1.0", str(2**64), "1 2", "%D9%A1"])
def test_what_is_no_id_is_not_looked_up(browser: Browser, given: str) -> None:
    assert "is a number" in words(browser.get(f"/console/files?id={given.replace(' ', '+')}", 400))


# rights


@pytest.mark.parametrize("screen", [each for each in SCREENS if each.needs is Right.ADMIN], ids=lambda each: each.path)
def test_what_is_about_all_files_is_for_who_is_an_operator_of_all(screen: Any) -> None:
    """Neither the page nor what follows it is for who is one of a few."""
    rules = rule("token:robot", Right.ADMIN, "1-9"), rule("token:robot", Right.POLL | Right.STAGE)
    with serving(Server(gate=lambda clock: governed(clock, Right(0), *rules))) as server:
        fill(server, "token:other")
        browser = Browser(server, f"Authorization: Bearer {TOKEN}")
        assert "This is for operators." in words(browser.get(f"/console{screen.path}", 403))
        if screen.live:
            assert browser.ask("GET", f"/console/live{screen.path}").status == 403
        browser.get("/console")
        assert [owner for owner, *_ in server.recalls.called("jobs")] == ["token:robot"]


LINES: list[dict[str, Any]] = [
    {"time": "2026-01-01T00:00:00.000Z", "what": "delete", "id": "1", "principal": "token:robot", "why": "<b>old</b>"},
    {"time": "never", "what": "put", "id": "1", "principal": "token:eve", "address": "192.0.2.7", "bytes": 2048,
     "digest": "sha256:01ff"},
]  # fmt: skip


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        pytest.param("all", [["delete", "token:robot", "–", "–", "–", "<b>old</b>"],
                             ["put", "token:eve", "192.0.2.7", "2.0 KiB", "sha256:01ff", "–"]], id="operator"),
        pytest.param("1-9", [["delete", "token:robot", "–", "–", "–", "<b>old</b>"]], id="another"),
    ],
)  # fmt: skip
def test_the_history_of_a_file(ids: str, expected: list[list[str]]) -> None:
    """Operators see who did what; the others what they have done themselves."""
    audit = FakeAudit()
    audit.histories[1] = History(LINES, whole=False)
    gate = lambda clock: governed(clock, Right(0), rule("token:robot", OPERATOR, ids))  # noqa: E731
    with serving(Server(gate=gate, audit=audit)) as server:
        server.archive.place(1, DATA)
        page = Browser(server, f"Authorization: Bearer {TOKEN}").get("/console/files/1")
    assert [each[1:] for each in rows(page, "history")] == expected
    assert "is not looked for" in said_in(page, "history")


def test_a_file_without_a_history(server: Server, browser: Browser) -> None:
    """It is said where nothing is written down, where that cannot be read, and where it has nothing of the file."""
    server.archive.place(1, DATA)
    assert "no audit file is set" in said_in(browser.get("/console/files/1"), "history")
    audit = FakeAudit()
    audit.histories[2] = errors.BackendUnavailable("The audit file cannot be read: torn.")
    with serving(Server(audit=audit)) as other:
        for file_id in (1, 2):
            other.archive.place(file_id, DATA)
        browser = Browser(other)
        assert "nothing" in said_in(browser.get("/console/files/1"), "history")
        assert "cannot be read: torn." in said_in(browser.get("/console/files/2"), "history")
