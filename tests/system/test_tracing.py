"""Spans of real services, as a collector gets them."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections import Counter
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from ports import free_port

from system.harness import HOST, Service, until
from system.test_metrics import scraped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
SERVER = 2  # of the kinds of spans
FAILED = 2  # of their statuses


class Collector:
    """
    Decodes what it is sent.

    @ivar spans: The spans, with the attributes of each and of the process that it is from as dictionaries.
    """

    def __init__(self) -> None:
        self.spans: list[dict[str, Any]] = []
        self.paths: set[str] = set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                request = ExportTraceServiceRequest()
                request.ParseFromString(self.rfile.read(int(self.headers["Content-Length"])))
                collector.paths.add(self.path)
                collector.spans += spans_of(request)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *words: object) -> None:
                pass

        self.server = ThreadingHTTPServer((HOST, 0), Handler)
        self.url = f"http://{HOST}:{self.server.server_address[1]}"

    def named(self, name: str) -> list[dict[str, Any]]:
        """Those of a name."""
        return [each for each in self.spans if each["name"] == name]


def spans_of(request: ExportTraceServiceRequest) -> list[dict[str, Any]]:
    """All that is in one message."""
    return [
        {
            "name": span.name,
            "kind": span.kind,
            "status": span.status.code,
            "trace": span.trace_id.hex(),
            "id": span.span_id.hex(),
            "parent": span.parent_span_id.hex(),
            "began": span.start_time_unix_nano,
            "ended": span.end_time_unix_nano,
            "attributes": values_of(span.attributes),
            "resource": values_of(group.resource.attributes),
        }
        for group in request.resource_spans
        for scope in group.scope_spans
        for span in scope.spans
    ]


def values_of(attributes: Any) -> dict[str, Any]:
    """Attributes as a dictionary."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


@contextmanager
def running(collector: Collector) -> Iterator[None]:
    """It listens."""
    thread = threading.Thread(target=collector.server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        collector.server.shutdown()
        collector.server.server_close()
        thread.join()


@pytest.fixture
def collector() -> Iterator[Collector]:
    """One that runs."""
    found = Collector()
    with running(found):
        yield found


def settings_of(url: str, *more: str) -> str:
    """The settings."""
    return "\n".join(["[tracing]", f"endpoint = {url}", *more, ""])


@pytest.mark.parametrize("workers", [1, 2])
def test_every_request(serve: Callable[..., Service], collector: Collector, tmp_path: Path, workers: int) -> None:
    """Also by the short road, of all workers, and to the last of them, at the end."""
    logged = tmp_path / "access.log"
    settings = settings_of(collector.url, "ratio = 1", "service_name = tapes", "[access_log]", f"file = {logged}")
    service = serve(workers=workers, settings=settings)
    asked = Counter({"PUT /{file_id}": 1, "GET": 2})  # of what is refused before its route is looked for, there is none
    assert service.ask("PUT", 7, b"seven").status == 201
    assert service.ask("GET", "/7?secret=1", None, {"Authorization": "Bearer secret"}).status == 401
    with service.client() as client:
        for _ in range(20):
            assert client.ask("GET", 7).body == b"seven"
            asked["GET /{file_id}"] += 1
    answered_by: set[str] = set()
    while len(answered_by) < workers:
        answer = service.ask("DELETE", 8)
        answered_by.add(answer.fields["x-request-id"].partition("-")[0])  # which begins with what its worker is called
        asked["DELETE /{file_id}"] += 1
    assert service.ask("GET", "/no-such").status == 404
    service.stop()
    found = [each for each in collector.spans if each["kind"] == SERVER]
    assert Counter(each["name"] for each in found) == asked
    assert collector.paths == {"/v1/traces"}
    assert {each["resource"]["service.name"] for each in collector.spans} == {"tapes"}
    assert len({each["attributes"]["pacarchive.request.id"] for each in found}) == len(found)
    assert "secret" not in str(collector.spans)
    put = collector.named("PUT /{file_id}")[0]
    assert put["attributes"] == {
        "http.request.method": "PUT",
        "http.route": "/{file_id}",
        "http.response.status_code": 201,
        "http.request.body.size": 5,
        "http.response.body.size": put["attributes"]["http.response.body.size"],
        "network.protocol.version": "1.1",
        "pacarchive.file.id": "7",
        "pacarchive.request.id": put["attributes"]["pacarchive.request.id"],
        "url.path": "/7",
        "url.scheme": "http",
    }
    (commit,) = collector.named("put")
    assert (commit["trace"], commit["parent"]) == (put["trace"], put["id"])
    assert put["began"] <= commit["began"] <= commit["ended"] <= put["ended"]
    assert not put["parent"]
    assert len({each["trace"] for each in found}) == len(found)
    lines = [json.loads(line) for line in logged.read_text().splitlines()]
    assert {each["request"]: each["trace"] for each in lines} == {
        each["attributes"]["pacarchive.request.id"]: each["trace"] for each in found
    }
    assert "Traceback" not in service.log


def test_the_callers_word(serve: Callable[..., Service], collector: Collector) -> None:
    """What it keeps is part of its trace; what it does not is not kept here, and nothing else is of itself."""
    service = serve(workers=2, settings=settings_of(collector.url, "ratio = 0"))
    service.ask("GET", 1)
    service.ask("GET", 2, None, {"traceparent": f"00-{TRACE}-{CALLER}-00"})
    service.ask("GET", 3, None, {"traceparent": f"00-{TRACE}-{CALLER}-01"})
    service.stop()
    (span,) = [each for each in collector.spans if each["kind"] == SERVER]
    assert (span["trace"], span["parent"]) == (TRACE, CALLER)
    assert span["attributes"]["pacarchive.file.id"] == "3"
    assert span["attributes"]["http.response.status_code"] == 404
    assert span["status"] != FAILED
    (part,) = [each for each in collector.spans if each["kind"] != SERVER]
    assert (part["trace"], part["parent"]) == (TRACE, span["id"])
    assert (part["name"], part["attributes"]) == ("open", {"error.type": "NotFound"})


def test_a_collector_that_is_not_there(serve: Callable[..., Service]) -> None:
    """Requests go on; the log says so once, and when it is there again; what was lost is counted."""
    port = free_port()
    lost = Collector()
    lost.server.server_close()
    more = f"[metrics]\nendpoint = {port}\n"
    environment = {"OTEL_BSP_SCHEDULE_DELAY": "50"}
    service = serve(workers=1, settings=settings_of(lost.url, "ratio = 1") + more, environment=environment)

    def counted(result: str) -> float:
        return scraped(port)["pacarchive_spans_total", (("result", result),)]

    for number in (1, 2):
        assert service.ask("GET", number).status == 404
        until(partial(lambda least: counted("failed") >= least, 2 * number), "it is counted")
    complaint = rf"\[tracing\] endpoint: {re.escape(lost.url)}: .*; spans that it does not take are lost"
    assert len(re.findall(complaint, service.log)) == 1
    assert "Traceback" not in service.log
    assert counted("sent") == 0
    back = Collector()
    back.server.server_close()
    back.server = type(back.server)((HOST, lost.server.server_address[1]), back.server.RequestHandlerClass)
    with running(back):
        assert service.ask("GET", 3).status == 404
        until(lambda: back.spans, "it takes them")
        until(lambda: f"{lost.url} takes spans again" in service.log, "the log says so")
        service.stop()
    assert len(re.findall(complaint, service.log)) == 1


def test_a_collector_that_hangs(serve: Callable[..., Service]) -> None:
    """It holds up neither requests nor, for long, the end."""
    with socket.create_server((HOST, 0)) as deaf:
        url = f"http://{HOST}:{deaf.getsockname()[1]}"
        # Nothing is sent before the end: what had been given up by then would not be waited for.
        later = {"OTEL_BSP_SCHEDULE_DELAY": "3600000"}
        service = serve(workers=2, settings=settings_of(url, "ratio = 1"), environment=later)
        workers: set[str] = set()
        while len(workers) < 2:
            answer = service.ask("GET", 1)
            assert answer.status == 404
            workers.add(answer.fields["x-request-id"].partition("-")[0])
        service.stop()
    assert service.log.count("the last spans could not be sent within 5 s") == len(workers)
    assert "killed" not in service.log
    assert "left behind" not in service.log


@pytest.fixture
def without_the_extra(tmp_path: Path) -> dict[str, str]:
    """Variables of a service that cannot import OpenTelemetry."""
    package = tmp_path / "site/opentelemetry"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ModuleNotFoundError('No module named opentelemetry')\n")
    return {"PYTHONPATH": str(package.parent)}


def test_without_the_extra(serve: Callable[..., Service], without_the_extra: dict[str, str]) -> None:
    """Nobody who has no collector needs it."""
    service = serve(workers=1, environment=without_the_extra, forked=False)
    assert service.ask("GET", 1).status == 404


@pytest.mark.parametrize("workers", [1, 2])
def test_the_extra_is_missing(tmp_path: Path, without_the_extra: dict[str, str], workers: int) -> None:
    """One line says what to install, and nothing has begun."""
    settings = settings_of("http://127.0.0.1:4318")
    service = Service(tmp_path, settings=settings, workers=workers, environment=without_the_extra, forked=False)
    assert service.ends() == 2
    (line,) = service.log.splitlines()
    assert line.endswith(
        "settings: [tracing] endpoint: spans need more packages: pip install 'pacarchive[otel]' "
        "(No module named opentelemetry)"
    )
