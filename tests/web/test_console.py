"""The console as HTTP sees it: what its pages hold, who sees what, and that nobody else's page can act."""

from __future__ import annotations

import json
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, NoReturn
from xml.etree import ElementTree as ET

import attrs
import pytest
from console import Browser, Element, read_page
from doubles import JOB, NOW, job_file, job_status
from support import Server, serving
from test_access import AT_HOME, TOKEN, governed, rule
from test_job_events import Follower
from twisted.internet.defer import Deferred

from pacarchive import errors
from pacarchive.access import tokens
from pacarchive.access.rights import EVERYTHING, Right
from pacarchive.recall.views import (
    Age,
    Amount,
    Buffer,
    CartridgeRow,
    Drive,
    OwnerRow,
    Reason,
    States,
    Upcoming,
)
from pacarchive.recall.words import FileState, Hold, HoldKind, JobStatus, Pin, Priority, Retried, RetryFilter
from pacarchive.web.console.frame import HEADERS
from pacarchive.web.console.screens import SCREENS
from pacarchive.web.settings import ConsoleSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pacarchive.telemetry.parts import Part
    from pacarchive.web.console.asking import Screen

FORM = "Content-Type: application/x-www-form-urlencoded"
PAGES = [
    "/console",
    "/console/queue",
    "/console/queue?order=failed",
    "/console/cartridge?name=A1",
    "/console/owners",
    "/console/retry?cartridge=A1&hours=2",
    "/console/jobs",
    f"/console/jobs/{JOB}",
    "/console/pins",
    "/console/capacity",
    "/console/trouble",
    "/console/files/1",
]
HOLD = Hold(kind=HoldKind.CARTRIDGE, cartridge="A1", who="user:ada", why="it squeaks", since=NOW - 7200)


@pytest.fixture
def server() -> Iterator[Server]:
    """One that lets everyone do everything, with a job of three files, and a pin."""
    with serving(Server()) as server:
        fill(server)
        yield server


def fill(server: Server, owner: str = "192.0.2.1") -> JobStatus:
    """Give a server something to show."""
    server.archive.place(1, b"data")
    status = job_status(owner=owner, files=3, left=2)
    files = [
        job_file(12, state=FileState.QUEUED),
        job_file(13, state=FileState.STARTED),
        job_file(14, state=FileState.FAILED, reason="<b>The tape broke.</b>"),
    ]
    server.recalls.place(status, *files)
    server.recalls.listed["jobs"] = [status.summary]
    server.recalls.listed["pins"] = [
        Pin(file_id=2**64 - 1, job=JOB, owner=owner, size=5 << 30, expires=NOW + 90, until_read=True)
    ]
    operations = server.recalls.operations
    states = States(queued=Amount(1_000_000, 5 << 40), backing_off=Amount(3, 3 << 30), started=Amount(4, 4 << 30))
    operations.seen = attrs.evolve(
        operations.seen,
        states=states,
        failed=Amount(2, 2 << 30),
        drives=[
            Drive(cartridge="A1", owner=owner, begun=NOW - 900, mounted=True, ending=False,
                  submitted=Amount(4, 4 << 30), last=NOW - 600, stuck=True),
            Drive(cartridge="A2", owner="", begun=NOW, mounted=False, ending=False, submitted=Amount(), last=NOW,
                  stuck=False),
        ],
        upcoming=[Upcoming(cartridge="A3", files=7, begins=NOW + 600, ends=NOW + 6000)],
        ages=[Age(below=3600, amount=Amount(5)), Age(below=None, amount=Amount(1))],
        reasons=[Reason(reason="The tape broke.", amount=Amount(2), for_good=True)],
        through=NOW + 86400,
        holds=[HOLD],
        problems=["No file of cartridge A1 has come since 600 seconds."],
        buffer=Buffer(limit=10 << 40, pinned=Amount(1, 6 << 40), coming=Amount(4, 1 << 40)),
        owners=50,
        cartridges=400,
    )  # fmt: skip
    row = CartridgeRow(
        cartridge="A1", states=states, failed=Amount(2, 2 << 30), oldest=NOW - 86400, reading=True, place=None,
        begins=NOW, ends=NOW + 86400, hold=None,
    )  # fmt: skip
    nowhere = attrs.evolve(row, cartridge="", reading=False, place=1)
    operations.rows = [
        row,
        nowhere,
        attrs.evolve(row, cartridge="A4", hold=HOLD),
    ]
    operations.owner_rows = [
        OwnerRow(owner=owner, states=states, completed_day=Amount(9), failed=Amount(2), pins=Amount(1), jobs=3,
                 kept_files=99, oldest=NOW - 3600)
    ]  # fmt: skip
    operations.retried = Retried(failed=2, hurried=3)
    return status


def guarded(*may: tuple[str, Right]) -> Server:
    """A server that knows callers, by rules."""
    return Server(gate=lambda clock: governed(clock, Right(0), *(rule(who, right) for who, right in may)))


def words(page: Element) -> str:
    """What a page says, with one blank between words."""
    return " ".join(page.one("main").text.split())


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_whole_and_has_nothing_from_elsewhere(server: Server, path: str) -> None:
    """It is well formed, in a frame that can be found the way around in, and protected by what browsers enforce."""
    browser = Browser(server)
    page = browser.get(path)
    answer = browser.answer
    assert answer is not None
    for name, value in HEADERS.items():
        assert answer.field(name) == value
    assert answer.field("Cache-Control") == "no-store"
    assert len(page.all("h1")) == len(page.all("main")) == len(page.all("header")) == 1
    assert page.one("html").attributes["lang"] == "en"
    assert page.one("a", **{"class": "skip"}).attributes["href"] == "#main"
    for each in (*page.all("link"), *page.all("script"), *page.all("a"), *page.all("form")):
        address = each.attributes.get("href") or each.attributes.get("src") or each.attributes.get("action")
        assert address is not None
        assert address.startswith(("/console", "#"))
    assert not page.all("style")
    for each in page.all("script"):
        assert not each.text
    for table in page.all("table"):
        assert table.one("caption").text.endswith(".")
        for head in table.all("th"):
            assert head.attributes["scope"] in ("col", "row")
    assert b"@form-token@" not in answer.body


def test_what_a_page_says_is_escaped(server: Server) -> None:
    """The words of a storage system cannot become elements."""
    page = Browser(server).get(f"/console/jobs/{JOB}")
    assert "<b>The tape broke.</b>" in words(page)


@pytest.mark.parametrize("name", ["console.css", "console.js", "icon.svg"])
def test_assets_are_asked_for_again_at_no_cost(server: Server, name: str) -> None:
    """They have an entity tag."""
    answer = server.ask("GET", f"/console/{name}")
    assert answer.status == 200
    tag = answer.field("ETag")
    assert server.ask("GET", f"/console/{name}", f"If-None-Match: {tag}").status == 304
    assert server.ask("GET", f"/console/{name}", 'If-None-Match: "other"').status == 200
    if name.endswith("svg"):
        ET.fromstring(answer.body)


def test_where_there_is_to_be_no_console_there_is_none() -> None:
    """Neither pages, nor forms, nor assets."""
    with serving(Server(console=ConsoleSettings(enabled=False))) as server:
        for path in [*PAGES, "/console/console.css", "/console/live"]:
            assert server.ask("GET", path).status == 404
        assert server.ask("POST", "/console/session", FORM, body=b"token=&access=x").status == 404


# who sees what


def test_an_owner_sees_and_does_what_is_its_own() -> None:
    """Jobs and pins of others are neither listed nor shown nor changed."""
    with serving(guarded(("token:robot", Right.STAGE))) as server:
        fill(server, "token:mallory")
        browser = Browser(server, f"Authorization: Bearer {TOKEN}")
        browser.get("/console/jobs?owner=token:mallory")
        browser.get("/console/pins?owner=token:mallory")
        assert [owner for owner, *_ in server.recalls.called("jobs")] == ["token:robot"]
        assert [owner for owner, *_ in server.recalls.called("pins")] == ["token:robot"]
        assert "There is no such job" in words(browser.get(f"/console/jobs/{JOB}", 404))
        form = browser.get("/console/pins").one("main").all("form", method="post")[0]
        form.attributes["action"] = f"/console/jobs/{JOB}/cancel"
        assert browser.submit(form).status == 404
        assert not server.recalls.called("cancel")
        fill(server, "token:robot")
        assert "Cancel all" in words(browser.get(f"/console/jobs/{JOB}"))


def test_who_may_only_look_is_offered_no_action() -> None:
    """And has none."""
    with serving(guarded(("token:robot", Right.POLL))) as server:
        fill(server, "token:robot")
        browser = Browser(server, f"Authorization: Bearer {TOKEN}")
        page = browser.get(f"/console/jobs/{JOB}")
        assert not page.one("main").all("form")
        assert not page.all("input", type="checkbox")
        assert browser.ask("POST", f"/console/jobs/{JOB}/cancel", FORM, body=b"").status == 403
        assert "lacks the right 'stat' for file 1" in words(browser.get("/console/files/1", 403))


def test_an_operator_sees_everything() -> None:
    """And may look at one owner's."""
    with serving(guarded(("token:robot", Right.ADMIN | Right.STAGE | Right.POLL))) as server:
        fill(server, "token:mallory")
        browser = Browser(server, f"Authorization: Bearer {TOKEN}")
        browser.get("/console/jobs")
        browser.get("/console/jobs?owner=token:mallory")
        assert [owner for owner, *_ in server.recalls.called("jobs")] == [None, "token:mallory"]
        assert "token:mallory" in words(browser.get(f"/console/jobs/{JOB}"))


# signing in


def test_a_token_is_given_on_a_form_and_kept_in_a_sealed_cookie() -> None:
    """The browser sends it to the console from then on; it is not in the cookie, and does not open the API."""
    with serving(guarded(("token:robot", Right.STAGE))) as server:
        fill(server, "token:robot")
        browser = Browser(server)
        page = browser.get("/console/jobs", 401)
        assert browser.answer is not None
        assert "Basic" not in (browser.answer.field("WWW-Authenticate") or "")
        assert "/console?with=password" in [each.attributes["href"] for each in page.all("a")]
        form = page.one("form", id="sign-in")
        assert browser.submit(form, access=f" {TOKEN} ").status == 303
        assert TOKEN not in str(browser.cookies)
        assert "token:robot" in browser.follow().one("header").text
        assert browser.ask("GET", "/jobs").status == 401
        out = browser.get("/console").one("header").one("form", method="post")
        assert browser.submit(out).status == 303
        browser.get("/console", 401)


def test_a_password_is_asked_for_by_the_browser() -> None:
    """Where tokens are taken, too, only once it is wanted."""
    with serving(guarded(("user:ada", Right.STAGE))) as server:
        browser = Browser(server)
        browser.get("/console?with=password", 401)
        assert browser.answer is not None
        assert 'Basic realm="pacarchive"' in (browser.answer.field("WWW-Authenticate") or "")


def test_a_session_ends_with_its_time_and_its_token() -> None:
    """The seal says when it began; the token is looked at each time."""
    with serving(guarded(("token:robot", Right.STAGE))) as server:
        browser = Browser(server)
        browser.submit(browser.get("/console", 401).one("form", id="sign-in"), access=TOKEN)
        browser.follow()
        kept = dict(browser.cookies)
        server.clock.advance(12 * 3600 + 1)
        browser.get("/console", 401)
        browser.submit(browser.get("/console", 401).one("form", id="sign-in"), access=TOKEN)
        browser.follow()
        server.application.gate.use_tokens({})
        browser.get("/console", 401)
        assert kept != browser.cookies


@pytest.mark.parametrize(
    ("access", "status"),
    [("", 401), ("nonsense", 401), (tokens.make_token(), 401), ("x" * 3000, 401), ("ä", 401)],
    ids=("none", "nonsense", "unknown", "long", "letters"),  # the same in each process that runs tests
)
def test_what_is_no_token_begins_no_session(access: str, status: int) -> None:
    """The page says so, and has the form again."""
    with serving(guarded(("token:robot", Right.STAGE))) as server:
        browser = Browser(server)
        answer = browser.submit(browser.get("/console", 401).one("form", id="sign-in"), access=access)
        assert answer.status == status
        assert answer.field("WWW-Authenticate")
        assert b'id="sign-in"' in answer.body
        assert not [name for name in browser.cookies if "session" in name]


def test_a_token_without_the_right_to_look_is_told_so() -> None:
    """No session begins."""
    with serving(guarded(("token:robot", Right.READ))) as server:
        browser = Browser(server)
        answer = browser.submit(browser.get("/console", 401).one("form", id="sign-in"), access=TOKEN)
        assert answer.status == 403
        assert not [name for name in browser.cookies if "session" in name]


def test_a_cookie_that_is_forged_is_none() -> None:
    """Or one of an earlier start of the service."""
    with serving(guarded(("token:robot", Right.STAGE))) as server:
        browser = Browser(server)
        for value in ("", "x", "gAAAA", "ä"):
            browser.cookies["pacarchive-session"] = value
            browser.get("/console", 401)


# nobody else's page can act

FOREIGN = {
    "another site": ("Sec-Fetch-Site: cross-site",),
    "a neighbour": ("Sec-Fetch-Site: same-site",),
    "the address bar": ("Sec-Fetch-Site: none",),
    "another origin": ("Origin: http://evil.example",),
    "another port": ("Origin: http://archive:81",),
    "no origin that is told": ("Origin: null",),
    "two origins": ("Origin: http://archive", "Origin: http://evil.example"),
}


@pytest.mark.parametrize("fields", FOREIGN.values(), ids=FOREIGN)
def test_a_form_from_elsewhere_does_nothing(server: Server, fields: tuple[str, ...]) -> None:
    """Even with the token of one of ours."""
    browser = Browser(server)
    form = browser.get(f"/console/jobs/{JOB}").all("form", action=f"/console/jobs/{JOB}/cancel")[0]
    assert browser.submit(form, *fields).status == 403
    assert not server.recalls.called("cancel")


def test_a_form_needs_the_token_that_the_browser_has(server: Server) -> None:
    """Without it, with another, or without the cookie."""
    browser, other = Browser(server), Browser(server)
    form = browser.get(f"/console/jobs/{JOB}").all("form", action=f"/console/jobs/{JOB}/cancel")[0]
    other.get("/console")
    assert other.submit(form).status == 403
    other.cookies.clear()
    assert other.submit(form).status == 403
    assert browser.submit(form, token="").status == 403
    assert browser.ask("POST", form.attributes["action"], FORM, body=b"").status == 403
    assert browser.ask("POST", form.attributes["action"], "Content-Type: text/plain", body=b"token=x").status == 415
    assert not server.recalls.called("cancel")
    assert browser.submit(form, "Sec-Fetch-Site: same-origin", "Origin: http://archive").status == 303
    assert server.recalls.called("cancel")


def test_nothing_is_changed_by_a_get(server: Server) -> None:
    """What changes something answers to POST alone."""
    for path in (f"/console/jobs/{JOB}/cancel", f"/console/jobs/{JOB}/release", "/console/pins/1/end"):
        assert server.ask("GET", path).status == 405
    assert not server.recalls.called("cancel")


# what can be done


def test_a_job_is_cancelled_as_a_whole_and_in_part(server: Server) -> None:
    """The viewer comes back to the job, and is told how many."""
    browser = Browser(server)
    path = f"/console/jobs/{JOB}/cancel"
    whole, part = browser.get(f"/console/jobs/{JOB}").all("form", action=path)
    browser.submit(whole, why="not needed")
    assert "3 files cancelled." in browser.follow().one("p", role="status").text
    assert browser.ask("POST", path, FORM, body=b"which=some&token=" + _token(part)).status == 400
    browser.ask("POST", path, FORM, body=b"which=some&file=12&file=13&token=" + _token(part))
    assert server.recalls.called("cancel") == [[JOB, None], [JOB, [12, 13]]]
    assert browser.ask("POST", path, FORM, body=b"which=some&file=x&token=" + _token(part)).status == 400


def _token(form: Element) -> bytes:
    return form.one("input", name="token").attributes["value"].encode()


def test_pins_are_released(server: Server) -> None:
    """All of a job, or of one file."""
    browser = Browser(server)
    counts = {FileState.COMPLETED: 1, FileState.QUEUED: 2}
    status = fill(server)
    server.recalls.place(attrs.evolve(status, counts={**status.counts, **counts}))
    form = browser.get(f"/console/jobs/{JOB}").one("form", action=f"/console/jobs/{JOB}/release")
    browser.submit(form)
    assert "The pins of 3 files ended." in browser.follow().one("p", role="status").text
    server.recalls.released = 1
    form = browser.get("/console/pins").one("form", action=f"/console/pins/{2**64 - 1}/end")
    browser.submit(form)
    assert "1 pin ended." in browser.follow().one("p", role="status").text
    assert server.recalls.called("unpin") == [[2**64 - 1]]


def test_what_failed_is_retried_of_a_job_and_by_a_filter(server: Server) -> None:
    """Of the latter, it is said first how many that would be."""
    browser = Browser(server)
    counts = {FileState.FAILED: 1}
    status = fill(server)
    server.recalls.place(attrs.evolve(status, counts={**status.counts, **counts}))
    browser.submit(browser.get(f"/console/jobs/{JOB}").one("form", action=f"/console/jobs/{JOB}/retry"))
    assert "5 files recalled again." in browser.follow().one("p", role="status").text
    page = browser.get("/console/retry?cartridge=A1&hours=2")
    assert "2 requests failed, and 3 files to be tried again later." in words(page)
    browser.submit(page.one("form", method="post"))
    wanted = RetryFilter(cartridge="A1", since=NOW - 7200)
    found = [arguments for name, *arguments in server.recalls.operations.calls if "retr" in name]
    assert found == [[RetryFilter(job=JOB)], [wanted], [wanted]]
    browser.get("/console/retry?hours=soon", 400)


def test_a_priority_is_changed(server: Server) -> None:
    """To one of those that there are."""
    browser = Browser(server)
    form = browser.get(f"/console/jobs/{JOB}").one("form", action=f"/console/jobs/{JOB}/priority")
    assert form.one("option", selected="selected").text == "normal"
    browser.submit(form, priority="high")
    browser.follow()
    assert ("change_priority", JOB, Priority.HIGH) in server.recalls.operations.calls
    assert browser.submit(form, priority="urgent").status == 400


def test_cartridges_and_drives_are_held_and_resumed(server: Server) -> None:
    """By whom, why, and for how long."""
    browser = Browser(server)
    whole, drives = browser.get("/console/queue").all("form", action="/console/hold")
    browser.submit(whole, why="a visit", hours="2")
    browser.follow()
    browser.submit(drives, drives="1")
    browser.submit(browser.get("/console/cartridge?name=A1").one("form", action="/console/hold"))
    browser.follow()
    browser.submit(browser.get("/console/cartridge?name=A4").one("form", action="/console/resume"))
    nothing = {"cartridge": "", "drives": None, "why": "", "until": None}
    found = [each for each in server.recalls.operations.calls if each[0] in ("hold", "resume")]
    assert found == [
        ("hold", HoldKind.ALL, "192.0.2.1", {**nothing, "why": "a visit", "until": NOW + 7200}),
        ("hold", HoldKind.DRIVES, "192.0.2.1", {**nothing, "drives": 1}),
        ("hold", HoldKind.CARTRIDGE, "192.0.2.1", {**nothing, "cartridge": "A1"}),
        ("resume", HoldKind.CARTRIDGE, "A4"),
    ]
    for fields in ({"hours": "0"}, {"kind": "tapes"}, {"kind": "cartridge"}):
        assert browser.submit(whole, **fields).status == 400


@pytest.mark.parametrize("path", [path for path in PAGES if path.startswith(("/console/jobs", "/console/pins"))])
def test_a_hold_is_on_every_page(server: Server, path: str) -> None:
    """With who, since when, and why."""
    (banner,) = Browser(server).get(path).all("p", **{"class": "hold"})
    assert "Cartridge A1 is held by user:ada, 2 h ago: it squeaks" in banner.text


@pytest.mark.parametrize("path", ["/console/cartridge", "/console/retry", "/console/capacity", "/console/trouble"])
def test_what_is_for_operators(path: str) -> None:
    """Others are told so."""
    with serving(guarded(("token:robot", Right.STAGE))) as server:
        browser = Browser(server, f"Authorization: Bearer {TOKEN}")
        assert "lacks the right 'admin'" in words(browser.get(path, 403))


def test_an_owner_sees_no_other_owner(server: Server) -> None:
    """Neither in the sums, nor by whom a cartridge is read, nor whose transfers there are."""
    with serving(guarded(("token:robot", Right.STAGE))) as server:
        fill(server, "token:mallory")
        server.recalls.listed["jobs"] = []
        browser = Browser(server, f"Authorization: Bearer {TOKEN}")
        browser.get("/console/queue?owner=token:mallory")
        page = browser.get("/console")
        assert "mallory" not in words(page)
        assert "Moving now" not in words(page)
        browser.get("/console/owners")
        calls = server.recalls.operations.calls
        asked = [each[:2] for each in calls if each[0] in ("cartridges", "owners")]
        assert asked == [("cartridges", "token:robot"), ("owners", "token:robot"), ("owners", "token:robot")]


def test_a_notice_is_one_of_ours(server: Server) -> None:
    """A link cannot have the page say anything."""
    browser = Browser(server)
    for query in ("did=hacked&count=1", "did=cancelled&count=<b>", "did=cancelled", "did={0}&count=1"):
        assert not browser.get(f"/console?{query}").all("p", role="status", **{"class": "notice"})


def test_an_id_is_looked_up(server: Server) -> None:
    """From any page."""
    browser = Browser(server)
    browser.ask("GET", "/console/files?id=+1+")
    assert "on disk" in words(browser.follow())
    assert "is a number" in words(browser.get("/console/files?id=-1", 400))
    browser.get("/console/files/99", 404)


# what fails


def test_a_dead_store_leaves_the_rest_of_the_first_page(server: Server) -> None:
    """The words say what is wrong; a screen that is nothing without it is a page in words, too."""
    server.recalls.obstacle = "the database does not answer"
    server.recalls.operations.trouble = errors.BackendUnavailable("The store does not answer.")
    server.recalls.trouble["jobs"] = errors.BackendUnavailable("The store does not answer.")
    browser = Browser(server)
    page = words(browser.get("/console"))
    assert "the database does not answer" in page
    assert "Moving now" in page
    assert "The store does not answer." in page


DEAD = errors.BackendUnavailable("It does not answer.", retry_after=7)
LIVE = pytest.mark.parametrize(
    "screen", [each for each in SCREENS if each.live], ids=lambda each: each.path or "overview"
)


def path_to(screen: Screen) -> str:
    """Where one of them is, below the console."""
    return screen.path.replace("<job>", JOB).replace("<file_id:file_id>", "1") + "?name=A1" * (
        screen.path == "/cartridge"
    )


def panels(html: str) -> list[str]:
    """What a page is made of."""
    return [each.attributes["id"] for each in read_page(html).all("h2")]


class Dead:
    """Stands for a service of which not all processes answer."""

    async def totals(self) -> NoReturn:
        raise DEAD


@contextmanager
def dead(server: Server) -> Iterator[None]:
    """Have nothing answer for a while of what screens are made from."""
    whole = server.application.telemetry.whole
    server.recalls.operations.trouble = DEAD
    server.recalls.trouble = dict.fromkeys(("jobs", "job", "files", "status", "pins", "owner", "reason"), DEAD)
    server.archive.trouble["status"] = DEAD

    server.application.telemetry.whole = Dead()
    yield
    server.recalls.operations.trouble = None
    server.recalls.trouble = {}
    server.archive.trouble.clear()
    server.application.telemetry.whole = whole


@LIVE
def test_what_does_not_answer_is_said_in_the_place_of_it(server: Server, screen: Screen) -> None:
    """The page has its name and is live, so that it can show what comes; programs see by the status that it is not."""
    browser = Browser(server)
    stays = screen.path in ("", "/capacity")  # what they show is not all of one kind
    with dead(server):
        page = browser.get(f"/console{path_to(screen)}", 200 if stays else 503)
    assert "It does not answer." in words(page)
    assert "Service unavailable" not in words(page)
    assert page.one("div", id="live").attributes["data-live"]
    assert browser.answer is not None
    assert browser.answer.field("Retry-After") == (None if stays else "7")
    assert sum("It does not answer." in each for each in server.words()) == (not stays)


@LIVE
def test_an_open_page_shows_again_what_answers_again(server: Server, screen: Screen) -> None:
    """In the same stream: nobody reloads a page that hangs on a wall; and that it failed is not logged each second."""
    follower = Follower(server, target=f"/console/live{path_to(screen)}")
    before = panels(_shown(follower.text))
    with dead(server):
        server.clock.pump([0.5] * 4)
        assert "It does not answer." in _shown(follower.read())
        server.clock.pump([0.5] * 20)
    server.clock.pump([0.5] * 4)
    shown = _shown(follower.read())
    assert "It does not answer." not in shown
    assert panels(shown) == before
    assert not any("It does not answer." in each for each in server.words())
    follower.client.hang_up()


def test_a_page_that_is_opened_meanwhile_shows_what_comes(server: Server) -> None:
    """Its stream begins with the words for why there is nothing."""
    with dead(server):
        follower = Follower(server, target="/console/live/jobs")
        assert "It does not answer." in _shown(follower.text)
    server.clock.pump([0.5] * 4)
    assert JOB[:8] in _shown(follower.read())
    follower.client.hang_up()


def test_what_is_not_live_says_to_reload_it(server: Server) -> None:
    """And what cannot be done now is a page of its own, as before."""
    with dead(server):
        assert "Reload the page" in words(Browser(server).get("/console/retry", 503))


def test_what_nobody_foresaw_is_a_page_too(server: Server) -> None:
    """With the incident, and nothing else."""
    server.recalls.trouble["jobs"] = RuntimeError("secret")
    page = words(Browser(server).get("/console/jobs", 500))
    assert "Incident" in page
    assert "secret" not in page
    assert server.failures()


def test_what_is_nowhere_is_a_page_too(server: Server) -> None:
    """In the form of the console."""
    assert "No such resource." in words(Browser(server).get("/console/nowhere", 404))
    assert server.ask("GET", "/consoles").field("Content-Type") == "application/json"


# what is kept up to date


def test_changes_are_sent_as_they_happen(server: Server) -> None:
    """What is the same is not sent again; a sign of life is."""
    follower = Follower(server, target=f"/console/live/jobs/{JOB}")
    assert follower.head.status == 200
    assert follower.head.field("Content-Type") == "text/event-stream"
    assert "being recalled" in _shown(follower.text)
    server.clock.pump([0.5] * 4)
    assert not follower.read()
    server.recalls.changes[JOB][0] = job_file(12, state=FileState.COMPLETED)
    server.clock.pump([0.5] * 4)
    assert "on disk" in _shown(follower.read())
    server.clock.pump([1] * 20)
    assert ": nothing new" in follower.read()
    follower.client.hang_up()


def _shown(text: str) -> str:
    """What the last event shows."""
    lines = [line for line in text.splitlines() if line.startswith("data: ")]
    shown: str = json.loads(lines[-1].removeprefix("data: "))
    return shown


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
    assert "on disk" in _shown(late.text)
    assert not early.read()
    server.clock.pump([0.1] * 10)
    assert "on disk" in _shown(early.read())
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
