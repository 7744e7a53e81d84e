"""
Whether every answer is true while the object store is one that refuses, cuts, delays, and loses answers.

A real server, a real store, and a proxy between them that does that to a share of the requests.  Several clients put,
read, move and remove files, each its own, so that each knows what may be there.  What was stored is there with these
bytes; a refusal has its reason; what has failed has left the version before or the new one, whole; no answer that is
complete has other bytes or fewer than it says.  At the end nothing fails any more, and everything is read again; then
large files are stored while each long request is answered by an error in a 200 once, and all of them succeed; and while
all that concerns records is done and has no answer, after which they are there or not, but whole.

    python -m tests.campaigns.storms --operations 10000
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias
from uuid import uuid4

import attrs
from backends.s3.flaky import ONCE, SILENT, FlakyStore, flaky
from backends.s3.servers import BUCKET, STORES, ObjectServer
from backends.s3.services import node
from system.harness import WANT_DIGEST, Answer, Service, content, repr_digest

IDS_OF_EACH = 6
SMALL, PART, LARGE = 64 << 10, 5 << 20, 11 << 20
"""Bytes: up to what a file is stored in one request, of a part, and of a file of several."""

KINDS = {
    "put": 22, "chunked": 12, "absent": 8, "matching": 6, "other": 3,
    "get": 15, "range": 10, "head": 8, "delete": 10, "move": 6,
}  # fmt: skip
_READS = {"get", "range", "head"}
_FAILURES = {500, 502, 503, 504}


@attrs.frozen
class Version:
    """
    What was sent.

    @ivar digest: The SHA-256, by which it is recognised.
    """

    digest: str
    data: bytes = attrs.field(eq=False, repr=lambda data: f"{len(data)} bytes")

    @classmethod
    def of(cls, data: bytes) -> Version:
        """The version that these bytes are."""
        return cls(hashlib.sha256(data).hexdigest(), data)


There: TypeAlias = Version | None
"""What is under an id; C{None} is no file."""

Outcome: TypeAlias = tuple[int, There]
"""The status of an answer, and what is there after it."""


class Campaign:
    """
    One run.

    @param service: The server.
    @param proxy: Between it and the store.
    @param store: The store itself.
    @param name: Of the archive.
    @ivar breaches: Answers that are not true.
    @ivar counts: How often each answer was given to each kind of request.
    """

    def __init__(self, service: Service, proxy: FlakyStore, store: ObjectServer, name: str, seed: str) -> None:
        self.service = service
        self.proxy = proxy
        self.store = store
        self.name = name
        self.breaches: list[str] = []
        self.counts: Counter[str] = Counter()
        self._seed = seed
        self._lock = threading.Lock()

    def run(self, operations: int, clients: int, rate: float) -> None:
        """Do all that, and look at everything in the end."""
        self.proxy.set_rate(rate)
        actors = [Actor(self, number, random.Random(f"{self._seed}/{number}")) for number in range(clients)]
        share = -(-operations // clients)
        threads = [threading.Thread(target=each.act, args=(share,), daemon=True) for each in actors]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._look(actors)
        self.proxy.set_rate(ONCE)
        for each in actors[:3]:
            each.change_all()
        self.proxy.set_rate(SILENT)
        for each in actors[:2]:
            each.store_in_doubt()
        self._look(actors)

    def _look(self, actors: Sequence[Actor]) -> None:
        self.proxy.set_rate(0)
        for each in actors:
            each.look_at_all()

    def count(self, kind: str, status: int) -> None:
        """Note an answer."""
        with self._lock:
            self.counts[f"{kind} {status or 'cut off'}"] += 1

    def breach(self, words: str) -> None:
        """Note that something is not true."""
        with self._lock:
            self.breaches.append(words)


class Actor:
    """
    A client, with ids of its own.

    @param number: Which one.
    """

    def __init__(self, campaign: Campaign, number: int, draw: random.Random) -> None:
        self._campaign = campaign
        self._draw = draw
        self._ids = range(number * 1000, number * 1000 + IDS_OF_EACH)
        self._possible: dict[int, set[There]] = {file_id: {None} for file_id in self._ids}
        self._client = campaign.service.client()
        self._made = 0
        self._is_calm = False

    def act(self, operations: int) -> None:
        """Do so many things, until something is wrong."""
        try:
            for _ in range(operations):
                if len(self._campaign.breaches) >= 5:
                    return
                kind = self._draw.choices(list(KINDS), list(KINDS.values()))[0]
                self._do(kind, self._draw.choice(self._ids))
        except BaseException as error:
            self._campaign.breach(f"a client has ended: {error!r}")
            raise
        finally:
            self._client.__exit__()

    def look_at_all(self) -> None:
        """Read all, while nothing fails."""
        self._is_calm = True
        self._client = self._campaign.service.client()
        with self._client:
            for file_id in self._possible:
                self._read("get", file_id)

    def change_all(self) -> None:
        """Store and move in what is large, while what fails is repeated."""
        self._client = self._campaign.service.client()
        with self._client:
            for kind, file_id in zip(("put", "chunked", "move"), self._possible, strict=False):
                self._do(kind, file_id, LARGE)

    def store_in_doubt(self) -> None:
        """Store what is not small under an id that was never used, so that nobody can tell what becomes of it."""
        self._is_calm = False
        self._client = self._campaign.service.client()
        with self._client:
            fresh = max(self._ids) + 1
            self._possible[fresh] = {None}
            self._do("put", fresh, 2 * SMALL)

    def _do(self, kind: str, file_id: int, size: int | None = None) -> None:
        match kind:
            case "move":
                self._move(file_id, size)
            case "delete":
                answer = self._ask(kind, "DELETE", file_id)
                self._judge(kind, file_id, answer, lambda there: (404 if there is None else 200, None))
            case "get" | "range" | "head":
                self._read(kind, file_id)
            case _:
                self._put(kind, file_id, size)

    def _put(self, kind: str, file_id: int, size: int | None) -> None:
        new = self._new(size)
        tag = None
        if kind in ("matching", "other"):
            there = next(iter(self._possible[file_id]))
            tag = "0" * 64 if there is None or kind == "other" else there.digest

        def outcome(there: There) -> Outcome:
            if tag is not None:
                return (201, new) if there is not None and there.digest == tag else (412, there)
            return (201, new) if there is None or kind != "absent" else (412, there)

        fields = {"If-None-Match": "*"} if kind == "absent" else {} if tag is None else {"If-Match": f'"{tag}"'}
        data = new.data
        body = (data[first : first + 100_000] for first in range(0, len(data), 100_000)) if kind == "chunked" else data
        self._judge(kind, file_id, self._ask(kind, "PUT", file_id, body, fields), outcome)

    def _move(self, file_id: int, size: int | None) -> None:
        new = self._new(size)
        source = f"/{BUCKET}/{self._campaign.name}-imports/{uuid4().hex}"
        status, words = self._campaign.store.ask("PUT", source, new.data)
        assert status == 200, words
        body = json.dumps({"path": source}).encode()
        answer = self._ask("move", "PATCH", file_id, body, {"Content-Type": "application/json"})
        self._judge("move", file_id, answer, lambda _: (200, new))
        if answer is None or answer.status != 200:
            found = self._campaign.store.ask("GET", source)
            if found[0] == 404:
                self._possible[file_id] &= {new}  # it was taken in
            elif found != (200, new.data):
                self._campaign.breach(f"move {file_id}: the source is another: {found[0]}")

    def _read(self, kind: str, file_id: int) -> None:
        fields = dict(WANT_DIGEST)
        longest = max(0 if each is None else len(each.data) for each in self._possible[file_id])
        first = self._draw.randrange(longest + 1)
        last = first + self._draw.randrange(1 << 20)
        if kind == "range":
            fields["Range"] = f"bytes={first}-{last}"
        answer = self._ask(kind, "HEAD" if kind == "head" else "GET", file_id, None, fields)

        def outcome(there: There) -> Outcome:
            if there is None:
                return 404, None
            assert answer is not None, "it is judged then"
            if kind == "range" and first >= len(there.data):
                return 416, there
            digest = answer.fields.get("repr-digest")
            is_right = digest is None or digest == repr_digest(there.data)
            if kind == "head":
                size = answer.fields.get("x-content-length")
                return 204 if is_right and size == str(len(there.data)) else 0, there
            expected = there.data[first : last + 1] if kind == "range" else there.data
            is_right &= answer.body == expected
            return (206 if kind == "range" else 200) if is_right else 0, there

        self._judge(kind, file_id, answer, outcome)

    def _judge(self, kind: str, file_id: int, answer: Answer | None, outcome: Callable[[There], Outcome]) -> None:
        """
        Compare an answer with what may be there, and take in what it says.

        @param outcome: What is answered, and is there then, if this is there.
        """
        possible = self._possible[file_id]
        if answer is None or answer.status in _FAILURES:
            if self._is_calm:
                self._campaign.breach(f"{kind} {file_id}: {answer and answer.status}, while nothing fails for good")
            if kind not in _READS:
                possible |= {outcome(each)[1] for each in possible}
            return
        after = {state for status, state in map(outcome, possible) if status == answer.status}
        if not after:
            self._wrong(kind, file_id, answer)
        self._possible[file_id] = after or possible

    def _wrong(self, kind: str, file_id: int, answer: Answer) -> None:
        may_be = ", ".join(map(str, self._possible[file_id]))
        given = f"{answer.status} {answer.fields} {answer.body[:200]!r}"
        self._campaign.breach(f"{kind} {file_id}: {given}, where there may be {may_be}")

    def _ask(
        self, kind: str, method: str, file_id: int, body: object = None, fields: Mapping[str, str] | None = None
    ) -> Answer | None:
        """One request.  @return: Its answer; C{None} where that was cut off."""
        try:
            answer = self._client.ask(method, file_id, body, fields)
        except (http.client.HTTPException, ConnectionError):
            self._client.__exit__()
            self._client = self._campaign.service.client()
            self._campaign.count(kind, 0)
            return None
        self._campaign.count(kind, answer.status)
        return answer

    def _new(self, size: int | None) -> Version:
        """Bytes that nothing else has."""
        self._made += 1
        medium = self._draw.randrange(SMALL, 1 << 20)
        if size is None:
            size = self._draw.choices((0, self._draw.randrange(1, SMALL), medium, LARGE), (1, 60, 25, 6))[0]
        return Version.of(content((self._ids[0], self._made), size) if size else b"")


def options(seed: str, operations: int) -> argparse.ArgumentParser:
    """What can be chosen."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.storms", description=__doc__.split("\n\n")[0])
    parser.add_argument("--operations", type=int, default=operations, help="how many, in all (%(default)s)")
    parser.add_argument("--clients", type=int, default=8, help="how many there are (%(default)s)")
    parser.add_argument("--rate", type=float, default=0.25, help="the share of requests that fail (%(default)s)")
    parser.add_argument("--store", choices=sorted(STORES), default="seaweedfs", help="which store (%(default)s)")
    parser.add_argument("--seed", default=seed, help="what is drawn from (%(default)s)")
    return parser


def storm(store: ObjectServer, directory: Path, chosen: argparse.Namespace) -> Campaign:
    """Run it over a store that is there."""
    name = f"storm-{uuid4().hex[:8]}"
    with flaky(store.endpoint, chosen.seed) as proxy:
        own: dict[str, Any] = {"retry_for": 0.4, "answer_timeout": 10, "part_size": PART, "sweep_after": 1}
        service = node(directory, proxy.endpoint, name, **own)
        try:
            campaign = Campaign(service, proxy, store, name, chosen.seed)
            begun = time.monotonic()
            campaign.run(chosen.operations, chosen.clients, chosen.rate)
            print(f"{sum(campaign.counts.values())} answers in {time.monotonic() - begun:.0f} s (seed {chosen.seed})")
            print("  " + ", ".join(f"{what}: {times}" for what, times in sorted(campaign.counts.items())))
            print("  faults: " + ", ".join(f"{what}: {times}" for what, times in sorted(proxy.counts().items())))
            service.stop()
            service.assert_clean()
        finally:
            service.kill()
    for each in campaign.breaches:
        print(f"\nnot true: {each}")
    print(f"{len(campaign.breaches)} breaches")
    return campaign


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it, and print the figures.  @return: The exit status: 1 where an answer was not true."""
    chosen = options("pacarchive", 10_000).parse_args(arguments)
    with STORES[chosen.store]() as store, tempfile.TemporaryDirectory() as directory:
        return 1 if storm(store, Path(directory), chosen).breaches else 0


if __name__ == "__main__":
    sys.exit(main())
