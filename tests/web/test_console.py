"""The console as HTTP sees it: what its pages hold, who sees what, and that nobody else's page can act."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import attrs
import pytest
from console import Browser, Element
from doubles import JOB, NOW, job_file, job_status
from support import Server, serving
from test_access import TOKEN, governed, rule

from pacarchive.access import tokens
from pacarchive.access.rights import Right
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
from pacarchive.web.settings import ConsoleSettings

if TYPE_CHECKING:
    from collections.abc import Iterator


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
