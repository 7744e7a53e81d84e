"""Tokens of issuers (JWT): the WLCG profile, and SciTokens.

A token is looked at in this order: its length; the issuer that it names, which must be one of the settings', before
anything is fetched from anywhere; how it is signed, with which key, and whether it is; only then what it says.
Somebody whose signature is good is known, and is told why a token is refused.  Nothing of a token goes into a log or an
answer but what it claims.
"""

from __future__ import annotations

import functools
import json
import re
from typing import TYPE_CHECKING, Any

import attrs

from pacarchive.access.identity import BadCredentials, How, Identity
from pacarchive.access.scopes import grants_of, read_scopes
from pacarchive.access.settings import Profile
from pacarchive.texts import printable
from pacarchive.times import LATEST, SECOND, format_iso

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from joserfc.jwk import Key

    from pacarchive.access.keys import KeyStore
    from pacarchive.access.settings import IssuerSettings

LONGEST = 16 << 10
"""The most characters of a token."""

SKEW = 60
"""How far the clocks of an issuer and of this machine may be apart where a token is not valid yet, in seconds."""

ALGORITHMS = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "EdDSA", "Ed25519")
"""With a public key, all of them: whoever can verify cannot sign."""

ANY_AUDIENCE = {Profile.WLCG: "https://wlcg.cern.ch/jwt/v1/any", Profile.SCITOKENS: "ANY"}

TAKEN_NAMES = frozenset(("anonymous", "cert", "group", "issuer", "known", "net", "sub", "token", "user"))
"""What no issuer may be called: whoever is of one would be taken for somebody else."""

_TYPES = ("jwt", "at+jwt", "application/at+jwt")
_NAME = re.compile(r"[!-9;-~]+", re.ASCII)  # no blank and no colon: that parts it from the subject
_SUBJECT = re.compile(r"[ -~]{1,255}", re.ASCII)
_GROUP = re.compile(r"/[!-~]+", re.ASCII)
_WLCG_VERSION = re.compile(r"([0-9]{1,9})\.([0-9]{1,9})", re.ASCII)
_SCITOKENS_VERSION = re.compile(r"scitokens?:(1\.0|2\.[0-9]{1,9})", re.ASCII)
_LONGEST_SHOWN = 200

Claims = dict[str, Any]


@attrs.frozen
class _Issuer:
    name: str
    settings: IssuerSettings


class _Refused(ValueError):
    """A token that is signed as it should be is not valid; C{str()} says why, and is for its holder."""


def check(issuers: Mapping[str, IssuerSettings]) -> None:
    """
    Make sure that nobody can be taken for somebody else.

    @raise ValueError: An issuer has a name that others have, or two have one URL; C{str()} names the section.
    """
    names: dict[str, str] = {}
    for name, settings in issuers.items():
        if name in TAKEN_NAMES or not _NAME.fullmatch(name):
            raise ValueError(f"[issuer {name}]: an issuer cannot have this name")
        if (other := names.setdefault(settings.url, name)) != name:
            raise ValueError(f"[issuer {name}]: [issuer {other}] has the same URL")


class Issuers:
    """
    Recognises who holds the token of an issuer.

    @param reactor: Keeps the time.
    @param issuers: By the names of their sections.
    @param audiences: What tokens may call this server.
    @param keys: Where the issuers' keys are.
    @raise ValueError: As L{check}.
    """

    def __init__(
        self, reactor: Any, issuers: Mapping[str, IssuerSettings], audiences: Collection[str], keys: KeyStore
    ) -> None:
        self._reactor = reactor
        self._audiences = frozenset(audiences)
        self._keys = keys
        check(issuers)
        self._issuers = {settings.url: _Issuer(name, settings) for name, settings in issuers.items()}

    async def identify(self, token: str) -> Identity:
        """
        Verify a token.  It suspends only where the issuer has to be asked for a key.

        @raise BadCredentials: It is not valid.
        @raise BackendUnavailable: There are no keys of its issuer.
        @raise Overloaded: Too many wait for those.
        """
        if len(token) > LONGEST:
            raise BadCredentials(f"the token has {len(token):,} characters; more than {LONGEST:,} are not looked at")
        header, claims = _decoded(token)
        url = claims.get("iss")
        issuer = self._issuers.get(url) if isinstance(url, str) else None
        if issuer is None:
            raise BadCredentials(f"the token's issuer is {_shown(url)}, which is none of the settings'")
        kid = _key_id(header, issuer.name)
        key = self._keys.find(issuer.name, kid)
        if key is None and (key := await self._keys.ask(issuer.name, kid)) is None:
            raise BadCredentials(f"the token names the key {_shown(kid)}, which the issuer {issuer.name} does not have")
        if (why := _verifier()(token, key)) is not None:
            raise BadCredentials(f"the token's signature is not one of the issuer {issuer.name}: {why}")
        try:
            return self._identity(issuer, claims)
        except _Refused as refused:
            words = str(refused)
            who = _shown(claims.get("sub"))
            detail = f"{words} (issuer {issuer.name}, subject {who}, jti {_shown(claims.get('jti'))})"
            raise BadCredentials(detail, f"{words[0].upper()}{words[1:]}.") from None

    def _identity(self, issuer: _Issuer, claims: Claims) -> Identity:
        settings, profile = issuer.settings, issuer.settings.profile
        _check_version(profile, claims)
        expires = _check_times(claims, self._reactor.seconds())
        self._check_audience(settings, claims)
        subject = claims.get("sub")
        if not isinstance(subject, str) or not _SUBJECT.fullmatch(subject):
            raise _Refused("the token has no subject (sub) of at most 255 characters of ASCII")
        if profile is Profile.WLCG:
            _moment(claims, "iat")
            if not isinstance(claims.get("jti"), str):
                raise _Refused("the token has no id (jti)")
        words = _scopes_of(profile, claims)
        try:
            scopes = read_scopes(profile, words)
        except ValueError as error:
            raise _Refused(f"the token's {error}") from None
        name = f"{issuer.name}:{subject}"
        labels = {name, f"sub:{name}", f"issuer:{issuer.name}"}
        if profile is Profile.WLCG:
            groups = _groups_of(claims)
            if not scopes.has_capability:
                labels.update(f"group:{issuer.name}:{each}" for each in groups)
        source = f"the scopes of a token of the issuer {issuer.name}"
        return Identity(
            name=name,
            how=How.ISSUER,
            labels=frozenset(labels),
            grants=grants_of(scopes, settings.may, settings.ids, source),
            expires=expires,
            profile=profile.value,
        )

    def _check_audience(self, settings: IssuerSettings, claims: Claims) -> None:
        audience = claims.get("aud")
        if audience is None and settings.profile is Profile.SCITOKENS and not _is_second(claims):
            audience = ANY_AUDIENCE[Profile.SCITOKENS]  # the first version of SciTokens may do without
        named = [audience] if isinstance(audience, str) else audience
        if not isinstance(named, list) or not named or not all(isinstance(each, str) for each in named):
            raise _Refused("the token has no audience (aud)")
        if self._audiences.isdisjoint(named):
            if ANY_AUDIENCE[settings.profile] not in named:
                here = ", ".join(sorted(self._audiences)) or "nothing that a token could name"
                raise _Refused(f"the token's audience is {_shown(', '.join(named))}; this server is {here}")
            if not settings.accept_any_audience:
                raise _Refused("the token is for every server, and such tokens are not taken here")


def _decoded(token: str) -> tuple[Claims, Claims]:
    """
    What a token says of itself, which anybody may have written.

    @return: Its header and its claims.
    """
    decode = _base64_decoder()
    parts = token.split(".", 3)
    if len(parts) != 3:
        raise BadCredentials("the token is not three parts with dots between them")
    try:
        header, claims = (json.loads(decode(each.encode("ascii"))) for each in parts[:2])
    except (ValueError, RecursionError):  # what is not base64, and what is not JSON, too
        raise BadCredentials("the token is not JSON in base64") from None
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise BadCredentials("the token's header and claims are not JSON objects")
    return header, claims


def _key_id(header: Claims, issuer: str) -> str:
    """
    Check how a token is signed.

    @return: The id of the key.
    """
    kind, algorithm, kid = header.get("typ", "JWT"), header.get("alg"), header.get("kid")
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise BadCredentials(f"the token (issuer {issuer}) is of the type {_shown(kind)}, and not JWT or at+jwt")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise BadCredentials(f"the token (issuer {issuer}) is signed with {_shown(algorithm)}, which is not taken")
    if "crit" in header or "b64" in header:
        raise BadCredentials(f"the token (issuer {issuer}) has a header that must be understood (crit), and is not")
    if not isinstance(kid, str) or not kid:
        raise BadCredentials(f"the token (issuer {issuer}) does not name its key (kid)")
    return kid


def _check_version(profile: Profile, claims: Claims) -> None:
    if profile is Profile.WLCG:
        version = claims.get("wlcg.ver")
        match = _WLCG_VERSION.fullmatch(version) if isinstance(version, str) else None
        if match is None:
            raise _Refused("the token has no version of the WLCG profile (wlcg.ver)")
        if int(match[1]) != 1:  # minor ones only add
            raise _Refused(f"the token is of version {version} of the WLCG profile; this server knows version 1")
    elif "ver" in claims:
        version = claims["ver"]
        if not isinstance(version, str) or not _SCITOKENS_VERSION.fullmatch(version):
            raise _Refused(f"the token is of the version {_shown(version)}; this server knows scitoken:2.0")


def _is_second(claims: Claims) -> bool:
    return str(claims.get("ver", "")).partition(":")[2].startswith("2.")


def _check_times(claims: Claims, now: float) -> float:
    """
    Check that a token is valid now.

    @return: When it expires.
    """
    expires = _moment(claims, "exp")
    if now >= expires:
        raise _Refused(f"the token expired at {_date(expires)}")
    if "nbf" in claims and (begins := _moment(claims, "nbf")) > now + SKEW:
        raise _Refused(f"the token is not valid before {_date(begins)}")
    return expires


def _moment(claims: Claims, name: str) -> float:
    moment = claims.get(name)
    if isinstance(moment, bool) or not isinstance(moment, int | float) or not 0 <= moment <= LATEST:
        raise _Refused(f"the token has no time for {name}")
    return float(moment)


def _scopes_of(profile: Profile, claims: Claims) -> list[str]:
    scopes = claims.get("scope", "")
    if profile is Profile.SCITOKENS and "scope" not in claims:
        scopes = claims.get("scp", "")
        if isinstance(scopes, list) and all(isinstance(each, str) for each in scopes):
            return scopes
    if not isinstance(scopes, str):
        raise _Refused("the token's scope is not text")
    return [each for each in scopes.split(" ") if each]


def _groups_of(claims: Claims) -> list[str]:
    groups = claims.get("wlcg.groups", [])
    if not isinstance(groups, list) or not all(isinstance(each, str) for each in groups):
        raise _Refused("the token's groups (wlcg.groups) are no list of names")
    return [each for each in groups if _GROUP.fullmatch(each)]


def _date(moment: float) -> str:
    return f"{format_iso(int(moment) * SECOND)[:19]}Z"


def _shown(value: object) -> str:
    """A claim, as it goes into a log or an answer."""
    if value is None:
        return "none"
    text = value if isinstance(value, str) else f"of the wrong type ({type(value).__name__})"
    return printable(text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}...")


@functools.cache
def _base64_decoder() -> Callable[[bytes], bytes]:
    from joserfc.util import urlsafe_b64decode  # only now, as all of it: a server without issuers has no use for it

    return urlsafe_b64decode


@functools.cache
def _verifier() -> Callable[[str, Key], str | None]:
    """What verifies a signature, and says why one is not valid."""
    from joserfc import jws
    from joserfc.errors import JoseError

    class Registry(jws.JWSRegistry):
        """Takes headers that it does not know, as RFC 7515 says, and any of the algorithms that are allowed."""

        max_header_length = LONGEST
        max_signature_length = LONGEST

        def get_alg(self, name: str) -> Any:
            return self.algorithms[name]  # without its warning of EdDSA, which RFC 9864 only gives another name

    registry = Registry(algorithms=ALGORITHMS, strict_check_header=False)

    def verify(token: str, key: Key) -> str | None:
        try:
            jws.deserialize_compact(token, key, registry=registry)
        except JoseError as error:
            return error.error or type(error).__name__
        except ValueError:  # of cryptography: a signature of the wrong form
            return "bad_signature"
        except RecursionError:  # a header that is nested just as deep as could be read before, with fewer calls around
            return "bad_header"
        return None

    return verify
