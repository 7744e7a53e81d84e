"""When to try again, and when not."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from twisted.internet.task import deferLater
from twisted.logger import Logger

from pacarchive.client.errors import CertificateRefused, ClientError, ConnectionFailed, ServerUnavailable

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from pacarchive.client.words import RetryPolicy

_log = Logger()


class Tries:
    """
    The tries of one request.

    @param safe: Whether it may be repeated when it may have been done already.
    """

    def __init__(self, clock: IReactorTime, policy: RetryPolicy, *, safe: bool = True) -> None:
        self._clock = clock
        self._policy = policy
        self._safe = safe
        self._in_vain = 0
        self._begun_anew = 0

    async def after(self, error: ClientError, *, resumes: bool = False, begins_anew: bool = False) -> None:
        """
        Wait for the time of the next try.

        @param error: How the last one failed.
        @param resumes: Whether the next one goes on where that has got to, so much further that they count anew.
        @param begins_anew: Whether bytes had moved when the connection was lost, and the next one moves them again.
        @raise ClientError: C{error}, where there is to be no other try.
        """
        policy = self._policy
        if not self._may_repeat(error) or policy.attempts <= 1:
            raise error
        if resumes:
            self._in_vain = 0
        elif begins_anew and self._begun_anew < policy.restarts:
            self._begun_anew += 1
        else:
            self._in_vain += 1
            if self._in_vain >= policy.attempts:
                raise error
        delay = min(policy.longest, policy.first * 2.0 ** min(self._in_vain, 64))
        delay *= 1 - policy.jitter * random.random()  # noqa: S311  (so that clients come back one by one)
        if isinstance(error, ServerUnavailable):
            delay = max(delay, min(error.retry_after, policy.longest_asked))
        _log.debug("Trying again in {delay} s: {error}", delay=round(delay, 2), error=error)
        await deferLater(self._clock, delay)

    def _may_repeat(self, error: ClientError) -> bool:
        if isinstance(error, CertificateRefused):
            return False
        if isinstance(error, ConnectionFailed):
            return self._safe or not error.uncertain
        # What is not safe is not repeated even though the archive says that it did not do it: it may have done a part.
        return self._safe and isinstance(error, ServerUnavailable)
