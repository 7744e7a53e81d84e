"""The console in a real browser: what it shows of servers that are well and of others, what is done there, for all."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from pacarchive.access.tokens import digest_of, make_token
from system.browsing import NARROW, WIDE, Browser
from system.consoles import SETTINGS, at, busy
from system.harness import HOST, PATIENCE, until
from system.test_recall_backends import ask, has_ended

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sideband.server import MariaDB

    from system.harness import Service
    from system.hpss import Site

pytestmark = pytest.mark.timeout(400)

TAB, ENTER = "\ue004", "\ue007"


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


SHOWN = {
    "": "climate",
    "/queue": "each file counts once",
    "/cartridge?name=A0000500": "Being recalled",
    "/owners": "genomics",
    "/jobs": "lidar",
    "/pins": "Nothing is pinned",
    "/capacity": "Disk buffer",
}
"""What pages are made of what the database has, and words that they say then."""


def test_a_dead_database(site: Site, mariadb: MariaDB, browser: Browser) -> None:
    """Open pages say so, and what there is without it; all of them come back when the database does."""
    mariadb.revive()
    mariadb.execute("CREATE DATABASE console")
    try:
        store = f"mariadb://root@/console?socket={mariadb.socket}"
        service = at(busy(site, recall={"store": store, "store_timeout": 2}), browser)
        job = ask(service, "GET", "/jobs")[1]["jobs"][-1]["job"]
        browser.go(f"/jobs/{job}")
        browser.says("80 files on disk")
        browser.says("Live")
        browser.click(".action > summary", "Cancel all")
        browser.one(".action[open] input[name=why]").send_keys("a mistake")
        mariadb.kill()
        browser.says("The list of recalls does not answer")
        assert browser.one(".action[open] input[name=why]").get_attribute("value") == "a mistake"
        browser.look("dead-overview", "", "Serving, but not all of it works")
        browser.look("dead-jobs", "/jobs", "This page shows it as soon as there is an answer.")
        first = browser.driver.current_window_handle
        tabs = {browser.open_tab(path): words for path, words in SHOWN.items()}
        for tab in tabs:
            browser.turn_to(tab)
            browser.says("The list of recalls does not answer")
        mariadb.revive()
        for tab, words in tabs.items():
            browser.turn_to(tab)
            browser.says(words)
        browser.turn_to(first)
        browser.says("lidar")
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
