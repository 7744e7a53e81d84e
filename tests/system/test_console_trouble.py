# ruff: noqa: RUF001  (the dash that is the sign of what was refused)
"""What the console shows in a real browser of what was refused and what failed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from system.consoles import SETTINGS, at
from system.harness import repr_digest

if TYPE_CHECKING:
    from system.browsing import Browser
    from system.hpss import Site

HOSTILE = "/%3Cscript%3Ealert(1)%3C/script%3E"


def test_the_trouble_of_the_last_hour(site: Site, browser: Browser) -> None:
    """Each with the words that the log has of it, who asked and from where; live; and those that failed stand out."""
    service = at(site.start(beside=SETTINGS), browser)
    assert service.ask("GET", 2).status == 404
    assert service.ask("GET", HOSTILE).status == 404
    assert service.ask("PUT", 3, b"other", {"Repr-Digest": repr_digest(b"data")}).status == 400
    assert service.ask("POST", "/jobs", b"{", {"Content-Type": "application/json"}).status == 400
    site.archive.set("server_state", "down")
    assert service.ask("GET", 4).status == 503
    site.archive.set("server_state", "up")
    browser.look("trouble", "/trouble", "BackendUnavailable")
    table = {tuple(row) for row in browser.rows("hour")}
    assert {(what, kind) for _, what, kind, *_ in table} >= {
        ("– refused", "NotFound"),
        ("– refused", "DigestMismatch"),
        ("– refused", "400 Bad Request"),
        ("✕ failed", "BackendUnavailable"),
    }
    for when, _, kind, words, who, address in table:
        assert (when, who, address) == ("just now", "anonymous", "127.0.0.1")
        assert re.search(rf"\({re.escape(kind)}\) {address}:\d+: {re.escape(words)} \[", service.log), words
    assert any(HOSTILE in words for *_, words, _, _ in table)
    assert {tuple(row) for row in browser.rows("sums")} >= {("BackendUnavailable", "✕ failed", "1")}

    browser.go("/trouble")
    browser.says("Live")
    site.archive.set("server_state", "down")
    assert service.ask("HEAD", 5).status == 503
    site.archive.set("server_state", "up")
    browser.says("HEAD /5")
    browser.look("trouble-overview", "", "Trouble of the last hour")
    browser.says("2 failed")
    browser.says("HEAD /5")
    browser.click("main a", "All of it")
    browser.says("Since the start")
