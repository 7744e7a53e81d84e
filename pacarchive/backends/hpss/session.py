"""The process's login to HPSS, and the one way to call the client library.

Credentials belong to the process, not to a thread, and expire after weeks.  A new login drops the connections of all
threads (C{hpss_ClientAPIReset}), so calls and logins exclude each other: calls are the readers of a readers-writer
lock, a login is its writer.

Everything here blocks and is called in pool threads.
"""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import ParamSpec, Protocol, TypeVar
from weakref import WeakValueDictionary

from twisted.logger import Logger

from pacarchive import errors
from pacarchive.backends.hpss import client
from pacarchive.backends.hpss.client import HpssError

P = ParamSpec("P")
T = TypeVar("T")

# A busy or restarting server is waited for briefly.  By the library's defaults, four times fifteen seconds and more, a
# client would wait that could be asked to retry later instead.
_RETRIES = 1
_BUSY_RETRIES = 1
_BUSY_DELAY = 1  # seconds
_TOTAL_DELAY = 5  # seconds

_RENEWAL_TIMEOUT = 30.0
"""Seconds that a new login waits for the calls under way; those that are stuck fail then."""

_LOGIN_BACKOFF = 5.0
"""Seconds between a failed login and the next attempt: too many might lock the account."""

_log = Logger()


_changing = threading.Lock()
_logged_in: Session | None = None
_sessions: WeakValueDictionary[tuple[str, str], Session] = WeakValueDictionary()


def session_of(principal: str, keytab: str) -> Session:
    """
    Return the session of this process for a principal.

    @param principal: The HPSS user.
    @param keytab: The path of the key table file.
    """
    with _changing:
        return _sessions.setdefault((principal, keytab), Session(principal, keytab))


class Descriptor(Protocol):
    """Something that becomes invalid with a new login."""

    def drop_descriptor(self) -> None:
        """Close it; called before a new login, while no call is under way but stuck ones."""


class Session:
    """
    A login, which is renewed when it has expired.  The library has one at a time, so get it from L{session_of}.

    @param principal: The HPSS user.
    @param keytab: The path of the key table file.
    @param monotonic: The time in seconds, for timeouts.
    @ivar generation: The count of logins so far.
    """

    def __init__(self, principal: str, keytab: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._principal = principal
        self._keytab = keytab
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._holders = 0
        self._calls = 0
        self._renewing = False
        self._refused: tuple[float, HpssError] | None = None
        self._descriptors: set[Descriptor] = set()
        self.generation = 0

    def open(self) -> None:
        """
        Log in, unless this session is open already in this process.  Each call needs one of L{close}.

        @raise errors.BackendUnavailable: HPSS refuses, or does not answer; or the process has logged in as another
            user.
        """
        global _logged_in
        with _changing:
            if _logged_in not in (None, self):
                raise errors.BackendUnavailable("HPSS: this process is logged in as another user")
            if not self._holders:
                client.configure(
                    retries=_RETRIES, busy_retries=_BUSY_RETRIES, busy_delay=_BUSY_DELAY, total_delay=_TOTAL_DELAY
                )
                try:
                    client.login(self._principal, self._keytab)
                except HpssError as error:
                    message = f"HPSS: {self._principal} cannot log in with {self._keytab}: {error}"
                    raise errors.BackendUnavailable(message) from error
                _logged_in = self
                self._refused = None
                self.generation += 1
            self._holders += 1

    def close(self) -> None:
        """Log out, if every other L{open} has had its L{close}.  No call of the caller's may be under way."""
        global _logged_in
        with _changing:
            self._holders -= 1
            if not self._holders:
                _logged_in = None
                client.logout()

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """
        Call the client library, in the calling thread.

        @param function: A function of L{client}.  If the login has expired, it is renewed and the call retried.
        @raise HpssError: It failed.
        """
        generation = self._enter()
        try:
            return function(*args, **kwargs)
        except HpssError as error:
            if not _may_mean_expiry(error):
                raise
            refusal = error
        finally:
            self._leave()
        if not self._has_expired(generation):
            raise refusal
        self._renew(generation)
        generation = self._enter()
        try:
            return function(*args, **kwargs)
        finally:
            self._leave()

    def register(self, descriptor: Descriptor) -> None:
        """Have C{drop_descriptor} called before each new login."""
        with self._changed:
            self._descriptors.add(descriptor)

    def unregister(self, descriptor: Descriptor) -> None:
        """Undo L{register}."""
        with self._changed:
            self._descriptors.discard(descriptor)

    def _enter(self) -> int:
        while True:
            with self._changed:
                while self._renewing:
                    self._changed.wait()
                if self._refused is None:
                    self._calls += 1
                    return self.generation
                generation = self.generation
            self._renew(generation)  # without a login, the library would wait for ever

    def _leave(self) -> None:
        with self._changed:
            self._calls -= 1
            self._changed.notify_all()

    def _has_expired(self, generation: int) -> bool:
        """
        Return whether the login of a generation has expired.  A file without permission fails with the same error, so
        the root directory is looked at.
        """
        # If another thread has renewed the login meanwhile, the call would say nothing about the old one.
        entered = self._enter()
        try:
            if entered != generation:
                return True
            client.stat("/")
        except HpssError as error:
            return _may_mean_expiry(error)
        finally:
            self._leave()
        return False

    def _renew(self, expired: int) -> None:
        """
        Log in again, unless another thread already has.

        @param expired: The generation that has expired.
        @raise HpssError: HPSS refuses; also without an attempt, shortly after one that failed.
        """
        with self._changed:
            while self._renewing:
                self._changed.wait()
            if self.generation != expired:
                return
            if self._refused is not None and self._monotonic() < self._refused[0] + _LOGIN_BACKOFF:
                error = self._refused[1]  # raised as a copy, as tracebacks keep alive what the callers' frames hold
                raise HpssError(error.call, error.code, error.detail, name=error.name)
            self._renewing = True
            deadline = self._monotonic() + _RENEWAL_TIMEOUT
            while self._calls and (left := deadline - self._monotonic()) > 0:
                self._changed.wait(left)
            stuck = self._calls
        try:
            _log.info("HPSS: the login has expired; logging in again ({stuck} calls broken off)", stuck=stuck)
            self._drop_descriptors()
            client.logout()
            client.login(self._principal, self._keytab)
            self._refused = None
            self.generation += 1
        except HpssError as error:
            self._refused = self._monotonic(), error
            _log.error("HPSS: the new login failed: {error}", error=error)
            raise
        finally:
            with self._changed:
                self._renewing = False
                self._changed.notify_all()

    def _drop_descriptors(self) -> None:
        # Before the library forgets them, as it reuses their numbers afterwards.
        for descriptor in list(self._descriptors):
            with suppress(HpssError):  # the login has expired
                descriptor.drop_descriptor()


def _may_mean_expiry(error: HpssError) -> bool:
    return error.security or error.errno == errno.EACCES
