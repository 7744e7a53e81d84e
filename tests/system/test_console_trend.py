"""How the room of some days looks in a real browser: on a server in memory, whose time passes as it is told."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from support import Server, serving

from pacarchive.model import Health
from pacarchive.web.health import EVERY
from system.browsing import NARROW, WIDE
from system.harness import HOST
from system.memory_at_a_port import at_a_port

if TYPE_CHECKING:
    from system.browsing import Browser

TIB = 1 << 40
SIZE = 100 * TIB
DAYS = 4

POINTS = """
    const line = document.querySelector(arguments[0]);
    const box = line.ownerSVGElement.getBoundingClientRect();
    const place = document.querySelector("#trend").closest("section").getBoundingClientRect();
    const matrix = line.getScreenCTM();
    const points = [0, 1].map(part => line.getPointAtLength(part * line.getTotalLength()).matrixTransform(matrix));
    const style = getComputedStyle(line);
    return {
        box: [box.left, box.top, box.right, box.bottom], panel: [place.left, place.right],
        ends: points.map(({x, y}) => [(x - box.left) / box.width, (box.bottom - y) / box.height]),
        stroke: style.stroke, width: style.strokeWidth,
        ground: getComputedStyle(line.closest("section")).backgroundColor,
    };
"""
"""Where the line of the picture is on the screen: in parts of the picture, from the left and from below."""


def test_the_trend_of_some_days(browser: Browser) -> None:
    """A line from one side of its panel to the other, as high as what is in use; and the same in words."""
    with serving(Server()) as server:
        free = 0

        async def health() -> Health:
            return Health(ready=True, words="some room", free=free, size=SIZE)

        server.archive.health = health
        most = DAYS * 288
        for number in range(most + 1):
            # From a quarter in use to three quarters; it goes up and down each day.
            used = 0.25 + 0.5 * number / most + 0.03 * math.sin(math.tau * DAYS * number / most)
            free = round(SIZE * (1 - used))
            assert server.ask("GET", "/health").status == 200
            server.clock.advance(EVERY)
        with at_a_port(server) as port:
            browser.base = f"http://{HOST}:{port}/console"
            browser.look("trend-capacity", "/capacity", "At that rate")
            browser.says("full in about 2 d")
            browser.says("25.0 TiB in use")
            browser.says("75.0 TiB in use")
            for width in (WIDE, NARROW):
                for dark in (False, True):
                    browser.resize(width, dark=dark)
                    found = browser.script(POINTS, ".trend path.line")
                    left, top, right, bottom = found["box"]
                    assert (right - left) > 0.85 * (found["panel"][1] - found["panel"][0])
                    assert bottom - top > 100
                    (begins, low), (ends, high) = found["ends"]
                    assert (round(begins, 2), round(ends, 2)) == (0.0, 1.0)
                    assert (round(low, 2), round(high, 2)) == (0.25, 0.75)
                    assert found["stroke"] not in ("none", found["ground"])
                    assert float(found["width"].removesuffix("px")) >= 1
            assert str(browser.one(".trend").get_attribute("aria-label")).endswith(": 50.0 TiB more")
