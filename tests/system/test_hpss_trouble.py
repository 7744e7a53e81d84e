"""The whole service on a simulated HPSS in trouble: what clients see of it, and how the service goes on."""

from __future__ import annotations

import http.client
import itertools
import json
import random
import re
import signal
import threading
import time
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import attrs

from system.harness import PATIENCE, at_once, content, in_background, read_to_the_end, status_of, until
from system.hpss import PREFIX, path_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from system.harness import Answer, Client, Service
    from system.hpss import Site

MIB = 1 << 20
BLOCK = 4 * MIB
LARGE = 2 * BLOCK + 12345

BLOCKS = {"block_size": BLOCK}
ACCEPTED = 1.0
QUICK = {**BLOCKS, "accept_latency": ACCEPTED, "ping_interval": 1}

UNFINISHED = f"{PREFIX}/.pacarchive/*"
EIO, EBUSY = -5, -16
CUT = 0
"""In place of a status: the download began well, and was broken off."""


@attrs.frozen
class Outcome:
    """How a request of a L{Load} went."""

    began: float
    ended: float
    status: int


@attrs.define
class Load:
    """
    Clients that write files, small and large, and read them back.  A wrong byte is a failure, and so is the end of a
    download that is no end.

    @ivar stored: What is stored for sure, by the id.
    """

    service: Service
    outcomes: list[Outcome] = attrs.field(factory=list)
    stored: dict[int, bytes] = attrs.field(factory=dict)
    _numbers: Iterator[int] = attrs.field(factory=lambda: itertools.count(1000, 100))

    def run(self, ended: threading.Event) -> None:
        """One client."""
        first = next(self._numbers)
        rng = random.Random(first)
        while not ended.is_set():
            file_id, began = first + rng.randrange(10), time.monotonic()
            with self.service.client() as client:
                if file_id in self.stored and rng.random() < 0.6:
                    status = self._get(client, file_id)
                else:
                    data = content((file_id, rng.random()), rng.choice([100, 60_000, 300_000, LARGE]))
                    status = self._put(client, file_id, data)
            self.outcomes.append(Outcome(began, time.monotonic(), status))
            if status not in (200, 201):
                ended.wait(0.02)

    def _put(self, client: Client, file_id: int, data: bytes) -> int:
        self.stored.pop(file_id, None)
        answer = client.ask("PUT", file_id, data)
        if answer.status == 201:
            self.stored[file_id] = data
        return _checked(answer)

    def _get(self, client: Client, file_id: int) -> int:
        data = self.stored[file_id]
        try:
            answer = client.ask("GET", file_id)
        except http.client.IncompleteRead as error:
            came, status = error.partial, CUT
        except ConnectionResetError:
            came, status = b"", CUT
        else:
            came, status = answer.body, _checked(answer)
        assert came == data if status == 200 else status == 503 or data.startswith(came), f"{status}: wrong bytes"
        return status

    def go_on(self, count: int) -> None:
        """Wait for so many more outcomes."""
        count += len(self.outcomes)
        until(lambda: len(self.outcomes) >= count, "the clients go on")

    def between(self, begin: float, end: float = float("inf")) -> list[Outcome]:
        """The requests of a time."""
        return [each for each in self.outcomes if begin <= each.began and each.ended <= end]

    def check(self) -> None:
        """All that is stored for sure is there."""
        with self.service.client() as client:
            assert all(client.ask("GET", file_id).body == data for file_id, data in self.stored.items())


def _checked(answer: Answer) -> int:
    """Its status; who is told to come back is told when."""
    assert answer.status != 503 or int(answer.fields["retry-after"]) > 0
    return answer.status


def _statuses(outcomes: list[Outcome]) -> set[int]:
    return {each.status for each in outcomes}


# The login


def test_logins_that_expire_under_load(site: Site) -> None:
    """Again and again, all at once and each in its time: no request fails, and no byte is wrong."""
    service = site.start(workers=2, hpss=QUICK)
    load, clients = Load(service), 8
    with in_background(load.run, clients):
        for _ in range(3):
            load.go_on(2 * clients)
            site.archive.expire_credentials()
        load.go_on(2 * clients)
        site.archive.set("credential_lifetime", 0.2)
        load.go_on(5 * clients)
        site.archive.set("credential_lifetime", 0)
        load.go_on(clients)
    assert _statuses(load.outcomes) == {200, 201}
    load.check()
    assert site.archive.calls("hpss_SetLoginCred") >= 2 * (1 + 3 + 2)
    assert set(re.findall(r"logging in again \((\d+) calls broken off\)", service.log)) == {"0"}


# The core server


def test_core_server_down_and_back(site: Site) -> None:
    """Everyone is told to come back, and soon; when the server is back nobody is, and nothing else is to be done."""
    service = site.start(workers=2, hpss=QUICK)
    load = Load(service)
    with in_background(load.run, 8):
        load.go_on(32)
        began = time.monotonic()
        site.archive.set("server_state", "down")
        down = time.monotonic()
        until(lambda: service.log.count("requests are refused until it does") == 2, "both workers know")
        load.go_on(50)
        up = time.monotonic()
        site.archive.set("server_state", "up")
        until(lambda: service.log.count("the core server answers again") == 2, "both workers know")
        back = time.monotonic()
        load.go_on(50)
    assert _statuses(load.between(0, began)) == {200, 201}
    assert _statuses(load.between(down, up)) == {503}
    assert max(each.ended - each.began for each in load.between(down, up)) < ACCEPTED + 1
    assert _statuses(load.between(began)) <= {200, 201, 503, CUT}
    assert back - up < ACCEPTED + 1
    assert _statuses(load.between(back)) == {200, 201}
    load.check()
    assert service.log.count("requests are refused until it does") == 2
    assert "the core server does not answer: hpss_PingCore: HPSS_ECONN (-50)" in service.log
    # What could not be removed while it was down is removed now, without a new start.
    until(lambda: site.temporaries() == [], "nothing is left over")


def test_core_server_busy(site: Site) -> None:
    """A moment is waited for; then the client waits instead of the service."""
    service = site.start(hpss={"ping_interval": 600})
    assert service.ask("PUT", 1, b"data").status == 201
    site.archive.set("server_state", "busy")
    began = time.monotonic()
    requests: list[tuple[str, int, bytes | None]] = [("GET", 1, None), ("PUT", 2, b"data"), ("DELETE", 1, None)]
    answers = at_once([partial(service.ask, *request) for request in requests])
    assert time.monotonic() - began < PATIENCE / 2
    assert {_checked(answer) for answer in answers} == {503}
    assert f"HPSS_EBUSY ({EBUSY})" in json.loads(answers[0].body)["message"]

    calls = site.archive.calls("hpss_FileGetXAttributes")

    def recover() -> Answer:
        until(lambda: site.archive.calls("hpss_FileGetXAttributes") > calls, "a request waits for the server")
        site.archive.set("server_state", "up")
        return service.ask("GET", 1)

    asking: list[Callable[[], Answer]] = [partial(service.ask, "GET", 1), recover]
    assert [answer.body for answer in at_once(asking)] == [b"data"] * 2
    until(lambda: site.temporaries() == [], "nothing is left over")


def test_pings(site: Site) -> None:
    """One that takes too long refuses requests until the next good one; the clocks of both sides do not matter."""
    site.archive.set("ping_delay_ms", 2000)
    site.archive.set("ping_skew", 7200)
    service = site.start(hpss={**QUICK, "ping_interval": 0.3})
    answer = service.ask("HEAD", 1)
    assert (_checked(answer), service.log.count("has not answered a ping within 1 s")) == (503, 1)
    site.archive.set("ping_delay_ms", 0)
    until(lambda: service.ask("HEAD", 1).status == 404, "it serves")
    for skew in (-7200, 0):
        site.archive.set("ping_skew", skew)
        pings = site.archive.calls("hpss_PingCore")
        until(lambda: site.archive.calls("hpss_PingCore") >= pings + 2, "pings")  # noqa: B023
        assert service.ask("HEAD", 1).status == 404
    assert service.log.count("requests are refused until it does") == 1
    site.archive.fault("hpss_PingCore", action="hang")
    until(lambda: service.ask("HEAD", 1).status == 503, "the ping that does not come back is noticed")
    began = time.monotonic()
    assert service.stop() == -signal.SIGTERM
    assert time.monotonic() - began < PATIENCE / 2


# Calls that do not come back

VICTIMS = range(1, 5)


def _get_stuck(site: Site, service: Service, stack: ExitStack) -> list[Answer]:
    """
    Have four requests hang, each in another call of the library.

    @return: Gets their answers.
    """
    answers: list[Answer] = []

    def ask(method: str, file_id: int, body: bytes | None, _: threading.Event) -> None:
        try:
            answers.append(service.ask(method, file_id, body))
        except (ConnectionError, http.client.HTTPException):  # by the end of the service
            return

    for function, path, method, file_id, body in [
        ("hpss_FileGetXAttributes", path_of(1), "HEAD", 1, None),
        ("hpss_Read", path_of(2), "GET", 2, None),
        ("hpss_Write", UNFINISHED, "PUT", 3, content(3, LARGE)),
        ("hpss_Rename", path_of(4), "PUT", 4, b"new"),
    ]:
        fault = site.archive.fault(function, path=path, action="hang")
        stack.enter_context(in_background(partial(ask, method, file_id, body), 1))
        until(partial(site.archive.fault_hits, fault), f"{function} hangs")
    return answers


def _others_are_served(service: Service, limit: float) -> None:
    """Other files, of all kinds, in any way, and at once; also the one that is read, in ways that need no mover."""
    began = time.monotonic()
    with service.client() as client:
        for file_id, size in enumerate([10, 100_000, LARGE] * 4, 100):
            data = content(file_id, size)
            assert client.ask("PUT", file_id, data).status == 201
            assert client.ask("HEAD", file_id).status == 204
            assert client.ask("GET", file_id).body == data
            assert client.ask("POST", file_id).status == 200
            assert client.ask("DELETE", file_id).status == 200
        assert client.ask("HEAD", 2).status == 204
    assert time.monotonic() - began < limit


def test_stuck_calls(site: Site) -> None:
    """They hold up only their own requests, and those not for ever; when HPSS lets them go, so does the service."""
    timeout = 10.0
    service = site.start(hpss={**BLOCKS, "call_timeout": timeout, "ping_interval": 1})
    files = {file_id: content(file_id, LARGE) for file_id in VICTIMS}
    for file_id, data in files.items():
        assert service.ask("PUT", file_id, data).status == 201
    with ExitStack() as stack:
        began = time.monotonic()
        answers = _get_stuck(site, service, stack)
        _others_are_served(service, timeout)
        assert answers == []
        until(lambda: len(answers) == 4, "they are given up")
        assert time.monotonic() - began < timeout + PATIENCE / 2
    assert [_checked(answer) for answer in answers] == [503] * 4
    assert service.log.count("abandoned, as it does not return: ") >= 4
    assert service.ask("HEAD", 1).status == 204
    assert service.ask("GET", 2).body == files[2]
    assert service.ask("GET", 4).body == files[4]
    site.archive.clear_faults()
    until(lambda: service.log.count("ended after it was abandoned: ") >= 4, "they come back")
    until(lambda: site.archive.descriptors() == 0, "nothing stays open")
    until(lambda: site.temporaries() == [], "nothing is left over")
    for file_id, data in files.items():
        assert service.ask("GET", file_id).body in ((data, b"new") if file_id == 4 else (data,))
        assert service.ask("PUT", file_id, b"newer").status == 201
        assert service.ask("GET", file_id).body == b"newer"


def test_the_end_with_stuck_calls(site: Site) -> None:
    """SIGTERM ends the service within its limit and the few seconds for last calls; the next one clears up."""
    service = site.start(workers=2, server={"drain_timeout": 1}, hpss=BLOCKS)
    files = {file_id: content(file_id, LARGE) for file_id in VICTIMS}
    for file_id, data in files.items():
        assert service.ask("PUT", file_id, data).status == 201
    with ExitStack() as stack:
        _get_stuck(site, service, stack)
        began = time.monotonic()
        assert service.stop() == -signal.SIGTERM
        took = time.monotonic() - began
    assert took < 1 + 8, took
    assert "killed" not in service.log
    assert service.log.count("abandoned, as it does not return: ") == len(VICTIMS)
    assert service.log.count("-thread-") == len(VICTIMS), "those that are not stuck have ended"
    site.archive.clear_faults()
    service = site.start(workers=2)
    assert service.port
    assert site.temporaries() == []
    for file_id, data in files.items():
        assert service.ask("GET", file_id).body == data


# Reading


def _download(service: Service, file_id: int, *fields: str) -> tuple[int, int, bytes]:
    """
    All that comes until the connection is closed, or the answer is complete.

    @return: The status, the length that was announced, and the body.
    """
    with service.connect() as connection:
        head = "\r\n".join([f"GET /{file_id} HTTP/1.1", "Host: localhost", "Connection: close", *fields, "", ""])
        connection.sendall(head.encode())
        answer = read_to_the_end(connection)
    found, _, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)^content-length: (\d+)\r?$", found, re.MULTILINE)
    return status_of(answer), int(length[1]) if length else -1, body


def test_reads_that_fail(site: Site) -> None:
    """In the middle of a file the download is cut; at its beginning there is another answer.  Never a short 200."""
    service = site.start(hpss=BLOCKS)
    data, small = content("large", 3 * BLOCK + 999), content("small", 5000)
    assert service.ask("PUT", 1, data).status == 201
    assert service.ask("PUT", 2, small).status == 201
    kinds: list[tuple[str, int]] = [("error", EIO), ("error", -50), ("short", 0), ("disconnect", 0)]
    for (action, value), place in itertools.product(kinds, range(1, 6)):
        for field, whole in (("Accept: */*", data), (f"Range: bytes=7-{len(data) - 2}", data[7:-1])):
            fault = site.archive.fault("hpss_Read", path=path_of(1), first=place, action=action, value=value)
            status, length, body = _download(service, 1, field)
            if not site.archive.fault_hits(fault):  # it was read in fewer calls
                assert (length, body == whole) == (len(whole), True)
            elif status == 503:
                assert place == 1
            else:
                assert (status, length) == (200 if whole is data else 206, len(whole))
                assert len(body) < length, (action, value, place)
                assert whole.startswith(body)
                assert place > 1
            site.archive.clear_faults()
        assert place > 4 or site.archive.fault_hits(fault) == 1
    for action, value in kinds:
        fault = site.archive.fault("hpss_Read", path=path_of(2), action=action, value=value)
        assert _checked(service.ask("GET", 2)) == 503
        assert site.archive.fault_hits(fault) == 1
        assert service.ask("GET", 2).body == small
    assert service.ask("GET", 1).body == data


def test_reads_and_writes_in_small_pieces(site: Site) -> None:
    """That HPSS moves less than it was asked for is no error: the rest follows."""
    service = site.start(hpss=BLOCKS)
    for function in ("hpss_Write", "hpss_Read"):
        site.archive.fault(function, path=f"{PREFIX}/*", count=0, action="short", value=99_999)
    for file_id, size in enumerate([1000, 99_999, 100_000, LARGE], 1):
        data = content(file_id, size)
        assert service.ask("PUT", file_id, data).status == 201
        assert site.archive.read(path_of(file_id)) == data
        assert service.ask("GET", file_id).body == data
    assert site.archive.calls("hpss_Write") > LARGE // 99_999


# Writing


def _chunks(data: bytes) -> Iterator[bytes]:
    return (data[start : start + MIB] for start in range(0, len(data), MIB))


def _uploads(service: Service, file_id: int, data: bytes) -> Iterator[Answer]:
    """The same upload with a length and without."""
    yield service.ask("PUT", file_id, data)
    yield service.ask("PUT", file_id, _chunks(data))


def test_writes_that_fail(site: Site) -> None:
    """Whatever becomes of an upload, what was there stays, and nothing else is left."""
    service = site.start(hpss=BLOCKS)
    old, data = content("old", LARGE), content("new", LARGE)
    assert service.ask("PUT", 1, old).status == 201
    answers = []

    def nothing_has_changed() -> None:
        assert site.archive.read(path_of(1)) == old
        assert set(site.files()) == {path_of(1)}
        until(lambda: site.temporaries() == [], "nothing is left of the upload")

    for action, value in [("error", EIO), ("error", -28), ("short", 0), ("disconnect", 0)]:
        for file_id, place in itertools.product([1, 2], [1, 3]):
            fault = site.archive.fault("hpss_Write", path=UNFINISHED, first=place, action=action, value=value)
            answers.append((value, service.ask("PUT", file_id, data)))
            assert site.archive.fault_hits(fault) == 1
            nothing_has_changed()
    assert {_checked(answer) for value, answer in answers if value != -28} == {503}
    assert {answer.status for value, answer in answers if value == -28} == {507}
    site.archive.set("disk_capacity", LARGE + 5 * MIB)
    for file_id in (1, 2):
        for answer in _uploads(service, file_id, data):
            assert answer.status == 507
            nothing_has_changed()
    assert service.ask("PUT", 2, b"small").status == 201
    site.archive.set("disk_capacity", 1 << 40)
    for file_id in (1, 2):
        for answer in _uploads(service, file_id, data):
            assert answer.status == 201
        assert service.ask("GET", file_id).body == data


def test_a_full_disk_level_and_a_stage(site: Site) -> None:
    """There is no room to stage a file: the client is told to come back, and served when there is."""
    service = site.start()
    methods = {1: "GET", 2: "POST"}
    for file_id in methods:
        site.put(file_id, bytes(MIB))
        site.send_to_tape(file_id)
    site.archive.clock.freeze()
    site.archive.set("disk_capacity", 1000)
    for file_id, method in methods.items():
        assert service.ask(method, file_id).status == (202 if method == "POST" else 503)
    until(lambda: len(site.archive.requests()) == len(methods), "both are asked for")
    site.archive.clock.advance(3600)
    for file_id in methods:
        assert _checked(service.ask("GET", file_id)) == 503
    site.archive.set("disk_capacity", 1 << 40)
    assert service.ask("POST", 1).status == 202
    until(lambda: len(site.archive.requests(unfinished=True)) == len(methods), "both are asked for again")
    for file_id in methods:
        site.wait_until_staged(file_id)
        assert service.ask("GET", file_id).body == bytes(MIB)
