"""The console in a real browser: what it shows of servers that are well and of others, what is done there, for all."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from pacarchive.access.tokens import digest_of, make_token
from pacarchive.ids import id_to_path
from pacarchive.recall import listing, overview
from pacarchive.recall.planning import job_status
from pacarchive.recall.schema import SQLITE
from pacarchive.recall.settings import RecallSettings
from pacarchive.recall.store import Cursor
from system.browsing import NARROW, PICTURES, WIDE, Browser, axe_script, browsing
from system.harness import HOST, PATIENCE, until
from system.test_recall_backends import ask, has_ended

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sideband.server import MariaDB

    from system.harness import Service
    from system.hpss import Site

pytestmark = pytest.mark.timeout(400)

GIB = 1 << 30
FILES = 240
"""Of the busy archive, of a GiB or more each."""

TAB, ENTER = "\ue004", "\ue007"

SETTINGS = "[auth]\nanonymous = all\n"


@pytest.fixture(scope="module")
def chromium(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all tests of the module."""
    with browsing(tmp_path_factory.mktemp("profile"), axe_script(request.config)) as browser:
        yield browser


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    """It, without cookies and news of the test before."""
    chromium.base = ""
    yield chromium
    chromium.driver.get("about:blank")
    chromium.driver.delete_all_cookies()
    chromium.errors()


def at(service: Service, browser: Browser) -> Service:
    """Have the browser at a service."""
    browser.base = f"http://{HOST}:{service.port}/console"
    return service


def busy(site: Site, beside: str = "", recall: dict[str, object] | None = None) -> Service:
    """An archive with twenty cartridges, four drives, and owners that want a lot."""
    site.archive.set("cartridge_capacity", 12 * GIB)
    site.archive.populate(FILES, GIB, name=lambda number: id_to_path(number)[1:])
    service = site.start(recall={"owner_header": "X-User", **(recall or {})}, beside=SETTINGS + beside)
    for number, owner in enumerate(("climate", "genomics", "lidar")):
        first = 1 + number * 80
        document = {"files": [f"{first}-{first + 79}"], "priority": ("normal", "high", "low")[number]}
        fields = {"Content-Type": "application/json", "X-User": owner}
        answer = service.ask("POST", "/jobs", json.dumps(document).encode(), fields)
        assert answer.status == 201, answer.body
    return service


def test_an_empty_archive(serve: Callable[..., Service], browser: Browser) -> None:
    """Every page says that there is nothing, and nobody is kept out by any."""
    at(serve(settings=SETTINGS), browser)
    browser.look("empty-overview", "", "Well: nothing needs anybody")
    browser.look("empty-queue", "/queue", "No file waits for a cartridge")
    browser.look("empty-owners", "/owners", "Nobody has a job")
    browser.look("empty-jobs", "/jobs", "There are no jobs")
    browser.look("empty-pins", "/pins", "Nothing is pinned")
    browser.look("empty-capacity", "/capacity", "There is no trend yet")
    browser.look("empty-trouble", "/trouble", "The last hour")


def test_a_busy_archive(site: Site, tmp_path: Path, browser: Browser) -> None:
    """What is read, what comes next, for whom, and until when; a job with its files; live."""
    service = at(busy(site, f"[audit]\nfile = {tmp_path / 'audit'}\n"), browser)
    until(lambda: site.archive.requests(unfinished=True), "something is being read")
    browser.look("busy-overview", "", "The cartridges that are being read.")
    browser.says("being mounted")
    browser.look("busy-queue", "/queue", "Files of all owners by cartridge")
    browser.look("busy-owners", "/owners", "genomics")
    browser.look("busy-jobs", "/jobs", "climate")
    job = ask(service, "GET", "/jobs")[1]["jobs"][-1]["job"]
    browser.look("busy-job", f"/jobs/{job}", "80 files on disk")
    browser.look("busy-capacity", "/capacity", "Disk buffer")
    browser.go(f"/jobs/{job}")
    browser.says("Live")
    site.archive.clock.set_scale(500)
    browser.says("80 of 80 files on disk")
    browser.look("busy-pins", "/pins", "Pins of all owners")
    browser.go("/files/1")
    browser.says("on disk and on tape")
    assert service.ask("PUT", 1000, b"bytes").status == 201
    browser.look("busy-file", "/files/1000", "What was done with it")


def test_a_job_is_cancelled_by_mouse_and_by_keyboard(site: Site, tmp_path: Path, browser: Browser) -> None:
    """Opened, given a reason, confirmed; and what is under way in a form is not touched by what changes around it."""
    audit = tmp_path / "audit.log"
    site.archive.clock.freeze()
    service = at(busy(site, f"[audit]\nfile = {audit}\n"), browser)
    first, second, third = (each["job"] for each in ask(service, "GET", "/jobs")[1]["jobs"])
    browser.go(f"/jobs/{first}")
    browser.says("Live")
    browser.click(".action > summary", "Cancel all")
    browser.one(".action[open] input[name=why]").send_keys("a mistake")
    browser.picture("cancel-1440-light")
    browser.click(".action[open] button")
    browser.says("80 files cancelled.")

    browser.resize(NARROW)
    browser.go(f"/jobs/{second}")
    browser.says("Live")
    browser.tab_to("Skip to the content")
    browser.tab_to("Cancel all")
    browser.keys(ENTER)
    browser.keys(TAB)
    browser.keys("not needed", ENTER)
    browser.says("80 files cancelled.")

    browser.resize(WIDE)
    browser.go(f"/jobs/{third}")
    browser.says("Live")
    another, *boxes = browser.all("input[type=checkbox]")[:3]
    gone = another.get_attribute("value")
    chosen = [box.get_attribute("value") for box in boxes]
    for box in boxes:
        box.click()
    # What else changes would put other files into the rows of these.
    fields = {"Content-Type": "application/json", "X-User": "climate"}
    assert service.ask("POST", f"/jobs/{third}/cancel", json.dumps({"files": [gone]}).encode(), fields).status == 200
    browser.says("1 cancelled")
    assert [box.get_attribute("value") for box in browser.all("input:checked")] == chosen
    browser.click(".choose button")
    browser.says("2 files cancelled.")
    lines = [json.loads(line) for line in audit.read_text().splitlines()]
    found = [(each["job"], each.get("why"), each.get("files")) for each in lines if each["what"] == "cancel"]
    assert found == [(first, "a mistake", None), (second, "not needed", None), (third, None, None), (third, None, 2)]
    assert browser.errors() == []


def test_without_a_script(site: Site, browser: Browser) -> None:
    """All but being live works."""
    site.archive.clock.freeze()
    service = at(busy(site), browser)
    job = ask(service, "GET", "/jobs")[1]["jobs"][0]["job"]
    with browser.without_scripts():
        browser.go(f"/jobs/{job}")
        browser.says("Not live")
        browser.click(".action > summary", "Priority")
        browser.click(".action[open] option[value=high]")
        browser.click(".action[open] button")
        browser.says("The priority of 1 job is changed.")
    assert ask(service, "GET", f"/jobs/{job}")[1]["priority"] == "high"


def test_a_broken_drive_and_a_lost_cartridge(site: Site, browser: Browser) -> None:
    """What is wrong is said first; the cartridge is held, and what failed retried once all is repaired."""
    service = at(busy(site, recall={"attempts": 1}), browser)
    lost = until(lambda: next((each.cartridge for each in site.archive.requests() if each.cartridge), None), "a mount")
    site.archive.fail_drive(1)
    site.archive.lose_cartridge(lost)
    site.archive.clock.set_scale(60)
    browser.look("broken-overview", "", "failed, and can be tried again")
    browser.says("Serving; requests have failed")
    browser.go(f"/cartridge?name={lost}")
    browser.click(".action > summary", "Hold")
    browser.one(".action[open] input[name=why]").send_keys("it is lost")
    browser.click(".action[open] button")
    browser.says(f"Cartridge {lost} is held by {HOST}")
    browser.look("broken-cartridge", f"/cartridge?name={lost}", "it is lost")
    browser.look("broken-queue", "/queue", "held")
    site.archive.restore_cartridge(lost)
    site.archive.repair_drive(1)
    browser.go(f"/cartridge?name={lost}")
    browser.click(".action > summary", "End the hold")
    browser.click(".action[open] button")
    browser.says("1 hold ended.")
    site.archive.clock.set_scale(1000)
    jobs = [each["job"] for each in ask(service, "GET", "/jobs")[1]["jobs"]]
    until(lambda: all(has_ended(service, f"/jobs/{job}") for job in jobs), "all that can be is recalled", 4 * PATIENCE)
    browser.look("broken-retry", "/retry", "failed, and")
    browser.click("main .action > summary", "Retry")
    browser.click("main .action[open] button")
    browser.says("recalled again.")

    def completed() -> list[int]:
        return [ask(service, "GET", f"/jobs/{job}")[1]["counts"]["completed"] for job in jobs]

    until(lambda: completed() == [80, 80, 80], "all of it is recalled", 4 * PATIENCE)


def test_a_dead_database(site: Site, mariadb: MariaDB, browser: Browser) -> None:
    """The page says so, and the rest of it is there; it comes back when the database does."""
    mariadb.revive()
    mariadb.execute("CREATE DATABASE console")
    try:
        at(
            busy(site, recall={"store": f"mariadb://root@/console?socket={mariadb.socket}", "store_timeout": 2}),
            browser,
        )
        browser.go()
        browser.says("Latest jobs")
        browser.says("climate")
        mariadb.kill()
        browser.look("dead-overview", "", "Serving, but not all of it works")
        browser.look("dead-jobs", "/jobs", "The list of recalls does not answer")
        browser.click("nav a", "Overview")
        browser.says("Serving, but not all of it works")
        mariadb.revive()
        browser.says("climate")
    finally:
        mariadb.revive()
        mariadb.execute("DROP DATABASE console")


def test_signing_in(serve: Callable[..., Service], tmp_path: Path, browser: Browser) -> None:
    """With a token, on a form, by keyboard; the session ends when one says so."""
    token = make_token()
    tokens = tmp_path / "tokens"
    tokens.write_text(f"ada sha256:{digest_of(token)} stage,admin\n")
    at(serve(settings=f"[auth]\ntokens = {tokens}\n"), browser)
    browser.look("sign-in", "/jobs", "The request has no credentials")
    browser.go("/jobs")
    browser.tab_to("Skip to the content")
    while not browser.script("return document.activeElement.name === 'access'"):
        browser.keys(TAB)
    browser.keys(token, ENTER)
    browser.says("Overview")
    assert browser.one(".who").text == "token:ada"
    assert token not in str(browser.driver.get_cookies())
    browser.click(".viewer button")
    browser.says("Sign in")


def test_a_million_files(site: Site, tmp_path: Path, browser: Browser) -> None:
    """With 400 cartridges and 50 owners every page is as short as with ten files, and reads no more of the store."""
    store = tmp_path / "recall.sqlite"
    first = site.start(recall={"store": store}, beside=SETTINGS)
    assert first.ask("GET", "/jobs").status == 200
    first.stop()
    fill(store)
    service = at(site.start(recall={"store": store}, beside=SETTINGS), browser)
    browser.go("/queue")
    browser.says("400 cartridges")
    job = ask(service, "GET", "/jobs?limit=1")[1]["jobs"][0]["job"]
    browser.look("million-overview", "", "for 50 owners")
    browser.look("million-queue", "/queue", "400 cartridges")
    pages = {
        "overview": ("", "for 50 owners"),
        "queue": ("/queue", "400 cartridges"),
        "owners": ("/owners", "50 owners"),
        "jobs": ("/jobs", "owner49"),
        "job": (f"/jobs/{job}", "5,000 files on disk"),
        "pins": ("/pins", "Nothing is pinned"),
    }
    paints: dict[str, list[float]] = {}
    for name, (path, says) in pages.items():
        paints[name] = []
        for _ in range(3):
            browser.go(path)
            paints[name].append(browser.first_paint())
        browser.says(says)
        assert len(browser.all("tbody tr")) <= MOST_ROWS
    (PICTURES / "first-paint.json").write_text(json.dumps(paints))
    with closing(sqlite3.connect(store)) as database:
        for name, steps in steps_of_pages(database, job).items():
            assert steps < MOST_STEPS, name


MILLION, CARTRIDGES, OWNERS, JOBS = 1_000_000, 400, 50, 200

MOST_ROWS = 100
"""Of a page, whatever there is."""

MOST_STEPS = 1_000_000
"""Of SQLite's machine, for what a page reads: to look at each of a million rows takes several times as many."""


def fill(store: Path) -> None:
    """Have a million files in the queue, all of them held.  The archive has none of them, which is found out slowly."""
    now = time.time()
    numbers = f"WITH RECURSIVE n(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < {MILLION - 1})"
    each = MILLION // JOBS
    with closing(sqlite3.connect(store, isolation_level=None)) as database:
        database.execute("PRAGMA synchronous = OFF")
        database.execute("PRAGMA cache_size = -400000")
        database.execute("BEGIN")
        database.executemany(
            "INSERT INTO jobs (number, job, owner, priority, created, deadline, pin, until_read, files, remaining,"
            " others) VALUES (?, ?, ?, 0, ?, ?, 3600, 0, ?, ?, '[]')",
            [
                (
                    number,
                    sha256(b"%d" % number).hexdigest()[:32],
                    f"owner{number % OWNERS:02}",
                    now - 60 * (JOBS - number),
                    now + 604800,
                    each,
                    each,
                )
                for number in range(1, JOBS + 1)
            ],
        )
        database.execute(
            f"{numbers} INSERT INTO wishes (job, file, state, seq, pin, size)"
            f" SELECT 1 + n / {each}, n, 0, 1, 3600, 1000000000 FROM n"
        )
        # In the order of the indices, which takes a fifth of the time.
        database.execute(
            f"{numbers} INSERT INTO recalls (file, state, owner, priority, since, medium, position, size, request,"
            f" attempts, resting, reason) SELECT n, 1, printf('owner%02d', (1 + n / {each}) % {OWNERS}), 0,"
            f" {now} - ({MILLION} - n) / 2, printf('V%05d', n / {MILLION // CARTRIDGES}), n % {MILLION // CARTRIDGES},"
            f" 1000000000, '', 0, 0, '' FROM n"
        )
        database.execute("INSERT INTO holds VALUES (0, '', 0, 'user:ada', 'to be looked at', ?, NULL)", (now,))
        database.execute("COMMIT")


def steps_of_pages(database: sqlite3.Connection, job: str) -> dict[str, int]:
    """How many steps SQLite makes for what pages read."""
    taken = 0

    def step() -> int:
        nonlocal taken
        taken += 1000
        return 0

    database.set_progress_handler(step, 1000)
    cursor = Cursor(database.cursor(), SQLITE)
    settings = RecallSettings()
    queries: dict[str, Callable[[], object]] = {
        "overview": lambda: overview.overview(cursor, settings, time.time()),
        "cartridges": lambda: overview.cartridges(cursor),
        "owners": lambda: overview.owners(cursor, time.time()),
        "jobs": lambda: listing.jobs(cursor, None, None, 50),
        "job": lambda: job_status(cursor, job, settings, time.time()),
        "files": lambda: listing.files(cursor, job, "", 50),
        "pins": lambda: listing.pins(cursor, None, None, 50),
    }
    found = {}
    for name, query in queries.items():
        taken = 0
        query()
        found[name] = taken
    return found
