"""
Whether everything that was acknowledged stays true when many change the same few ids at the same time.

Real workers, several clients, eight ids.  A round begins with nothing under way: what each id holds is read from the
disk.  Then all clients do something at once: they put, move from id to id and from outside, remove, read, with
conditions and without.  When all have their answers the disk is read again.  There must be an order of the operations,
the one before the other where it had ended before that began, in which one after the other gives just these answers and
leads from what there was to what there is.  A version that was acknowledged and is gone without a reason has none.

    python -m tests.campaigns.races --operations 100000
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

import attrs
from system.harness import Client, Service

from pacarchive.ids import id_to_path

IDS = (1, 65, 2, 66, 300, 0x12345, 0x12385, 2**40)
"""Some share a lock, some a directory."""

OUTSIDE = ("one", "two")
"""Files in a directory from which may be moved, new in each round."""

POLICIES = ("allow", "identical", "deny")
CLIENTS, HOT = 8, 3
LARGE = 300_000
"""Bytes; more than is stored in one go with others."""

Place: TypeAlias = int | str
State: TypeAlias = tuple[bytes | None, ...]
"""The digests of what is in each of L{PLACES}."""

PLACES: tuple[Place, ...] = (*IDS, *OUTSIDE)
_INDEX = {place: index for index, place in enumerate(PLACES)}

SETTINGS = """
[server]
overwrite = {policy}
move_roots =
    {prefix}
    {incoming}
[posix]
use_id2filename = yes
"""


@attrs.define
class Operation:
    """
    Something that a client does, and its answer.

    @ivar method: C{PUT}, C{PATCH}, C{DELETE} or C{GET}.
    @ivar target: The id.
    @ivar body: Of a PUT.
    @ivar source: From where a PATCH moves.
    @ivar absent: Whether it has C{If-None-Match: *}.
    @ivar matching: The digest of C{If-Match}.
    @ivar begun: When it was sent; C{ended}: when its answer was there.
    @ivar found: The digest of what a GET has read.
    """

    method: str
    target: int
    body: bytes = attrs.field(default=b"", repr=False)
    source: Place | None = None
    absent: bool = False
    matching: bytes | None = attrs.field(default=None, repr=lambda digest: digest and digest.hex()[:8])
    begun: float = 0.0
    ended: float = 0.0
    status: int = 0
    found: bytes | None = attrs.field(default=None, repr=lambda digest: digest and digest.hex()[:8])

    @property
    def digest(self) -> bytes:
        """Of the body."""
        return hashlib.sha256(self.body).digest()

    def run(self, client: Client, paths: Sequence[Path]) -> None:
        """Do it."""
        fields: dict[str, str] = {"If-None-Match": "*"} if self.absent else {}
        if self.matching is not None:
            fields["If-Match"] = f'"{self.matching.hex()}"'
        body = self.body if self.method == "PUT" else None
        if self.source is not None:
            fields["Content-Type"] = "application/json"
            body = json.dumps({"path": str(paths[_INDEX[self.source]])}).encode()
        self.begun = time.monotonic()
        answer = client.ask(self.method, self.target, body, fields)
        self.ended = time.monotonic()
        self.status = answer.status
        if self.method == "GET" and answer.status == 200:
            self.found = hashlib.sha256(answer.body).digest()


def after(state: State, operation: Operation, policy: str) -> State | None:
    """
    What an operation makes of a state.

    @return: C{None} where it would not have got this answer.
    """
    target = _INDEX[operation.target]
    there = state[target]
    match operation.method:
        case "GET":
            expected = 404 if there is None else 200
            return state if (operation.status, operation.found) == (expected, there) else None
        case "DELETE":
            wrong = operation.matching is not None and there != operation.matching
            expected = 404 if there is None else 412 if wrong else 200
            return _with(state, expected, operation, {target: None})
        case "PUT":
            return _with(
                state, _stored(operation, there, operation.digest, policy), operation, {target: operation.digest}
            )
        case _:
            assert operation.source is not None
            source = _INDEX[operation.source]
            if (moved := state[source]) is None:
                return state if operation.status == 404 else _refused(state, operation, there, policy)
            if source == target:
                return state if operation.status == 200 else None
            expected = _stored(operation, there, moved, policy)
            expected = 200 if expected == 201 else expected
            return _with(state, expected, operation, {target: moved, source: None})


def _stored(operation: Operation, there: bytes | None, new: bytes, policy: str) -> int:
    if operation.matching is not None and there != operation.matching:
        return 412
    if there is not None:
        if operation.absent:
            return 412
        if policy == "deny" or (policy == "identical" and there != new):
            return 409
    return 201


def _refused(state: State, operation: Operation, there: bytes | None, policy: str) -> State | None:
    """A move may be refused for what is under its id, whether or not the source is still there."""
    taken = there is not None
    may_be = (operation.status == 412 and operation.absent and taken) or (
        operation.status == 409 and policy == "deny" and taken
    )
    return state if may_be else None


def _with(state: State, expected: int, operation: Operation, changes: dict[int, bytes | None]) -> State | None:
    if operation.status != expected:
        return None
    if expected >= 300:
        return state
    return tuple(changes.get(index, digest) for index, digest in enumerate(state))


def is_explained(first: State, operations: Sequence[Operation], last: State, policy: str) -> bool:
    """Whether there is an order of the operations that gives these answers and leads from one state to the other."""
    seen: set[tuple[int, State]] = set()
    everything = (1 << len(operations)) - 1

    def leads_on(done: int, state: State) -> bool:
        if done == everything:
            return state == last
        if (done, state) in seen:
            return False
        seen.add((done, state))
        waiting = [each for number, each in enumerate(operations) if not done >> number & 1]
        earliest_end = min(each.ended for each in waiting)
        for number, each in enumerate(operations):
            if not done >> number & 1 and each.begun <= earliest_end:
                following = after(state, each, policy)
                if following is not None and leads_on(done | 1 << number, following):
                    return True
        return False

    return leads_on(0, first)


class Campaign:
    """
    Rounds over one archive.

    @ivar breaches: What cannot be explained.
    @ivar counts: Operations by method and status.
    """

    def __init__(self, directory: Path, policy: str, workers: int, seed: str) -> None:
        self._random = random.Random(f"{seed}/{policy}")
        self._policy = policy
        incoming = directory / "incoming"
        incoming.mkdir(parents=True)
        prefix = directory / "archive"
        settings = SETTINGS.format(policy=policy, prefix=prefix, incoming=incoming)
        self.service = Service(directory, settings=settings, workers=workers)
        self._paths = [
            *(Path(f"{prefix}{id_to_path(file_id)}") for file_id in IDS),
            *(incoming / name for name in OUTSIDE),
        ]
        self._mine = threading.local()
        self._clients: list[Client] = []
        self._number = 0
        self.breaches: list[str] = []
        self.counts: Counter[str] = Counter()

    def run(self, operations: int) -> None:
        """As many, in rounds."""
        with ThreadPoolExecutor(CLIENTS) as threads:
            try:
                while operations > 0 and len(self.breaches) < 5:
                    self._round(threads, drawn := self._draw(min(CLIENTS, operations)))
                    operations -= len(drawn)
            finally:
                for client in self._clients:
                    client.__exit__()
        if left := self.service.temporaries():
            self.breaches.append(f"left over: {left}")
        if (status := self.service.stop()) not in (0, -signal.SIGTERM):  # twistd ends itself by the signal it got
            self.breaches.append(f"the service did not end in order: {status}")
        self.service.assert_clean()

    def _round(self, threads: ThreadPoolExecutor, operations: Sequence[Operation]) -> None:
        for name in OUTSIDE:
            path = self._paths[_INDEX[name]]
            path.unlink(missing_ok=True)
            path.write_bytes(self._body())
        first = self._read()
        for each in operations:
            if each.matching is not None:
                each.matching = self._tag(each.target)
        list(threads.map(self._do, operations))
        last = self._read()
        for each in operations:
            self.counts[f"{each.method} {each.status}"] += 1
        if not is_explained(first, operations, last, self._policy):
            failures = [line for line in self.service.log.splitlines() if "failed (" in line]
            self.breaches.append("\n".join([_told(first, operations, last), *failures[-3:]]))
        self._number += 1

    def _do(self, operation: Operation) -> None:
        # On its own connection, a new one now and then, so that all workers have some.
        uses = getattr(self._mine, "uses", 0)
        if uses % 50 == 0:
            with suppress(AttributeError):
                self._mine.client.__exit__()
            self._mine.client = self.service.client()
            self._clients.append(self._mine.client)
        self._mine.uses = uses + 1
        operation.run(self._mine.client, self._paths)

    def _read(self) -> State:
        """What is there, with nothing under way: each file once, whole, and with its own digest."""
        found: list[bytes | None] = []
        for place, path in zip(PLACES, self._paths, strict=True):
            try:
                digest = hashlib.sha256(path.read_bytes()).digest()
            except FileNotFoundError:
                found.append(None)
                continue
            found.append(digest)
            if isinstance(place, int):
                if path.stat().st_nlink != 1:
                    self.breaches.append(f"file {place} has other names")
                with suppress(OSError):
                    if os.getxattr(path, "user.pacarchive.sha256") != digest:
                        self.breaches.append(f"file {place} has a digest that is not its own")
        return tuple(found)

    def _tag(self, file_id: int) -> bytes | None:
        """The digest that is the entity tag of a file; one that was moved in from outside has another tag."""
        with suppress(OSError):
            return os.getxattr(self._paths[_INDEX[file_id]], "user.pacarchive.sha256")
        return None

    def _body(self) -> bytes:
        """Unlike any other; where the same bytes count, one of a few."""
        number = self._random.randrange(4) if self._policy == "identical" else self._random.randrange(2**64)
        text = b"%d/%d " % (self._number if self._policy == "identical" else 0, number)
        return text * (LARGE // len(text)) if self._random.random() < 0.05 else text

    def _draw(self, count: int) -> list[Operation]:
        hot = self._random.sample(IDS, HOT)
        return [self._draw_one(hot) for _ in range(count)]

    def _draw_one(self, hot: Sequence[int]) -> Operation:
        draw = self._random

        def file_id() -> int:
            return draw.choice(hot if draw.random() < 0.8 else IDS)

        removals = 10 if self._policy == "allow" else 30  # else all ids are taken soon, and nothing else happens
        method = draw.choices(("PUT", "PATCH", "DELETE", "GET"), (45, 35, removals, 10))[0]
        made = Operation(method, file_id())
        if method == "PUT":
            made.body = self._body()
        if method == "PATCH":
            made.source = draw.choice(OUTSIDE) if draw.random() < 0.2 else file_id()
        if method in ("PUT", "PATCH") and draw.random() < 0.15:
            made.absent = True
        elif method in ("PUT", "DELETE") and draw.random() < 0.15:
            made.matching = b""
        return made


def _told(first: State, operations: Sequence[Operation], last: State) -> str:
    def words(state: State) -> str:
        return ", ".join(
            f"{place}: {digest.hex()[:8]}" for place, digest in zip(PLACES, state, strict=True) if digest is not None
        )

    origin = min(each.begun for each in operations)
    lines = [
        f"  {(each.begun - origin) * 1000:6.1f} to {(each.ended - origin) * 1000:6.1f} ms {each.status} {each.method}"
        f" {each.target}"
        + (f" from {each.source}" if each.source is not None else "")
        + (f" of {each.digest.hex()[:8]}" if each.method == "PUT" else "")
        + (" if absent" if each.absent else "")
        + (f" if {each.matching.hex()[:8]}" if each.matching is not None else "")
        + (f" read {each.found.hex()[:8]}" if each.found is not None else "")
        for each in sorted(operations, key=lambda each: each.begun)
    ]
    return "\n".join([f"from {words(first)}", *lines, f"to   {words(last)}"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it, and print the figures.  @return: The exit status: 1 where something cannot be explained."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.races", description=__doc__.split("\n\n")[0])
    parser.add_argument("--operations", type=int, default=100_000, help="how many, in all (%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes of the service (%(default)s)")
    parser.add_argument("--seed", default="pacarchive", help="what is drawn from (%(default)s)")
    parser.add_argument("--directory", type=Path, help="where the archives are made; a new one, if none is named")
    parser.add_argument("--policies", default=",".join(POLICIES), help="of [server] overwrite (%(default)s)")
    chosen = parser.parse_args(arguments)
    policies = chosen.policies.split(",")
    if unknown := set(policies) - set(POLICIES):
        parser.error(f"no such policy: {', '.join(sorted(unknown))}")
    breaches = total = 0
    with tempfile.TemporaryDirectory(dir=chosen.directory) as directory:
        for policy in policies:
            campaign = Campaign(Path(directory) / policy, policy, chosen.workers, chosen.seed)
            begun = time.monotonic()
            try:
                campaign.run(chosen.operations // len(policies))
            finally:
                campaign.service.kill()
            count = sum(campaign.counts.values())
            total += count
            breaches += len(campaign.breaches)
            print(f"overwrite = {policy}: {count} operations in {time.monotonic() - begun:.0f} s")
            print("  " + ", ".join(f"{what}: {times}" for what, times in sorted(campaign.counts.items())))
            for each in campaign.breaches:
                print(f"\ncannot be explained:\n{each}")
    print(f"{total} operations over {len(IDS)} ids, {chosen.workers} workers: {breaches} breaches (seed {chosen.seed})")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
