"""Events as lines of JSON, in one process and from a worker's pipe."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from twisted.logger import Logger, LogLevel, capturedLogs, formatEvent
from twisted.python import log as legacy_log

from pacarchive.launch.jsonlog import LONGEST_TEXT, json_line, relay
from pacarchive.launch.lines import LONGEST
from pacarchive.settings.server import LogFormat

if TYPE_CHECKING:
    from collections.abc import Callable

WHEN = 1_800_000_000.0625
SHOWN = "2027-01-15T08:00:00.062+00:00"


def lines_of(act: Callable[[Logger], object]) -> list[str]:
    """What is written of what is logged, all of it at L{WHEN}."""
    with capturedLogs() as events:
        act(Logger(namespace="pacarchive.some"))
    lines = [json_line({**event, "log_time": WHEN}) for event in events]
    assert all(line is None or (line.endswith("\n") and line.count("\n") == 1 and line.isascii()) for line in lines)
    return [line for line in lines if line is not None]


def only(act: Callable[[Logger], object]) -> dict[str, Any]:
    """The one object that is written."""
    (line,) = lines_of(act)
    found: dict[str, Any] = json.loads(line)
    return found


def test_an_event() -> None:
    """When, how grave, from where, and what; in this order."""
    found = only(lambda log: log.warn("{count} of {what}", count=3, what="Köln \udce9\n\x1b[2J"))
    assert list(found.items()) == [
        ("time", SHOWN),
        ("level", "warn"),
        ("namespace", "pacarchive.some"),
        ("message", "3 of Köln \udce9\n\x1b[2J"),
    ]


def test_what_can_be_searched_for() -> None:
    """Some of what the message is made of stands by itself, as text."""
    found = only(
        lambda log: log.error("failed ({kind}) {peer}: {words}", kind="Full", peer="::1:5", words="no", secret=1)
    )
    assert found["message"] == "failed (Full) ::1:5: no"
    assert (found["kind"], found["peer"]) == ("Full", "::1:5")
    assert list(found) == ["time", "level", "namespace", "message", "kind", "peer"]


def test_a_failure() -> None:
    """Its traceback is in the same line, and its incident is there to search for."""

    def fail(log: Logger) -> None:
        try:
            raise ZeroDivisionError("of\ntwo lines")
        except ZeroDivisionError:
            log.failure("incident {incident}: {what}", incident="0a1b", what="GET /1")

    found = only(fail)
    assert (found["level"], found["message"], found["incident"]) == ("critical", "incident 0a1b: GET /1", "0a1b")
    assert found["failure"].startswith("Traceback (most recent call last):\n")
    assert "test_jsonlog.py" in found["failure"]
    assert found["failure"].endswith("builtins.ZeroDivisionError: of\ntwo lines")


def test_events_of_others() -> None:
    """Twisted's older log has no levels' names of its own; and what says nothing makes no line."""
    assert only(lambda _: legacy_log.msg("old"))["message"] == "old"
    assert lines_of(lambda log: log.info("")) == []
    assert "Unable to format" in only(lambda log: log.info("{missing}"))["message"]


def test_an_endless_text_is_shortened() -> None:
    """In its middle; and of whatever characters, a line never exceeds what the parent takes for one."""

    def fail(log: Logger) -> None:
        try:
            raise ValueError("\U0001f600" * 100_000 + "the end")
        except ValueError:
            log.failure("{what}", what="\U0001f600" * 100_000)

    (line,) = lines_of(fail)
    assert len(line) < LONGEST
    found = json.loads(line)
    assert found["failure"].startswith("Traceback ")
    assert found["failure"].endswith("the end")
    assert len(found["message"]) < LONGEST_TEXT + 50
    assert "characters ..." in found["message"]


def test_lines_of_a_worker() -> None:
    """They come out as they went in, with the worker's number; an observer of somebody else's sees events."""

    def fail(log: Logger) -> None:
        try:
            raise ValueError("no")
        except ValueError:
            log.failure("incident {incident}", incident="0a1b")

    (line,) = lines_of(fail)
    with capturedLogs() as events:
        relay(LogFormat.JSON, 3)(line.rstrip("\n"))
    (event,) = events
    assert event["log_level"] is LogLevel.critical
    assert event["log_system"] == "worker 3"
    assert formatEvent(event).splitlines()[0::100] == ["incident 0a1b"]
    assert formatEvent(event).endswith("ValueError: no")
    written = json_line(event)
    assert written is not None
    found, sent = json.loads(written), json.loads(line)
    assert found == {**sent, "worker": 3}
    assert list(found)[:5] == ["time", "level", "namespace", "worker", "message"]


@pytest.mark.parametrize(
    "line",
    ["plain {brace}", '{"message": "half', "[]", "7", '{"message": "no level"}', '{"level": "loud", "message": 1}'],
)
def test_what_is_no_line_of_the_log(line: str) -> None:
    """A library may write past the log: its line is the message."""
    with capturedLogs() as events:
        relay(LogFormat.JSON, 0)(line)
    written = json_line(events[0])
    assert written is not None
    found = json.loads(written)
    assert (found["level"], found["worker"], found["message"]) == ("info", 0, line)


def test_text_is_not_looked_into() -> None:
    """Where lines are text, none is taken for a record, whatever it looks like."""
    record = '{"level": "critical", "message": "forged", "worker": 7}'
    with capturedLogs() as events:
        relay(LogFormat.TEXT, 0)(record)
    assert events[0]["log_level"] is LogLevel.info
    assert formatEvent(events[0]) == record
