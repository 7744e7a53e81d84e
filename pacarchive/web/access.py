"""Who asks, and whether that caller may: before the body is asked for, and before storage is touched.

What can be decided at once is decided as soon as the head of a request is there, without looking for its route
(L{first_look}); whoever is not remembered is recognised in the route's first step (L{recognise}).  A refusal costs a
fraction of an answer, and says no more to those who are not known than that they have to say who they are.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from http import HTTPStatus
from typing import TYPE_CHECKING

from twisted.internet.address import IPv4Address, IPv6Address

from pacarchive import errors
from pacarchive.access.gate import Caller, certificate_identity, proxy_identity
from pacarchive.access.identity import Access, BadCredentials, TooManyFailures
from pacarchive.access.rights import Right
from pacarchive.web.http.errors import HTTPRefusal
from pacarchive.web.http.hosts import is_this_machine
from pacarchive.web.http.shares import client_of

if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Protocol

    from pacarchive.access.identity import Identity
    from pacarchive.access.rights import IdRanges
    from pacarchive.web.context import RouteContext
    from pacarchive.web.http.request import ArchiveRequest

    class Asked(Protocol):
        """What is to be known of a request."""

        access: Access | None


_MANY = 1000  # ids, after which others have their turn

_LONGEST_NAME = 200

_KEPT = 256  # words of refusals, which are the same for most

_SCOPES: dict[str, dict[Right, str]] = {
    "wlcg": {
        Right.READ: "storage.read",
        Right.STAT: "storage.read",
        Right.CREATE: "storage.create",
        Right.MODIFY: "storage.modify",
        Right.STAGE: "storage.stage",
        Right.POLL: "storage.poll",
    },
    "scitokens": {
        Right.READ: "read",
        Right.STAT: "read",
        Right.CREATE: "write",
        Right.MODIFY: "write",
    },
}
"""How a profile's scopes say that a right is given, without the path."""


def first_look(app: RouteContext, request: ArchiveRequest) -> None:
    """
    Decide what can be decided at once; sets C{request.access}, unless that takes L{recognise}.

    @raise HTTPRefusal: The caller is known to be nobody that may do anything.
    @raise TooManyFailures: Too much that came from there was not valid.
    """
    try:
        caller = _caller(app, request)
    except BadCredentials as error:
        raise _invalid(app, error) from None
    look_at(app, request, caller)


def look_at(app: RouteContext, request: Asked, caller: Caller) -> None:
    """
    As L{first_look}, where it is known already what a request presents.

    @raise HTTPRefusal: The caller is known to be nobody that may do anything.
    @raise TooManyFailures: Too much that came from there was not valid.
    """
    try:
        request.access = access = app.gate.known(caller)
    except BadCredentials as error:
        raise _invalid(app, error) from None
    if access is not None and not access.grants:
        raise _lacking(app, access, f"{access.name} may do nothing here.", None)


async def recognise(app: RouteContext, request: ArchiveRequest) -> Access:
    """
    Who asks, however long it takes to find out.

    @raise HTTPRefusal: What is presented is not valid.
    @raise Unavailable: That cannot be found out now.
    """
    if (access := request.access) is not None:
        return access
    try:
        caller = _caller(app, request)
        access = app.gate.known(caller)
        if access is None:
            access = await app.gate.verify(caller)
    except BadCredentials as error:
        raise _invalid(app, error) from None
    request.access = access
    return access


def require(
    app: RouteContext, request: ArchiveRequest, right: Right, file_id: int | None = None, why: str = ""
) -> None:
    """
    See that the caller has a right.

    @param file_id: For which file; C{None} where it is enough to have it for any, as each is looked at later.
    @param why: What else there is to say.
    @raise HTTPRefusal: 403; or 401 where the caller has said nothing of who it is.
    """
    access = access_of(request)
    if not (access.may_somewhere(right) if file_id is None else access.may(right, file_id)):
        raise _without(app, access, right, file_id, why)


def require_needed(app: RouteContext, request: ArchiveRequest, right: Right, file_id: int | None) -> None:
    """
    See that the caller has what a route needs: for the file of its URL, else for any.  An operator is one of all files:
    what is about no single one is about those of others, too.

    @raise HTTPRefusal: As L{require}.
    """
    if right is Right.ADMIN and file_id is None:
        require_everywhere(app, request, right, "This is for operators.")
    else:
        require(app, request, right, file_id)


async def require_each(app: RouteContext, request: ArchiveRequest, right: Right, file_ids: Collection[int]) -> None:
    """
    See that the caller has a right for all of some files.

    @raise HTTPRefusal: As L{require}; for the first of them for which it has not.
    """
    access = access_of(request)
    if access.may_everywhere(right):
        return
    for number, file_id in enumerate(file_ids, 1):
        if not access.may(right, file_id):
            raise _without(app, access, right, file_id, "Nothing was done.")
        if number % _MANY == 0:
            await request.give_way()


def is_want_of_rights(error: errors.ArchiveError) -> bool:
    """Whether a request was refused for what its caller is, or is not."""
    if isinstance(error, HTTPRefusal):
        return error.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
    return isinstance(error, TooManyFailures)


def may(request: ArchiveRequest, right: Right, file_id: int) -> bool:
    """Whether the caller has a right for a file."""
    return access_of(request).may(right, file_id)


def may_somewhere(request: ArchiveRequest, right: Right) -> bool:
    """Whether the caller has a right for any file."""
    return access_of(request).may_somewhere(right)


def may_everywhere(request: ArchiveRequest, right: Right) -> bool:
    """Whether the caller has a right for all files."""
    return access_of(request).may_everywhere(right)


def require_everywhere(app: RouteContext, request: ArchiveRequest, right: Right, why: str) -> None:
    """
    See that the caller has a right for all files.

    @raise HTTPRefusal: As L{require}.
    """
    if not may_everywhere(request, right):
        raise _without(app, access_of(request), right, None, why)


def ids_of(request: ArchiveRequest, right: Right) -> IdRanges:
    """For which files the caller has a right."""
    return access_of(request).ids(right)


def is_admin(request: ArchiveRequest) -> bool:
    """Whether the caller may see and end the jobs of others, which may have any files."""
    return may_everywhere(request, Right.ADMIN)


def owner_of(app: RouteContext, request: ArchiveRequest) -> str:
    """
    Who owns what a caller asks for: the principal; of those who are not recognised, the user that a proxy names, else
    the address.
    """
    access = access_of(request)
    if access.is_known:
        return _short(access.name)
    field = app.recall_settings.owner_header
    if field and (name := _last(request, field)) and ":" not in name:  # which only principals and addresses have
        return name[:_LONGEST_NAME]
    return getattr(request.client, "host", None) or "local"


def shown_owner(app: RouteContext, request: ArchiveRequest, named: str | None) -> str | None:
    """
    Return whose jobs, pins and files a list has: those of the owner that is named, C{None} for all.  Who is no operator
    sees only what is one's own.

    @raise HTTPRefusal: The list is another's.
    """
    if is_admin(request):
        return named
    own = owner_of(app, request)
    if named is not None and named != own:
        require(app, request, Right.ADMIN, None, "The list is another's.")
    return own


async def require_own(app: RouteContext, request: ArchiveRequest, job: str) -> None:
    """
    See that a job is the caller's.

    @raise errors.NotFound: It is not, or there is none: whose it is, is nobody else's business.
    """
    await require_job(app, None if is_admin(request) else owner_of(app, request), job)


async def require_job(app: RouteContext, owner: str | None, job: str) -> None:
    """
    See that a job is an owner's; C{None} is an operator, whose are all.

    @raise errors.NotFound: As L{require_own}.
    """
    if owner is not None and await app.recall.owner_of(job) != owner:
        raise errors.NotFound("There is no such job.")


def access_of(request: ArchiveRequest) -> Access:
    """Who asks, in a route."""
    assert request.access is not None, "who asks is found out before anything else"
    return request.access


def _short(name: str) -> str:
    """A name that the store of jobs keeps whole: of two long ones that begin alike each stays its own."""
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[: _LONGEST_NAME - 41]}~{sha256(name.encode()).hexdigest()[:40]}"


async def verify_token(app: RouteContext, request: ArchiveRequest, token: str) -> Access:
    """
    Whose a token is that came otherwise than in the head of the request, and what that caller may.

    @raise BadCredentials: It is not valid.
    @raise Unavailable: That cannot be found out now.
    """
    caller = _caller(app, request, f"Bearer {token}".encode())
    return app.gate.known(caller) or await app.gate.verify(caller)


def _caller(app: RouteContext, request: ArchiveRequest, presented: bytes | None = None) -> Caller:
    given = request.requestHeaders.getRawHeaders(b"authorization")
    if presented is None and app.sessions is not None:
        presented = app.sessions.authorization(request)
    if presented is not None:
        given = [presented]
    peer = request.client
    host = peer.host if isinstance(peer, IPv4Address | IPv6Address) else None
    return Caller(
        None if not given else given[0] if len(given) == 1 else b"",
        host,
        client_of(peer),
        crowd=request.site.is_crowd(peer),
        connection=_connection(app, request),
    )


def _connection(app: RouteContext, request: ArchiveRequest) -> Identity | None:
    """
    What the connection proves: a certificate, else the word of a proxy.

    @raise BadCredentials: It proves nothing that can be understood.
    """
    try:
        certificate = request.peer_certificate
    except ValueError as error:
        raise BadCredentials(f"a client certificate that cannot be read: {error}") from None
    if certificate is not None:
        return certificate_identity(certificate.names, certificate.subject, certificate.not_after)
    field = app.gate.proxy_user
    if field and is_this_machine(request.client) and (name := _last(request, field)):
        return proxy_identity(name)
    return None


def _last(request: ArchiveRequest, field: str) -> str:
    """The name that a proxy has put into a field: one that adds it, rather than setting it, adds it behind others."""
    if not (values := request.field(field)):
        return ""
    name = values[-1].strip()
    return name if name.isascii() and name.isprintable() else ""


def _without(app: RouteContext, access: Access, right: Right, file_id: int | None, why: str) -> HTTPRefusal:
    name = (right.name or "").lower()
    which = "" if file_id is None else f" for file {file_id}"
    words = f"{access.name} lacks the right '{name}'{which}."
    return _lacking(app, access, f"{words} {why}".strip(), _scope(access, right, file_id))


def _lacking(app: RouteContext, access: Access, words: str, scope: str | None) -> HTTPRefusal:
    gate = app.gate
    if not access.is_known and gate.schemes:
        message = "The request has no credentials, and this server requires them."
        return HTTPRefusal(HTTPStatus.UNAUTHORIZED, message, _challenge(gate.schemes, gate.realm))
    if scope is None:
        return HTTPRefusal(HTTPStatus.FORBIDDEN, words)
    challenge = _challenge(("Bearer",), gate.realm, f', error="insufficient_scope", scope="{scope}"')
    return HTTPRefusal(HTTPStatus.FORBIDDEN, words, challenge)


def _scope(access: Access, right: Right, file_id: int | None) -> str | None:
    scope = _SCOPES.get(access.profile or "", {}).get(right)
    return scope and f"{scope}:/{'' if file_id is None else file_id}"


def _invalid(app: RouteContext, error: BadCredentials) -> HTTPRefusal:
    told = str(error)
    headers = _challenge(app.gate.schemes, app.gate.realm, _invalid_words(told))
    return HTTPRefusal(HTTPStatus.UNAUTHORIZED, told, headers, logged=error.detail)


@lru_cache(_KEPT)
def _invalid_words(told: str) -> str:
    text = "".join(each for each in told if " " <= each <= "~" and each not in '"\\')
    return f', error="invalid_token", error_description="{text}"'


@lru_cache(_KEPT)
def _challenge(schemes: tuple[str, ...], realm: str, more: str = "") -> dict[str, str]:
    """RFC 6750, section 3, and RFC 7617, section 2."""
    quoted = realm.replace("\\", "\\\\").replace('"', '\\"')
    challenges = [
        f'Bearer realm="{quoted}"{more}' if scheme == "Bearer" else f'Basic realm="{quoted}", charset="UTF-8"'
        for scheme in schemes
    ]
    return {"WWW-Authenticate": ", ".join(challenges)} if challenges else {}
