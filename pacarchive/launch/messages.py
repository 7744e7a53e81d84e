"""What parent and workers say to each other.

- standard input: the pickled L{Assignment}, but for a worker that is forked and so has it, and then lines: L{RELOAD}
  whenever the worker is to reload what it can, L{RENEW} with new credentials (pickled, in base64), L{MEASURE} with a
  number when it is to say how it is, L{TOTALS} with how the whole service is.  It stays open; its end means to the
  worker that the parent is gone.
- descriptor L{CONTROL}: lines from the worker: L{READY}, L{FAILED} with a reason, L{ALIVE} every L{HEARTBEAT}
  seconds, L{MEASURED} with the number that it was given, L{TOTALS} when it wants to know how the whole service is.
- descriptor L{COUNTS}: memory of both (L{pacarchive.telemetry.counts}), where the worker counts; and where it says,
  before L{MEASURED}, how it is.
- standard output and error: log lines, which the parent logs as its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from pacarchive.launch.listening import Listener

if TYPE_CHECKING:
    from pacarchive.settings.sections import Settings
    from pacarchive.web.http.credentials import Credentials

CONTROL = 3
COUNTS = 4
READY = "ready"
FAILED = "failed"
ALIVE = "alive"
RELOAD = "reload"
RENEW = "renew"
MEASURE = "measure"
MEASURED = "measured"
TOTALS = "totals"

SHARED = "shared"
"""Behind the number of L{MEASURE}: what workers share is to be told, too."""

HEARTBEAT = 5.0
"""Seconds between a worker's heartbeats."""


@attrs.frozen
class Assignment:
    """
    What the parent sends a worker at its start.

    @ivar settings: The settings in force.
    @ivar index: The worker's number, from zero.
    @ivar listeners: The endpoints, as the parent has resolved them.
    @ivar credentials: Certificate and key, for the endpoints of C{[tls]}.
    """

    settings: Settings
    index: int
    listeners: tuple[Listener, ...]
    credentials: Credentials | None = None
