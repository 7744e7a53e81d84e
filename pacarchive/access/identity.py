"""Who somebody is, and what somebody may."""

from __future__ import annotations

import enum

import attrs

from pacarchive.access.rights import ALL_IDS, Grant, IdRanges, Right
from pacarchive.errors import ArchiveError, Unavailable


class How(enum.Enum):
    """How somebody was recognised; the words are those of logs."""

    NONE = "none"
    NETWORK = "network"
    PROXY = "proxy"
    CERTIFICATE = "certificate"
    PASSWORD = "password"  # noqa: S105  (the kind, none itself)
    TOKEN = "token"  # noqa: S105
    ISSUER = "issuer"


@attrs.frozen
class Identity:
    """
    What a credential proves.

    @ivar name: The principal, unique and stable, as C{token:robot}, C{user:alice}, C{cert:dns:robot.example.org},
        C{wlcg:5b2a} (an issuer's name and its subject).  Jobs and pins belong to it.
    @ivar how: How that is known.
    @ivar labels: What the C{who} of a rule may call it: its name, and for instance C{group:wlcg:/wlcg/prod}.
    @ivar grants: What the credential itself carries: the scopes of a token, the rights in the file of tokens.
    @ivar expires: When it ends, in seconds since the epoch; C{None} for never.
    @ivar profile: The profile of an issuer's token (C{wlcg}, C{scitokens}), whose scopes name the rights.
    """

    name: str
    how: How
    labels: frozenset[str]
    grants: tuple[Grant, ...] = ()
    expires: float | None = None
    profile: str | None = None


@attrs.frozen
class Access:
    """
    What one caller may.

    @ivar name: The principal, or C{anonymous}.
    @ivar how: How it is known.
    @ivar grants: All that it may, by its credential and by the rules of the site.
    @ivar expires: Until when, in seconds since the epoch; C{None} for always.
    @ivar profile: The profile of an issuer's token (C{wlcg}, C{scitokens}), whose scopes name the rights.
    """

    name: str
    how: How
    grants: tuple[Grant, ...]
    expires: float | None = None
    profile: str | None = None

    @property
    def is_known(self) -> bool:
        """Whether somebody has proved to be somebody."""
        return self.how not in (How.NONE, How.NETWORK)

    def may(self, right: Right, file_id: int) -> bool:
        """Whether a right holds for a file."""
        bit = right.value
        return any(each.bits & bit and (each.ids is None or file_id in each.ids) for each in self.grants)

    def may_somewhere(self, right: Right) -> bool:
        """Whether a right holds for any file at all."""
        bit = right.value
        return any(each.bits & bit for each in self.grants)

    def may_everywhere(self, right: Right) -> bool:
        """Whether a right holds for all files, so that none needs to be looked at."""
        bit = right.value
        return any(each.bits & bit and each.ids is None for each in self.grants)

    def ids(self, right: Right) -> IdRanges:
        """For which files a right holds."""
        if self.may_everywhere(right):
            return ALL_IDS
        bit = right.value
        return IdRanges.of(
            bounds for each in self.grants if each.bits & bit and each.ids is not None for bounds in each.ids.bounds
        )


class BadCredentials(ArchiveError):
    """
    What was presented is not valid.

    @ivar detail: Why, for the log.  C{str()} is for the caller: the reason too where the caller has proved to be known,
        else no more than that it is not valid.
    """

    def __init__(self, detail: str, told: str = "The credentials are not valid.") -> None:
        super().__init__(told)
        self.detail = detail


class TooManyFailures(Unavailable):
    """Too much that was not valid came from this address; what is new from there is not looked at for a while."""
