"""A night of recalls, rehearsed in seconds: what the order of the requests is worth."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

from hpss_simulator.archive import Archive

_LONG_ENOUGH = 10 * 365 * 86400.0


@dataclass(frozen=True)
class Plan:
    """
    What is rehearsed.

    @ivar files: How many, each of C{size} bytes.
    @ivar cartridges: Over how many they are spread.
    @ivar wanted: How many of them are asked for, chosen at random.
    @ivar failures: Drives that break, and after how many seconds.
    @ivar settings: Of the archive.
    """

    files: int = 10_000
    wanted: int = 1000
    size: int = 10**9
    cartridges: int = 20
    drives: int = 4
    seed: int = 1
    failures: Sequence[tuple[int, float]] = ()
    settings: Sequence[tuple[str, float | str]] = ()


@dataclass(frozen=True)
class Night:
    """
    How it went.

    @ivar seconds: Simulated, from the requests to the last file.
    @ivar median: Simulated seconds that half of the files took.
    """

    seconds: float
    median: float
    mounts: int
    locates: int
    staged: int
    failed: int


def rehearse(plan: Plan, *, in_tape_order: bool) -> Night:
    """
    Ask for files at one moment, and play until none is waited for any more.

    @param in_tape_order: Ask for them as one batch, which the library orders by cartridge and position; else one by
        one, which it serves first in, first out.
    """
    with (
        tempfile.TemporaryDirectory(prefix="hpss-rehearsal-") as folder,
        Archive.create(folder, drives=plan.drives, scale=0, start=0) as archive,
    ):
        archive.set("cartridge_capacity", -(-plan.files // plan.cartridges) * plan.size)
        for name, value in plan.settings:
            archive.set(name, value)
        wanted = random.Random(plan.seed).sample(archive.populate(plan.files, plan.size), plan.wanted)
        archive.stage_all(wanted, batch=in_tape_order)
        for drive, seconds in plan.failures:
            archive.fail_drive(drive, after=seconds)
        archive.clock.advance(_LONG_ENOUGH)
        took = sorted(request.finished for request in archive.requests() if request.finished is not None)
        sums = archive.sums()
        return Night(
            seconds=took[-1] if took else 0,
            median=took[len(took) // 2] if took else 0,
            mounts=sums.mounts,
            locates=sums.locates,
            staged=sums.staged,
            failed=sums.failed,
        )
