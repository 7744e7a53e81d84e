"""The log as JSON: one object a line for each event, also for those of workers (C{[server] log_format}).

A worker writes its lines to its parent as it would write them to a file (L{json_line}), and the parent logs them as
events of its own that have the worker's record (L{relay}).
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.logger import LogEvent, Logger, LogLevel, formatEvent

from pacarchive.settings.server import LogFormat

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

LONGEST_TEXT = 10_000
"""The most characters of a message, and of a traceback; a line has at most 24 bytes for each."""

_FIELDS = ("incident", "kind", "peer", "request_id", "trace_id")
"""What events may have that is to be found by itself, and not only in the message."""

_RECORD = "worker_record"

_log = Logger(namespace="pacarchive.launch.workers")  # whose lines they are


def json_line(event: LogEvent) -> str | None:
    """
    Format an event.

    @return: The line, in ASCII; C{None} for an event without a text.
    """
    record = event.get(_RECORD)
    if record is None and (record := _record(event)) is None:
        return None
    return f"{json.dumps(record)}\n"


def relay(log_format: LogFormat, worker: int) -> Callable[[str], None]:
    """
    Return what logs the lines of a worker.

    @param log_format: How they are written.
    @param worker: Its number.
    """
    return partial(_relay_record if log_format is LogFormat.JSON else _relay_text, worker)


def _relay_text(worker: int, line: str) -> None:
    _log.info("{line}", line=line, log_system=f"worker {worker}", worker=worker)


def _relay_record(worker: int, line: str) -> None:
    try:
        record = json.loads(line)
        level = LogLevel.lookupByName(record["level"])
        words = "\n".join(filter(None, (record["message"], record.get("failure"))))
    except (ValueError, TypeError, KeyError, AttributeError, LookupError):
        _relay_text(worker, line)  # not the worker's log, but what a library wrote past it
        return
    shown = {name: record[name] for name in ("time", "level", "namespace") if name in record}
    _log.emit(
        level, "{words}", words=words, log_system=f"worker {worker}", **{_RECORD: {**shown, "worker": worker, **record}}
    )


def _record(event: LogEvent) -> dict[str, Any] | None:
    failure: Failure | None = event.get("log_failure")
    message = formatEvent(event)
    if not message and failure is None:
        return None
    level = event.get("log_level")
    record: dict[str, Any] = {
        "time": datetime.fromtimestamp(event["log_time"], UTC).isoformat(timespec="milliseconds"),
        "level": "info" if level is None else level.name,
        "namespace": str(event.get("log_namespace", "")),
    }
    if "worker" in event:
        record["worker"] = event["worker"]
    record["message"] = _shortened(message)
    record |= {name: str(event[name]) for name in _FIELDS if name in event}
    if failure is not None:
        record["failure"] = _shortened(failure.getTraceback().rstrip("\n"))
    return record


def _shortened(text: str) -> str:
    """Leave out the middle of a text that is too long: a traceback has the error at its end."""
    if len(text) <= LONGEST_TEXT:
        return text
    half = LONGEST_TEXT // 2
    return f"{text[:half]} [... {len(text) - 2 * half} characters ...] {text[-half:]}"
