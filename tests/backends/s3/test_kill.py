"""
C{kill -9} of whole servers over a bucket, again and again: what was acknowledged is there, and all else can be swept.

As L{system.test_kill}; C{PACARCHIVE_S3_KILL_CYCLES} sets how often (5), C{PACARCHIVE_KILL_SEED} repeats a run's
choices.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from typing import TYPE_CHECKING
from urllib.parse import quote

import attrs
import pytest
from system.test_kill import MOMENTS, SEED, Journal, Worker, run_until_killed, settle

from backends.s3.servers import BUCKET
from backends.s3.services import node
from pacarchive.backends.s3.documents import listing, uploads
from pacarchive.backends.s3.record import decode, file_id_at

if TYPE_CHECKING:
    from pathlib import Path

    from system.harness import Service

    from backends.s3.servers import ObjectServer

CYCLES = int(os.environ.get("PACARCHIVE_S3_KILL_CYCLES", "5"))

LATER_CHECKS = 20

SWEEP_EVERY = 5


@attrs.frozen
class ObjectSource:
    """An object outside of the archive."""

    store: ObjectServer
    path: str

    def __str__(self) -> str:
        return self.path

    def exists(self) -> bool:
        """Whether it is there."""
        return self.store.ask("HEAD", self.path)[0] == 200

    def read_bytes(self) -> bytes:
        """All of it."""
        status, data = self.store.ask("GET", self.path)
        assert status == 200, f"{self.path} is lost"
        return data

    def write_bytes(self, data: bytes, /) -> None:
        """Make it, as another client does."""
        status, words = self.store.ask("PUT", self.path, data)
        assert status == 200, words

    def unlink(self, missing_ok: bool = False) -> None:
        """It may stay: it is not in the archive's way."""


class Archive:
    """
    What is in the bucket, looked at from outside.

    @param name: Of the archive.
    """

    def __init__(self, store: ObjectServer, directory: Path, name: str) -> None:
        self.store = store
        self._directory = directory
        self._name = name

    def start(self, *, workers: int = 1) -> Service:
        """A server with small parts, so that many files have several objects or parts."""
        own = {"part_size": 5 << 20, "small_file": 4096, "sweep_after": 0.000001}
        return node(self._directory, self.store.endpoint, self._name, workers=workers, **own)

    def source(self, name: str) -> ObjectSource:
        """An object that is to be moved in."""
        return ObjectSource(self.store, f"/{BUCKET}/{self._name}-imports/{name}")

    def keys(self, kind: str) -> set[str]:
        """The ends of all keys of a kind."""
        prefix = f"{self._name}/{kind}/"
        found: set[str] = set()
        token = ""
        while True:
            query = f"list-type=2&prefix={quote(prefix, safe='')}" + (token and f"&continuation-token={token}")
            status, body = self.store.ask("GET", f"/{BUCKET}?{query}")
            assert status == 200, body
            page = listing(body)
            found |= {each.key.removeprefix(prefix) for each in page.objects}
            if page.token is None:
                return found
            token = quote(page.token, safe="")

    def needed(self) -> set[str]:
        """The ends of the keys of the data that records name."""
        found = set()
        for place in self.keys("i"):
            status, body = self.store.ask("GET", f"/{BUCKET}/{self._name}/i/{place}")
            assert status == 200, body
            record = decode(body, file_id_at(place), whole=True)
            if record.data is not None:
                found.add(f"{place}/{record.version}")
        return found

    def unfinished(self) -> list[str]:
        """The keys of uploads in parts that are not complete."""
        status, body = self.store.ask("GET", f"/{BUCKET}?prefix={quote(f'{self._name}/', safe='')}&uploads=")
        assert status == 200, body
        return [each.key for each in uploads(body)[0]]

    def sweep(self) -> int:
        """Sweep twice, as what nobody has marked is only marked first.  @return: How much was removed."""
        removed = 0
        for _ in range(2):
            command = "import sys; from pacarchive.cli import main; sys.exit(main())"
            settings = ["-c", str(self._directory / "settings.ini"), "--prefix", f"/{BUCKET}/{self._name}"]
            done = subprocess.run(
                [sys.executable, "-c", command, "admin", "sweep", "--json", *settings],
                capture_output=True, text=True, check=False, timeout=120,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            removed += json.loads(done.stdout.splitlines()[-1])["summary"]["removed"]
        return removed


@pytest.mark.timeout(120 + 12 * CYCLES)
def test_kill_and_sweep(seaweedfs: ObjectServer, tmp_path: Path) -> None:
    """
    After each kill every acknowledged file is there, whole and with its digest; what was under way is there whole or
    not at all.  A sweep removes all that no file needs, unfinished uploads too, and no more.
    """
    print(f"PACARCHIVE_KILL_SEED={SEED} PACARCHIVE_S3_KILL_CYCLES={CYCLES}")  # noqa: T201  (shown when it fails)
    rng, journal, orphans, cut, swept = random.Random(SEED), Journal(), 0, 0, 0
    archive = Archive(seaweedfs, tmp_path / "service", tmp_path.name)

    class ObjectWorker(Worker):
        def source(self, name: str) -> ObjectSource:
            return archive.source(name)

    for cycle in range(CYCLES):
        service = archive.start(workers=2 if cycle % 5 in (1, 3) else 1)
        try:
            assert service.port
            older = [file_id for file_id in journal.possible if file_id not in journal.changed]
            settle(service, journal, journal.changed | set(rng.sample(older, min(LATER_CHECKS, len(older)))))
            journal.changed = set()
            run_until_killed(service, journal, rng, MOMENTS[cycle % len(MOMENTS)], ObjectWorker)
            service.assert_clean()
        finally:
            service.kill()
        if cycle % SWEEP_EVERY == SWEEP_EVERY - 1 or cycle == CYCLES - 1:
            orphans += len(archive.keys("d") - archive.needed())
            cut += len(archive.unfinished())
            swept += archive.sweep()
            assert archive.keys("d") == archive.needed()
            assert archive.unfinished() == []
            assert archive.keys("g") == set()
            service = archive.start()
            try:
                settle(service, journal, set(journal.possible))
                service.stop()
            finally:
                service.kill()
    # The run has shown something only if servers were killed at work.
    print(f"{journal.acknowledged} changes acknowledged, {journal.undecided} undecided, {orphans} orphans, "  # noqa: T201
          f"{cut} uploads cut off, {swept} swept")  # fmt: skip
    assert journal.acknowledged >= 5 * CYCLES
    assert journal.undecided >= CYCLES // 4
    assert swept >= orphans >= CYCLES
