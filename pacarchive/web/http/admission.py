"""How many do something at a time: so many in sum, and of those so many of one client.

A client is an address (L{client_of}).  Where many clients come from one address, as from a proxy, or through a UNIX
socket, nothing is known of the single one, and only the sum is limited.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from types import TracebackType

import attrs
from twisted.internet.interfaces import IAddress

from pacarchive import errors
from pacarchive.web.http.settings import LimitSettings
from pacarchive.web.http.shares import LOCAL, Shares, client_of

IDLE = 10.0
"""Seconds after which a transfer in which nothing moves is not counted."""

_COME_BACK = 5
"""Seconds after which one who was refused may try again."""


@attrs.frozen
class Pace:
    """
    What must move of a transfer, so that it is one.

    @ivar seconds: Within so long...
    @ivar least: ...so many bytes.
    """

    seconds: float
    least: int

    @classmethod
    def of(cls, limits: LimitSettings) -> Pace:
        """By the settings."""
        return cls(limits.progress_timeout, limits.progress_bytes)

    def words(self, who: str, moved: int) -> str:
        """Why a transfer is broken off; begins with who does what."""
        amount = f"{moved} byte{'s' if moved > 1 else ''}" if moved > 0 else "nothing"
        return (
            f"{who} {amount} in {self.seconds:g} seconds; {self.least} is the least "
            "([limits] progress_bytes, progress_timeout)."
        )


class Crowds:
    """
    Which clients stand for many.

    @param networks: Addresses and networks that proxies are in.
    """

    def __init__(self, networks: Collection[str]) -> None:
        self._networks = [ipaddress.ip_network(each) for each in networks]
        self._known: dict[str, bool] = {LOCAL: True}

    def __contains__(self, client: object) -> bool:
        if not isinstance(client, str):
            return False
        if (known := self._known.get(client)) is None:
            if len(self._known) > 4096:
                self._known = {LOCAL: True}
            network = ipaddress.ip_network(client)
            known = any(each.version == network.version and (network.overlaps(each)) for each in self._networks)
            self._known[client] = known
        return known


class Admission:
    """
    Admits one kind of work.

    @param what: The work, for refusals: C{"transfers under way"}.
    @param setting: The setting that says how much.
    @param total: The most in sum.
    @param percent: The most of one client, as a share of that.
    @param crowds: The clients that stand for many.
    """

    def __init__(self, what: str, setting: str, total: int, percent: int, crowds: Crowds) -> None:
        self._what = what
        self._setting = setting
        self._crowds = crowds
        self.shares = Shares(total, max(1, total * percent // 100))

    def require(self, address: IAddress | None, amount: int = 1) -> str:
        """
        See whether there is room.

        @return: The client.
        @raise errors.Overloaded: There is none.
        """
        shares, client = self.shares, client_of(address)
        if shares.held and shares.held + amount > shares.total:
            raise errors.Overloaded(
                f"The server has as many {self._what} as it takes ({self._setting}).", retry_after=_COME_BACK
            )
        # What is more than a share by itself is let in alone: it could never be done otherwise.
        if (mine := shares.of(client)) and mine + amount > shares.share and client not in self._crowds:
            raise errors.Overloaded(
                f"Your address has as many {self._what} as one may have ([limits] client_share of {self._setting}).",
                retry_after=_COME_BACK,
            )
        return client

    def enter(self, address: IAddress | None, amount: int = 1) -> Place:
        """
        Admit somebody, until the place is left.

        @raise errors.Overloaded: There is no room.
        """
        return Place(self.shares, self.require(address, amount), amount)


class Place:
    """
    What somebody who was admitted holds; a context manager that gives it back.
    """

    def __init__(self, shares: Shares, client: str, amount: int) -> None:
        self._shares = shares
        self._client = client
        self._amount = amount
        self._held = False
        self.go_on()

    def rest(self) -> None:
        """Let others have it while nothing is done."""
        if self._held:
            self._held = False
            self._shares.give_back(self._client, self._amount)

    def go_on(self) -> None:
        """Have it again, be it more than there is: who has begun is not refused."""
        if not self._held:
            self._held = True
            self._shares.take(self._client, self._amount)

    def __enter__(self) -> Place:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.rest()
