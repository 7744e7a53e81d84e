"""Routes, and the one way to declare them.

L{Router.answers} is the only door: whatever must be true of every request (its path, who may call, what a failure
becomes) is seen to there, and cannot be forgotten by a route: one that does not say what right it needs, and what it
does, does not exist.
L{FileIdConverter} is the only place where a URL becomes a file id.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Coroutine, Mapping
from functools import wraps
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, cast

from klein import Klein
from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound
from werkzeug.routing import BaseConverter, Map, MapAdapter, Rule, RuleFactory

from pacarchive import errors
from pacarchive.access.rights import Right
from pacarchive.ids import parse_file_id
from pacarchive.web.access import first_look, is_want_of_rights, recognise, require_needed
from pacarchive.web.auditing import Refusable, note_refusal
from pacarchive.web.description import options, path_template
from pacarchive.web.errors import Corrupted, Unforeseen, error_answer, kind_of, problem_answer
from pacarchive.web.http.answers import ALLOW, UNCACHED
from pacarchive.web.http.errors import ErrorAnswer, HTTPRefusal, unexpected_answer, unexpected_problem
from pacarchive.web.http.flow import Aborted
from pacarchive.web.http.hosts import require_known_host

if TYPE_CHECKING:
    from pacarchive.web.context import RouteContext
    from pacarchive.web.description import Operation, Tag
    from pacarchive.web.http.request import ArchiveRequest

P = ParamSpec("P")
Route = Callable[Concatenate["RouteContext", "ArchiveRequest", P], Coroutine[Any, Any, bytes]]

_TELLS_PROBLEMS = re.compile(rb"/api/|/\.well-known/wlcg-tape-rest-api/?\Z")
"""The paths, routed or not, where every error is told as problem details (RFC 7807)."""

_OWN_FAILURES = (errors.BackendUnavailable, errors.NoSpace, Corrupted)
"""What the archive could not do, whoever asked."""


class FileIdConverter(BaseConverter):
    """Canonical decimal digits below 2**64; everything else is no resource of this server."""

    regex = "[0-9]+"

    def to_python(self, value: str) -> int:
        try:
            return parse_file_id(value)
        except ValueError:
            raise NotFound from None  # a ValidationError would end in 405, as other methods have the same pattern


class _MatchedRule(Rule):
    """
    A rule that URLs are matched with, and never made from: to compile a function for that takes longer than all else
    that a route costs at the start.
    """

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        return _never_built


def _never_built(*_: object, **__: object) -> tuple[str, str]:
    raise NotImplementedError("no URL is made from a route")


class _AnyHostMap(Map):
    """A map whose rules name no host: nothing of the request's host is prepared for matching, as C{bind} would."""

    def add(self, rulefactory: RuleFactory) -> None:
        for rule in rulefactory.get_rules(self):
            super().add(_MatchedRule(rule.rule, **rule.get_empty_kwargs()))

    def bind(
        self,
        server_name: str,
        script_name: str | None = None,
        subdomain: str | None = None,
        url_scheme: str = "http",
        default_method: str = "GET",
        path_info: str | None = None,
        query_args: Mapping[str, Any] | str | None = None,
    ) -> MapAdapter:
        return MapAdapter(self, server_name, "/", "", url_scheme, path_info or "/", default_method, query_args)


Form = Callable[["RouteContext", "ArchiveRequest", errors.ArchiveError], ErrorAnswer]
"""The answer to a failure, told in a way of its own."""


class Undescribed(enum.Enum):
    """Why a route is not in the description of the API."""

    FOR_PEOPLE = enum.auto()
    """It is a page, or a part of one: what people read in a browser, and no program."""


class Open(enum.Enum):
    """What a route needs that is no right."""

    TO_ALL = enum.auto()
    """Nothing, and nobody is asked who it is: for what tells no more than that the server is there."""


class Router(Klein):
    """
    A Klein application whose routes are declared by L{answers}.

    @ivar needs: What each route needs, by its method and URL pattern.
    @ivar described: What each route does; one that has several URLs stands under the first.
    @ivar undescribed: The routes of which that is not said.
    """

    def __init__(self) -> None:
        super().__init__()
        self.needs: dict[tuple[str, str], Right | Open] = {}
        self.described: dict[tuple[str, str], Operation] = {}
        self.undescribed: set[tuple[str, str]] = set()
        self._declared: dict[str, dict[bytes, Route[...]]] = {}
        self._open: set[tuple[bytes, bytes]] = set()
        self._allow: dict[str, str] = {}
        self._forms: dict[re.Pattern[bytes], Form] = {_TELLS_PROBLEMS: _as_problem}
        self._url_map = _AnyHostMap(
            converters={"file_id": FileIdConverter}, strict_slashes=True, merge_slashes=False, redirect_defaults=False
        )
        self.handle_errors(HTTPException)(self._unrouted)  # type: ignore[arg-type]

    def answers(
        self, method: str, *urls: str, needs: Right | Open, described: Operation | Undescribed
    ) -> Callable[[Route[P]], Route[P]]:
        """
        Declare the route for a method and a URL pattern, or several that mean the same: the first is described.

        The route returns the body of its answer, and raises L{errors.ArchiveError} for every refusal.

        @param needs: The right that a caller must have: for the file id of the URL, where there is one, else for any
            file, and the route sees to it that it is had for those that the request names.  C{ADMIN} is what operators
            have, and is needed for all files where the URL names none.
        @param described: What it does, for the description of the API; or why it is not in there.
        """

        place = path_template(urls[0])

        def declare(route: Route[P]) -> Route[P]:
            @wraps(route)
            async def guarded(app: RouteContext, request: ArchiveRequest, *args: P.args, **kwargs: P.kwargs) -> bytes:
                self._tell_allowed(request, urls[0])
                request.route = place
                try:
                    if isinstance(needs, Right):
                        await recognise(app, request)
                        require_needed(app, request, needs, cast("int | None", kwargs.get("file_id")))
                    return await route(app, request, *args, **kwargs)
                except CancelledError:
                    raise
                except errors.ArchiveError as error:
                    return self.refuse(app, request, error)
                except Aborted:
                    return b""
                except Exception:  # noqa: BLE001  (answered, logged and counted)
                    incident = request.site.incident(request.line, Failure(), request)
                    return _write(request, self._form(request)(app, request, Unforeseen(incident)))

            if isinstance(described, Undescribed):
                self.undescribed |= {(method, url) for url in urls}
            else:
                self.described[method, urls[0]] = described
            self._allow[urls[0]] = ", ".join(sorted({*_answered_by(method), *self._allowed(urls[0])}))
            for url in urls:
                self._note_needs(method, url, needs)
                self._declared.setdefault(url, {})[method.encode("ascii")] = guarded
                # Named by what it answers: two of one name would be one to Klein.
                self.route(url, methods=[method], endpoint=f"{method} {urls[0]}")(guarded)
            return guarded  # type: ignore[return-value]

        return declare

    def tells_options(self, tag: Tag, *urls: str) -> None:
        """
        Have a URL, or several that mean the same, answer C{OPTIONS}: with no more than C{Allow}, which is known.

        @param tag: What it is about.
        """
        self.answers("OPTIONS", *urls, needs=Open.TO_ALL, described=options(tag))(_options)

    def _allowed(self, url: str) -> list[str]:
        """What a URL answers to."""
        return self._allow[url].split(", ") if url in self._allow else []

    def _tell_allowed(self, request: ArchiveRequest, url: str) -> None:
        """C{Allow} is that of a file id, if nothing else is said; so is that of the whole server."""
        if (allow := self._allow[url]) != ALLOW and request.path != b"*":
            request.set(b"Allow", allow)

    def _note_needs(self, method: str, url: str, needs: Right | Open) -> None:
        self.needs[method, url] = needs
        if needs is Open.TO_ALL and "<" not in url:
            self._open |= {(each.encode("ascii"), url.encode("ascii")) for each in _answered_by(method)}

    def routes_at(self, url: str) -> Mapping[bytes, Route[...]]:
        """The routes of a URL pattern, by their methods."""
        return self._declared[url]

    def right_for(self, method: str, url: str) -> Right:
        """The right that a route needs; it is one that needs some."""
        needs = self.needs[method, url]
        assert isinstance(needs, Right)
        return needs

    def first_look(self, app: RouteContext, request: ArchiveRequest) -> ErrorAnswer | None:
        """
        What becomes of a request before its route is looked for.

        @return: The answer where it is refused; C{None} where the request goes on.
        """
        try:
            # What a server can do at all is nobody's secret, and browsers ask for it without credentials.
            require_known_host(request, app.settings)
            if request.method != b"OPTIONS" and (request.method, request.path) not in self._open:
                first_look(app, request)
        except errors.ArchiveError as error:
            return self._noted(app, request, error)
        return None

    def tells(self, paths: re.Pattern[bytes], form: Form) -> None:
        """
        Have failures told in a form of its own.

        @param paths: Matches the paths, routed or not, where they are.
        """
        self._forms[paths] = form

    def refuse(self, app: RouteContext, request: ArchiveRequest, error: errors.ArchiveError) -> bytes:
        """
        Answer a failure, and log and count it once.

        @return: The body of the answer.
        """
        return _write(request, self._noted(app, request, error))

    def _noted(self, app: RouteContext, request: ArchiveRequest, error: errors.ArchiveError) -> ErrorAnswer:
        """Log and count a failure; the answer to it."""
        answer = self._form(request)(app, request, error)
        note_failure(app, request, error, answer.status)
        return answer

    def _form(self, request: ArchiveRequest) -> Form:
        return next((form for paths, form in self._forms.items() if paths.match(request.path)), _as_document)

    async def _unrouted(self, app: RouteContext, request: ArchiveRequest, failure: Failure) -> bytes:
        """What no route answers to; only those who are recognised are told so."""
        try:
            if request.method != b"OPTIONS":
                await recognise(app, request)
        except errors.ArchiveError as error:
            return self.refuse(app, request, error)
        if isinstance(failure.value, MethodNotAllowed):
            allow = ", ".join(sorted(failure.value.valid_methods or ()))
            refusal = HTTPRefusal(
                HTTPStatus.METHOD_NOT_ALLOWED, "Specified method is invalid for this resource", {"Allow": allow}
            )
            return self.refuse(app, request, refusal)
        words = ": a path here is one file id." if self._form(request) is _as_document else "."
        return self.refuse(app, request, HTTPRefusal(HTTPStatus.NOT_FOUND, f"No such resource{words}"))


def note_failure(app: RouteContext, request: Refusable, error: errors.ArchiveError, status: HTTPStatus) -> None:
    """Log and count a failure, once; C{status} is what it is answered with."""
    if isinstance(error, _OWN_FAILURES):
        request.site.failed(type(error).__name__, request, error)
        return
    message = error.logged if isinstance(error, HTTPRefusal) else str(error)
    if is_want_of_rights(error):
        note_refusal(app, request, status, message)
    request.site.refused(kind_of(error), request.client, f"{request.line}: {message}", request)


def _as_document(app: RouteContext, request: ArchiveRequest, error: errors.ArchiveError) -> ErrorAnswer:
    if isinstance(error, Unforeseen):
        return unexpected_answer(error.incident)
    return error_answer(error, app.compatibility)


def _as_problem(app: RouteContext, request: ArchiveRequest, error: errors.ArchiveError) -> ErrorAnswer:
    return unexpected_problem(error.incident) if isinstance(error, Unforeseen) else problem_answer(error)


def _answered_by(method: str) -> tuple[str, ...]:
    """A route for GET answers HEAD as well."""
    return ("GET", "HEAD") if method == "GET" else (method,)


def tells_problems(path: bytes) -> bool:
    """Whether errors of a path are told as problem details."""
    return _TELLS_PROBLEMS.match(path) is not None


def _write(request: ArchiveRequest, answer: ErrorAnswer) -> bytes:
    request.setResponseCode(answer.status, answer.status.phrase.encode("ascii"))
    for name in (b"Content-Range", b"ETag", b"Last-Modified", b"X-Pacarchive-Mtime", b"Repr-Digest", b"Digest"):
        if answer.status != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            request.responseHeaders.removeHeader(name)
    request.set(b"Cache-Control", UNCACHED)
    for field, value in answer.headers.items():
        request.set(field.encode("ascii"), value)
    if request.method == b"HEAD":
        return b""
    request.set(b"Content-Type", answer.content_type)
    request.set(b"Content-Length", b"%d" % len(answer.body))
    return answer.body


async def _options(app: RouteContext, request: ArchiveRequest, /, **names: object) -> bytes:
    request.setResponseCode(HTTPStatus.NO_CONTENT)
    return b""
