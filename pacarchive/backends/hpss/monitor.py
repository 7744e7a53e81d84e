"""Watch the core server by pings at intervals, instead of one before each request.

A ping is timed by this machine's clock alone: the time in the server's answer depends on how far the clocks differ.
"""

from __future__ import annotations

import errno
import math
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from pacarchive import errors
from pacarchive.backends.hpss import client
from pacarchive.backends.hpss.client import HpssError
from pacarchive.backends.hpss.pool import begin_thread, end_thread
from pacarchive.backends.hpss.session import Session
from pacarchive.runtime.threads import BlockingPool

_INTERVAL_WHEN_DOWN = 1.0
"""Seconds between pings of a server that does not answer."""

_log = Logger()


class CoreServerMonitor:
    """
    Pings the core server from a thread of its own, so that a ping never waits for other calls.

    @param reactor: The reactor, also the source of time.
    @param session: The login.
    @param site: The site's name.
    @param interval: Seconds between two pings.
    @param accept_latency: The timeout of an answer, in seconds.
    @param on_answer: Called after each answer within the timeout.
    @ivar trouble: What is wrong with the core server, for the operator; empty when it answers.
    @ivar latency: The time that the last answer took, in seconds.
    """

    def __init__(
        self,
        reactor: Any,
        session: Session,
        site: str,
        interval: float,
        accept_latency: float,
        on_answer: Callable[[], None],
    ) -> None:
        self._clock = reactor
        self._session = session
        self._site = site
        self._interval = interval
        self._accept_latency = accept_latency
        self._on_answer = on_answer
        self._pool = BlockingPool(reactor, "hpss-ping", 1, lasting=True, begin=begin_thread, end=end_thread)
        self._next: IDelayedCall | None = None
        self._timeout: IDelayedCall | None = None
        self._first: Deferred[None] | None = None
        self._stopped = True
        self.trouble = ""
        self.latency = 0.0

    async def start(self) -> None:
        """
        Start; returns after the first ping is answered, fails or times out.

        @raise errors.BackendUnavailable: HPSS does not know the site, so the settings are wrong.
        """
        self._stopped = False
        self._pool.start()
        self._first = Deferred()
        self._ping()
        await self._first

    def stop(self) -> None:
        """Stop, if it runs; a ping that is stuck is abandoned."""
        if self._stopped:
            return
        self._stopped = True
        for timer in (self._next, self._timeout):
            if timer is not None:
                timer.cancel()
        self._next = self._timeout = None
        self._pool.stop(1.0)

    def require_answering(self) -> None:
        """
        Refuse a request at once that would only wait.

        @raise errors.BackendUnavailable: The core server does not answer, or not within the timeout.
        """
        if self.trouble:
            raise errors.BackendUnavailable("HPSS does not answer at present.", retry_after=math.ceil(self._interval))

    def _ping(self) -> None:
        self._next = None
        self._timeout = self._clock.callLater(self._accept_latency, self._timed_out)
        self._pool.call(self._timed_ping).addCallbacks(self._answered, self._failed).addErrback(_unexpected)

    def _timed_ping(self) -> float:
        """Ping, and return the latency in seconds; timed in the thread, so that delays of the reactor do not count."""
        begin = time.monotonic()
        self._session.call(client.ping, self._site)
        return time.monotonic() - begin

    def _timed_out(self) -> None:
        self._timeout = None
        self._update(f"the core server has not answered a ping within {self._accept_latency:g} s")

    def _answered(self, latency: float) -> None:
        self.latency = latency
        slow = latency > self._accept_latency
        self._update(f"the core server took {latency:.1f} s to answer a ping" if slow else "")
        self._schedule_next()
        if not slow and not self._stopped:
            self._on_answer()

    def _failed(self, failure: Failure) -> None:
        if self._first is not None and _is_unknown_site(failure):
            first, self._first = self._first, None
            self.stop()
            first.errback(errors.BackendUnavailable(f"HPSS: there is no site {self._site}: {failure.value}"))
            return
        self._update(f"the core server does not answer: {failure.value}")
        self._schedule_next()

    def _update(self, trouble: str) -> None:
        if trouble and not self.trouble:
            _log.error("HPSS: {trouble}; requests are refused until it does", trouble=trouble)
        elif self.trouble and not trouble:
            _log.info("HPSS: the core server answers again")
        self.trouble = trouble
        if self._first is not None:
            first, self._first = self._first, None
            first.callback(None)

    def _schedule_next(self) -> None:
        if self._timeout is not None:
            self._timeout.cancel()
            self._timeout = None
        if not self._stopped:
            wait = min(self._interval, _INTERVAL_WHEN_DOWN) if self.trouble else self._interval
            self._next = self._clock.callLater(wait, self._ping)


def _is_unknown_site(failure: Failure) -> bool:
    return isinstance(failure.value, HpssError) and failure.value.errno == errno.ENOENT


def _unexpected(failure: Failure) -> None:
    _log.failure("HPSS: the pings have ended", failure)
