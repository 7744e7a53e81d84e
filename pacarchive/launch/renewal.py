"""Certificates that others renew: looked at every minute, read and checked once, and used for new connections.

Connections that are under way go on with what they have.  What is read and is not right leaves in force what was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from twisted.application.service import Service
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from pacarchive.runtime.threads import in_passing
from pacarchive.settings.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred

    from pacarchive.web.http.credentials import Credentials, CredentialsFiles

INTERVAL = 60.0
"""Seconds between two looks at the files."""

SOON = 14
"""From so many days before the end of a certificate on, the log has a warning each day."""

_DAY = 86400.0

_Found: TypeAlias = "tuple[object, Credentials | ConfigError | None]"
"""What the files are, and what is in them where that is new."""

_log = Logger()


class Renewal(Service):
    """
    Keeps the credentials that the files have.

    @param reactor: The reactor, also the source of time.
    @param files: The files.
    @param credentials: What was in them at the start.
    @param stamp: What the files were then.
    @ivar credentials: What is in force.
    @ivar not_after: Until when the certificate is valid, in seconds since the epoch.
    """

    def __init__(self, reactor: Any, files: CredentialsFiles, credentials: Credentials, stamp: object) -> None:
        self._reactor = reactor
        self._files = files
        self._stamp = stamp
        self._use: Callable[[Credentials], None] | None = None
        self._looks = LoopingCall(self._look)
        self._looks.clock = reactor
        self._is_looking = False
        self._warned = 0.0
        self.credentials = credentials

    @property
    def not_after(self) -> float:
        return self.credentials.not_after

    def uses(self, use: Callable[[Credentials], None]) -> None:
        """
        Say who gets new credentials.

        @param use: Called in the reactor's thread.
        """
        self._use = use

    def startService(self) -> None:
        """Look at the files from now on."""
        super().startService()
        _log.info("TLS: {credentials}", credentials=self.credentials)
        for words in self._files.warnings():
            _log.warn("{words}", words=words)
        self._warn_of_end()
        self._looks.start(INTERVAL, now=False)

    def stopService(self) -> None:
        """Look no more."""
        super().stopService()
        if self._looks.running:
            self._looks.stop()

    def reload(self) -> list[str]:
        """
        Read the files now.

        @raise ConfigError: What they have cannot be used; what was in force still is.
        """
        self._stamp = self._files.stamp()
        self._renew(self._files.read(self._reactor.seconds()))
        return ["the certificate"]

    def _look(self) -> None:
        self._warn_of_end()
        if not self._is_looking:  # else the file system hangs
            self._is_looking = True
            work: Deferred[_Found] = in_passing(
                self._reactor, self._read_if_changed, self._stamp, self._reactor.seconds()
            )
            work.addCallbacks(self._looked, self._failed)

    def _read_if_changed(self, known: object, now: float) -> _Found:
        """In a thread."""
        stamp = self._files.stamp()
        if stamp == known:
            return stamp, None
        try:
            return stamp, self._files.read(now)
        except ConfigError as error:
            return stamp, error

    def _looked(self, found: _Found) -> None:
        self._is_looking = False
        self._stamp, result = found
        if isinstance(result, ConfigError):
            _log.error("TLS: the old certificate stays in force: {error}", error=result)
        elif result is not None and self.running:
            self._renew(result)

    def _failed(self, failure: Any) -> None:
        self._is_looking = False
        _log.failure("TLS: cannot look for a new certificate", failure)

    def _renew(self, credentials: Credentials) -> None:
        if credentials == self.credentials:
            return
        self.credentials = credentials
        if self._use is not None:
            self._use(credentials)
        _log.info("TLS: new connections have another {credentials}", credentials=credentials)
        self._warned = 0.0
        self._warn_of_end()

    def _warn_of_end(self) -> None:
        now: float = self._reactor.seconds()
        left = self.not_after - now
        if left > SOON * _DAY or now - self._warned < _DAY:
            return
        self._warned = now
        if left < 0:
            _log.error("TLS: the {credentials}, has expired: clients refuse it", credentials=self.credentials)
        else:
            days = f"{left / _DAY:.0f} days" if left > 2 * _DAY else f"{left / 3600:.0f} hours"
            _log.warn("TLS: the {credentials}, expires in {days}", credentials=self.credentials, days=days)
