"""Slows down addresses that present what is not valid: who guesses or floods costs others nothing."""

from __future__ import annotations

import math
from collections import OrderedDict

import attrs
from twisted.internet.interfaces import IReactorTime

from pacarchive.access.identity import TooManyFailures

BURST = 20
"""Failures of one address that slow nothing down."""

PAUSE = 2.0
"""Seconds after which one more is free."""

CROWD = 50
"""How many times as many an address has that stands for many clients: a proxy's, or a UNIX socket."""

ADDRESSES = 10_000
"""Addresses that are kept account of; of more, those whose last failure is the longest ago are forgotten."""


@attrs.define
class _Account:
    owed: float
    since: float


class Throttle:
    """
    Keeps account of failures.

    @param clock: The time.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._accounts: OrderedDict[str, _Account] = OrderedDict()

    def failed(self, client: str, crowd: bool) -> None:
        """Something was not valid."""
        now = self._clock.seconds()
        account = self._accounts.setdefault(client, _Account(0.0, now))
        account.owed = min(self._owed(account, now) + (1 / CROWD if crowd else 1), 2.0 * BURST)
        account.since = now
        self._accounts.move_to_end(client)
        if len(self._accounts) > ADDRESSES:
            self._accounts.popitem(last=False)

    def require(self, client: str) -> None:
        """
        See that an address may present something that is not known yet.

        @raise TooManyFailures: Too much that came from there was not valid.
        """
        if (account := self._accounts.get(client)) is None:
            return
        now = self._clock.seconds()
        if (owed := self._owed(account, now)) <= 0:
            del self._accounts[client]
        elif owed >= BURST:
            wait = math.ceil((owed - BURST + 1) * PAUSE)
            raise TooManyFailures(
                "Too many credentials from this address were not valid; new ones are looked at again later.",
                retry_after=wait,
            )

    @staticmethod
    def _owed(account: _Account, now: float) -> float:
        return max(0.0, account.owed - max(0.0, now - account.since) / PAUSE)
