"""The one door: who a caller is, and what that caller may.

What is verified once is remembered by a keyed digest of the credential, never by the credential, until it ends or the
files are read again.  What takes time has a thread (passwords) or a request to the issuer (unknown keys), so that
L{Gate.known} answers at once for those who are remembered, and L{Gate.verify} for the others.
"""

from __future__ import annotations

import math
import os
from base64 import b64decode
from collections import OrderedDict
from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Protocol, TypeAlias

import attrs
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime

from pacarchive.access import tokens
from pacarchive.access.identity import Access, BadCredentials, How, Identity, TooManyFailures
from pacarchive.access.policy import Policy
from pacarchive.access.throttle import Throttle
from pacarchive.runtime import measuring
from pacarchive.runtime.shared import Wanted

if TYPE_CHECKING:
    from pacarchive.access.tokens import Token

REMEMBERED = 10_000
"""Callers that are remembered, and as many refusals."""

FOR = 60.0
"""Seconds for which a password is, and a token of an issuer: for so long another one's key may be gone."""

REFUSED_FOR = 10.0
"""Seconds for which a refusal is."""

_SCHEMES = ("basic", "bearer", "digest", "negotiate", "hoba", "mutual", "scram-sha-256", "vapid")
"""Those that the log may name: what stands in another's place might be the secret itself."""

LONGEST = 16 << 10
"""Bytes that a credential may have."""


@attrs.frozen
class Caller:
    """
    What a request presents.

    @ivar authorization: The field of that name, if there is one.
    @ivar host: Its address; C{None} for a UNIX socket.
    @ivar client: Who that is, as far as limits for each client go.
    @ivar crowd: Whether that is many.
    @ivar connection: What the connection proves: a certificate, or the word of a proxy on this machine.
    """

    authorization: bytes | None
    host: str | None
    client: str
    crowd: bool = False
    connection: Identity | None = None


_Key: TypeAlias = tuple[bytes, str | None, Identity | None]
"""What an access depends on: the digest of the credential, the address, and what the connection proves."""


class Issuing(Protocol):
    """Verifies the tokens of issuers."""

    async def identify(self, token: str) -> Identity:
        """
        Whose a token is.

        @raise BadCredentials: It is not valid.
        @raise Unavailable: The issuer's keys are not known, and cannot be had now.
        """


class Checking(Protocol):
    """Verifies users and passwords."""

    async def identify(self, user: str, password: str, client: str) -> Identity:
        """
        Who somebody is.

        @raise BadCredentials: The password is not that user's.
        @raise Overloaded: Too many wait for the same.
        """


class Gate:
    """
    Recognises callers.

    @ivar realm: What clients show to people whom they ask for a password.
    @ivar proxy_user: The header field in which a proxy on this machine names a user; empty for none.
    @ivar epoch: Another one whenever everything is to be verified once more.
    @ivar failures: How often what was presented was not valid.
    """

    def __init__(
        self,
        clock: IReactorTime,
        policy: Policy,
        issuers: Issuing | None = None,
        passwords: Checking | None = None,
        *,
        realm: str = "pacarchive",
        proxy_user: str = "",
    ) -> None:
        self.realm = realm
        self.proxy_user = proxy_user
        self._clock = clock
        self._policy = policy
        self._issuers = issuers
        self._passwords = passwords
        self._tokens: Mapping[str, Token] | None = None
        self._key = os.urandom(32)
        self._accesses: OrderedDict[_Key, tuple[Access, float | None]] = OrderedDict()
        self._refusals: OrderedDict[bytes, tuple[str, str, float]] = OrderedDict()
        self._were_good: OrderedDict[bytes, None] = OrderedDict()
        self._under_way: dict[bytes, Wanted[Identity]] = {}
        self._throttle = Throttle(clock)
        self.failures = 0
        self.epoch = 0

    @property
    def schemes(self) -> tuple[str, ...]:
        """What can be presented, as C{WWW-Authenticate} calls it."""
        bearer = ("Bearer",) if self._tokens is not None or self._issuers is not None else ()
        return (*bearer, "Basic") if self._passwords is not None else bearer

    def use_tokens(self, known: Mapping[str, Token] | None) -> None:
        """Take these static tokens from now on, and none of the others."""
        self._tokens = known
        self.forget()

    @property
    def cached(self) -> int:
        """How many callers are remembered."""
        return len(self._accesses)

    @property
    def waiting(self) -> int:
        """How many credentials are being verified, or wait for that."""
        return len(self._under_way)

    def forget(self) -> None:
        """Verify everything once more: files have changed."""
        self._accesses.clear()
        self._refusals.clear()
        self.epoch += 1

    def known(self, caller: Caller) -> Access | None:
        """
        What a caller may, if that can be said at once.

        @return: C{None} where it takes L{verify}.
        @raise BadCredentials: What is presented is not valid.
        @raise TooManyFailures: As much that came from there was not.
        """
        if caller.authorization is None:
            return self._without(caller)
        if len(caller.authorization) > LONGEST:
            self._count(caller)
            raise BadCredentials(f"credentials of more than {LONGEST} bytes", "The credentials are too long.")
        now = self._clock.seconds()
        digest, key = self._keys(caller)
        if (access := self._remembered(caller, digest, key, now)) is not None:
            return access
        scheme, given = _parts(caller.authorization)
        if scheme == "bearer" and given.startswith(tokens.PREFIX) and self._tokens is not None:
            try:
                access = self._admit(caller, tokens.identify(given, self._tokens, now), None)
            except BadCredentials as error:
                self._require_patience(caller)
                raise self._refuse(caller, error) from None
            measuring.count("auth_total", How.TOKEN.value, "accepted")
            return access
        if digest not in self._were_good:
            self._require_patience(caller)
        if (scheme == "bearer" and self._issuers is not None) or (scheme == "basic" and self._passwords is not None):
            return None
        kind = f"the kind {scheme!r}" if scheme in _SCHEMES else "no kind that is known"
        raise self._refuse(caller, BadCredentials(f"credentials of {kind}, which are not taken here"))

    def remembered(self, caller: Caller) -> Access | None:
        """What a caller may, if that was found out before; of one for whom it was not, nothing is noted."""
        found = self.standing(caller)
        return None if found is None else found[0]

    def standing(self, caller: Caller) -> tuple[Access, float] | None:
        """
        The same, and until when that holds, unless L{epoch} is another before.

        @return: The access, and seconds since the epoch.
        """
        if caller.authorization is None:
            return self._without(caller), math.inf if caller.connection is None else 0.0
        found = self._accesses.get(self._keys(caller)[1])
        if found is None or (found[1] is not None and self._clock.seconds() >= found[1]):
            return None
        return found[0], math.inf if found[1] is None else found[1]

    def _remembered(self, caller: Caller, digest: bytes, key: _Key, now: float) -> Access | None:
        """
        What was found out before, if that still holds.

        @raise BadCredentials: It was refused.
        """
        if (found := self._accesses.get(key)) is not None:
            access, until = found
            if until is None or now < until:
                self._accesses.move_to_end(key)
                return access
            del self._accesses[key]
        if (refused := self._refusals.get(digest)) is not None:
            detail, told, end = refused
            if now < end:
                self._count(caller)
                raise BadCredentials(detail, told)
            del self._refusals[digest]
        return None

    async def verify(self, caller: Caller) -> Access:
        """
        What a caller may.

        @raise BadCredentials: What is presented is not valid.
        @raise Unavailable: That cannot be found out now.
        """
        assert caller.authorization is not None, "who presents nothing is known"
        digest, _ = self._keys(caller)
        if (work := self._under_way.get(digest)) is None or work.is_over:
            # Several connections of one client present the same at once: it is verified once for all of them.
            work = self._under_way[digest] = Wanted(self._identify(caller))
        how, began, result = self._kind_of(caller), self._clock.seconds(), "unavailable"
        try:
            identity = await work.result()
            result = "accepted"
        except BadCredentials as error:
            result = "refused"
            raise self._refuse(caller, error) from None
        except CancelledError:
            result = ""
            raise
        finally:
            if result:
                measuring.observe(self._clock.seconds() - began, "auth_duration_seconds", how, result)
                if result != "refused":  # which is counted with all of them
                    measuring.count("auth_total", how, result)
            if work.is_over and self._under_way.get(digest) is work:
                del self._under_way[digest]
        self._were_good[digest] = None
        self._were_good.move_to_end(digest)
        if len(self._were_good) > REMEMBERED:
            self._were_good.popitem(last=False)
        return self._admit(caller, identity, self._clock.seconds() + FOR)

    async def _identify(self, caller: Caller) -> Identity:
        assert caller.authorization is not None
        scheme, given = _parts(caller.authorization)
        if scheme == "bearer":
            assert self._issuers is not None
            return await self._issuers.identify(given)
        assert self._passwords is not None
        return await self._passwords.identify(*_user_and_password(given), caller.client)

    def _without(self, caller: Caller) -> Access:
        if (identity := self._proved(caller)) is None:
            return self._policy.unrecognised(caller.host)
        return self._policy.access(identity, caller.host)

    def _proved(self, caller: Caller) -> Identity | None:
        """What the connection proves, unless that has ended: a connection may outlast a certificate."""
        identity = caller.connection
        if identity is None or (identity.expires is not None and self._clock.seconds() >= identity.expires):
            return None
        return identity

    def _admit(self, caller: Caller, identity: Identity, until: float | None) -> Access:
        access = self._policy.access(identity, caller.host, self._proved(caller))
        ends = [each for each in (until, access.expires) if each is not None]
        _, key = self._keys(caller)
        self._accesses[key] = access, min(ends, default=None)
        if len(self._accesses) > REMEMBERED:
            self._accesses.popitem(last=False)
        return access

    def _refuse(self, caller: Caller, error: BadCredentials) -> BadCredentials:
        digest, _ = self._keys(caller)
        now = self._clock.seconds()
        # The words, and not the error: that would keep the frames that it went through, and more with each raise.
        self._refusals[digest] = error.detail, str(error), now + REFUSED_FOR
        while len(self._refusals) > REMEMBERED or next(iter(self._refusals.values()))[2] < now:
            self._refusals.popitem(last=False)
        self._count(caller)
        return error

    def _require_patience(self, caller: Caller) -> None:
        """@raise TooManyFailures: As much that came from there was not valid."""
        try:
            self._throttle.require(caller.client)
        except TooManyFailures:
            measuring.count("auth_total", self._kind_of(caller), "slowed")
            raise

    def _kind_of(self, caller: Caller) -> str:
        """What metrics call that which is presented."""
        if caller.authorization is None or len(caller.authorization) > LONGEST:
            return "other"
        scheme, given = _parts(caller.authorization)
        if scheme == "basic":
            return How.PASSWORD.value
        if scheme != "bearer":
            return "other"
        return How.TOKEN.value if given.startswith(tokens.PREFIX) else How.ISSUER.value

    def _count(self, caller: Caller) -> None:
        self.failures += 1
        measuring.count("auth_total", self._kind_of(caller), "refused")
        self._throttle.failed(caller.client, caller.crowd)

    def _keys(self, caller: Caller) -> tuple[bytes, _Key]:
        assert caller.authorization is not None
        digest = blake2b(caller.authorization, digest_size=32, key=self._key).digest()
        return digest, (digest, caller.host, caller.connection)


@lru_cache(1024)
def certificate_identity(names: tuple[str, ...], subject: str, not_after: float) -> Identity:
    """
    Who the holder of a certificate is: the first of its alternative names, else its subject; a rule may use any.

    @param names: As C{dns:robot.example.org}.
    @param subject: As RFC 4514 writes it.
    @param not_after: Seconds since the epoch.
    """
    labels = [f"cert:{name}" for name in (*names, *([subject] if subject else []))]
    if not labels:
        raise BadCredentials("a client certificate that names nobody")
    return Identity(labels[0], How.CERTIFICATE, frozenset(labels), expires=not_after)


def proxy_identity(user: str) -> Identity:
    """Who a trusted proxy says somebody is."""
    return Identity(f"user:{user}", How.PROXY, frozenset({f"user:{user}"}))


def _parts(authorization: bytes) -> tuple[str, str]:
    """The scheme, in small letters, and what comes with it."""
    scheme, *rest = authorization.decode("latin-1").split(None, 1)[:2] or [""]
    return scheme.lower(), "".join(rest).strip()


def _user_and_password(given: str) -> tuple[str, str]:
    """
    RFC 7617, section 2.

    @raise BadCredentials: It is not well formed.
    """
    try:
        user, colon, password = b64decode(given, validate=True).decode().partition(":")
    except ValueError:  # of base64, and of UTF-8
        colon = ""
    if not colon:
        raise BadCredentials("user and password that are not well formed")
    return user, password
