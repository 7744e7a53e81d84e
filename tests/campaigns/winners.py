"""
Whether one wins of all who create, replace or remove a file at the same time, on two servers over one bucket.

Each round has up to 64 clients, half of them on each server, and readers beside.  All create a file where there is to
be none: one is told that it has, and that one's bytes are what everybody reads, from the first time on.  All replace
the version that they know: one does.  Some replace whatever there is: all do, and one was the last.  Some remove it:
one does.

    python -m tests.campaigns.winners --rounds 100
"""

from __future__ import annotations

import argparse
import http.client
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from uuid import uuid4

import attrs
from backends.s3.servers import STORES, ObjectServer
from backends.s3.services import node
from system.harness import Answer, Service, at_once, content, in_background

RACERS = 64
SIZES = (1000, 100_000, 6 << 20)
"""Bytes: in the record, in an object, and in one of several parts."""

_PART = 5 << 20
_FEWER_WHEN_LARGE = 8
_FEW = 16


@attrs.define
class Seen:
    """
    What readers have seen.

    @ivar bodies: All that was whole; C{None} for no file.
    @ivar other: Statuses that are neither.
    """

    bodies: set[bytes | None] = attrs.field(factory=set)
    other: Counter[int] = attrs.field(factory=Counter)


class Race:
    """
    Races over one id.

    @param nodes: The servers.
    @param racers: How many clients there are, at most.
    @ivar breaches: What is not as it should be.
    @ivar counts: How often each answer was given in each kind of race.
    """

    def __init__(self, nodes: Sequence[Service], racers: int = RACERS) -> None:
        self.breaches: list[str] = []
        self.counts: Counter[str] = Counter()
        self._nodes = nodes
        self._racers = racers

    def run(self, file_id: int, size: int) -> None:
        """All kinds, one after the other."""
        racers = self._racers if size <= 100_000 else min(self._racers, _FEWER_WHEN_LARGE)
        bodies = [content((file_id, number), size) for number in range(racers)]
        first = self._one_wins("create", file_id, None, bodies, {"If-None-Match": "*"})
        if first is None:
            return
        tag = self._nodes[0].ask("GET", file_id).fields["etag"]
        others = [content((file_id, racers + number), size) for number in range(racers)]
        second = self._one_wins("replace that one", file_id, first, others, {"If-Match": tag})
        with self._watched(file_id) as seen:
            answers = self._all("replace any", "PUT", file_id, bodies[:_FEW])
        last = self._read(file_id)
        if {each.status for each in answers} != {201} or last not in bodies[:_FEW]:
            self.breaches.append(f"replace any {file_id}: {self._told(answers)}, or what is there is nobody's")
        self._compare("replace any", file_id, seen, {second, *bodies[:_FEW]})
        with self._watched(file_id) as seen:
            answers = self._all("remove", "DELETE", file_id, [None] * _FEW)
        if sorted(each.status for each in answers) != [200] + [404] * (_FEW - 1) or self._read(file_id) is not None:
            self.breaches.append(f"remove {file_id}: {self._told(answers)}, or it is there")
        self._compare("remove", file_id, seen, {last, None})

    def _one_wins(
        self, kind: str, file_id: int, there: bytes | None, bodies: Sequence[bytes], fields: dict[str, str]
    ) -> bytes | None:
        with self._watched(file_id) as seen:
            answers = self._all(kind, "PUT", file_id, bodies, fields)
        winners = [body for body, answer in zip(bodies, answers, strict=True) if answer.status == 201]
        found = self._read(file_id)
        if len(winners) != 1 or {each.status for each in answers} != {201, 412} or found != winners[0]:
            self.breaches.append(f"{kind} {file_id}: {self._told(answers)}; a winner's bytes: {found in winners}")
        self._compare(kind, file_id, seen, {there, found})
        return found

    def _all(
        self, kind: str, method: str, file_id: int, bodies: Sequence[bytes | None], fields: dict[str, str] | None = None
    ) -> list[Answer]:
        def call(number: int, body: bytes | None) -> Callable[[], Answer]:
            return lambda: self._nodes[number % len(self._nodes)].ask(method, file_id, body, fields)

        answers = at_once([call(number, body) for number, body in enumerate(bodies)])
        self.counts.update(f"{kind} {each.status}" for each in answers)
        return answers

    @contextmanager
    def _watched(self, file_id: int) -> Iterator[Seen]:
        """Have it read all the time, on all nodes."""
        seen = Seen()
        turns = iter(range(1 << 30))

        def read(ended: Event) -> None:
            service = self._nodes[next(turns) % len(self._nodes)]
            while True:
                last_time = ended.is_set()
                answer = service.ask("GET", file_id)
                if answer.status in (200, 404):
                    seen.bodies.add(answer.body if answer.status == 200 else None)
                else:
                    seen.other[answer.status] += 1
                if last_time:
                    return

        with in_background(read, 2):
            yield seen

    def _compare(self, kind: str, file_id: int, seen: Seen, right: set[bytes | None]) -> None:
        if seen.other or not seen.bodies <= right:
            strange = [None if each is None else len(each) for each in seen.bodies - right]
            self.breaches.append(f"{kind} {file_id}: read versions of {strange} bytes, {dict(seen.other)}")

    def _read(self, file_id: int) -> bytes | None:
        first, *more = [node.ask("GET", file_id) for node in self._nodes]
        if any((each.status, each.body) != (first.status, first.body) for each in more):
            self.breaches.append(f"read {file_id}: the nodes differ")
        return first.body if first.status == 200 else None

    def _told(self, answers: Sequence[Answer]) -> dict[int, int]:
        return dict(Counter(each.status for each in answers))


def keeps_its_version(nodes: Sequence[Service], file_id: int, change: Callable[[Service], Answer]) -> bool:
    """Whether who has begun to read a file before it is changed on another node reads that version to its end."""
    size = 80 << 20  # more than is asked for at once, and than sockets hold
    data = content(file_id, size)
    assert nodes[0].ask("PUT", file_id, data).status == 201
    with nodes[0].client() as reader:
        answer: http.client.HTTPResponse = reader.begin("GET", file_id)
        found = [answer.read(1000)]
        assert change(nodes[1]).status in (200, 201)
        found.append(answer.read())
    return b"".join(found) == data


@contextmanager
def two_nodes(store: ObjectServer, directory: Path) -> Iterator[Sequence[Service]]:
    """Two servers over one archive."""
    name = f"winners-{uuid4().hex[:8]}"
    started: list[Service] = []
    try:
        for place in (directory / "one", directory / "two"):
            started += [node(place, store.endpoint, name, part_size=_PART)]
        yield started
        for each in started:
            each.stop()
            each.assert_clean()
    finally:
        for each in started:
            each.kill()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it, and print the figures.  @return: The exit status: 1 where more or fewer than one has won."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.winners", description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=100, help="how many, of four races each (%(default)s)")
    parser.add_argument("--store", choices=sorted(STORES), default="seaweedfs", help="which store (%(default)s)")
    chosen = parser.parse_args(arguments)
    begun = time.monotonic()
    with (
        tempfile.TemporaryDirectory() as directory,
        STORES[chosen.store]() as store,
        two_nodes(store, Path(directory)) as nodes,
    ):
        race = Race(nodes)
        for number in range(chosen.rounds):
            race.run(number, SIZES[number % len(SIZES)])
    print(f"{chosen.rounds} rounds on {chosen.store} in {time.monotonic() - begun:.0f} s")
    print("  " + ", ".join(f"{what}: {times}" for what, times in sorted(race.counts.items())))
    for each in race.breaches:
        print(f"\nnot so: {each}")
    print(f"{len(race.breaches)} breaches")
    return 1 if race.breaches else 0


if __name__ == "__main__":
    sys.exit(main())
