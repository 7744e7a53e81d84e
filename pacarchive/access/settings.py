"""Who may do what: the sections C{[auth]}, C{[allow NAME]} and C{[issuer NAME]}."""

from __future__ import annotations

import enum
import ipaddress
import re
from pathlib import Path

import attrs

from pacarchive.access.rights import IdRanges, Right, parse_id_ranges, parse_rights
from pacarchive.settings.converters import flag, line, optional_path, timeout
from pacarchive.settings.fields import setting

_KINDS = ("token", "user", "cert", "net", "sub", "group", "issuer")
_LABELS = re.compile(rf"\s+(?=(?:{'|'.join(_KINDS)}):|(?:anonymous|known)(?:\s|\Z))")
_FIELD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)


class Profile(enum.Enum):
    """What an issuer's tokens look like."""

    WLCG = "wlcg"
    SCITOKENS = "scitokens"


def rights(value: str | Right) -> Right:
    """Rights, with blanks or commas between them; C{all}, C{none}."""
    return value if isinstance(value, Right) else parse_rights(value)


def optional_rights(value: str | Right | None) -> Right | None:
    """As L{rights}; empty where nothing is said."""
    return None if value is None or value == "" else rights(value)


def id_ranges(value: str | IdRanges) -> IdRanges:
    """Ids and ranges of them; C{all}."""
    return value if isinstance(value, IdRanges) else parse_id_ranges(value)


def audiences(value: str | tuple[str, ...]) -> tuple[str, ...]:
    """Audiences, with blanks or commas between them."""
    return tuple(each for each in re.split(r"[\s,]+", value) if each) if isinstance(value, str) else tuple(value)


def callers(value: str | tuple[str, ...]) -> tuple[str, ...]:
    """
    Who a rule is for: labels with blanks between them.  A certificate's name may have blanks itself.

    @raise ValueError: One is none.
    """
    found = tuple(each for each in _LABELS.split(value.strip()) if each) if isinstance(value, str) else tuple(value)
    if not found:
        raise ValueError("at least one caller is needed, as token:robot or net:192.0.2.0/24")
    return tuple(map(_caller, found))


def _caller(label: str) -> str:
    kind, _, rest = label.partition(":")
    if label in ("anonymous", "known"):
        return label
    if kind not in _KINDS or not rest or (re.search(r"\s", label) and kind != "cert"):
        kinds = ", ".join(f"{each}:" for each in _KINDS)
        raise ValueError(f"{label!r} is nobody; write anonymous, known, or what begins with {kinds}")
    if kind == "net":
        try:
            return f"net:{ipaddress.ip_network(rest)}"
        except ValueError:
            raise ValueError(f"{rest!r} is not a valid network; write net:192.0.2.0/24 or net:192.0.2.7") from None
    if kind in ("sub", "group") and ":" not in rest:
        raise ValueError(f"{label!r} lacks the issuer; write {kind}:ISSUER:{rest}, with the NAME of [issuer NAME]")
    return label


def field_name(value: str) -> str:
    """The name of a header field, or none."""
    if value and not _FIELD.fullmatch(value):
        raise ValueError(f"{value!r} is not the name of a header field")
    if value.lower() in ("authorization", "host", "cookie"):
        raise ValueError(f"{value!r} is what clients send, and no user that a proxy names")
    return value


def issuer_url(value: str) -> str:
    """Where an issuer is; tokens carry the very same text."""
    text = line(value)
    if not re.fullmatch(r"https://[^\s/?#@]+(/[^\s?#]*)?", text, re.ASCII):
        raise ValueError(f"{value!r} is not the https URL of an issuer")
    return text


@attrs.frozen(kw_only=True)
class AuthSettings:
    """Who is recognised, and by what: C{[auth]}."""

    anonymous: Right | None = setting(
        None,
        optional_rights,
        "What everyone may who can connect: any of read, stat, create, modify, stage, poll, import, admin; or all, or "
        "none.",
        default_words="all where only this machine can connect, and nothing else is said about access; else none",
    )
    tokens: Path | None = setting(
        None, optional_path, 'The file of static tokens, which "pacarchive admin token" looks after.'
    )
    htpasswd: Path | None = setting(
        None,
        optional_path,
        "The file of users with their passwords, as htpasswd -B writes it: bcrypt or argon2id, nothing weaker.",
    )
    audience: tuple[str, ...] = setting(
        (),
        audiences,
        "What issuers call this server in their tokens, as https://archive.example.org; several with blanks between.",
        default_words="[server] public_url",
    )
    proxy_user: str = setting(
        "",
        field_name,
        "The header field in which a proxy on this machine names the user that it has recognised. It counts only on "
        "connections that come from this machine, or through a UNIX socket; the proxy must drop what clients send.",
    )
    realm: str = setting("pacarchive", line, "What clients show to people whom they ask for a password.")
    refresh: float = setting(
        30, timeout, "How often the files of tokens and users are looked at for changes, in seconds."
    )


@attrs.frozen(kw_only=True)
class AllowSettings:
    """A rule: C{[allow NAME]}."""

    who: tuple[str, ...] = setting(
        attrs.NOTHING,
        callers,
        "Who it is for: token:NAME, user:NAME, cert:dns:NAME, cert:uri:URI, cert:DN, net:NETWORK, issuer:NAME, "
        "sub:ISSUER:SUBJECT, group:ISSUER:GROUP, known (everyone who is recognised), anonymous; with blanks between.",
    )
    may: Right = setting(attrs.NOTHING, rights, "What they may; rules add up, and none takes anything away.")
    ids: IdRanges = setting(
        "all", id_ranges, "For which file ids: ids and ranges, as 5, 1000000-1999999.", default_words="all"
    )


@attrs.frozen(kw_only=True)
class IssuerSettings:
    """Who issues tokens that are believed: C{[issuer NAME]}."""

    url: str = setting(attrs.NOTHING, issuer_url, "The issuer's URL, exactly as its tokens have it in iss.")
    profile: Profile = setting(Profile.WLCG, Profile, "What its tokens look like: wlcg or scitokens.")
    may: Right = setting(
        "read create modify stage poll",
        rights,
        "The most that its tokens can give, whatever their scopes are; never import and admin.",
        default_words="read create modify stage poll",
    )
    ids: IdRanges = setting("all", id_ranges, "For which file ids at the most.", default_words="all")
    accept_any_audience: bool = setting(False, flag, "Take tokens that are meant for every server, too.")
    keys: Path | None = setting(
        None,
        optional_path,
        "A file with the issuer's public keys (a JSON Web Key Set), for sites that cannot ask it.",
        default_words="found at the issuer, and kept in $STATE_DIRECTORY",
    )
    ca: Path | None = setting(
        None,
        optional_path,
        "The authorities that the issuer's certificate may be signed by.",
        default_words="the system's",
    )
