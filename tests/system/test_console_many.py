"""
The console over a long queue.

C{PACARCHIVE_CONSOLE_FILES} sets how long (100,000): what a page reads and shows depends on it in no way, and a million
only takes longer to write down.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from contextlib import closing
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest

from pacarchive.recall import listing, overview, retrying
from pacarchive.recall.planning import job_status
from pacarchive.recall.schema import SQLITE
from pacarchive.recall.settings import RecallSettings
from pacarchive.recall.store import Cursor
from pacarchive.recall.words import RetryFilter
from system.browsing import PICTURES, Browser
from system.consoles import SETTINGS, at
from system.test_recall_backends import ask

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from system.hpss import Site

pytestmark = pytest.mark.timeout(400)


def test_a_long_queue(site: Site, tmp_path: Path, browser: Browser) -> None:
    """With 400 cartridges and 50 owners every page is as short as with ten files, and reads no more of the store."""
    store = tmp_path / "recall.sqlite"
    first = site.start(recall={"store": store}, beside=SETTINGS)
    assert first.ask("GET", "/jobs").status == 200
    first.stop()
    fill(store)
    service = at(site.start(recall={"store": store}, beside=SETTINGS), browser)
    with service.client() as client:
        for number in range(MOST_ROWS):
            assert client.ask("GET", f"/{LAST - number}").status == 404
    browser.go("/queue")
    browser.says("400 cartridges")
    jobs = ask(service, "GET", f"/jobs?limit={JOBS}")[1]["jobs"]
    job, failing, pinned = (jobs[place]["job"] for place in (2, 1, 0))
    second = json.dumps([True, 1e300, "V00049"])
    pages = {
        "overview": ("", "for 50 owners"),
        "queue": ("/queue", "400 cartridges"),
        "owner": (f"/queue?{urlencode({'owner': 'owner07', 'order': 'files'})}", "Files of owner07 by cartridge"),
        "cartridge": ("/cartridge?name=V00200", f"{FILES // CARTRIDGES:,} files"),
        "owners": ("/owners", "50 owners"),
        "jobs": ("/jobs", "owner49"),
        "job": (f"/jobs/{job}", f"{EACH:,} files on disk"),
        "failing": (f"/jobs/{failing}", f"{FAILED:,} failed"),
        "pins": ("/pins", "Pins of all owners"),
        "retry": ("/retry", "to be tried again later"),
        "capacity": ("/capacity", "pinned"),
        "trouble": ("/trouble", f"GET /{LAST - MOST_ROWS + 1}:"),
    }
    for name, (path, says) in pages.items():
        browser.fits(f"many-{name}", path, says)
    more = {
        "queue-by-name": ("/queue?order=name", "V00049"),
        "queue-by-wait": ("/queue?order=oldest", "V00049"),
        "queue-by-failures": ("/queue?order=failed", "V00049"),
        "queue-later": (f"/queue?{urlencode({'order': 'next', 'after': second})}", "V00050"),
        "jobs-later": ("/jobs?before=100", "owner49"),
        "job-later": (f"/jobs/{job}?since=1-{LATER}", f"{LATER + 1}"),
        "job-pinned": (f"/jobs/{pinned}", "on disk"),
        "pins-later": (f"/pins?after={PINNED + PINS // 2}-{pinned}", f"{PINNED + PINS // 2 + 1}"),
        "pins-of-one": ("/pins?owner=owner07", "Nothing is pinned"),
    }
    paints: dict[str, list[float]] = {}
    for name, (path, says) in {**pages, **more}.items():
        paints[name] = []
        for _ in range(PAINTS if name in pages else 1):
            browser.go(path)
            paints[name].append(browser.first_paint())
        browser.says(says)
        assert len(browser.all("tbody tr")) <= MOST_ROWS, name
        assert browser.script("return document.querySelectorAll('*').length") < MOST_ELEMENTS, name
    (PICTURES / "first-paint.json").write_text(json.dumps(paints))
    with closing(sqlite3.connect(store)) as database:
        for name, steps in steps_of_pages(database, job).items():
            assert steps < MOST_STEPS, name


FILES = int(os.environ.get("PACARCHIVE_CONSOLE_FILES", "100000"))
CARTRIDGES, OWNERS, JOBS = 400, 50, 200

EACH = FILES // JOBS
"""Files of a job."""

LATER = FILES - EACH // 2
"""In the middle of the last job."""

FAILED, PINS = 2000, FILES // 10
"""Beside them, of a job each."""

FAILING, PINNED = 2 * FILES, 3 * FILES
"""The first files of these."""

LAST = 2**64 - 1

PAINTS = 3 if FILES >= 1_000_000 else 1
"""How often the first one of a page is measured."""

MOST_ROWS = 120
"""Of a page, whatever there is."""

MOST_ELEMENTS = 3000
"""Of a page, likewise."""

MOST_STEPS = FILES
"""Of SQLite's machine, for what a page reads: to look at each of the rows takes several times as many."""


def fill(store: Path) -> None:
    """Have all files in the queue, and all of it held.  The archive has none of them, which is found out slowly."""
    now = time.time()
    numbers = f"WITH RECURSIVE n(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < {FILES - 1})"
    with closing(sqlite3.connect(store, isolation_level=None)) as database:
        database.execute("PRAGMA synchronous = OFF")
        database.execute("PRAGMA cache_size = -400000")
        database.execute("BEGIN")
        database.executemany(
            "INSERT INTO jobs (number, job, owner, priority, created, deadline, ended, pin, until_read, files,"
            " remaining, others) VALUES (?, ?, ?, 0, ?, ?, ?, 3600, 0, ?, ?, '[]')",
            [
                (
                    number,
                    sha256(b"%d" % number).hexdigest()[:32],
                    f"owner{number % OWNERS:02}",
                    now - 60 * (JOBS + 3 - number),
                    now + 604800,
                    None if left else now,
                    files,
                    left,
                )
                for number, files, left in (
                    *((number, EACH, EACH) for number in range(1, JOBS + 1)),
                    (JOBS + 1, FAILED + 1, 1),
                    (JOBS + 2, PINS, 0),
                )
            ],
        )
        database.execute(
            f"{numbers} INSERT INTO wishes (job, file, state, seq, pin, size)"
            f" SELECT 1 + n / {EACH}, n, 0, 1, 3600, 1000000000 FROM n"
        )
        # In the order of the indices, which takes a fifth of the time.
        database.execute(
            f"{numbers} INSERT INTO recalls (file, state, owner, priority, since, medium, position, size, request,"
            f" attempts, resting, reason) SELECT n, 1, printf('owner%02d', (1 + n / {EACH}) % {OWNERS}), 0,"
            f" {now} - ({FILES} - n) / 2, printf('V%05d', n / {FILES // CARTRIDGES}), n % {FILES // CARTRIDGES},"
            f" 1000000000, '', 0, 0, '' FROM n"
        )
        database.execute(
            f"{numbers} INSERT INTO failed (job, file, medium, owner, reason, size, ended) SELECT {JOBS + 1},"
            f" {FAILING} + n, printf('V%05d', n % {CARTRIDGES}), 'owner01', 'The reason ' || (n % 7), 1000, {now}"
            f" FROM n LIMIT {FAILED}"
        )
        database.execute(
            "INSERT INTO wishes (job, file, state, seq, pin, size, ended, reason)"
            " SELECT job, file, 4, 1, 3600, size, ended, reason FROM failed UNION ALL"
            f" SELECT {JOBS + 1}, {FAILING - 1}, 0, 1, 3600, 1000, NULL, NULL"
        )
        database.execute(
            f"{numbers} INSERT INTO pins (file, job, size, expires, until_read)"
            f" SELECT {PINNED} + n, {JOBS + 2}, 1000000000, {now} + 86400 + n, n % 2 FROM n LIMIT {PINS}"
        )
        database.execute(
            "INSERT INTO wishes (job, file, state, seq, pin, size, ended)"
            f" SELECT job, file, 3, 1, 3600, size, {now} FROM pins"
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
        "later files": lambda: listing.files(cursor, job, f"1-{LATER}", 50),
        "pins": lambda: listing.pins(cursor, None, None, 50),
        "later pins": lambda: listing.pins(cursor, None, (PINNED + PINS // 2, ""), 50),
        "pins of one": lambda: listing.pins(cursor, "owner07", None, 50),
        "cartridges of one": lambda: overview.cartridges(cursor, "owner07"),
        "retry": lambda: retrying.count(cursor, RetryFilter(), time.time()),
        "retry of one": lambda: retrying.count(
            cursor, RetryFilter(owner="owner01", reason="The reason 1"), time.time()
        ),
    }
    found = {}
    for name, query in queries.items():
        taken = 0
        query()
        found[name] = taken
    return found
