"""What the audit file says of a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pacarchive.texts import printable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from contextlib import AbstractContextManager
    from http import HTTPStatus

    from twisted.internet.interfaces import IAddress

    from pacarchive.access.identity import Access
    from pacarchive.web.context import RouteContext
    from pacarchive.web.http.state import SharedSite
    from pacarchive.web.http.traces import Trace

T = TypeVar("T")


class Changing(Protocol):
    """What is asked of a request that changes something."""

    @property
    def access(self) -> Access | None:
        """Who asks."""

    @property
    def client(self) -> IAddress | None:
        """Where it came from."""

    @property
    def identifier(self) -> str:
        """What it is called."""

    def phase(self, name: str) -> AbstractContextManager[None]:
        """Note how long something takes, where there are spans."""


class Refusable(Protocol):
    """What is asked of a request that is refused."""

    @property
    def site(self) -> SharedSite:
        """The site."""

    @property
    def method(self) -> bytes:
        """Its method."""

    @property
    def path(self) -> bytes:
        """Its target, without a query."""

    @property
    def line(self) -> str:
        """Both, for the log."""

    @property
    def access(self) -> Access | None:
        """Who asks."""

    @property
    def principal(self) -> str | None:
        """The name of that."""

    @property
    def client(self) -> IAddress | None:
        """Where it came from."""

    @property
    def identifier(self) -> str:
        """What it is called."""

    @property
    def trace(self) -> Trace | None:
        """The trace that it is part of."""


async def recorded(
    app: RouteContext,
    request: Changing,
    what: str,
    change: Callable[[], Awaitable[T]],
    file_id: int | None = None,
    more: Callable[[T], Mapping[str, Any]] = lambda _: {},
) -> T:
    """
    Make a change, and write it down before it is acknowledged.  Both are done to the end, also when the client has
    gone: nobody changes anything without a line.

    @param what: What is done, in one word.
    @param change: Does it.
    @param more: What else there is to say of its result, as C{bytes}, C{digest}, C{job}.
    @raise BackendUnavailable: It cannot be written down.
    """
    with request.phase(what):
        return await _recorded(app, request, what, change, file_id, more)


async def _recorded(
    app: RouteContext,
    request: Changing,
    what: str,
    change: Callable[[], Awaitable[T]],
    file_id: int | None,
    more: Callable[[T], Mapping[str, Any]],
) -> T:
    if (audit := app.audit) is None:
        return await change()
    who = _who(request)

    async def both() -> T:
        result = await change()
        spoken = None if file_id is None else str(file_id)  # as everywhere: not every reader of JSON keeps 64 bits
        await audit.record(**who, what=what, id=spoken, result="done", **more(result))
        return result

    return await audit.to_the_end(both)


def note_refusal(app: RouteContext, request: Refusable, status: HTTPStatus, why: str) -> None:
    """Write down that a request was refused for want of a right, or of credentials that are valid."""
    if app.audit is not None:
        what = request.method.decode("ascii", "replace")[:20]
        path = printable(request.path[:200].decode("ascii", "backslashreplace"))
        who = _who(request)
        more = {"what": what, "path": path, "result": "refused", "status": status.value, "why": printable(why)}
        app.audit.note(who["address"], {**who, **more})


def _who(request: Changing | Refusable) -> dict[str, Any]:
    access = request.access
    return {
        "principal": None if access is None else access.name,
        "how": None if access is None else access.how.value,
        "address": getattr(request.client, "host", None) or "local",
        "request": request.identifier,
    }
