"""What others choose the length of (owners, cartridges, reasons, words) leaves the console readable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
from doubles import JOB, NOW, job_file
from support import Server, serving
from test_console import HOLD, fill

from pacarchive.model import Trouble
from pacarchive.recall.views import Reason, Upcoming
from pacarchive.telemetry.parts import Event, Totals, Transfer
from system.browsing import NARROW, WIDE
from system.harness import HOST
from system.memory_at_a_port import at_a_port

if TYPE_CHECKING:
    from system.browsing import Browser

LONG = "x" * 200
PATHS = ["", "/queue", f"/queue?owner={LONG}", f"/cartridge?name={LONG}", "/owners", "/jobs", f"/jobs/{JOB}", "/pins"]
PATHS += ["/capacity", "/trouble", f"/retry?owner={LONG}", "/files/1"]


def lengthen(server: Server) -> None:
    """Have a server in which all that has a name has a long one, without a blank."""
    fill(server, LONG)
    server.recalls.reasons[1] = LONG
    operations = server.recalls.operations
    held = attrs.evolve(HOLD, cartridge=LONG, who=LONG, why=LONG)
    operations.seen = attrs.evolve(
        operations.seen,
        holds=[held],
        problems=[LONG],
        reasons=[Reason(reason=LONG, amount=operations.seen.failed, for_good=True)],
        upcoming=[Upcoming(cartridge=LONG, files=1, begins=NOW, ends=NOW)],
        drives=[attrs.evolve(each, cartridge=LONG, owner=LONG) for each in operations.seen.drives],
    )
    operations.rows = [attrs.evolve(operations.rows[0], cartridge=LONG, hold=held)]
    status = attrs.evolve(server.recalls.statuses[JOB], trouble=Trouble(files=1, reason=LONG))
    server.recalls.place(status, job_file(1, reason=LONG))
    events = (Event(NOW, "failed", "NoSpace", LONG, LONG, LONG), Event(NOW, "refused", "NotFound", LONG, LONG, LONG))
    moving = Transfer("in", "PUT", 1, LONG, LONG, 1, 2, NOW, LONG)

    class Whole:
        async def totals(self) -> Totals:
            return Totals(NOW, {}, {}, events=events, transfers=(moving,))

    server.application.telemetry.whole = Whole()


def test_long_names(browser: Browser) -> None:
    """Nothing is wider than the screen, and no short word is broken for the sake of a long one."""
    with serving(Server()) as server:
        lengthen(server)
        with at_a_port(server) as port:
            browser.base = f"http://{HOST}:{port}/console"
            wrong = {}
            for width in (WIDE, NARROW):
                browser.resize(width)
                for number, path in enumerate(PATHS):
                    browser.go(path)
                    browser.one("main h2")
                    browser.picture(f"names-{number}-{width}-light")
                    if found := (*browser.overflow(width), *broken(browser)):
                        wrong[path, width] = found
            assert wrong == {}
    assert browser.errors() == []


def broken(browser: Browser) -> Any:
    """Short words that are on two lines."""
    return browser.script("""
        const found = [];
        const walker = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
        const range = document.createRange();
        for (let node = walker.nextNode(); node; node = walker.nextNode()) {
          const hidden = node.parentElement.closest("thead, .head, details:not([open]) > form");
          if (hidden?.clientWidth <= 1 || hidden?.nodeName === "FORM") continue;
          for (const { index, 0: word } of node.data.matchAll(/[^\\s]+/g)) {
            if (word.length > 20) continue;
            range.setStart(node, index);
            range.setEnd(node, index + word.length);
            if (new Set([...range.getClientRects()].map(each => Math.round(each.top))).size > 1) found.push(word);
          }
        }
        return found;
    """)
