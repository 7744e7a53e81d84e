"""The console over a queue of a million files."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from pacarchive.recall import listing, overview
from pacarchive.recall.planning import job_status
from pacarchive.recall.schema import SQLITE
from pacarchive.recall.settings import RecallSettings
from pacarchive.recall.store import Cursor
from system.browsing import PICTURES, Browser
from system.consoles import SETTINGS, at
from system.test_recall_backends import ask

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from system.hpss import Site

pytestmark = pytest.mark.timeout(400)


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
