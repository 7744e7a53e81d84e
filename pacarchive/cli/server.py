"""Which server a command uses, and with which credentials: from options, the environment, or a profile."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from pacarchive.cli.arguments import complete_path
from pacarchive.cli.profiles import Profile, profile_of
from pacarchive.cli.words import Misunderstood

if TYPE_CHECKING:
    from pacarchive.client.addresses import Place
    from pacarchive.client.credentials import Token


class Server(NamedTuple):
    """
    A server, as it is given to L{ArchiveClient<pacarchive.client.ArchiveClient>}, which explains the rest.

    @ivar url: Its URL.
    @ivar ca: The file with the authorities to trust; C{None} for the system's.
    """

    url: str
    token: Token | None = None
    user: str | None = None
    password: str | None = None
    cert: str | None = None
    key: str | None = None
    allow_plain_http: bool = False
    ca: str | None = None

    def __repr__(self) -> str:
        return f"Server({self.url!r})"  # the others may be secret

    @property
    def credentials(self) -> dict[str, Any]:
        """The credentials that are sent with each request."""
        return {
            "token": self.token,
            "user": self.user,
            "password": self.password,
            "allow_plain_http": self.allow_plain_http,
        }

    @property
    def options(self) -> dict[str, Any]:
        """All arguments but the URL."""
        return {**self.credentials, "cert": self.cert, "key": self.key, "ca": self.ca}


def add_profile(parser: argparse._ActionsContainer) -> None:
    """Add the option that names a profile."""
    words = "the profile, of 'pacarchive config set' (default: $PACARCHIVE_PROFILE, else default)"
    parser.add_argument("--profile", metavar="NAME", help=words)


def add_options(parser: argparse._ActionsContainer) -> None:
    """Add the options that L{server_of} reads, but for the URL."""
    add_profile(parser)
    token = "a file with the bearer token, - for stdin (default: $PACARCHIVE_TOKEN has it)"  # noqa: S105
    complete_path(parser.add_argument("--token-file", metavar="FILE", help=token))
    parser.add_argument("--user", metavar="NAME", help="the user name; the password is read from netrc, or typed")
    complete_path(parser.add_argument("--cert", metavar="FILE", help="the client's certificate for TLS, in PEM"))
    complete_path(parser.add_argument("--key", metavar="FILE", help="its private key (default: in the same file)"))
    plain = "send a token or password even without TLS"
    parser.add_argument("--allow-plain-http", action="store_true", help=plain)
    authorities = "authorities to trust, in PEM (default: $PACARCHIVE_CA, else the system's)"
    complete_path(parser.add_argument("--ca", metavar="FILE", help=authorities))


def url_of(arguments: argparse.Namespace, environ: Mapping[str, str], profile: Profile, *variables: str) -> str:
    """
    The URL of the server; empty where none is given.

    @param variables: Environment variables that may have it, the first that counts first.
    """
    own = profile.value("url") or ""
    chosen = [own] if profile.typed else []
    found = (arguments.url or "", *chosen, *(environ.get(name, "") for name in variables), own)
    return whole_url(next(filter(None, (each.strip() for each in found)), ""))


def whole_url(url: str) -> str:
    """A URL with its scheme, which people leave out."""
    return f"http://{url}" if url and not re.match(r"[A-Za-z]+:/", url) else url


def server_of(arguments: argparse.Namespace, environ: Mapping[str, str], *variables: str) -> Server:
    """
    The server that a command line names, with the credentials.  Options take precedence, then a profile that is chosen
    by an option, then the environment, then another profile.

    @param variables: Environment variables that may have the URL, the first that counts first.
    @raise Misunderstood: There is no URL, or the credentials cannot be read, or must not be sent there.
    """
    if arguments.token_file and arguments.user:
        raise Misunderstood("--token-file and --user exclude each other")
    profile = profile_of(arguments, environ)
    if not (url := url_of(arguments, environ, profile, *variables)):
        raise Misunderstood("which server? Set PACARCHIVE_URL=http://HOST:PORT, or give its URL")
    place = _place(url)
    typed, other = _split(_belonging(profile, place))
    cert, key = arguments.cert, arguments.key
    if cert is None:
        cert, key = typed.value("cert") or other.value("cert"), key or typed.value("key") or other.value("key")
    allowed = arguments.allow_plain_http or "yes" in (typed.value("allow-plain-http"), other.value("allow-plain-http"))
    may_go = place.secure or place.is_loopback or allowed
    token, user = _who(arguments, environ, typed, other)
    if not may_go and (token, user) != (None, None):
        raise Misunderstood(
            f"no token or password is sent to {place.whole_url} without TLS, as everybody on the way could read it: "
            "write https://, or give --allow-plain-http"
        )
    if may_go and (token, user, cert) == (None, None, None):
        token = _discovered(environ)
    return Server(
        url,
        token=token,
        user=user,
        password=None if user is None else _password(user, place, environ),
        cert=cert,
        key=key,
        allow_plain_http=allowed,
        ca=arguments.ca or typed.value("ca") or environ.get("PACARCHIVE_CA") or other.value("ca"),
    )


def _place(url: str, whose: str = "") -> Place:
    from pacarchive.client.addresses import Place

    try:
        return Place.of(url)
    except ValueError as error:
        raise Misunderstood(f"{whose}{error}") from None


def _belonging(profile: Profile, place: Place) -> Profile:
    """
    The profile, if it is for this server; else an empty one, as its credentials are meant for another server.

    @raise Misunderstood: It was chosen on the command line, and is for another server.
    """
    if (url := profile.value("url")) is None:
        return profile
    own = _place(whole_url(url), f"profile {profile.name!r}: ")
    if (own.secure, own.host, own.port) == (place.secure, place.host, place.port):
        return profile
    if profile.typed:
        raise Misunderstood(f"profile {profile.name!r} is for {own.whole_url}, and not for {place.whole_url}")
    return Profile(profile.name)


def _split(profile: Profile) -> tuple[Profile, Profile]:
    """The profile, as one that precedes the environment and one that follows it: one of them is empty."""
    none = Profile(profile.name)
    return (profile, none) if profile.typed else (none, profile)


def _who(
    arguments: argparse.Namespace, environ: Mapping[str, str], typed: Profile, other: Profile
) -> tuple[Token | None, str | None]:
    """
    A token or a user, whichever takes precedence.

    @raise Misunderstood: The file of the token cannot be used.
    """
    places = (
        (None, arguments.token_file, arguments.user),
        (typed.value("token"), typed.value("token-file"), typed.value("user")),
        (environ.get("PACARCHIVE_TOKEN", "").strip(), None, None),
        (other.value("token"), other.value("token-file"), other.value("user")),
    )
    for token, file, user in places:
        if token:
            return token, None
        if file:
            return _from_file(file), None
        if user:
            return None, user
    return None, None


def _from_file(path: str) -> Token:
    from pacarchive.client.errors import TokenUnusable
    from pacarchive.client.tokens import TokenFile

    source = TokenFile("/dev/stdin" if path == "-" else path)
    try:
        source()  # reported before anything is requested
    except TokenUnusable as error:
        raise Misunderstood(str(error).rstrip(".")) from None
    except OSError as error:
        raise Misunderstood(f"{path}: {error.strerror}") from None
    return source


def _discovered(environ: Mapping[str, str]) -> Token | None:
    """
    The source of a token by Bearer Token Discovery; C{None} where there is none now.

    @raise Misunderstood: What is found is not a valid token.
    """
    from pacarchive.client.errors import TokenUnusable
    from pacarchive.client.tokens import discovered_token

    try:
        found = discovered_token(environ)
    except TokenUnusable as error:
        raise Misunderstood(str(error).rstrip(".")) from None
    except OSError as error:
        raise Misunderstood(f"{error.filename}: {error.strerror}") from None
    return None if found is None else partial(discovered_token, environ)


def _password(user: str, place: Place, environ: Mapping[str, str]) -> str:
    from pacarchive.cli.secrets import password_of

    return password_of(user, place.host, place.whole_url, environ)
