"""What the console shows where something does not answer."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import pytest
from console import Browser, read_page
from doubles import JOB
from support import Server, serving
from test_console import fill, words
from test_job_events import Follower

from pacarchive import errors
from pacarchive.web.console.screens import SCREENS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pacarchive.web.console.asking import Screen


@pytest.fixture
def server() -> Iterator[Server]:
    """One that lets everyone do everything, with a job of three files, and a pin."""
    with serving(Server()) as server:
        fill(server)
        yield server


def test_a_dead_store_leaves_the_rest_of_the_first_page(server: Server) -> None:
    """The words say what is wrong; a screen that is nothing without it is a page in words, too."""
    server.recalls.obstacle = "the database does not answer"
    server.recalls.operations.trouble = errors.BackendUnavailable("The store does not answer.")
    server.recalls.trouble["jobs"] = errors.BackendUnavailable("The store does not answer.")
    browser = Browser(server)
    page = words(browser.get("/console"))
    assert "the database does not answer" in page
    assert "Moving now" in page
    assert "The store does not answer." in page


DEAD = errors.BackendUnavailable("It does not answer.", retry_after=7)
LIVE = pytest.mark.parametrize(
    "screen", [each for each in SCREENS if each.live], ids=lambda each: each.path or "overview"
)


def path_to(screen: Screen) -> str:
    """Where one of them is, below the console."""
    return screen.path.replace("<job>", JOB).replace("<file_id:file_id>", "1") + "?name=A1" * (
        screen.path == "/cartridge"
    )


def panels(html: str) -> list[str]:
    """What a page is made of."""
    return [each.attributes["id"] for each in read_page(html).all("h2")]


def sent(text: str) -> str:
    """What the last event shows."""
    lines = [line for line in text.splitlines() if line.startswith("data: ")]
    shown: str = json.loads(lines[-1].removeprefix("data: "))
    return shown


class Dead:
    """Stands for a service of which not all processes answer."""

    async def totals(self) -> NoReturn:
        raise DEAD


@contextmanager
def dead(server: Server) -> Iterator[None]:
    """Have nothing answer for a while of what screens are made from."""
    whole = server.application.telemetry.whole
    server.recalls.operations.trouble = DEAD
    server.recalls.trouble = dict.fromkeys(("jobs", "job", "files", "status", "pins", "owner", "reason"), DEAD)
    server.archive.trouble["status"] = DEAD

    server.application.telemetry.whole = Dead()
    yield
    server.recalls.operations.trouble = None
    server.recalls.trouble = {}
    server.archive.trouble.clear()
    server.application.telemetry.whole = whole


@LIVE
def test_what_does_not_answer_is_said_in_the_place_of_it(server: Server, screen: Screen) -> None:
    """The page has its name and is live, so that it can show what comes; programs see by the status that it is not."""
    browser = Browser(server)
    stays = screen.path in ("", "/capacity")  # what they show is not all of one kind
    with dead(server):
        page = browser.get(f"/console{path_to(screen)}", 200 if stays else 503)
    assert "It does not answer." in words(page)
    assert "Service unavailable" not in words(page)
    assert page.one("div", id="live").attributes["data-live"]
    assert browser.answer is not None
    assert browser.answer.field("Retry-After") == (None if stays else "7")
    assert sum("It does not answer." in each for each in server.words()) == (not stays)


@LIVE
def test_an_open_page_shows_again_what_answers_again(server: Server, screen: Screen) -> None:
    """In the same stream: nobody reloads a page that hangs on a wall; and that it failed is not logged each second."""
    follower = Follower(server, target=f"/console/live{path_to(screen)}")
    before = panels(sent(follower.text))
    with dead(server):
        server.clock.pump([0.5] * 4)
        assert "It does not answer." in sent(follower.read())
        server.clock.pump([0.5] * 20)
    server.clock.pump([0.5] * 4)
    shown = sent(follower.read())
    assert "It does not answer." not in shown
    assert panels(shown) == before
    assert not any("It does not answer." in each for each in server.words())
    follower.client.hang_up()


def test_a_page_that_is_opened_meanwhile_shows_what_comes(server: Server) -> None:
    """Its stream begins with the words for why there is nothing."""
    with dead(server):
        follower = Follower(server, target="/console/live/jobs")
        assert "It does not answer." in sent(follower.text)
    server.clock.pump([0.5] * 4)
    assert JOB[:8] in sent(follower.read())
    follower.client.hang_up()


def test_what_is_not_live_says_to_reload_it(server: Server) -> None:
    """And what cannot be done now is a page of its own, as before."""
    with dead(server):
        assert "Reload the page" in words(Browser(server).get("/console/retry", 503))


def test_what_nobody_foresaw_is_a_page_too(server: Server) -> None:
    """With the incident, and nothing else."""
    server.recalls.trouble["jobs"] = RuntimeError("secret")
    page = words(Browser(server).get("/console/jobs", 500))
    assert "Incident" in page
    assert "secret" not in page
    assert server.failures()


def test_what_is_nowhere_is_a_page_too(server: Server) -> None:
    """In the form of the console."""
    assert "No such resource." in words(Browser(server).get("/console/nowhere", 404))
    assert server.ask("GET", "/consoles").field("Content-Type") == "application/json"
