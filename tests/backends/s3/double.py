"""An object store in memory, whose answers are written down before, and a client of it whose time is the test's."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, ParamSpec, TypeVar

import attrs
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.iweb import IAgent
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from pacarchive.backends.s3.bucket import Bucket
from pacarchive.backends.s3.request import Addresses
from pacarchive.backends.s3.sending import Wire
from pacarchive.backends.s3.signing import CredentialSource, find_credentials
from pacarchive.backends.s3.store import ObjectStore
from pacarchive.runtime.threads import BlockingPool

P = ParamSpec("P")
T = TypeVar("T")

TIME = 1_800_000_000.0
DATE = "Fri, 15 Jan 2027 08:00:00 GMT"


@attrs.frozen
class Given:
    """An answer that is to be given; with status 0 the connection is cut, and with 1 nothing ever comes."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = attrs.field(factory=dict)


def error(status: int, code: str, more: str = "", **headers: str) -> Given:
    """A refusal."""
    text = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>secret words of {code}</Message>{more}</Error>'
    return Given(status, text.encode(), {name.replace("_", "-"): value for name, value in headers.items()})


@attrs.frozen
class Heard:
    """A request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class Script(Resource):
    """
    What gives one answer after the other.

    @ivar heard: The requests.
    @ivar then: What is given when there is nothing else.
    @ivar late: Makes that, where it depends on what was asked.
    """

    isLeaf = True

    def __init__(self, *answers: Given) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.answers = list(answers)
        self.then = Given(200)
        self.late: Callable[[], Given] = lambda: self.then
        self.heard: list[Heard] = []

    def render(self, request: Request) -> Any:
        assert request.content is not None
        body = request.content.read()
        names = {key.decode().lower(): values[0].decode() for key, values in request.requestHeaders.getAllRawHeaders()}
        self.heard.append(Heard(request.method.decode(), request.uri.decode(), names, body))
        given = self.answers.pop(0) if self.answers else self.late()
        if given.status == 0:
            assert request.transport is not None
            request.transport.loseConnection()
            return NOT_DONE_YET
        if given.status == 1:
            return NOT_DONE_YET
        request.setResponseCode(given.status)
        for name, value in {"Date": DATE, **given.headers}.items():
            request.setHeader(name, value)
        return given.body


class Inline(BlockingPool):
    """Threads that are none."""

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return call(*args, **kwargs)


async def _at_once() -> None:
    """Wait for nothing: there are no connections."""


class Double:
    """
    A client of a store in memory.

    @ivar script: What the store answers.
    @ivar clock: The time; it only goes on by L{result}.
    @ivar slept: The pauses that were made.
    """

    def __init__(
        self, *answers: Given, agent: IAgent | None = None, find: Callable[[], Any] | None = None, most: int = 8
    ) -> None:
        self.script = Script(*answers)
        self.clock = Clock()
        self.clock.advance(TIME)
        self.slept: list[float] = []
        pool = Inline(self.clock, "credentials", 1)
        self.credentials = CredentialSource(pool, self.clock.seconds, find or find_credentials("key", "secret", ""))
        in_memory: IAgent = RequestTraversalAgent(self.script)  # type: ignore[no-untyped-call]
        wire = Wire(agent or in_memory, self.clock, 20, _at_once)
        self.store = ObjectStore(
            wire,
            self.clock,
            self.credentials,
            Addresses("http", "store.example:9000", "archive", virtual=False),
            "us-east-1",
            most=most,
            retry_for=60,
            chance=lambda: 1.0,
        )
        self.bucket = Bucket(self.store, unsigned=True)

    def result(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of some work; time is let go by when it waits for that."""
        found: list[Any] = []
        Deferred.fromCoroutine(work).addBoth(found.append)
        while not found:
            calls = self.clock.getDelayedCalls()
            assert calls, "it waits for what will never come"
            pause = min(each.getTime() for each in calls) - self.clock.seconds()
            self.slept.append(round(pause, 3))
            self.clock.advance(pause)
        assert self.clock.getDelayedCalls() == []
        if isinstance(found[0], Failure):
            found[0].raiseException()
        result: T = found[0]
        return result
