"""How long a connection waits, as a time that is compared rather than a timer that is moved.

Each request ends the patience with its connection, and begins it anew: a timer that is cancelled stays with the reactor
until its time has come.  Here there is one for each connection at the most.  When it fires too early, as after most
requests, it is set again for what is left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.web.http import HTTPChannel

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall

    from pacarchive.web.http.state import SharedSite

_NOTHING = 1e-6  # seconds, which are what is left of a sum of others


class PatientChannel(HTTPChannel):
    """
    A channel whose time-outs are those of L{twisted.protocols.policies.TimeoutMixin}.

    @ivar _due: When it has waited for long enough; C{None} while nothing is waited for.
    @ivar _timer: Fires then, or before.
    """

    # Here and in what builds on it, what each connection has in slots is not in its dictionary: that is three times as
    # large when there are more than thirty names in it.
    __slots__ = ("_due", "_timer")

    site: SharedSite
    timeOut: float | None  # type: ignore[assignment]  # Twisted has whole seconds there

    def __init__(self) -> None:
        super().__init__()
        self._due: float | None = None
        self._timer: IDelayedCall | None = None

    def setTimeout(self, period: float | None) -> float | None:
        before, self.timeOut = self.timeOut, period
        self._due = None
        self._wait_anew()
        return before

    def resetTimeout(self) -> None:
        if self._due is not None:
            self._wait_anew()

    def has_time_from(self, now: float) -> None:
        """As L{resetTimeout}, for as long as before: then the timer fires no later than it should."""
        if self._due is not None and self.timeOut is not None:
            self._due = now + self.timeOut

    def _wait_anew(self) -> None:
        if self.timeOut is None:
            return
        self._due = self.site.seconds() + self.timeOut
        if self._timer is not None and self._due < self._timer.getTime():
            self.stop_timer()  # to bring it forward, the reactor would look through all that it has
        if self._timer is None:
            self._timer = self.callLater(self.timeOut, self._look_at_time)

    def _look_at_time(self) -> None:
        self._timer = None
        if self._due is None:
            return
        if (left := self._due - self.site.seconds()) > _NOTHING:
            self._timer = self.callLater(left, self._look_at_time)
        else:
            self._due = None
            self.timeoutConnection()

    def stop_timer(self) -> None:
        """The connection is over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
