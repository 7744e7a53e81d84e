"""A real browser for the tests of the console: Debian's Chromium, and axe-core, which finds what keeps people out."""

from __future__ import annotations

import base64
import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from system.harness import PATIENCE
from system.npm import installed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import pytest
    from selenium.webdriver.remote.webelement import WebElement

AXE = "axe-core@4.14.1"
PICTURES = Path(__file__).parents[2] / "build" / "console"
"""Where screenshots are kept, to be looked at."""

WIDE, NARROW = 1440, 360
_HEIGHT = 900

_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)

_WHERE: Mapping[str, object] = {"exclude": ["tbody tr:nth-child(n + 13)"]}
"""Where axe-core looks: a look at fifty rows takes seconds, and the last of them are as the first."""
_RULES: Mapping[str, object] = {"resultTypes": ["violations"]}
"""What it looks for: all that it knows."""
_COLOURS: Mapping[str, object] = {"runOnly": ["color-contrast", "link-in-text-block"], **_RULES}
"""What it looks for in the dark: only colours are others there, and all the rest takes three times as long."""


def axe_script(config: pytest.Config) -> str:
    """The text of axe-core."""
    return (installed(config, AXE) / "axe-core/axe.min.js").read_text()


class Browser:
    """
    A browser, at one server at a time.

    @param profile: A directory that is empty.
    @param axe: The text of axe-core.
    @ivar driver: What moves it.
    @ivar base: Where the console is.
    """

    def __init__(self, profile: Path, axe: str) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = "/usr/bin/chromium"
        for flag in (*_FLAGS, f"--user-data-dir={profile / 'profile'}"):
            options.add_argument(flag)
        # What it is told to be at home in it makes where it is not there.
        own = dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"), str(profile))
        service = webdriver.ChromeService("/usr/bin/chromedriver", env={**os.environ, **own})
        self.driver = webdriver.Chrome(options, service)
        self.driver.set_page_load_timeout(PATIENCE)
        self._axe = axe
        self.base = ""
        self.resize(WIDE)

    def close(self) -> None:
        """End it."""
        self.driver.quit()

    def forget(self) -> None:
        """Be as one that has seen nothing."""
        first, *others = self.driver.window_handles
        for each in others:
            self.driver.switch_to.window(each)
            self.driver.close()
        self.driver.switch_to.window(first)
        self.driver.get("about:blank")
        self.driver.delete_all_cookies()
        self.resize(WIDE)
        self.errors()

    def open_tab(self, path: str) -> str:
        """Go to a page of the console in a tab of its own.  @return: Its name."""
        self.driver.switch_to.new_window("tab")
        self.go(path)
        return self.driver.current_window_handle

    def turn_to(self, tab: str) -> None:
        """Look at another tab."""
        self.driver.switch_to.window(tab)

    def _tell(self, command: str, **parameters: object) -> Any:
        return self.driver.execute_cdp_cmd(command, parameters)

    def resize(self, width: int, *, dark: bool = False) -> None:
        """Have a window of a width, for people who like it light or dark."""
        self._tell(
            "Emulation.setDeviceMetricsOverride", width=width, height=_HEIGHT, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._tell("Emulation.setEmulatedMedia", features=[scheme])

    def go(self, path: str = "") -> None:
        """Go to a page of the console."""
        self.driver.get(f"{self.base}{path}")

    def one(self, selector: str) -> WebElement:
        """The first element, as soon as it is there."""
        found: WebElement = self.until(lambda: next(iter(self.all(selector)), None), selector)
        return found

    def click(self, selector: str, text: str = "") -> None:
        """Click the first element whose text begins so, as soon as it is there."""

        def clicked() -> bool:
            found = next((each for each in self.all(selector) if each.text.startswith(text)), None)
            if found is not None:
                found.click()
            return found is not None

        self.until(clicked, f"{selector} {text}")

    def all(self, selector: str) -> list[WebElement]:
        """All elements that are there now."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    @property
    def words(self) -> str:
        """What the page says now."""
        return " ".join(str(self.script("return document.querySelector('main')?.innerText ?? ''")).split())

    def says(self, words: str) -> None:
        """Wait until the page says something."""
        self.until(lambda: words in self.words, f"{words!r} in {self.driver.current_url}")

    def rows(self, panel: str) -> list[list[str]]:
        """What the table of a panel has now, row by row and without its heading."""
        found: list[list[str]] = self.script(
            "return [...document.getElementById(arguments[0]).closest('section').querySelectorAll('tbody tr')]"
            ".map(row => [...row.cells].map(cell => cell.innerText.trim()));",
            panel,
        )
        return found

    @contextmanager
    def without_scripts(self) -> Iterator[None]:
        """Run none of the page's own."""
        self._tell("Emulation.setScriptExecutionDisabled", value=True)
        try:
            yield
        finally:
            self._tell("Emulation.setScriptExecutionDisabled", value=False)

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        """Wait for something to be true in the page, which may change while it is looked at."""
        wait = WebDriverWait(self.driver, PATIENCE, 0.05, [StaleElementReferenceException])
        return wait.until(lambda _: condition(), what)

    def script(self, text: str, *arguments: object) -> Any:
        """Run a script in the page, which its own policy does not let in otherwise."""
        return self.driver.execute_script(text, *arguments)

    def keys(self, *keys: str) -> None:
        """Press keys, wherever the focus is."""
        actions = webdriver.ActionChains(self.driver)
        for key in keys:
            actions = actions.send_keys(key)
        actions.perform()

    @property
    def focused(self) -> str:
        """The text of what has the focus."""
        return str(self.script("return document.activeElement.textContent"))  # also while it moves into view

    def tab_to(self, text: str) -> None:
        """Press the tabulator until something has the focus that begins so."""
        for _ in range(200):
            self.keys("\ue004")
            if self.focused.startswith(text):
                return
        raise AssertionError(f"the keyboard does not come to {text!r}")

    def violations(self, rules: Mapping[str, object] = _RULES) -> list[str]:
        """What axe-core finds, in words."""
        if not self.script("return 'axe' in window"):
            self.script(self._axe)
        found = self.driver.execute_async_script(
            "const done = arguments[arguments.length - 1];"
            "axe.run(arguments[0], arguments[1])"
            ".then(found => done(found.violations), error => done([String(error)]));",
            _WHERE,
            rules,
        )
        return [json.dumps(each)[:2000] for each in found]

    def overflow(self, width: int) -> list[str]:
        """What is wider than the window, so that one would have to scroll sideways, or on a phone to zoom."""
        found: list[str] = self.script(
            "const width = arguments[0];"
            "if (document.documentElement.scrollWidth <= width) return [];"
            # The text of an element can be wider than that is.
            "const wide = each => each.getBoundingClientRect().left + each.scrollWidth > width + 1;"
            "return [...document.querySelectorAll('html, body *')].filter(wide).reverse()"
            ".map(each => each.outerHTML.slice(0, 120)).slice(0, 5);",
            width,
        )
        return found

    def first_paint(self) -> float:
        """Milliseconds from the start of the last navigation to the first paint."""
        entry = "performance.getEntriesByName('first-contentful-paint')[0]"
        self.until(lambda: self.script(f"return {entry} !== undefined"), "something is painted")
        return float(self.script(f"return {entry}.startTime"))

    def errors(self) -> list[str]:
        """What went wrong in pages; that an answer was a refusal, they say themselves."""
        log = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        wrong = [each["message"] for each in log if each["level"] == "SEVERE"]
        return [each for each in wrong if "the server responded with a status of" not in each]

    def picture(self, name: str) -> None:
        """Keep a screenshot of the whole page."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        size = self._tell("Page.getLayoutMetrics")["cssContentSize"]
        shot = self._tell(
            "Page.captureScreenshot",
            captureBeyondViewport=True,
            optimizeForSpeed=True,
            clip={"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 4000), "scale": 1},
        )
        (PICTURES / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))

    def fits(self, name: str, path: str, says: str) -> None:
        """See that a page fits wide and narrow windows, where pages like it were looked at otherwise."""
        for width in (WIDE, NARROW):
            self.resize(width)
            self.go(path)
            self.says(says)
            assert self.overflow(width) == [], (path, width)
            self.picture(f"{name}-{width}-light")
        self.resize(WIDE)
        assert self.errors() == []

    def look(self, name: str, path: str, says: str) -> None:
        """
        Look at a page in each of its forms: wide and narrow, light and dark; nothing in it keeps anybody out.

        @param says: What it says once it is whole.
        """
        for width in (WIDE, NARROW):
            self.resize(width)
            self.go(path)
            self.says(says)
            for dark in (False, True):
                self.resize(width, dark=dark)
                assert self.violations(_COLOURS if dark else _RULES) == [], (path, width, dark)
                assert self.overflow(width) == [], (path, width)
                self.picture(f"{name}-{width}-{'dark' if dark else 'light'}")
        self.resize(WIDE)
        assert self.errors() == []


@contextmanager
def browsing(profile: Path, axe: str) -> Iterator[Browser]:
    """A browser, which is ended at the end."""
    browser = Browser(profile, axe)
    try:
        yield browser
    finally:
        browser.close()
