"""The console with a keyboard alone, and as a screen reader hears it, in a real browser."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from system.browsing import NARROW, WIDE
from system.consoles import at, busy
from system.harness import until
from system.test_recall_backends import ask

if TYPE_CHECKING:
    from system.browsing import Browser
    from system.hpss import Site

TAB, ENTER = "\ue004", "\ue007"

LISTEN = """
    const wanted = "a[href], button, input:not([type=hidden]), select, summary";
    const seen = each => each.getClientRects().length > 0 && !each.closest("details:not([open]) > :not(summary)");
    const all = [...document.querySelectorAll(wanted)].filter(seen);
    const found = [];
    document.addEventListener("focusin", ({ target }) => {
      const { left, top, width, height } = target.getBoundingClientRect();
      const { outlineStyle, outlineWidth, outlineColor } = getComputedStyle(target);
      found.push({
        number: all.indexOf(target), words: target.outerHTML.slice(0, 100), head: target.closest("header") !== null,
        box: [left, top + scrollY, width, height], outline: [outlineStyle, parseFloat(outlineWidth), outlineColor],
      });
    });
    window.heard = { all, found };
    return all.length;
"""
"""Note what gets the focus, and how that looks."""

MANY = 20
"""Changes of a page."""

WATCH = """
    const said = [], changed = [];
    const spoken = "[role=status], [role=alert], [role=log], [aria-live]:not([aria-live=off])";
    const watch = (nodes, into) => {
      const observer = new MutationObserver(records => into.push(...records.map(each => each.target.textContent)));
      for (const each of nodes) observer.observe(each, { subtree: true, childList: true, characterData: true });
    };
    watch(document.querySelectorAll(spoken), said);
    watch([document.getElementById("live")], changed);
    window.noise = { said, changed };
    return document.querySelectorAll(spoken).length;
"""
"""Note what changes on a page, and what of that a screen reader says aloud."""


def walk(browser: Browser) -> list[dict[str, Any]]:
    """Go through a page from its beginning, with the tabulator; what had the focus, in turn."""
    count = browser.script(LISTEN)
    browser.keys(TAB * count)
    found: list[dict[str, Any]] = browser.script("return window.heard.found")
    assert len(found) == count, found[-1]
    return found


def is_shown(outline: tuple[str, float, str]) -> bool:
    """Whether what has the focus can be told from what has not."""
    style, width, colour = outline
    return style not in ("none", "hidden") and width >= 2 and "rgba(0, 0, 0, 0)" not in colour


def test_a_walk_through_each_screen(site: Site, browser: Browser) -> None:
    """All that can be used is come to, in the order of the page, once each, and is seen to have the focus."""
    site.archive.clock.freeze()
    service = at(busy(site), browser)
    until(lambda: site.archive.requests(unfinished=True), "something is being read")
    job = ask(service, "GET", "/jobs")[1]["jobs"][0]["job"]
    assert ask(service, "POST", "/recall/holds", {"kind": "cartridge", "cartridge": "A0000500", "why": "x"})[0] == 200
    assert service.ask("PUT", 1000, b"bytes").status == 201
    paths = ["", "/queue", "/cartridge?name=A0000500", "/owners", "/jobs", f"/jobs/{job}", "/pins", "/capacity"]
    paths += ["/trouble", "/retry", "/files/1000"]
    for width in (WIDE, NARROW):
        browser.resize(width)
        for path in paths:
            browser.go(path)
            found = walk(browser)
            assert [each["number"] for each in found] == list(range(len(found))), (path, width)
            assert found[0]["words"].startswith('<a href="#main" class="skip"'), path
            for each in found:
                left, top, across, down = each["box"]
                assert min(across, down) >= 8, (path, each)
                assert 0 <= left <= width - across, (path, each)
                assert top >= 0, (path, each)
                assert is_shown(each["outline"]), (path, each)
            # As they are read: in lines from above, each from the left.
            head = [each["box"] for each in found[1:] if each["head"]]
            for (left, top, _, down), (later_left, later_top, _, later_down) in pairwise(head):
                same_line = later_top < top + down and top < later_top + later_down
                assert later_left > left if same_line else later_top > top, (path, width)


def test_the_navigation_is_skipped(site: Site, browser: Browser) -> None:
    """The first key leads there, and the next to what is in the content."""
    at(busy(site), browser)
    browser.go("/queue")
    browser.says("Live")
    browser.keys(TAB)
    assert browser.focused == "Skip to the content"
    place = browser.script("const box = document.activeElement.getBoundingClientRect(); return [box.left, box.top]")
    assert min(place) >= 0
    browser.keys(ENTER)
    browser.until(lambda: browser.script("return document.activeElement.id") == "main", "the content has the focus")
    browser.keys(TAB)
    assert browser.script("return document.activeElement.closest('main') !== null")
    assert browser.focused == "Pause"


def test_a_screen_reader_is_not_told_of_each_change(site: Site, browser: Browser) -> None:
    """Numbers and rows change all the time, in silence; that a page is live or not is told, once."""
    service = at(busy(site), browser)
    job = ask(service, "GET", "/jobs")[1]["jobs"][-1]["job"]
    for path in ("", f"/jobs/{job}"):
        browser.go(path)
        browser.says("Live")
        assert browser.script(WATCH) >= 1
        site.archive.clock.set_scale(60)
        browser.until(lambda: browser.script("return window.noise.changed.length") >= MANY, "it changes a lot")
        assert browser.script("return window.noise.said") == [], path
        browser.click("#pause")
        browser.says("Paused")
        assert set(browser.script("return window.noise.said")) == {"Paused"}, path


def test_the_focus_stays_where_it_is(site: Site, browser: Browser) -> None:
    """Whatever comes and goes around it; and where it cannot, the keyboard goes on from the content."""
    site.archive.clock.freeze()
    service = at(busy(site), browser)
    job = ask(service, "GET", "/jobs")[1]["jobs"][-1]["job"]
    browser.go(f"/jobs/{job}")
    browser.says("Live")
    browser.tab_to("Cancel all")
    assert ask(service, "POST", "/recall/holds", {"kind": "all", "why": "a look"})[0] == 200
    browser.says("All recalls are held")
    assert browser.focused == "Cancel all"
    browser.keys(ENTER)
    browser.keys(TAB, "not ne")
    assert service.ask("DELETE", "/recall/holds?kind=all").status < 300
    browser.until(lambda: "All recalls are held" not in browser.words, "the hold has ended")
    browser.keys("eded")
    assert browser.one(".action[open] input[name=why]").get_attribute("value") == "not needed"
