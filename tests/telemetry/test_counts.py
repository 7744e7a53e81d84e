"""Counting: numbers are where they are to be, add up, and outlive the process that counts."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from pacarchive import errors
from pacarchive.telemetry.counts import DOCUMENT, Counts, add_up, read, read_document, write_document
from pacarchive.telemetry.memory import CountingMemory
from pacarchive.telemetry.parts import (
    EVENTS,
    TRANSFERS,
    WORDS,
    Event,
    Part,
    Totals,
    Transfer,
    join,
    read_part,
    read_totals,
    write_part,
    write_totals,
)
from pacarchive.telemetry.process import PATIENCE, Samples, Telemetry
from pacarchive.telemetry.rendering import render
from pacarchive.telemetry.requests import RequestCounts
from pacarchive.telemetry.table import METHODS, METRICS, QUICK, Kind

if TYPE_CHECKING:
    from collections.abc import Awaitable

REQUESTS = "http_requests_total"


def test_known_values_are_there_from_the_start() -> None:
    """A rate needs the zero before the first."""
    found = Counts().read()
    assert found[REQUESTS, "GET", "200"] == (0.0,)
    assert found["http_request_duration_seconds", "PUT"] == (0.0,) * (len(QUICK) + 2)
    assert found["refused_total", "stalled"] == (0.0,)


def test_counting() -> None:
    """Counters grow; histograms have each value in its bucket, and the sum."""
    counts = Counts()
    counts.add("incidents_total")
    counts.add("refused_total", "of a new kind", amount=3)
    for value in (0.0005, 0.001, 0.3, 400):
        counts.observe(value, "reactor_lag_seconds")
    found = counts.read()
    assert found["incidents_total",] == (1.0,)
    assert found["refused_total", "of a new kind"] == (3.0,)
    *buckets, total = found["reactor_lag_seconds",]
    assert {bound: count for bound, count in zip((*QUICK, None), buckets, strict=True) if count} == {
        0.001: 2.0,
        0.5: 1.0,
        None: 1.0,
    }
    assert total == pytest.approx(400.3015)


def test_no_room() -> None:
    """Memory that others read is never overrun, whatever mistake is made with labels."""
    counts = Counts()
    added = 0
    with suppress(MemoryError):
        while added < 10_000:
            counts.add("refused_total", str(added))
            added += 1
    assert 3000 < added < 10_000
    assert counts.read()["refused_total", "7"] == (1.0,)
    counts.add("refused_total", "7")
    assert counts.read()["refused_total", "7"] == (2.0,)


def test_what_a_killed_process_has_counted() -> None:
    """Is read by the one that has the same memory."""
    memory = CountingMemory()
    try:
        if not (child := os.fork()):
            Counts(memory.view).add(REQUESTS, "GET", "200", amount=5)
            os.kill(os.getpid(), 9)
        os.waitpid(child, 0)
        assert read(memory.view)[REQUESTS, "GET", "200"] == (5.0,)
    finally:
        memory.close()


def test_adding_up() -> None:
    """Numbers of several processes, also of series that not all have."""
    first, second = Counts(), Counts()
    first.observe(0.002, "reactor_lag_seconds")
    second.observe(0.002, "reactor_lag_seconds")
    second.add("refused_total", "odd")
    both = first.read()
    add_up(both, second.read())
    assert both["refused_total", "odd"] == (1.0,)
    assert both["reactor_lag_seconds",][:2] == (0.0, 2.0)


def test_requests() -> None:
    """One that is answered has its times; one that is not, or has no known method, does not."""
    counts = Counts()
    requests = RequestCounts(counts)
    for _ in range(2):
        requests.ended(b"GET", HTTPStatus.OK, 0.02, 0.001, 5000)
    requests.ended(b"GET", 404, 0.02, 0.001, 100)
    requests.ended(b"PUT", 0, 3.0)
    requests.ended(b"BREW", 405, 3.0)
    requests.ended(b"", 400)
    found = counts.read()
    assert found[REQUESTS, "GET", "200"] == (2.0,)
    assert found[REQUESTS, "GET", "404"] == (1.0,)
    assert found[REQUESTS, "PUT", "none"] == (1.0,)
    assert found[REQUESTS, "other", "405"] == (1.0,)
    assert found[REQUESTS, "other", "400"] == (1.0,)
    assert sum(found["http_request_duration_seconds", "GET"][:-1]) == 3
    assert sum(found["http_request_duration_seconds", "PUT"]) == 0
    assert found["transfer_size_bytes", "out"][1] == 0
    assert found["transfer_size_bytes", "out"][2] == 2
    assert found["transfer_size_bytes", "out"][-1] == 10_000


def test_nobody_can_make_series() -> None:
    """Methods are many, and codes what a mistake makes of them: there are as many series as are known."""
    counts = Counts()
    requests = RequestCounts(counts)
    before = len(counts.read())
    for number in range(5000):
        requests.ended(b"M%d" % number, 405)
        requests.ended(b"GET", 600 + number)
    assert len(counts.read()) <= before + 2
    assert len(requests._codes) < 10


def test_there_is_room_for_all_requests() -> None:
    """Every method with every status that there is."""
    counts = Counts()
    for method in (*METHODS, "other"):
        for status in HTTPStatus:
            RequestCounts(counts).ended(method.encode(), status)


# What is said at a moment

TRANSFER = Transfer("in", "PUT", 2**64 - 1, "user:alice", "127.0.0.1", 5, None, 1000.5, "abc")
EVENT = Event(1000.25, "refused", "NotFound", "GET /5: none", "127.0.0.1", None, "abc")


def test_parts_and_totals_are_written_and_read() -> None:
    """Nothing is lost on the way from one process to another."""
    part = Part({("transfers",): 1.0, ("pool_busy", "io"): 2.0}, (TRANSFER,), (EVENT,))
    assert read_part(write_part(part)) == part
    totals = join(5.0, [Counts().read()], {3: part})
    line = write_totals(totals)
    assert "\n" not in line
    assert read_totals(line) == totals
    assert totals.transfers[0].worker == 3
    assert totals.value("pool_busy", "io") == 2.0
    assert totals.value(REQUESTS, "GET", "200") == 0.0
    assert totals.value(REQUESTS, "GET", "299") is None


def test_a_part_always_fits() -> None:
    """However much there is to say."""
    event = Event(1.0, "refused", "x" * 50, "\udce9" * WORDS, "a" * 50)
    part = Part({}, (TRANSFER,) * TRANSFERS, (event,) * EVENTS)
    memory = memoryview(bytearray(Counts()._memory.nbytes))
    write_document(memory, write_part(part))
    assert len(write_part(part)) <= DOCUMENT
    found = read_part(read_document(memory))
    assert found.events
    assert set(found.events) == {event}


def test_gauges_are_joined() -> None:
    """Most are added; of some the largest or the least is that of all."""
    first = Part({("connections",): 2.0, ("start_time_seconds",): 5.0, ("build_info", "1"): 1.0})
    second = Part({("connections",): 3.0, ("start_time_seconds",): 7.0, ("build_info", "1"): 1.0})
    joined = join(0.0, [], {0: first, 1: second})
    assert joined.gauges == {("connections",): 5.0, ("start_time_seconds",): 5.0, ("build_info", "1"): 1.0}


# One process


def result(work: Awaitable[Totals]) -> list[Totals]:
    """What comes of it, once it has come."""
    found: list[Totals] = []
    deferred: Deferred[Totals] = Deferred.fromCoroutine(work)  # type: ignore[arg-type]
    deferred.addCallback(found.append)
    return found


def test_totals_of_one_process() -> None:
    """Samples are taken when somebody wants to know, and only the events of the last hour are told."""
    clock = Clock()
    clock.advance(10_000)
    telemetry = Telemetry(clock)
    telemetry.samples(lambda: [(("connections",), 4.0)])
    telemetry.samples(lambda: [(("connections",), 1.0)])
    telemetry.transfers = lambda: [TRANSFER]
    telemetry.note(EVENT)
    telemetry.note(Event(9000.0, "failed", "NoSpace", "words", "local"))
    (totals,) = result(telemetry.totals())
    assert totals.value("connections") == 5.0
    assert totals.value("workers_reporting") == 1.0
    assert totals.transfers == (TRANSFER,)
    assert [each.kind for each in totals.events] == ["NoSpace"]
    assert totals.value("process_open_fds", "0")


def test_what_failed_is_kept_however_much_is_refused() -> None:
    """And the other way round; the last first."""
    clock = Clock()
    telemetry = Telemetry(clock)
    telemetry.note(Event(1.0, "failed", "NoSpace", "words", "local"))
    telemetry.note(Event(2.0, "incident", "incident", "words", "local"))
    for moment in range(3, 3 + 2 * EVENTS):
        telemetry.note(Event(float(moment), "refused", "NotFound", "words", "local"))
    (totals,) = result(telemetry.totals())
    assert [each.kind for each in totals.events] == ["NotFound"] * (EVENTS // 2) + ["incident", "NoSpace"]
    assert [each.time for each in totals.events[:2]] == [2.0 + 2 * EVENTS, 1.0 + 2 * EVENTS]


def test_slow_samples_hold_up_nobody() -> None:
    """They are waited for a little, and then are in a later answer; no second look is begun meanwhile."""
    clock = Clock()
    telemetry = Telemetry(clock)
    looks: list[Deferred[Samples]] = []

    def sample() -> Deferred[Samples]:
        looks.append(Deferred())
        return looks[-1]

    telemetry.samples_slowly(sample)
    first = result(telemetry.totals())
    assert first == []
    clock.advance(PATIENCE)
    assert first[0].value("connections_limit") is None
    second = result(telemetry.totals())
    assert len(looks) == 1
    looks[0].callback([(("connections_limit",), 7.0)])
    assert second[0].value("connections_limit") == 7.0
    assert clock.getDelayedCalls() == []


def test_lag() -> None:
    """How late the reactor is."""
    clock = Clock()
    telemetry = Telemetry(clock)
    telemetry.start()
    clock.advance(1)
    clock.advance(3.5)
    telemetry.stop()
    *buckets, total = telemetry.counts.read()["reactor_lag_seconds",]
    assert (sum(buckets), total) == (2.0, 2.5)
    assert clock.getDelayedCalls() == []


# For Prometheus


def test_rendering() -> None:
    """It is read back as it was, by the parser of the format's own library."""
    telemetry = Telemetry(Clock())
    telemetry.requests.ended(b"GET", 200, 0.003, 0.002, 10)
    telemetry.counts.add("refused_total", 'odd "\\\n')
    (totals,) = result(telemetry.totals())
    text, media_type = render(totals, "")
    assert media_type.startswith("text/plain")
    families = {each.name: each for each in text_string_to_metric_families(text.decode())}
    requests = families["pacarchive_http_requests"].samples
    assert [each.value for each in requests if each.labels == {"method": "GET", "code": "200"}] == [1.0]
    buckets = {
        each.labels["le"]: each.value
        for each in families["pacarchive_http_request_duration_seconds"].samples
        if each.labels["method"] == "GET" and each.name.endswith("_bucket")
    }
    assert (buckets["0.0025"], buckets["0.005"], buckets["300.0"], buckets["+Inf"]) == (0, 1, 1, 1)
    assert "process_cpu_seconds" in families
    text, media_type = render(totals, "application/openmetrics-text; version=1.0.0,text/plain;version=0.0.4;q=0.5")
    assert media_type.startswith("application/openmetrics-text")
    assert text.endswith(b"# EOF\n")


@pytest.mark.parametrize("metric", METRICS.values(), ids=list(METRICS))
def test_names_and_words(metric: object) -> None:
    """As the conventions have it."""
    each = METRICS[metric.name]  # type: ignore[attr-defined]
    assert each.help.endswith(".")
    assert (each.kind is Kind.COUNTER) == each.name.endswith("_total")
    assert (each.kind is Kind.HISTOGRAM) == bool(each.buckets)
    assert list(each.buckets) == sorted(each.buckets)
    assert not {"id", "file", "path", "user", "principal", "address", "client"}.intersection(each.labels)
    assert all(len(labels) == len(each.labels) for labels in each.known)


def test_every_refusal_has_its_zero() -> None:
    """Of each error that there is, and each status of a route: a rate needs the zero before the first."""
    known = {labels[0] for name in ("refused_total", "failures_total") for labels in METRICS[name].known}
    kinds = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.ArchiveError)]
    wanted = {each.__name__ for each in kinds if each not in (errors.ArchiveError, errors.Unavailable)}
    for path in Path(errors.__file__).parent.glob("web/**/*.py"):
        for name in re.findall(r"HTTPRefusal\(\s*HTTPStatus\.(\w+)", path.read_text()):
            wanted.add(f"{HTTPStatus[name].value} {HTTPStatus[name].phrase}")
        wanted.update(re.findall(r"site\.refused\(\s*\"(\w+)\"", path.read_text()))
    assert "405 Method Not Allowed" in wanted
    assert "stalled" in wanted
    assert wanted <= known
