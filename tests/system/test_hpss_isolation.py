"""A stage that takes its time holds up nothing but those who wait for that file."""

from __future__ import annotations

import json
import signal
import statistics
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from system.harness import content, in_background, until
from system.hpss import path_of

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from system.harness import Client, Service
    from system.hpss import Site

GETS = 500
"""In each block; there are as many blocks with stages as without."""
BLOCKS = 4
ATTEMPTS = 3
FACTOR = 2

RESIDENT = range(100, 120)


def _measure(client: Client) -> float:
    """Read small files, one after the other.  @return: The 99th percentile of the time that one takes."""
    times = []
    for number in range(GETS):
        file_id = RESIDENT[number % len(RESIDENT)]
        began = time.perf_counter()
        answer = client.ask("GET", file_id)
        times.append(time.perf_counter() - began)
        assert answer.body == content(file_id, 1000)
    return statistics.quantiles(times, n=100)[-1]


@contextmanager
def _stages_that_block(site: Site, service: Service, asked: int, waited_for: int) -> Iterator[None]:
    """
    While one client's wish hangs in HPSS, another client of HPSS waits for a file for minutes of simulated time.

    @param asked: The id of a file on tape; HPSS does not answer the request to stage it.
    @param waited_for: Of another one, which is being staged.
    """

    def ask(_: threading.Event) -> None:
        assert service.ask("POST", asked).status == 202

    def wait(_: threading.Event) -> None:
        site.as_client(f"client.stage({path_of(waited_for)!r})")

    fault = site.archive.fault("hpss_StageCallBack", path=path_of(asked), action="hang")
    with in_background(ask, 1), in_background(wait, 1):
        site.until_struck(fault)
        until(lambda: site.archive.calls_in_flight() == 2, "both wait")
        yield
        # The service asks how other stages stand meanwhile, which is a call as well.
        assert all(site.archive.calls_in_flight() >= 2 for _ in range(100)), "one of them has ended"
        site.archive.clear_faults()
        site.wait_until_staged(waited_for)


def _compare(site: Site, service: Service, on_tape: Iterator[int]) -> tuple[float, float]:
    """The 99th percentiles in calm and beside stages, by turns: what disturbs one half disturbs the other as well."""
    calm, busy = [], []
    with service.client() as client:
        for _ in range(BLOCKS):
            calm.append(_measure(client))
            with _stages_that_block(site, service, next(on_tape), next(on_tape)):
                busy.append(_measure(client))
    return statistics.median(calm), statistics.median(busy)


def test_small_reads_beside_stages(site: Site) -> None:
    """The time that 99 of 100 reads of small files take at most is no more than twice the time in calm."""
    service = site.start()
    for file_id in RESIDENT:
        assert service.ask("PUT", file_id, content(file_id, 1000)).status == 201
    on_tape = range(1, 2 * BLOCKS * ATTEMPTS + 1)
    for file_id in on_tape:
        site.put(file_id, b"on tape")
        site.send_to_tape(file_id)
    site.archive.clock.freeze()
    remaining = iter(on_tape)
    for _ in range(ATTEMPTS):
        calm, busy = _compare(site, service, remaining)
        print(f"p99 in calm {calm * 1000:.2f} ms, beside stages {busy * 1000:.2f} ms: {busy / calm:.2f} x")  # noqa: T201
        if busy <= FACTOR * calm:
            return
    raise AssertionError(f"{busy / calm:.2f} times as slow")


def _asked_for(site: Site) -> set[str]:
    return {request.path for request in site.archive.requests()}


def test_stages_beside_a_stage_that_hangs(site: Site) -> None:
    """A stage that HPSS does not answer holds up no other one, nor what else is asked of the same file."""
    service = site.start()
    for file_id in range(1, 12):
        site.put(file_id, b"data")
        site.send_to_tape(file_id)
    site.archive.clock.freeze()
    with _stages_that_block(site, service, 1, 2):
        for file_id in range(3, 12):
            assert service.ask("POST", file_id).status == 202
            assert service.ask("GET", file_id).status == 503
            assert service.ask("POST", 1).status == 202
        assert service.ask("HEAD", 1).status == 204
        until(lambda: _asked_for(site) == {path_of(file_id) for file_id in range(2, 12)}, "all others are asked for")
    until(lambda: path_of(1) in _asked_for(site), "it is asked for after all")
    for file_id in range(1, 12):
        site.wait_until_staged(file_id)
        assert service.ask("GET", file_id).body == b"data"
    assert len(site.archive.requests()) == 11


def test_recalls_end_beside_a_stage_that_hangs(site: Site) -> None:
    """What others wait for is asked for, and it is noticed that it has come; nor does the service's end wait for it."""
    service = site.start(workers=2, server={"drain_timeout": 1})
    for file_id in (1, 2):
        site.put(file_id, b"data")
        site.send_to_tape(file_id)
    site.archive.clock.freeze()
    fault = site.archive.fault("hpss_StageCallBack", path=path_of(1), action="hang")
    assert service.ask("POST", 1).status == 202
    site.until_struck(fault)
    answer = service.ask("POST", 2)
    assert answer.status == 202
    until(lambda: _asked_for(site) == {path_of(2)}, "the other is asked for")
    site.wait_until_staged(2)
    job = json.loads(answer.body)["job"]
    until(lambda: json.loads(service.ask("GET", job).body)["state"] == "ended", "it is noticed")
    assert site.archive.calls_in_flight() >= 1
    began = time.monotonic()
    assert service.stop() == -signal.SIGTERM
    took = time.monotonic() - began
    print(f"ended after {took:.2f} s")  # noqa: T201
    assert took < 1 + 8
    assert "killed" not in service.log
