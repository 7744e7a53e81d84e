"""What can be done from the console: by whom, what is asked of the engine, what is written down, what is said of it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import attrs
import pytest
from console import Browser, read_page
from doubles import JOB, NOW, FakeAudit
from support import Server, serving
from test_access import TOKEN, governed, rule
from test_console import FORM, fill, guarded, words

from pacarchive import errors
from pacarchive.access.rights import Right
from pacarchive.recall.words import FileState, HoldKind, Priority, Retried, RetryFilter
from pacarchive.web.console.acting import ACTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

WHO = {"principal": "anonymous", "how": "none", "address": "192.0.2.1", "result": "done"}
NOBODY = "192.0.2.1"

CHANGES = {"cancel", "release", "unpin", "retry", "change_priority", "hold", "resume"}
"""What the engine is asked for that changes something."""

GOOD: dict[str, dict[str, str]] = {
    "/jobs/<job>/priority": {"priority": "low"},
    "/hold": {"kind": "all"},
    "/resume": {"kind": "all"},
}
"""What the form of an action has to say, beside its token."""


def path_of(pattern: str) -> str:
    """A path of an action."""
    return "/console" + pattern.replace("<job>", JOB).replace("<file_id:file_id>", "12")


PATHS = [(path_of(pattern), GOOD.get(pattern, {})) for pattern, _, _ in ACTIONS]
EACH = pytest.mark.parametrize(("path", "fields"), PATHS, ids=[path.removeprefix("/console") for path, _ in PATHS])


@contextmanager
def watched(server: Server) -> Iterator[Server]:
    """A server that has something to show, and starts and ends."""
    with serving(server):
        fill(server, NOBODY)
        yield server


@pytest.fixture
def audit() -> FakeAudit:
    return FakeAudit()


@pytest.fixture
def server(audit: FakeAudit) -> Iterator[Server]:
    """One that lets everyone do everything, and writes it down."""
    with watched(Server(audit=audit)) as server:
        yield server


def changes(server: Server) -> list[tuple[Any, ...]]:
    """What was asked of the engine that changes something."""
    return [each for each in (*server.recalls.calls, *server.recalls.operations.calls) if each[0] in CHANGES]


def post(browser: Browser, path: str, **fields: Any) -> int:
    """Send a form of ours that may say anything, as someone could who writes it by hand."""
    if "pacarchive-form" not in browser.cookies:
        browser.ask("GET", "/console")
    given = {"token": browser.cookies["pacarchive-form"], **fields}
    return browser.ask("POST", path, FORM, body=urlencode(given, doseq=True).encode()).status


def said(browser: Browser) -> str:
    """What the page says that the last answer leads to of what was done."""
    return " ".join(browser.follow().one("p", role="status", **{"class": "notice"}).text.split())


def refusal(browser: Browser) -> str:
    """What the last answer says, which is a page."""
    assert browser.answer is not None
    return words(read_page(browser.answer.body.decode()))


# every one of them


@EACH
def test_each_is_done_once_and_leads_to_a_page_that_can_be_reloaded(
    server: Server, path: str, fields: dict[str, str]
) -> None:
    """Which does nothing again, and says what was done."""
    browser = Browser(server)
    assert post(browser, path, **fields) == 303
    assert len(changes(server)) == 1
    assert said(browser)
    assert browser.answer is not None
    browser.ask("GET", browser.answer.field("Location") or "/console")
    assert len(changes(server)) == 1


@EACH
def test_each_has_a_line_with_its_reason(server: Server, audit: FakeAudit, path: str, fields: dict[str, str]) -> None:
    """Who, what, and why, in the words of whoever did it."""
    assert post(Browser(server), path, **fields, why="  the tape was cleaned  ") == 303
    (line,) = audit.lines
    assert WHO.items() <= line.items()
    assert line["what"] in {"cancel", "release", "unpin", "retry", "priority", "hold", "resume"}
    assert line["why"] == "the tape was cleaned"


@EACH
def test_each_needs_no_reason(server: Server, audit: FakeAudit, path: str, fields: dict[str, str]) -> None:
    """Of blanks there is none, and a long one is cut."""
    for given, kept in (("", None), ("   ", None), ("x" * 1000, "x" * 200)):
        audit.lines.clear()
        assert post(Browser(server), path, **fields, why=given) == 303
        assert audit.lines[0].get("why") == kept


@EACH
def test_what_cannot_be_written_down_is_not_done(
    server: Server, audit: FakeAudit, path: str, fields: dict[str, str]
) -> None:
    """And that is said on a page."""
    audit.fails = True
    browser = Browser(server)
    assert post(browser, path, **fields) == 503
    assert "nothing was done" in refusal(browser)
    assert changes(server) == []


@EACH
@pytest.mark.parametrize(
    ("more", "status"),
    [
        (("Sec-Fetch-Site: cross-site",), 403),
        (("Sec-Fetch-Site: same-site",), 403),
        (("Origin: http://evil.example",), 403),
        (("Origin: null",), 403),
        (("Origin: http://archive", "Origin: http://archive"), 403),
    ],
    ids=["another site", "a sister site", "another origin", "no origin", "two origins"],
)
def test_none_is_done_for_another_site(
    server: Server, path: str, fields: dict[str, str], more: tuple[str, ...], status: int
) -> None:
    """Although the form has a good token."""
    browser = Browser(server)
    browser.ask("GET", "/console")
    body = urlencode({"token": browser.cookies["pacarchive-form"], **fields}).encode()
    assert browser.ask("POST", path, FORM, *more, body=body).status == status
    assert changes(server) == []


@EACH
def test_none_is_done_without_the_token_of_the_browser(server: Server, path: str, fields: dict[str, str]) -> None:
    """Neither without any, nor with that of another, nor with one in two places."""
    browser = Browser(server)
    for token in ("", "0" * 32, "a" * 31):
        assert post(browser, path, **{**fields, "token": token}) == 403
    without_cookie = Browser(server)
    assert without_cookie.ask("POST", path, FORM, body=urlencode({"token": "a" * 32, **fields}).encode()).status == 403
    assert changes(server) == []


@EACH
@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("application/json", b'{"kind": "all"}', 415),
        ("text/plain", b"kind=all", 415),
        ("multipart/form-data; boundary=x", b"--x--", 415),
        ("application/x-www-form-urlencoded", b"kind", 400),
        ("application/x-www-form-urlencoded", b"kind=%ff\xff", 400),
        ("application/x-www-form-urlencoded", b"&".join([b"a=b"] * 1001), 400),
        ("application/x-www-form-urlencoded", b"a=" + b"b" * (65 << 10), 413),
    ],
    ids=["JSON", "text", "multipart", "no value", "not UTF-8", "many fields", "large"],
)
def test_none_is_done_by_what_is_no_form(
    server: Server, path: str, fields: dict[str, str], kind: str, body: bytes, status: int
) -> None:
    """That is said on a page, and nothing of it is kept."""
    browser = Browser(server)
    browser.ask("GET", "/console")
    answer = browser.ask("POST", path, f"Content-Type: {kind}", body=body)
    assert (answer.status, answer.field("Content-Type")) == (status, "text/html; charset=utf-8")
    assert changes(server) == []


@EACH
def test_none_is_done_where_the_store_does_not_answer(server: Server, path: str, fields: dict[str, str]) -> None:
    """It is said why, and nothing is said to be done."""
    browser = Browser(server)
    browser.ask("GET", "/console")
    trouble = errors.BackendUnavailable("The store does not answer.")
    server.recalls.operations.trouble = trouble
    server.recalls.trouble = dict.fromkeys(("cancel", "release", "unpin"), trouble)
    assert post(browser, path, **fields) == 503
    assert "The store does not answer." in refusal(browser)


@EACH
def test_what_fails_has_no_line(server: Server, audit: FakeAudit, path: str, fields: dict[str, str]) -> None:
    """The file says what was done."""
    browser = Browser(server)
    browser.ask("GET", "/console")
    server.recalls.operations.trouble = errors.NotFound("There is nothing of the kind.")
    server.recalls.trouble = dict.fromkeys(("cancel", "release", "unpin"), errors.NotFound("There is no such pin."))
    assert post(browser, path, **fields) == 404
    assert audit.lines == []


@pytest.mark.parametrize(
    ("pattern", "needs"), [(pattern, needs) for pattern, needs, _ in ACTIONS], ids=[each[0] for each in ACTIONS]
)
def test_each_needs_its_right(audit: FakeAudit, pattern: str, needs: Right) -> None:
    """Whoever may only look does nothing, and what was tried is written down as a refusal."""
    lesser = Right.STAT | (Right.POLL if needs is Right.STAGE else Right.STAGE)
    server = Server(gate=lambda clock: governed(clock, Right(0), rule("token:robot", lesser)), audit=audit)
    with serving(server):
        fill(server, "token:robot")
        browser = Browser(server, f"Authorization: Bearer {TOKEN}")
        assert post(browser, path_of(pattern), **GOOD.get(pattern, {})) == 403
        assert f"lacks the right '{str(needs).lower()}'" in refusal(browser)
        assert changes(server) == []
        assert audit.lines == []
        assert [each["status"] for each in audit.refusals] == [403]


def test_what_is_shown_is_made_anew_after_each(server: Server) -> None:
    """Not what was made for somebody a moment before."""
    browser = Browser(server)
    for path, fields in PATHS:
        browser.ask("GET", "/console/pins")
        before = len(server.recalls.called("pins"))
        browser.ask("GET", "/console/pins")
        assert len(server.recalls.called("pins")) == before, "it is shared for a second"
        post(browser, path, **fields)
        browser.ask("GET", "/console/pins")
        assert len(server.recalls.called("pins")) == before + 1


# jobs


@pytest.mark.parametrize("what", ["cancel", "release", "retry", "priority"])
def test_a_job_is_changed_by_nobody_else(what: str) -> None:
    """To others there is none; an operator may."""
    for right, status in ((Right.STAGE, 404), (Right.STAGE | Right.ADMIN, 303)):
        with serving(guarded(("token:robot", right))) as server:
            fill(server, "token:other")
            browser = Browser(server, f"Authorization: Bearer {TOKEN}")
            assert post(browser, f"/console/jobs/{'f' * 32}/{what}", priority="high") in (404, status)
            server.recalls.calls.clear()
            server.recalls.operations.calls.clear()
            assert post(browser, f"/console/jobs/{JOB}/{what}", priority="high") == status
            assert len(changes(server)) == (status == 303)


@pytest.mark.parametrize("job", ["x", JOB[:-1], JOB.upper(), f"{JOB}0"])
@pytest.mark.parametrize("what", ["cancel", "release", "retry", "priority"])
def test_what_is_no_job_is_not_changed(server: Server, job: str, what: str) -> None:
    """The engine is not asked for it."""
    browser = Browser(server)
    assert post(browser, f"/console/jobs/{job}/{what}", priority="high") == 404
    assert changes(server) == []


@pytest.mark.parametrize(("what", "verb"), [("cancel", "cancelled"), ("release", "ended")])
def test_chosen_files_of_a_job(server: Server, audit: FakeAudit, what: str, verb: str) -> None:
    """As many as the form names; the file says how many."""
    browser = Browser(server)
    assert post(browser, f"/console/jobs/{JOB}/{what}", which="some", file=["14", "12", str(2**64 - 1)]) == 303
    assert changes(server) == [(what, JOB, [14, 12, 2**64 - 1])]
    assert (audit.lines[0]["job"], audit.lines[0]["files"]) == (JOB, 3)
    assert verb in said(browser)


@pytest.mark.parametrize("file", [[], [""], ["-1"], ["01"], ["1", "x"], [str(2**64)], ["1 "], ["\u0661"]], ids=repr)
@pytest.mark.parametrize("what", ["cancel", "release"])
def test_chosen_files_that_are_none(server: Server, what: str, file: list[str]) -> None:
    """Nothing is done, rather than something else; above all not everything."""
    assert post(Browser(server), f"/console/jobs/{JOB}/{what}", which="some", file=file) == 400
    assert changes(server) == []


@pytest.mark.parametrize("each", Priority, ids=lambda each: each.name)
def test_every_priority_can_be_given(server: Server, audit: FakeAudit, each: Priority) -> None:
    """The page has it as a choice, and the file says which."""
    browser = Browser(server)
    name = each.name.lower()
    form = browser.get(f"/console/jobs/{JOB}").one("form", action=f"/console/jobs/{JOB}/priority")
    assert name in [option.attributes["value"] for option in form.all("option")]
    browser.submit(form, priority=name)
    assert changes(server) == [("change_priority", JOB, each)]
    assert audit.lines[0]["priority"] == name
    assert "The priority of 1 job is changed." in said(browser)


@pytest.mark.parametrize("given", ["", "HIGH", "urgent", "2"])
def test_a_priority_that_there_is_not(server: Server, given: str) -> None:
    assert post(Browser(server), f"/console/jobs/{JOB}/priority", priority=given) == 400
    assert changes(server) == []


def test_a_job_offers_what_can_be_done_with_it(server: Server) -> None:
    """And nothing else: of one that has ended, nothing is cancelled."""
    browser = Browser(server)
    status = fill(server, NOBODY)

    def offered(**changed: Any) -> set[str]:
        counts = {**dict.fromkeys(FileState, 0), **changed.pop("counts", {})}
        summary = attrs.evolve(status.summary, **changed)
        server.recalls.place(attrs.evolve(status, summary=summary, counts=counts))
        server.clock.advance(1)
        forms = browser.get(f"/console/jobs/{JOB}").one("main").all("form")
        return {each.attributes["action"].rpartition("/")[2] for each in forms}

    assert offered(left=2, counts={FileState.QUEUED: 2}) == {"priority", "cancel"}
    assert offered(left=1, counts={FileState.QUEUED: 1, FileState.COMPLETED: 1}) == {"priority", "cancel", "release"}
    assert offered(left=0, ended=NOW, counts={FileState.COMPLETED: 3}) == {"release"}
    assert offered(left=0, ended=NOW, counts={FileState.FAILED: 3}) == {"retry"}
    assert offered(left=0, ended=NOW, counts={FileState.CANCELLED: 3}) == set()


# pins


@pytest.mark.parametrize(
    ("right", "expected"),
    [(Right.STAGE, [[12, "token:robot"]]), (Right.STAGE | Right.ADMIN, [[12]])],
    ids=["an owner", "an operator"],
)
def test_an_owner_ends_its_own_pins_alone(audit: FakeAudit, right: Right, expected: list[list[Any]]) -> None:
    """An operator ends those of all."""
    with serving(
        Server(gate=lambda clock: governed(clock, Right(0), rule("token:robot", right)), audit=audit)
    ) as server:
        browser = Browser(server, f"Authorization: Bearer {TOKEN}")
        assert post(browser, "/console/pins/12/end") == 303
        assert server.recalls.called("unpin") == expected
        assert audit.lines[0]["id"] == "12"


@pytest.mark.parametrize("file_id", ["-1", "01", "x", str(2**64)])
def test_a_pin_of_what_is_no_id(server: Server, file_id: str) -> None:
    assert post(Browser(server), f"/console/pins/{file_id}/end") == 404
    assert changes(server) == []


@pytest.mark.parametrize(("ended", "words_"), [(0, "0 pins ended."), (1, "1 pin ended."), (7, "7 pins ended.")])
def test_how_many_pins_have_ended(server: Server, ended: int, words_: str) -> None:
    """None is told, too: somebody else was quicker."""
    server.recalls.released = ended
    browser = Browser(server)
    post(browser, "/console/pins/12/end")
    assert said(browser) == words_


# retrying


def test_a_retry_is_of_what_was_counted(server: Server, audit: FakeAudit) -> None:
    """The form has the whole filter, and the reason for doing it is another thing than the reason that files have."""
    browser = Browser(server)
    page = browser.get("/console/retry?cartridge=A1&owner=ada&reason=The+tape+broke.&hours=2")
    form = page.one("form", method="post", action="/console/retry")
    browser.submit(form, why="it is repaired")
    wanted = RetryFilter(cartridge="A1", owner="ada", reason="The tape broke.", since=NOW - 7200)
    assert changes(server) == [("retry", wanted)]
    (line,) = audit.lines
    assert line["why"] == "it is repaired"
    found = {name: line[name] for name in ("cartridge", "owner", "reason", "since", "files")}
    assert found == {"cartridge": "A1", "owner": "ada", "reason": "The tape broke.", "since": NOW - 7200, "files": 5}
    assert "5 files recalled again." in said(browser)


def test_a_retry_of_everything_stays_one_of_everything(server: Server, audit: FakeAudit) -> None:
    """Whatever somebody says of why: that is no filter."""
    browser = Browser(server)
    form = browser.get("/console/retry").one("form", method="post", action="/console/retry")
    browser.submit(form, why="all drives are back")
    assert changes(server) == [("retry", RetryFilter())]
    assert audit.lines[0]["why"] == "all drives are back"
    assert "reason" not in audit.lines[0]


def test_a_retry_of_a_job_is_of_no_other(server: Server, audit: FakeAudit) -> None:
    """Whatever else the form says."""
    browser = Browser(server)
    post(browser, f"/console/jobs/{JOB}/retry", cartridge="A1", owner="eve", hours="1", job="f" * 32)
    assert changes(server) == [("retry", RetryFilter(job=JOB))]
    assert audit.lines[0]["job"] == JOB


@pytest.mark.parametrize("hours", ["0.5", "-1", "x", "1e3", "\u0661", "1" * 6])
def test_a_retry_since_when_nobody_knows(server: Server, hours: str) -> None:
    """Nothing is retried, rather than everything; nor is it counted."""
    browser = Browser(server)
    assert post(browser, "/console/retry", hours=hours) == 400
    assert changes(server) == []
    browser.get(f"/console/retry?{urlencode({'hours': hours})}", 400)


def test_nothing_is_to_be_retried(server: Server) -> None:
    """Then there is no button for it."""
    server.recalls.operations.retried = Retried(failed=0, hurried=0)
    page = Browser(server).get("/console/retry")
    assert "There is nothing to retry." in words(page)
    assert page.one("main").all("form", method="post") == []


# holds


@pytest.mark.parametrize("drives", ["0", "1", "4", "10000"])
def test_drives_are_held(server: Server, audit: FakeAudit, drives: str) -> None:
    """All but some, or all of them."""
    browser = Browser(server)
    assert post(browser, "/console/hold", kind="drives", drives=drives) == 303
    ((_, kind, who, more),) = changes(server)
    assert (kind, who, more["drives"]) == (HoldKind.DRIVES, NOBODY, int(drives))
    assert (audit.lines[0]["kind"], audit.lines[0]["drives"]) == ("drives", int(drives))


@pytest.mark.parametrize("hours", ["1", "24", "8760"])
def test_a_hold_ends_by_itself(server: Server, hours: str) -> None:
    post(Browser(server), "/console/hold", kind="all", hours=hours)
    assert changes(server)[0][3]["until"] == NOW + 3600 * int(hours)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"kind": ""},
        {"kind": "ALL OF IT"},
        {"kind": "cartridge"},
        {"kind": "all", "cartridge": "A1"},
        {"kind": "drives", "cartridge": "A1", "drives": "1"},
        {"kind": "drives"},
        {"kind": "drives", "drives": "-1"},
        {"kind": "drives", "drives": "10001"},
        {"kind": "drives", "drives": "one"},
        {"kind": "all", "hours": "0"},
        {"kind": "all", "hours": "8761"},
        {"kind": "all", "hours": "1.5"},
        {"kind": "cartridge", "cartridge": "A1", "hours": "soon"},
    ],
    ids=urlencode,
)
def test_holds_that_are_none(server: Server, fields: dict[str, str]) -> None:
    """Nothing is held, rather than something else; the page says what is wrong."""
    browser = Browser(server)
    assert post(browser, "/console/hold", **fields) == 400
    assert changes(server) == []
    assert refusal(browser)


@pytest.mark.parametrize("fields", [{}, {"kind": "tapes"}, {"kind": "cartridge"}, {"kind": "all", "cartridge": "A1"}])
def test_holds_that_are_none_do_not_end(server: Server, fields: dict[str, str]) -> None:
    assert post(Browser(server), "/console/resume", **fields) == 400
    assert changes(server) == []


@pytest.mark.parametrize("name", ["A1", "x y&z=?#", "<b>", "größe", "../queue"])
def test_a_cartridge_of_any_name(server: Server, audit: FakeAudit, name: str) -> None:
    """It is held and resumed, and one comes back to its page, whatever it is called."""
    browser = Browser(server)
    for what, key in (("hold", "held"), ("resume", "ended")):
        assert post(browser, f"/console/{what}", kind="cartridge", cartridge=name) == 303
        page = browser.follow()
        assert name in words(page)
        assert key in page.one("p", role="status", **{"class": "notice"}).text
    assert [each["cartridge"] for each in audit.lines] == [name, name]
    assert [each[1] for each in server.recalls.operations.calls if each[0] == "cartridge"] == [name, name]


def test_who_holds_is_who_has_signed_in(audit: FakeAudit) -> None:
    """Not what the form says."""
    server = Server(gate=lambda clock: governed(clock, Right(0), rule("token:robot", Right.ADMIN | Right.POLL)),
                    audit=audit)  # fmt: skip
    with serving(server):
        browser = Browser(server, f"Authorization: Bearer {TOKEN}")
        assert post(browser, "/console/hold", kind="all", who="mallory", owner="mallory") == 303
        assert changes(server)[0][2] == "token:robot"
        assert (audit.lines[0]["principal"], audit.lines[0]["how"]) == ("token:robot", "token")


OPERATORS = [path_of(pattern) for pattern, needs, _ in ACTIONS if needs is Right.ADMIN]


@pytest.mark.parametrize("path", OPERATORS)
def test_an_operator_is_one_for_all_files(path: str) -> None:
    """Whoever is one for a few holds, resumes and retries nothing: that is about the files of others, too."""
    rules = rule("token:robot", Right.ADMIN, "1-9"), rule("token:robot", Right.POLL | Right.STAGE)
    with serving(Server(gate=lambda clock: governed(clock, Right(0), *rules))) as server:
        fill(server)
        browser = Browser(server, f"Authorization: Bearer {TOKEN}")
        assert post(browser, path, kind="all") == 403
        assert "This is for operators." in refusal(browser)
        assert changes(server) == []


def test_who_is_an_operator_for_a_few_files_ends_the_pins_of_these() -> None:
    """Those of everybody; of other files, its own."""
    rules = rule("token:robot", Right.ADMIN, "1-9"), rule("token:robot", Right.POLL | Right.STAGE)
    with serving(Server(gate=lambda clock: governed(clock, Right(0), *rules))) as server:
        browser = Browser(server, f"Authorization: Bearer {TOKEN}")
        for file_id in (9, 10):
            assert post(browser, f"/console/pins/{file_id}/end") == 303
        assert server.recalls.called("unpin") == [[9], [10, "token:robot"]]
