"""C{kill -9} of the whole service on a simulated HPSS, again and again: what was acknowledged is there.

As L{system.test_kill}; C{PACARCHIVE_HPSS_KILL_CYCLES} sets how often (8), C{PACARCHIVE_KILL_SEED} repeats a run's
choices.
"""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import attrs
import pytest

from system.hpss import INCOMING, PREFIX, path_of
from system.test_kill import MOMENTS, SEED, Journal, Worker, assert_only_known_files, run_until_killed, settle

if TYPE_CHECKING:
    from hpss_simulator import Archive

    from system.hpss import Site

CYCLES = int(os.environ.get("PACARCHIVE_HPSS_KILL_CYCLES", "8"))

LATER_CHECKS = 20

CALLS = ("hpss_Write", "hpss_Rename")
"""In the middle of which the service is killed in every second cycle; in the others, as elsewhere."""


@attrs.frozen
class HpssSource:
    """A file in HPSS, outside of the prefix."""

    archive: Archive
    path: str

    def __str__(self) -> str:
        return self.path

    def exists(self) -> bool:
        """Whether it is there."""
        return any(entry.path == self.path for entry in self.archive.entries(INCOMING))

    def read_bytes(self) -> bytes:
        """All of it."""
        return self.archive.read(self.path)

    def write_bytes(self, data: bytes, /) -> None:
        """Make it, as another client does."""
        self.archive.write(self.path, data)

    def unlink(self, missing_ok: bool = False) -> None:
        """It may stay: it is not in the archive's way."""


@pytest.mark.timeout(60 + 6 * CYCLES)
def test_kill_and_restart(site: Site) -> None:
    """
    After each restart every acknowledged file is there, whole and with its digest; what was under way is there whole or
    not at all, and nothing unfinished is left.
    """
    print(f"PACARCHIVE_KILL_SEED={SEED} PACARCHIVE_HPSS_KILL_CYCLES={CYCLES}")  # noqa: T201  (shown when it fails)
    rng, journal, swept = random.Random(SEED), Journal(), 0

    class HpssWorker(Worker):
        def source(self, name: str) -> HpssSource:
            return HpssSource(site.archive, f"{INCOMING}/{name}")

    for cycle in range(CYCLES):

        def in_a_call(function: str = CALLS[cycle // 2 % len(CALLS)]) -> None:
            site.until_struck(site.archive.fault(function, path=f"{PREFIX}/*", action="hang"))

        swept += len(site.temporaries())
        service = site.start(workers=2 if cycle % 5 in (1, 3) else 1)
        assert service.port
        assert site.temporaries() == []
        assert_only_known_files(site.files(), journal, path_of)
        older = [file_id for file_id in journal.possible if file_id not in journal.changed]
        settle(service, journal, journal.changed | set(rng.sample(older, min(LATER_CHECKS, len(older)))))
        assert_only_known_files(site.files(), journal, path_of)
        journal.changed = set()
        moment = in_a_call if cycle % 2 else MOMENTS[cycle // 2 % len(MOMENTS)]
        run_until_killed(service, journal, rng, moment, HpssWorker)
        site.archive.clear_faults()
        service.assert_clean()
    service = site.start(workers=2)
    settle(service, journal, set(journal.possible))
    assert_only_known_files(site.files(), journal, path_of)
    # The run has shown something only if the service was killed at work.
    print(f"{journal.acknowledged} changes acknowledged, {journal.undecided} undecided, {swept} temporaries swept")  # noqa: T201
    assert journal.acknowledged >= 5 * CYCLES
    assert journal.undecided >= CYCLES // 4
    assert swept >= CYCLES // 8
