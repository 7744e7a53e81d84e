"""
A proxy before an object store that does as networks and busy stores do: it refuses, cuts, delays, and loses answers.

It is a process of its own.  What it does to a request is drawn, from a seed.  It waits for the store's answer to all
that it passes on, so nothing is carried out later than it is answered.  C{POST /-/faults/RATE} says how often something
goes wrong, and C{GET /-/faults} how often each thing did.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from ports import HOST, free_port
from system.harness import PATIENCE, until
from treq import content
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.web.client import Agent, FileBodyProducer, HTTPConnectionPool, ResponseFailed
from twisted.web.http_headers import Headers
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ONCE = -1.0
"""The rate at which each long request is answered by an error in a 200, and its repetition is not."""
SILENT = -2.0
"""The rate at which all that concerns records is done, and answered by an error."""

_LONGEST_DELAY = 0.2
_HOP = frozenset({"connection", "content-length", "transfer-encoding", "keep-alive", "server"})

_ERROR = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>%s</Code><Message>Please try again.</Message><RequestId>1</RequestId></Error>"""


@attrs.frozen
class Fault:
    """
    What goes wrong with a request.

    @ivar name: What it is called.
    @ivar done: Whether the store gets the request all the same.
    @ivar status: What is answered instead.
    @ivar only: Which requests it is for: C{any}, C{reads} of data, or C{long} ones that answer before they are done.
    """

    name: str
    done: bool
    status: int = 0
    only: str = "any"


FAULTS = {
    each.name: each
    for each in (
        Fault("500", done=False, status=500),
        Fault("503", done=False, status=503),
        Fault("cut before", done=False),
        Fault("delay", done=True),
        Fault("500 when done", done=True, status=500),
        Fault("cut when done", done=True),
        Fault("cut in the answer", done=True, only="reads"),
        Fault("error in a 200", done=False, only="long"),
        Fault("error in a 200 when done", done=True, only="long"),
    )
}


@attrs.frozen
class FlakyStore:
    """
    A proxy that runs.

    @ivar port: Where it listens.
    """

    port: int

    @property
    def endpoint(self) -> str:
        """Its URL."""
        return f"http://{HOST}:{self.port}"

    def set_rate(self, rate: float) -> None:
        """Have that share of the requests fail."""
        self._ask("POST", f"/-/faults/{rate}")

    def counts(self) -> dict[str, int]:
        """How often each fault has happened."""
        found: dict[str, int] = json.loads(self._ask("GET", "/-/faults"))
        return found

    def _ask(self, method: str, path: str) -> bytes:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=PATIENCE)
        try:
            connection.request(method, path)
            return connection.getresponse().read()
        finally:
            connection.close()


@contextmanager
def flaky(store: str, seed: str) -> Iterator[FlakyStore]:
    """
    Run a proxy.

    @param store: The URL of the store.
    """
    port = free_port()
    tests = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-m", "backends.s3.flaky", store, str(port), seed], cwd=tests, stdin=subprocess.DEVNULL
    )
    proxy = FlakyStore(port)

    def listens() -> bool:
        assert process.poll() is None, "the proxy has ended"
        try:
            proxy.counts()
        except OSError:
            return False
        return True

    try:
        until(listens, "the proxy listens")
        yield proxy
    finally:
        process.kill()
        process.wait()


class Proxy(Resource):
    """
    The proxy itself.

    @param store: The URL of the store.
    @param reactor: The reactor.
    """

    isLeaf = True

    def __init__(self, store: str, reactor: Any, draw: random.Random) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._store = store.encode()
        self._reactor = reactor
        self._draw = draw
        self._rate = 0.0
        self._refused: set[bytes] = set()
        self._counts: Counter[str] = Counter()
        # No connection is used again: what is passed on is passed on once.
        self._agent = Agent(reactor, pool=HTTPConnectionPool(reactor, persistent=False))

    def render(self, request: Request) -> Any:
        """Answer, or say how it will be done."""
        if request.uri.startswith(b"/-/faults"):
            if request.method == b"POST":
                self._rate = float(request.uri.rpartition(b"/")[2])
            return json.dumps(self._counts).encode()
        ended: list[object] = []
        request.notifyFinish().addErrback(ended.append)
        # Whatever else goes wrong here is a failure of the tests, and seen in their output.
        Deferred.fromCoroutine(self._answer(request)).addErrback(lambda failure: failure.printTraceback())
        return NOT_DONE_YET

    async def _answer(self, request: Request) -> None:
        fault = self._drawn(request)
        if fault is not None and fault.name == "delay":
            await self._pause(_LONGEST_DELAY)
        given: Any = None
        body = b""
        if fault is None or fault.done:
            try:
                given, body = await self._passed_on(request)
            except ResponseFailed:  # the store itself has cut it
                fault = FAULTS["cut before"]
        self._counts["none" if fault is None else fault.name] += 1
        if request.channel is not None:  # else who asked does not wait any more
            if given is None or (fault is not None and fault.name != "delay"):
                assert fault is not None, "it was passed on without one"
                await self._spoil(request, fault, given, body)
            else:
                _begin(request, given)
                _finish(request, body, given.headers.getRawHeaders("content-length"))

    async def _spoil(self, request: Request, fault: Fault, given: Any, body: bytes) -> None:
        if fault.status:
            request.setResponseCode(fault.status)
            _finish(request, _ERROR % (b"SlowDown" if fault.status == 503 else b"InternalError"))
        elif fault.only == "long":
            request.write(b'<?xml version="1.0" encoding="UTF-8"?>\n   \n')
            await self._pause(_LONGEST_DELAY)
            request.write((_ERROR % b"InternalError").partition(b"\n")[2])
            request.finish()
        else:
            if fault.only == "reads" and body:
                _begin(request, given)
                request.setHeader("Content-Length", str(len(body)))
                request.write(body[: self._draw.randrange(len(body))])
                await self._pause(0.02)  # some of it is sent
            if request.channel is not None:
                request.channel.forceAbortClient()

    def _drawn(self, request: Request) -> Fault | None:
        """What goes wrong with a request."""
        is_long = request.method == b"POST" and b"uploadId" in request.uri
        is_long |= request.requestHeaders.hasHeader("x-amz-copy-source")
        if self._rate == SILENT:
            return FAULTS["500 when done"] if b"/i/" in request.uri else None
        if self._rate == ONCE:
            is_first = is_long and request.uri not in self._refused
            self._refused.add(request.uri)
            return FAULTS["error in a 200"] if is_first else None
        if self._draw.random() >= self._rate:
            return None
        kind = "long" if is_long else "reads" if request.method == b"GET" else "any"
        wanted = kind if self._draw.random() < 0.4 else "any"
        return self._draw.choice([each for each in FAULTS.values() if each.only == wanted])

    async def _passed_on(self, request: Request) -> tuple[Any, bytes]:
        left_out = (b"connection", b"content-length", b"transfer-encoding")
        named = request.requestHeaders.getAllRawHeaders()
        fields = Headers({name: values for name, values in named if name.lower() not in left_out})
        assert request.content is not None
        # What stores something has a length also where there is nothing.
        body: Any = FileBodyProducer(request.content) if request.method in (b"PUT", b"POST") else None
        answer = await self._agent.request(request.method, self._store + request.uri, fields, body)
        return answer, await content(answer) if request.method != b"HEAD" else b""

    async def _pause(self, longest: float) -> None:
        await deferLater(self._reactor, self._draw.random() * longest)


def _begin(request: Request, given: Any) -> None:
    """Begin with what the store has answered."""
    request.setResponseCode(given.code, given.phrase)
    for field, values in given.headers.getAllRawHeaders():
        if field.lower().decode() not in _HOP:
            request.responseHeaders.setRawHeaders(field, values)


def _finish(request: Request, body: bytes, lengths: Sequence[str] | None = None) -> None:
    if request.method == b"HEAD":
        request.setHeader("Content-Length", lengths[0] if lengths else "0")
    elif request.code not in (204, 304):
        request.setHeader("Content-Length", str(len(body)))
        request.write(body)
    request.finish()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m backends.s3.flaky", description=__doc__)
    parser.add_argument("store", help="the URL of the store")
    parser.add_argument("port", type=int)
    parser.add_argument("seed")
    chosen = parser.parse_args()
    from twisted.internet import reactor as any_reactor  # only now: who starts a proxy needs none

    main_reactor: Any = any_reactor
    site: Any = Site(Proxy(chosen.store, main_reactor, random.Random(chosen.seed)))
    main_reactor.listenTCP(chosen.port, site, interface=HOST)
    main_reactor.run()
