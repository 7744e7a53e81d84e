"""Spans of requests, for a collector that speaks OTLP over HTTP.

Only imported where there is one: it needs the packages of C{pacarchive[otel]}.  A span is made when its request is
over, of what was noted by then, and only where it is sampled: nothing has to be carried along with the others.
OpenTelemetry's own thread sends them; the reactor never waits for it, and what there is no room for is dropped.
"""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING, Any

from opentelemetry import trace as api
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from twisted.internet import defer
from twisted.logger import Logger

from pacarchive import __version__
from pacarchive.runtime.threads import in_passing
from pacarchive.telemetry.settings import TRACES_PATH
from pacarchive.texts import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from pacarchive.telemetry.counts import Counts
    from pacarchive.telemetry.phases import Phase
    from pacarchive.telemetry.settings import TracingSettings

MOST = 2048
"""Spans that may wait to be sent."""

BATCH = 512
"""Spans that are sent together."""

SENDING = 5.0
"""Seconds after which a batch that the collector has not taken is lost."""

ENDING = 5.0
"""Seconds for which the end of the service waits for what is left to be sent."""

_LOGGER = "opentelemetry"
_NANO = 10**9
_LONGEST_REASON = 300  # characters

_log = Logger()


def _otlp_exporter(settings: TracingSettings) -> SpanExporter:
    return OTLPSpanExporter(settings.endpoint + TRACES_PATH, timeout=SENDING)


class Tracing:
    """
    Makes spans, and has them sent.

    @param reactor: The reactor.
    @param settings: Where to, and of which requests.
    @param counts: Where spans are counted.
    @param chance: A random number from 0 to 1, without 1.
    @param make_exporter: Makes what sends spans, in a thread.
    """

    def __init__(
        self,
        reactor: Any,
        settings: TracingSettings,
        counts: Counts,
        chance: Callable[[], float] = random.random,
        make_exporter: Callable[[TracingSettings], SpanExporter] = _otlp_exporter,
    ) -> None:
        self._reactor = reactor
        self._settings = settings
        self._counts = counts
        self._ratio = settings.ratio
        self._chance = chance
        self._make_exporter = make_exporter
        self._provider: TracerProvider | None = None
        self._tracer: api.Tracer | None = None
        self._exporter: _CountingExporter | None = None
        self._ended = 0
        self._allowance = float(settings.callers)
        self._since = reactor.seconds()
        self._fails = False

    async def start(self) -> None:
        """Begin: in the process that sends, as it takes a thread."""
        await in_passing(self._reactor, self._begin)

    def _begin(self) -> None:
        # In a thread, whose mask of signals the one that sends inherits; and to find out what to say of this process
        # takes time.
        exporter = _CountingExporter(self._make_exporter(self._settings), self._counts, self._tell)
        # What to do without is decided before a span is begun: all that are, are kept.
        provider = TracerProvider(
            ALWAYS_ON,
            Resource.create({"service.name": self._settings.service_name, "service.version": __version__}),
            shutdown_on_exit=False,
        )
        provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=MOST, max_export_batch_size=BATCH))
        self._provider, self._exporter = provider, exporter
        self._tracer = provider.get_tracer("pacarchive", __version__)

    async def stop(self) -> None:
        """Send what is left; what a collector does not take in time is lost."""
        self._tracer = None
        provider, self._provider = self._provider, None
        if provider is not None:
            try:
                await in_passing(self._reactor, provider.shutdown).addTimeout(ENDING, self._reactor)
            except defer.TimeoutError:
                _log.warn("the last spans could not be sent within {seconds:g} s", seconds=ENDING)

    def wants(self, sampled: bool | None) -> bool:
        """
        Whether there is to be a span of a request.

        @param sampled: Whether its caller keeps one of its own; C{None} where the caller does not say.
        """
        if sampled is None:
            return self._chance() < self._ratio
        return sampled and self._may_be_asked()

    def _may_be_asked(self) -> bool:
        """Whether one more may be made because a caller says so: a client could say it with each request."""
        now, most = self._reactor.seconds(), self._settings.callers
        self._allowance = min(most, self._allowance + (now - self._since) * most)
        self._since = now
        if self._allowance < 1:
            self._counts.add("spans_total", "refused")
            return False
        self._allowance -= 1
        return True

    def add(
        self,
        name: str,
        began: float,
        ended: float,
        attributes: Mapping[str, str | int],
        phases: Sequence[Phase],
        parent: tuple[int, int] | None,
        *,
        failed: bool,
    ) -> int | None:
        """
        Have the span of a request sent, with those of its phases; or dropped.

        @param began: In seconds since the epoch, as C{ended}.
        @param parent: The ids of the trace, and of the caller's span.
        @param failed: Whether it is the server's failure.
        @return: The id of its trace; C{None} where it was dropped.
        """
        tracer, exporter, number = self._tracer, self._exporter, 1 + len(phases)
        if tracer is None or exporter is None or self._ended - exporter.taken + number > MOST:
            self._counts.add("spans_total", "dropped", amount=number)
            return None
        self._ended += number
        context = None if parent is None else _context(*parent)
        span = tracer.start_span(name, context, api.SpanKind.SERVER, attributes, start_time=int(began * _NANO))
        inside = api.set_span_in_context(span)
        for phase in phases:
            more = {} if phase.error is None else {"error.type": phase.error}
            part = tracer.start_span(phase.name, inside, attributes=more, start_time=int(phase.began * _NANO))
            part.end(int((phase.ended or ended) * _NANO))
        if failed:
            span.set_status(api.StatusCode.ERROR)
        span.end(int(ended * _NANO))
        return int(span.get_span_context().trace_id)

    def _tell(self, sent: bool, reason: str) -> None:
        """In the thread that sends: a batch was taken, or was not."""
        self._reactor.callFromThread(self._told, sent, reason)

    def _told(self, sent: bool, reason: str) -> None:
        if sent is not self._fails:
            return
        self._fails = not sent
        endpoint = self._settings.endpoint
        if sent:
            _log.info("{endpoint} takes spans again", endpoint=endpoint)
        else:
            text = "[tracing] endpoint: {endpoint}: {reason}; spans that it does not take are lost"
            _log.error(text, endpoint=endpoint, reason=reason)


def _context(trace: int, parent: int) -> Any:
    """What a span begins in whose parent is a caller's."""
    caller = api.SpanContext(trace, parent, is_remote=True, trace_flags=api.TraceFlags(api.TraceFlags.SAMPLED))
    return api.set_span_in_context(api.NonRecordingSpan(caller))


class _CountingExporter(SpanExporter):
    """
    Counts what another sends; all of it in the thread of the one that calls.

    @param tell: Told whether a batch was sent, and the reason where it was not.
    @ivar taken: How many spans wait no more.
    """

    def __init__(self, exporter: SpanExporter, counts: Counts, tell: Callable[[bool, str], None]) -> None:
        self._exporter = exporter
        self._values = counts.values
        # Of these, no other thread writes the numbers.
        self._slots = {sent: counts.slot("spans_total", "sent" if sent else "failed") for sent in (True, False)}
        self._tell = tell
        self._reasons = _reasons()
        self.taken = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.taken += len(spans)
        self._reasons.last = "it does not take spans"
        try:
            result = self._exporter.export(spans)
        except Exception as error:  # noqa: BLE001  (an exporter's own, or of what it is built on)
            result, self._reasons.last = SpanExportResult.FAILURE, str(error)
        sent = result is SpanExportResult.SUCCESS
        self._values[self._slots[sent]] += len(spans)
        self._tell(sent, printable(self._reasons.last[:_LONGEST_REASON]))
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()
        logging.getLogger(_LOGGER).removeHandler(self._reasons)


class _Reasons(logging.Handler):
    """
    Keeps what OpenTelemetry says, which says it again for each batch.

    @ivar last: The last of it.
    """

    last = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.last = record.getMessage()


def _reasons() -> _Reasons:
    """What OpenTelemetry says from now on, in place of its lines on standard error."""
    logger = logging.getLogger(_LOGGER)
    logger.propagate = False
    reasons = _Reasons(logging.WARNING)
    logger.addHandler(reasons)
    return reasons
