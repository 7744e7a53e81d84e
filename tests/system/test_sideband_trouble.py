"""The whole service while its sideband database is restarted, killed, frozen or away: what clients see of it."""

from __future__ import annotations

import itertools
import json
import random
import signal
import statistics
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from sideband.watching import UNHURRIED

from system.harness import at_once, content, in_background, until
from system.sideband import localities, media

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

    from system.harness import Answer, Client, Service
    from system.sideband import Site

LIMIT = 1.0
"""What the database may take."""

SLACK = 9.0
"""What a busy machine may add; who waited for each of many answers would take longer."""

UNKNOWN = "UNAVAILABLE"

TRUTH = {600: "DISK", 601: "DISK_AND_TAPE", 602: "TAPE", 603: "DISK"}
"""Of files that are never changed; the daemon has not heard of the last."""

DATA = b"of a file that is not changed"


def _prepare(sam: Site, *, limit: float = LIMIT, **more: Any) -> Service:
    """A service with a short time limit, and the files of L{TRUTH}."""
    service = sam.start(hsm={"database_timeout": limit, "read_timeout": limit}, **more)
    for file_id, locality in TRUTH.items():
        assert service.ask("PUT", file_id, DATA).status == 201
        if file_id != 603:
            sam.record(file_id)
        if locality != "DISK":
            sam.archive(file_id)
        if locality == "TAPE":
            sam.release(file_id)
    until(lambda: _tells_the_truth(service), "HEAD says the truth")
    return service


def _tells_the_truth(service: Service) -> bool:
    """Whether each worker does, as far as many questions tell; none may ever say what is wrong."""
    found = [localities(service, TRUTH) for _ in range(5)]
    assert all(each[file_id] in (TRUTH[file_id], UNKNOWN) for each in found for file_id in TRUTH)
    return all(each == TRUTH for each in found)


def _health(service: Service) -> tuple[int, bool, str]:
    answer = service.ask("GET", "/health")
    document = json.loads(answer.body)
    assert document["ready"] == (answer.status == 200)
    return answer.status, document["degraded"], document["message"]


def _timed(call: Callable[[], Answer]) -> tuple[float, Answer]:
    began = time.monotonic()
    answer = call()
    return time.monotonic() - began, answer


@attrs.define
class Load:
    """
    Clients that do a little of everything, each over one connection.  A request that fails fails the test, and so does
    a wrong byte, or an answer that is wrong of where a file is.

    @ivar done: How often what was answered: method, status, and what a HEAD says.
    @ivar longest: The most seconds that a request took, by the method.
    """

    service: Service
    done: dict[tuple[str, int, str], int] = attrs.field(factory=dict)
    longest: dict[str, float] = attrs.field(factory=dict)
    _numbers: Iterator[int] = attrs.field(factory=lambda: itertools.count(100_000, 100))

    def run(self, ended: threading.Event) -> None:
        """One client."""
        first = next(self._numbers)
        rng, stored = random.Random(first), dict[int, bytes]()
        with self.service.client() as client:
            while not ended.is_set():
                file_id = first + rng.randrange(10)
                if file_id not in stored or rng.random() < 0.2:
                    data = content((file_id, rng.random()), rng.choice([100, 60_000, 300_000]))
                    self._ask(client, "PUT", file_id, data)
                    stored[file_id] = data
                elif rng.random() < 0.4:
                    assert self._ask(client, "GET", file_id).body == stored[file_id], "wrong bytes"
                elif rng.random() < 0.4:
                    known = rng.choice(list(TRUTH))
                    assert media(self._ask(client, "HEAD", known))[1] in (TRUTH[known], UNKNOWN)
                elif rng.random() < 0.7:
                    assert media(self._ask(client, "HEAD", file_id))[1] in ("DISK", UNKNOWN)
                else:
                    self._ask(client, "POST", rng.choice([600, 601]))
                ended.wait(0.002)

    def _ask(self, client: Client, method: str, file_id: int, body: bytes | None = None) -> Answer:
        took, answer = _timed(lambda: client.ask(method, file_id, body))
        key = method, answer.status, answer.fields.get("x-pacarchive-locality", "")
        self.done[key] = self.done.get(key, 0) + 1
        self.longest[method] = max(took, self.longest.get(method, 0))
        assert answer.status in {"GET": [200], "PUT": [201], "HEAD": [204], "POST": [200, 202]}[method], answer
        return answer

    def count(self, method: str, locality: str | None = None) -> int:
        """How many requests of a method have been answered, with one locality, or any."""
        return sum(count for key, count in list(self.done.items()) if key[0] == method and locality in (None, key[2]))

    def go_on(self, count: int) -> None:
        """Wait for so many more requests of each method."""
        for method in ("GET", "PUT", "HEAD", "POST"):
            least = self.count(method) + count
            until(lambda: self.count(method) >= least, f"the clients go on with {method}")  # noqa: B023

    def until_unknown(self) -> None:
        """Wait until one is told once more that nobody knows where a file is."""
        before = self.count("HEAD", UNKNOWN)
        until(lambda: self.count("HEAD", UNKNOWN) > before, "a HEAD sees that the database is away")


def _report(load: Load) -> None:
    counts = {method: load.count(method) for method in ("GET", "PUT", "HEAD", "POST")}
    longest = {method: round(took, 2) for method, took in load.longest.items()}
    print(f"requests: {counts}, of them unknown {load.count('HEAD', UNKNOWN)}; longest: {longest}")  # noqa: T201


# Restarted and killed


@pytest.mark.parametrize(("tcp", "workers"), [(False, 2), (True, 1)])
def test_restarts_under_load(sam: Site, tcp: bool, workers: int) -> None:
    """Two restarts of the database in order, and none of ours: no request fails, and the truth comes back."""
    service = _prepare(sam, tcp=tcp, workers=workers)
    processes = service.workers() if workers > 1 else None  # else the stage commands are the children
    load = Load(service)
    with in_background(load.run, 6):
        load.go_on(5)
        for _ in range(2):
            sam.server.stop()
            load.until_unknown()
            load.go_on(5)
            sam.server.start()
            until(lambda: _tells_the_truth(service), "HEAD says the truth again")
            load.go_on(5)
    _report(load)
    assert processes is None or service.workers() == processes
    assert _health(service)[:2] == (200, False)
    assert max(load.longest.values()) < LIMIT + SLACK


def test_quick_restarts_under_load(sam: Site) -> None:
    """As a package upgrade does it, while all connections are in use."""
    service = _prepare(sam)
    load = Load(service)
    with in_background(load.run, 6):
        for _ in range(2):
            load.go_on(5)
            sam.server.restart()
        until(lambda: _tells_the_truth(service), "HEAD says the truth again")
    _report(load)
    assert max(load.longest.values()) < LIMIT + SLACK


def test_killed_under_load(sam: Site) -> None:
    """C{kill -9} of the database: no request fails, and the truth comes back when it does."""
    service = _prepare(sam, workers=2)
    load = Load(service)
    with in_background(load.run, 6):
        load.go_on(5)
        sam.server.kill()
        load.until_unknown()
        load.go_on(10)
        until(lambda: _health(service)[1], "it is said")
        sam.server.start()
        until(lambda: _tells_the_truth(service), "HEAD says the truth again")
        load.go_on(5)
    _report(load)
    assert _health(service)[:2] == (200, False)
    assert max(load.longest.values()) < LIMIT + SLACK


def test_connections_that_the_server_ends(sam: Site) -> None:
    """Idle ones are closed by the server after a while, or by an administrator: nobody hears of it."""
    service = _prepare(sam, limit=UNHURRIED)
    for _ in range(3):
        for number, user in sam.server.execute("SELECT id, user FROM information_schema.processlist"):
            if user == sam.user:
                sam.server.execute(f"KILL {number}")
        answers = at_once([partial(localities, service, TRUTH)] * 4)
        assert answers == [TRUTH] * 4
    assert "is not known" not in service.log


# Frozen


@pytest.mark.parametrize("tcp", [False, True])
def test_frozen(sam: Site, tcp: bool) -> None:
    """
    A database that answers nothing costs those who ask it first its time limit, all at the same time; then it is not
    asked any more until it answers again.  To store and read goes on as ever.
    """
    service = _prepare(sam, tcp=tcp)
    sam.server.freeze()
    began = time.monotonic()
    answers = at_once([partial(_timed, partial(service.ask, "HEAD", file_id)) for file_id in [*TRUTH] * 5])
    together = time.monotonic() - began
    assert {media(answer)[1] for _, answer in answers} == {UNKNOWN}
    longest = max(took for took, _ in answers)
    assert together < LIMIT + SLACK
    later, stored, health = [], [], []
    with service.client() as client:
        for number in range(8):
            for file_id in TRUTH:
                took, answer = _timed(partial(client.ask, "HEAD", file_id))
                assert media(answer)[1] == UNKNOWN
                later.append(took)
            data = content(number, 1000)
            for method, body in (("PUT", data), ("GET", None)):
                took, answer = _timed(partial(client.ask, method, 700 + number, body))
                assert answer.status in (200, 201)
                assert method == "PUT" or answer.body == data
                stored.append(took)
            time.sleep(0.1)  # so that checks of the database fall in between
    for _ in range(3):
        began = time.monotonic()
        status, degraded, words = _health(service)
        health.append(time.monotonic() - began)
        assert (status, degraded) == (200, True)
        assert "sideband database: " in words
    sam.server.thaw()
    thawed = time.monotonic()
    until(lambda: _tells_the_truth(service), "HEAD says the truth again")
    print(  # noqa: T201
        f"20 together {together:.2f} s (longest {longest:.2f}), later {max(later):.3f}, stored and read "
        f"{max(stored):.3f}, health {max(health):.2f}, the truth again after {time.monotonic() - thawed:.2f} s"
    )
    assert statistics.median(later) < LIMIT / 2
    assert statistics.median(stored) < LIMIT / 2
    assert max(health) < LIMIT + SLACK
    assert _health(service)[:2] == (200, False)
    assert service.log.count("where the bytes of files are is not known") == 1


def test_frozen_and_files_on_tape(sam: Site) -> None:
    """What nobody knows of is staged when it is asked for, rather than not; the answer is as quick."""
    service = _prepare(sam)
    sam.server.freeze()
    took, answer = _timed(partial(service.ask, "POST", 602))
    assert (answer.status, took < LIMIT + SLACK) == (202, True)
    until(lambda: str(sam.path_of(602)) in sam.asked_for, "it is asked for")
    # The bytes are there before the database can hear of it.
    until(lambda: service.ask("GET", 602).body == DATA, "it is back")
    sam.server.thaw()
    until(lambda: localities(service, [602])[602] == "DISK_AND_TAPE", "the database has it")


@pytest.mark.parametrize("workers", [1, 2])
def test_the_end_while_it_is_frozen(sam: Site, workers: int) -> None:
    """Neither a request that waits for the database nor the connections to it hold up the end."""
    service = _prepare(sam, workers=workers)
    sam.server.freeze()
    began = time.monotonic()

    def ask() -> int:
        return service.ask("HEAD", 600).status

    def end() -> int:
        time.sleep(0.2)
        return service.stop()

    statuses = at_once([ask, end])
    took = time.monotonic() - began
    assert statuses == [204, -signal.SIGTERM]
    print(f"ended after {took:.2f} s")  # noqa: T201
    assert took < 2 * SLACK
    assert "killed" not in service.log


# Away


def test_starting_without_it(sam: Site) -> None:
    """The service starts and serves all the same, says once what is wrong, and asks until it is right."""
    _prepare(sam).stop()
    sam.server.stop()
    service = sam.start(hsm={"database_timeout": LIMIT})
    with service.client() as client:
        for file_id in TRUTH:
            assert media(client.ask("HEAD", file_id))[1] == UNKNOWN
        assert client.ask("PUT", 700, b"data").status == 201
        assert client.ask("GET", 700).body == b"data"
        assert client.ask("GET", 600).body == DATA
    status, degraded, words = _health(service)
    assert (status, degraded, "cannot be connected to" in words) == (200, True, True)
    for _ in range(3):
        assert _health(service)[1]  # which tries it again
    assert service.log.count("where the bytes of files are is not known") == 1
    sam.server.start()
    until(lambda: _tells_the_truth(service), "HEAD says the truth")
    assert service.log.count("where the bytes of files are is not known") == 1
    assert service.log.count("sideband database: well") == 1
    assert _health(service)[:2] == (200, False)


def test_starting_while_it_is_frozen(sam: Site) -> None:
    """The start waits for the time limit, and no longer."""
    _prepare(sam).stop()
    sam.server.freeze()
    began = time.monotonic()
    service = sam.start(hsm={"database_timeout": LIMIT})
    assert service.port
    took = time.monotonic() - began
    print(f"started after {took:.2f} s")  # noqa: T201
    assert took < LIMIT + 2 * SLACK
    assert service.ask("GET", 600).body == DATA
    assert localities(service, TRUTH) == dict.fromkeys(TRUTH, UNKNOWN)
    sam.server.thaw()
    until(lambda: _tells_the_truth(service), "HEAD says the truth")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"password": "wrong"}, "it does not accept the account (error 1045)"),
        ({"schema": "mysql"}, "(error 10"),
        ({"sam_qfs_prefix": "/elsewhere"}, "it does not know the archive's directory"),
    ],
)
def test_settings_that_are_wrong(sam: Site, wrong: dict[str, object], words: str) -> None:
    """To store and read needs no database; health and the log say what is to be set right."""
    service = sam.start(hsm=wrong)
    assert service.ask("PUT", 600, DATA).status == 201
    assert service.ask("GET", 600).body == DATA
    assert localities(service, [600]) == {600: UNKNOWN}
    status, degraded, said = _health(service)
    assert (status, degraded, words in said) == (200, True, True), said
    assert words in service.log
