"""What metrics say of the parts of a service: sampled when somebody wants to know, and by one worker for all."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from pacarchive.access.gate import REMEMBERED
from pacarchive.errors import ArchiveError
from pacarchive.recall.settings import RecallSettings
from pacarchive.settings.reading import find_provider
from pacarchive.web.settings import ConsoleSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twisted.internet.interfaces import IReactorTime

    from pacarchive.access.service import AccessService
    from pacarchive.recall.engine import RecallEngine
    from pacarchive.runtime.threads import BlockingPool
    from pacarchive.settings.sections import Settings
    from pacarchive.settings.server import ServerSettings
    from pacarchive.telemetry.process import Samples, Telemetry
    from pacarchive.web.health import HealthProbe


def sample_parts(
    telemetry: Telemetry,
    clock: IReactorTime,
    settings: Settings,
    pool: BlockingPool,
    probe: HealthProbe,
    recall: RecallEngine,
    gatekeeper: AccessService,
) -> None:
    """
    Have the parts sampled.

    @param pool: Threads that may wait for a disk.
    """
    server = settings.server
    telemetry.samples(partial(_access, gatekeeper))
    telemetry.samples(partial(_console, settings.of(ConsoleSettings)))
    telemetry.samples_slowly(partial(_storage, clock, server.type, probe))
    telemetry.samples_slowly(partial(_recalls, recall, settings.of(RecallSettings)))
    if find_provider(server.type).local_prefix:
        telemetry.samples_slowly(partial(_space, pool, server))


def _access(gatekeeper: AccessService) -> Iterator[tuple[tuple[str, ...], float]]:
    yield ("auth_cache_entries",), float(gatekeeper.gate.cached)
    yield ("auth_cache_entries_limit",), float(REMEMBERED)
    yield ("auth_waiting",), float(gatekeeper.gate.waiting)
    for issuer, age in gatekeeper.key_ages().items():
        yield ("jwks_age_seconds", issuer), float("inf") if age is None else age


def _console(console: ConsoleSettings) -> Iterator[tuple[tuple[str, ...], float]]:
    if console.enabled:
        yield ("console_viewers",), 0.0  # what there are is added when there are any
        yield ("console_viewers_limit",), float(console.viewers)


async def _storage(clock: IReactorTime, backend: str, probe: HealthProbe) -> Samples:
    began = clock.seconds()
    health = await probe.ask()
    return [
        (("backend_up", backend), float(health.ready)),
        (("backend_latency_seconds", backend), clock.seconds() - began),
    ]


async def _space(pool: BlockingPool, server: ServerSettings) -> Samples:
    try:
        found = await pool.run(os.statvfs, server.prefix)
    except OSError:  # which is what backend_up says
        return []
    return [
        (("storage_free_bytes", server.type), float(found.f_bavail * found.f_frsize)),
        (("storage_size_bytes", server.type), float(found.f_blocks * found.f_frsize)),
        *([(("storage_free_inodes", server.type), float(found.f_favail))] if found.f_files else []),
    ]


async def _recalls(recall: RecallEngine, limits: RecallSettings) -> Samples:
    """From the counts that the store keeps."""
    samples: list[tuple[tuple[str, ...], float]] = [(("recall_store_up",), float(not recall.obstacle))]
    try:
        found = await recall.operations.overview()
    except ArchiveError:
        return samples
    states = found.states
    amounts = {
        "looked_up": states.looked_up,
        "queued": states.queued,
        "backing_off": states.backing_off,
        "started": states.started,
        "cancelling": states.cancelling,
        "failed": found.failed,
    }
    return [
        *samples,
        *((("recall_files", state), float(amount.files)) for state, amount in amounts.items()),
        (("recall_oldest_queued_seconds",), found.longest),
        (("cartridges_active",), float(len(found.drives))),
        (("cartridges_limit",), float(found.drives_usable)),
        (("pinned_bytes",), float(found.buffer.pinned.size)),
        (("recall_owners",), float(found.owners)),
        (("recall_kept_jobs",), float(found.kept_jobs)),
        (("recall_kept_jobs_limit",), float(limits.kept_jobs)),
        (("recall_kept_files",), float(found.kept_files)),
        (("recall_kept_files_limit",), float(limits.kept_files)),
        *([] if found.buffer.limit is None else [(("recall_buffer_limit_bytes",), float(found.buffer.limit))]),
    ]
