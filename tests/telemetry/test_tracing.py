"""Which requests there are spans of, and what becomes of spans that nobody takes."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from twisted.internet import reactor
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread

from pacarchive.backends.contract.handling import in_reactor
from pacarchive.telemetry.counts import Counts
from pacarchive.telemetry.phases import Phase
from pacarchive.telemetry.settings import TracingSettings, ratio
from pacarchive.telemetry.tracing import BATCH, MOST, Tracing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan


def counted(counts: Counts) -> dict[str, float]:
    """What became of spans."""
    return {series[1]: numbers[0] for series, numbers in counts.read().items() if series[0] == "spans_total"}


class Held(SpanExporter):
    """Takes nothing before it may."""

    def __init__(self) -> None:
        self.begun, self.may = threading.Event(), threading.Event()
        self.names: list[str] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.begun.set()
        self.may.wait()
        self.names += [each.name for each in spans]
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        pass


class Broken(Held):
    """Fails in a way that nobody foresaw."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        raise ZeroDivisionError("as it is")


@pytest.mark.parametrize(
    ("given", "found"), [("0", 0.0), ("1", 1.0), ("0.25", 0.25), (".5", 0.5), ("1 %", 0.01), ("100%", 1.0), (0.1, 0.1)]
)
def test_shares(given: str | float, found: float) -> None:
    """As numbers and as percentages."""
    assert ratio(given) == found


@pytest.mark.parametrize("given", ["", "-1", "1.1", "101 %", "nan", "1e-3", "one", "1. %", 2.0, -0.1])
def test_no_shares(given: str | float) -> None:
    """All else is refused, in words."""
    with pytest.raises(ValueError, match="share"):
        ratio(given)


@pytest.mark.parametrize(
    ("share", "chance", "wanted"), [(0.0, 0.0, False), (0.25, 0.2, True), (0.25, 0.25, False), (1.0, 0.999, True)]
)
def test_chance(share: float, chance: float, wanted: bool) -> None:
    """Of those whose client does not say, as many as are to be."""
    tracing = Tracing(Clock(), TracingSettings(ratio=share), Counts(), lambda: chance)
    assert tracing.wants(None) is wanted


def test_callers() -> None:
    """Their word counts, whatever the share is, but not for more than a certain number in a second."""
    clock, counts = Clock(), Counts()
    tracing = Tracing(clock, TracingSettings(ratio=1.0, callers=3), counts)
    assert not tracing.wants(sampled=False)
    assert [tracing.wants(sampled=True) for _ in range(5)] == [True, True, True, False, False]
    assert counted(counts)["refused"] == 2
    clock.advance(0.34)
    assert [tracing.wants(sampled=True) for _ in range(2)] == [True, False]
    clock.advance(60)
    assert [tracing.wants(sampled=True) for _ in range(4)] == [True, True, True, False]


def test_no_say() -> None:
    """With 0, nobody's word counts."""
    assert not Tracing(Clock(), TracingSettings(ratio=1.0, callers=0), Counts()).wants(sampled=True)


def add(tracing: Tracing, name: str, *phases: Phase) -> None:
    """A span."""
    tracing.add(name, 1.0, 2.0, {}, phases, None, failed=False)


@pytest.fixture
def seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits is sent when there are enough, and at the end; not because of the time."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "1000000000")


@pytest.mark.usefixtures("seldom")
@in_reactor
async def test_too_many() -> None:
    """What there is no room for is dropped and counted, whole requests of it; what fits is sent, to the last."""
    exporter, counts = Held(), Counts()
    tracing = Tracing(reactor, TracingSettings(), counts, make_exporter=lambda _: exporter)
    await tracing.start()
    for _ in range(BATCH):
        add(tracing, "first")
    await deferToThread(exporter.begun.wait)  # these wait no more
    for _ in range(MOST - 1):
        add(tracing, "next")
    add(tracing, "lost", Phase("part", lambda: 1.5, 1.2, 1.3))
    add(tracing, "last")
    add(tracing, "lost")
    assert counted(counts) == {"sent": 0.0, "failed": 0.0, "dropped": 3.0, "refused": 0.0}
    exporter.may.set()
    await tracing.stop()
    assert Counter(exporter.names) == {"first": BATCH, "next": MOST - 1, "last": 1}
    assert counted(counts) == {"sent": BATCH + MOST, "failed": 0.0, "dropped": 3.0, "refused": 0.0}


@in_reactor
async def test_an_exporter_that_raises() -> None:
    """Its spans are counted as failed, and the thread goes on to the next."""
    counts = Counts()
    tracing = Tracing(reactor, TracingSettings(), counts, make_exporter=lambda _: Broken())
    await tracing.start()
    add(tracing, "one")
    await tracing.stop()
    assert counted(counts) == {"sent": 0.0, "failed": 1.0, "dropped": 0.0, "refused": 0.0}
    add(tracing, "late")
    assert counted(counts)["dropped"] == 1.0
