"""C{kill -9} of the whole service at random moments, again and again: what was acknowledged is there.

C{PACARCHIVE_KILL_CYCLES} sets how often (8), C{PACARCHIVE_KILL_SEED} repeats a run's choices.  Few cycles have to hit
every kind of moment, so that they take turns: one anywhere in a load, and one just after a change of each kind began.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import random
import shutil
import threading
import time
from typing import TYPE_CHECKING, Protocol

import attrs
import pytest

from pacarchive.ids import id_to_path
from system.harness import PATIENCE, WANT_DIGEST, Client, content, repr_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from system.harness import Service

CYCLES = int(os.environ.get("PACARCHIVE_KILL_CYCLES", "8"))
SEED = int(os.environ.get("PACARCHIVE_KILL_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)

CLIENTS = 4
LONGEST_CYCLE = 0.7
LONGEST_CHANGE = 0.02
MOMENTS = (None, "PUT", "PATCH", "DELETE")
"""What has just begun when the service is killed; C{None} for whatever it is."""

LATER_CHECKS = 20
IDS_OF_EACH = 200
"""Beyond, clients use the ids again that they have: the archive stays below a gigabyte."""


@attrs.frozen
class Version:
    """
    What was once sent: enough to recognise it, without its bytes.

    @ivar moved: It was moved in, and so has no digest before its first whole read.
    """

    size: int
    digest: str
    moved: bool = attrs.field(default=False, eq=False)

    @classmethod
    def of(cls, data: bytes, *, moved: bool = False) -> Version:
        """The version that these bytes are."""
        return cls(len(data), hashlib.sha256(data).hexdigest(), moved)


class Source(Protocol):
    """A file that is to be moved into the archive."""

    def exists(self) -> bool: ...

    def read_bytes(self) -> bytes: ...

    def write_bytes(self, data: bytes, /) -> object: ...

    def unlink(self, missing_ok: bool = False) -> None: ...


@attrs.define
class Journal:
    """
    What the clients of one archive know.  Each id belongs to one client, so its history is a sequence.

    @ivar possible: By id, what may be there; C{None} stands for no file.  More than one only where a request was under
        way when the service was killed.
    @ivar changed: The ids of the present cycle.
    @ivar moving: By id, the source of a move that was under way.
    @ivar acknowledged: How many changes the service has confirmed.
    @ivar undecided: How many were under way at a kill.
    """

    possible: dict[int, set[Version | None]] = attrs.field(factory=dict)
    changed: set[int] = attrs.field(factory=set)
    moving: dict[int, tuple[Source, Version]] = attrs.field(factory=dict)
    acknowledged: int = 0
    undecided: int = 0
    reads: int = 0


class Worker:
    """
    One client of one cycle: does one thing after the other until the service is killed.

    @param begun: By method, what is set whenever a change begins.
    @ivar failure: What should not have happened.
    """

    def __init__(
        self,
        service: Service,
        journal: Journal,
        killed: threading.Event,
        begun: Mapping[str, threading.Event],
        number: int,
        rng: random.Random,
    ) -> None:
        self.begun = begun
        self.service = service
        self.journal = journal
        self.killed = killed
        self.rng = rng
        self.own = [file_id for file_id in journal.possible if file_id % CLIENTS == number]
        self.next_id = CLIENTS * (1 + max(journal.possible, default=0) // CLIENTS) + number
        self.failure: BaseException | None = None

    def run(self) -> None:
        """Until the end, which is a lost connection."""
        try:
            with self.service.client() as client:
                while True:
                    self.step(client)
        except (OSError, http.client.HTTPException) as error:
            # Only the kill may break a connection.
            self.failure = None if self.killed.is_set() else error
        except BaseException as error:  # noqa: BLE001  (raised again in the test's own thread)
            self.failure = error

    def step(self, client: Client) -> None:
        """One request, chosen by chance."""
        kinds = {self.write_new: 45, self.overwrite: 15, self.read: 15, self.remove: 10, self.move: 15}
        (act,) = self.rng.choices(list(kinds), list(kinds.values()))
        act(client)

    def write_new(self, client: Client) -> None:
        self.write(client, self.some_id(self.own))

    def overwrite(self, client: Client) -> None:
        if self.own:
            self.write(client, self.rng.choice(self.own))

    def write(self, client: Client, file_id: int) -> None:
        data = self.data(file_id)
        self.change(client, "PUT", file_id, Version.of(data), {201}, data)

    def remove(self, client: Client) -> None:
        if self.own:
            file_id = self.rng.choice(self.own)
            there = self.journal.possible[file_id] != {None}
            self.change(client, "DELETE", file_id, None, {200 if there else 404})

    def move(self, client: Client) -> None:
        file_id = self.some_id(self.own[-3:])
        data = self.data(file_id)
        source = self.source(f"{file_id}.{self.rng.random()}")
        source.write_bytes(data)
        self.journal.moving[file_id] = source, Version.of(data)
        fields = {"Content-Type": "application/json"}
        self.change(
            client, "PATCH", file_id, Version.of(data, moved=True), {200}, json.dumps({"path": str(source)}), fields
        )
        del self.journal.moving[file_id]
        assert not source.exists()

    def source(self, name: str) -> Source:
        """Where to put a file that is to be moved."""
        return self.service.directory / "incoming" / name

    def change(
        self,
        client: Client,
        method: str,
        file_id: int,
        after: Version | None,
        statuses: set[int],
        body: object = None,
        fields: dict[str, str] | None = None,
    ) -> None:
        """Both states are possible until the answer is there."""
        before = self.journal.possible.setdefault(file_id, {None})
        self.journal.changed.add(file_id)
        self.journal.possible[file_id] = before | {after}
        self.begun[method].set()
        answer = client.begin(method, file_id, body, fields)
        self.journal.possible[file_id] = {after}
        assert answer.status in statuses, (method, file_id, answer.status)
        self.journal.acknowledged += 1
        answer.read()

    def read(self, client: Client) -> None:
        if self.own:
            file_id = self.rng.choice(self.own)
            observe(client, file_id, self.journal.possible[file_id])
            self.journal.reads += 1

    def some_id(self, others: list[int]) -> int:
        """A new one, or where there are enough one of the others."""
        if len(self.own) >= IDS_OF_EACH:
            return self.rng.choice(others)
        self.own.append(self.next_id)
        self.next_id += CLIENTS
        return self.own[-1]

    def data(self, file_id: int) -> bytes:
        """Sizes on both sides of what takes another way through the server; some of several MiB."""
        smallest, largest = self.rng.choices([(0, 5000), (5000, 400 << 10), (1 << 20, 6 << 20)], [24, 6, 1])[0]
        return content((file_id, self.rng.random()), self.rng.randint(smallest, largest))


def observe(client: Client, file_id: int, possible: set[Version | None]) -> Version | None:
    """
    Read what is there.  It must be one of the possible versions, whole, and have the digest that belongs to it.

    @return: Which one, as it stands in C{possible}.
    """
    answer = client.ask("GET", file_id, fields=WANT_DIGEST)
    if answer.status == 404:
        assert None in possible, f"{file_id}: gone, though it is one of {possible}"
        return None
    assert answer.status == 200
    assert len(answer.body) == int(answer.fields["content-length"])
    found = {version: version for version in possible}.get(Version.of(answer.body))
    assert found is not None, f"{file_id}: {len(answer.body)} bytes, which are none of {possible}"
    if found.moved and "repr-digest" not in answer.fields:
        answer = client.ask("GET", file_id, fields=WANT_DIGEST)
    assert answer.fields["repr-digest"] == repr_digest(answer.body)
    return found


def settle(service: Service, journal: Journal, ids: set[int]) -> None:
    """Compare what is there with the journal, and take what is there for granted from now on."""
    with service.client() as client:
        for file_id in ids:
            found = observe(client, file_id, journal.possible[file_id])
            if len(journal.possible[file_id]) > 1:
                journal.undecided += 1
            if file_id in journal.moving:
                source, version = journal.moving.pop(file_id)
                # Not in its place yet, so it must still be where it came from.
                assert found == version or Version.of(source.read_bytes()) == version, f"{file_id}: the move lost it"
                source.unlink(missing_ok=True)
            journal.possible[file_id] = {found}


def assert_only_known_files(visible: Collection[str], journal: Journal, path_of: Callable[[int], str]) -> None:
    """Everything that is visible may be, everything that must be is, and there is nothing else."""
    visible = set(visible)
    may_be = {path_of(file_id) for file_id, possible in journal.possible.items() if possible != {None}}
    must_be = {path_of(file_id) for file_id, possible in journal.possible.items() if None not in possible}
    assert visible <= may_be, sorted(visible - may_be)[:5]
    assert visible >= must_be, sorted(must_be - visible)[:5]


def run_until_killed(
    service: Service,
    journal: Journal,
    rng: random.Random,
    moment: str | Callable[[], object] | None,
    kind: type[Worker] = Worker,
) -> None:
    """
    Mixed load, and the end.

    @param moment: One of L{MOMENTS}, or what waits for another.
    """
    killed = threading.Event()
    begun = {method: threading.Event() for method in MOMENTS if method is not None}
    workers = [kind(service, journal, killed, begun, number, random.Random(rng.random())) for number in range(CLIENTS)]
    threads = [threading.Thread(target=worker.run, daemon=True) for worker in workers]
    for thread in threads:
        thread.start()
    # Not waits for anything: the moment is what is tested.
    time.sleep(rng.uniform(0, LONGEST_CYCLE))
    if callable(moment):
        moment()
    elif moment is not None:
        begun[moment].clear()
        assert begun[moment].wait(PATIENCE), f"nobody began a {moment}"
        time.sleep(rng.uniform(0, LONGEST_CHANGE))
    killed.set()
    service.kill()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive(), "a client hangs"
    for worker in workers:
        if worker.failure is not None:
            raise worker.failure


LAYOUTS: dict[str, tuple[str, Callable[[int], str]]] = {
    "flat": ("", str),
    "tree": ("[posix]\nuse_id2filename = true\n", lambda file_id: id_to_path(file_id)[1:]),
}


@pytest.mark.timeout(120 + 6 * CYCLES)
def test_kill_and_restart(serve: Callable[..., Service], tmp_path: Path) -> None:
    """
    After each restart every acknowledged file is there, whole and with its digest; what was under way is there whole or
    not at all, and nothing else is left.
    """
    print(f"PACARCHIVE_KILL_SEED={SEED} PACARCHIVE_KILL_CYCLES={CYCLES}")  # noqa: T201  (shown when it fails)
    rng = random.Random(SEED)
    journals = {layout: Journal() for layout in LAYOUTS}

    def start(layout: str, workers: int) -> Service:
        directory = tmp_path / layout
        (directory / "incoming").mkdir(parents=True, exist_ok=True)
        settings = f"[server]\nmove_roots = incoming\n{LAYOUTS[layout][0]}"
        return serve(directory=directory, settings=settings, workers=workers)

    for cycle in range(CYCLES):
        layout = list(LAYOUTS)[cycle % 2]
        journal, path_of = journals[layout], LAYOUTS[layout][1]
        service = start(layout, workers=2 if cycle % 10 in (3, 6) else 1)
        assert service.port
        assert service.temporaries() == []
        assert_only_known_files(service.visible(), journal, path_of)
        older = [file_id for file_id in journal.possible if file_id not in journal.changed]
        settle(service, journal, journal.changed | set(rng.sample(older, min(LATER_CHECKS, len(older)))))
        assert_only_known_files(service.visible(), journal, path_of)
        journal.changed = set()
        run_until_killed(service, journal, rng, MOMENTS[cycle // 2 % len(MOMENTS)])
        service.assert_clean()
    for layout, journal in journals.items():
        service = start(layout, workers=2)
        settle(service, journal, set(journal.possible))
        assert_only_known_files(service.visible(), journal, LAYOUTS[layout][1])
        assert service.temporaries() == []
        assert os.listdir(service.directory / "incoming") == []
        service.stop()
        shutil.rmtree(service.prefix)
    # The run has shown something only if the service was killed at work.
    acknowledged, undecided = (
        sum(getattr(journal, name) for journal in journals.values()) for name in ("acknowledged", "undecided")
    )
    print(f"{acknowledged} changes acknowledged, {undecided} undecided")  # noqa: T201
    assert acknowledged >= 5 * CYCLES
    assert undecided >= CYCLES // 4
