"""The description of the API (OpenAPI 3.1), made of what its routes say of themselves, and C{GET /openapi.json}.

Added here is what no route has to say: the answers that follow from the right that it needs, from its method, its URL
and its body, and those that every request may get; that a route for GET answers HEAD as well; and where errors are
problem details.  PROPFIND, for which OpenAPI 3.1 has no place, is under C{x-additionalOperations}, where OpenAPI 3.2
has it without the C{x-}.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from hashlib import sha256
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import attrs

from pacarchive import __version__
from pacarchive.access.rights import Right
from pacarchive.web.conditions import is_held
from pacarchive.web.description import (
    PATHS,
    SERVER,
    TAGS,
    VARIABLE,
    Answer,
    Body,
    Field,
    Operation,
    Parameter,
    field,
    path_template,
)
from pacarchive.web.http.answers import REVALIDATED
from pacarchive.web.http.documents import LARGE, streaming
from pacarchive.web.http.errors import ERROR, PROBLEM, PROBLEM_TYPE
from pacarchive.web.http.schemas import Schema, integer, members, resolved, text
from pacarchive.web.routing import Open, tells_problems

if TYPE_CHECKING:
    from pacarchive.web.context import RouteContext
    from pacarchive.web.http.request import ArchiveRequest
    from pacarchive.web.routing import Router

METHODS = frozenset({"GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE"})
"""For which a path of OpenAPI 3.1 has a place."""

URL = "/openapi.json"

_PARTS = ("openapi", "info", "servers", "tags", "paths", "components")

_RETRY_AFTER = Field("Retry-After", integer("Seconds after which it is worth asking again.", minimum=0), always=True)

_ALWAYS = {
    400: "The request is malformed.",
    408: "The request came too slowly.",
    414: "The request line is too long.",
    421: "The request is for a host that is not this server's.",
    431: "The header is too large.",
    500: "A failure of the server's own; its log has the incident that the answer names.",
    501: "The request has a transfer coding that this server does not know.",
    503: "The server has too much to do, or the storage, or what else it needs, does not answer.",
}
_WITH_RIGHT = {
    401: "Nothing valid was presented of who asks.",
    403: "The caller lacks the right.",
    429: "Too much that was not valid came from there.",
}
_WITH_PATH = {404: "There is no such thing."}
_WITH_BODY = {413: "The body is too large, or has too much in it.", 415: "The body is of no kind that is taken here."}
_WITHOUT_BODY = {415: "The request has a body, and must have none."}

_BEFORE_ROUTES = frozenset({400, 408, 414, 431, 501, 503})
"""What may be answered before a path is looked at, so that it is told as everywhere."""

_FIELDS = {
    401: (Field("WWW-Authenticate", text("What can be presented.")),),
    403: (Field("WWW-Authenticate", text("The scope that a token lacks.")),),
    429: (_RETRY_AFTER,),
    503: (_RETRY_AFTER,),
}

_SECURITY = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "A token of this server's own, or of an issuer that it trusts (WLCG, SciTokens).",
    },
    "password": {"type": "http", "scheme": "basic", "description": "A user of this server's, with a password."},
    "certificate": {"type": "mutualTLS", "description": "A client certificate."},
}

_INTRODUCTION = """\
An archive of files by number, over hierarchical storage.

What a caller may do is decided by the site: it may recognise callers by what they present, by the network that they
come from, by a proxy's word, and may allow things to everybody.

`HEAD` is answered wherever `GET` is. Several slashes at the beginning of a path are as one. Clients ignore members of
documents and header fields that they do not know. A parameter of a query that is empty is as none. Where a site has
chosen `compatibility = pacifica`, most errors of the files' operations have the status 500, as they had with the
predecessor.
"""


# The document


def description(router: Router) -> dict[str, Any]:
    """
    Describe all routes of a router.

    @return: An OpenAPI document.
    """
    found: dict[str, Schema] = {}
    responses: dict[str, Any] = {}
    paths: dict[str, dict[str, Any]] = {}
    for (method, url), operation in router.described.items():
        place = path_template(url)
        whole = _operation(method, url, operation, router.needs[method, url], responses)
        item = paths.setdefault(place, {})
        if method in METHODS:
            item[method.lower()] = whole
        else:
            item.setdefault("x-additionalOperations", {})[method] = whole
        if method == "GET" and ("HEAD", url) not in router.described:
            head = attrs.evolve(operation, summary=f"{operation.summary}: the header alone", words="")
            item["head"] = _operation("HEAD", url, head, router.needs[method, url], responses)
    components = {"responses": resolved(responses, found), "securitySchemes": _SECURITY}
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "pacarchive",
            "version": __version__,
            "description": _INTRODUCTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/", "description": "The server that gave this description."}],
        "tags": [{"name": tag.name, "description": tag.words} for tag in TAGS],
        "paths": resolved(paths, found),
    }
    # Last, as what is named is found on the way.
    return {**document, "components": {"schemas": dict(sorted(found.items())), **components}}


def _operation(
    method: str, url: str, operation: Operation, needs: Right | Open, responses: dict[str, Any]
) -> dict[str, Any]:
    words = [operation.words] if operation.words else []
    named = (needs.name or "").lower() if isinstance(needs, Right) else ""
    words.append(f"Needs the right `{named}`." if named else "Everyone may ask.")
    problems = tells_problems(VARIABLE.sub("0", url).encode("ascii"))
    answers = {str(each.status): _answer(each, method) for each in operation.gives}
    for status, reason in sorted(_refusals(method, url, operation, needs).items()):
        if str(status) not in answers:
            common = None if status in operation.refuses else responses
            answers[str(status)] = _refusal(status, reason, method, problems, common)
    whole: dict[str, Any] = {
        "operationId": _identifier(method, url),
        "tags": [operation.tag.name],
        "summary": operation.summary,
        "description": "\n\n".join(words),
    }
    if parameters := [*_path(url, operation), *(each for each in operation.takes if each.where != "path")]:
        whole["parameters"] = [_parameter(each) for each in parameters]
    if operation.body is not None:
        whole["requestBody"] = _body(operation.body)
    whole["responses"] = dict(sorted(answers.items()))
    whole["security"] = [{}, *({name: []} for name in _SECURITY)] if isinstance(needs, Right) else []
    return whole


def _identifier(method: str, url: str) -> str:
    """A name that stays while the URL does."""
    return "_".join([method.lower(), *(re.findall("[A-Za-z0-9_]+", VARIABLE.sub(r"\1", url)) or ["root"])])


def _refusals(method: str, url: str, operation: Operation, needs: Right | Open) -> dict[int, str]:
    """Why a request may be refused, by status; what the route says itself counts."""
    found = dict(_ALWAYS)
    if isinstance(needs, Right):
        found |= _WITH_RIGHT
    if VARIABLE.search(url):
        found |= _WITH_PATH
    if operation.body is not None:
        found |= _WITH_BODY
    elif method in ("POST", "DELETE"):
        found |= _WITHOUT_BODY
    for status, reason in operation.refuses.items():
        found[status] = f"{reason} {found.get(status, '')}".rstrip()
    return found


def _path(url: str, operation: Operation) -> Iterable[Parameter]:
    own = {each.name: each for each in operation.takes if each.where == "path"}
    for name in VARIABLE.findall(url):
        yield own[name] if name in own else Parameter(name, "path", PATHS[name], required=True)


def _parameter(parameter: Parameter) -> dict[str, Any]:
    schema = dict(parameter.schema)
    words = schema.pop("description", "")
    return {
        "name": parameter.name,
        "in": parameter.where,
        "description": words,
        "required": parameter.required,
        "schema": schema,
    }


def _body(body: Body) -> dict[str, Any]:
    return {"description": body.words, "content": _content(body.content), "required": body.required}


def _content(content: Mapping[str, Any]) -> dict[str, Any]:
    return {media: {"schema": schema} for media, schema in content.items()}


def _headers(fields: Iterable[Field]) -> dict[str, Any]:
    found = {}
    for each in fields:
        schema = dict(each.schema)
        words = schema.pop("description", "")
        found[each.name] = {"description": words, "required": each.always, "schema": schema}
    return found


def _answer(answer: Answer, method: str) -> dict[str, Any]:
    whole: dict[str, Any] = {"description": answer.words}
    if answer.fields:
        whole["headers"] = _headers(answer.fields)
    if answer.content and method != "HEAD":
        whole["content"] = _content(answer.content)
    return whole


def _refusal(status: int, reason: str, method: str, problems: bool, common: dict[str, Any] | None) -> dict[str, Any]:
    """
    An answer to a request that is refused.

    @param common: Takes it, if it is the same for many; then it is referred to.
    """
    content: dict[str, Any] = {}
    if method != "HEAD":
        if problems:
            content[PROBLEM_TYPE] = PROBLEM
        if not problems or status in _BEFORE_ROUTES:
            content["application/json"] = ERROR
    whole = _answer(Answer(status, reason, content, _FIELDS.get(status, ())), method)
    name = f"{status}{'Problem' if problems else ''}{'Head' if method == 'HEAD' else ''}"
    if common is not None and common.setdefault(name, whole) == whole:
        return {"$ref": f"#/components/responses/{name}"}
    return whole


# The route


DESCRIBED = Operation(
    SERVER,
    "Describe this API",
    (
        Answer(
            200,
            "This document.",
            members("A description of an API, as OpenAPI has it.", {name: {} for name in _PARTS}),
            (Field("ETag", text("The version of the description."), always=True),),
        ),
        Answer(304, "It is still the one that the client has."),
    ),
    takes=(field("If-None-Match", text("Entity tags of versions that the client has.")),),
)


def declare(router: Router) -> None:
    """Declare the route.  The description of all is made when it is asked for, and kept as it is sent."""

    @cache
    def written() -> tuple[bytes, str]:
        body = json.dumps(description(router), separators=(",", ":")).encode("ascii")
        return body, f'"{sha256(body).hexdigest()}"'

    async def describe(app: RouteContext, request: ArchiveRequest) -> bytes:
        """Send the description."""
        body, etag = written()
        request.set(b"ETag", etag)
        request.set(b"Cache-Control", REVALIDATED)
        if is_held(request.field("if-none-match"), etag):
            request.setResponseCode(HTTPStatus.NOT_MODIFIED)
            return b""
        request.set(b"Content-Type", b"application/json")
        request.set(b"Content-Length", b"%d" % len(body))
        if request.method == b"HEAD":
            return b""
        async with streaming(request) as stream:
            await stream.send(body[start : start + LARGE] for start in range(0, len(body), LARGE))
        return b""

    router.answers("GET", URL, needs=Open.TO_ALL, described=DESCRIBED)(describe)
