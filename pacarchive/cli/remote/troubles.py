"""Why an archive is not well, in words, out of its metrics and its own answer to that question."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from pacarchive.cli.printing import age_words
from pacarchive.cli.remote.figures import PREFIX, Change, Figures
from pacarchive.texts import counted, printable

if TYPE_CHECKING:
    from pacarchive.model import Health

OLD = 86400.0
"""Seconds after which a queued recall is a trouble."""

EXPIRES = 14 * 86400.0
"""Seconds before its end from which a certificate is one."""


def bad(figures: Figures, lately: Change, health: Health) -> Iterator[str]:
    """
    What keeps requests from succeeding, or files from being what they were.

    @param lately: What has changed lately.
    """
    if not health.ready:
        yield printable(health.words) or "requests cannot be expected to succeed"
    for backend, up in figures.by(f"{PREFIX}backend_up", "backend").items():
        if not up:
            yield f"the storage ({backend}) is not ready"
    if figures.sum(f"{PREFIX}recall_store_up") == 0:
        yield "the list of recalls cannot be reached"
    if files := figures.sum(f"{PREFIX}scrub_corrupt_files"):
        yield f"{counted(int(files), 'file')} {'is' if files == 1 else 'are'} not what was stored"
    if incidents := lately.counted(f"{PREFIX}incidents_total"):
        yield f"{counted(round(incidents), 'incident')} lately: the log has more"


def warnings(figures: Figures, lately: Change, health: Health, now: float) -> Iterator[str]:
    """
    What somebody should look at.

    @param lately: What has changed lately.
    @param now: The seconds since the epoch.
    """
    if health.ready and health.degraded:
        yield printable(health.words) or "it serves, but not all of it works"
    yield from _of_workers(figures, lately)
    if failures := lately.counted_by(f"{PREFIX}failures_total", "kind"):
        yield f"failed lately: {counts_words(failures)}"
    yield from _of_limits(figures)
    if (oldest := figures.sum(f"{PREFIX}recall_oldest_queued_seconds") or 0) > OLD:
        yield f"a file has been queued for a recall for {age_words(oldest)}"
    for name, end in figures.by(f"{PREFIX}tls_certificate_expiry_timestamp_seconds", "name").items():
        if end - now < EXPIRES:
            yield f"the certificate {name} expires in {age_words(end - now)}"


def _of_workers(figures: Figures, lately: Change) -> Iterator[str]:
    workers, reporting = figures.sum(f"{PREFIX}workers") or 0, figures.sum(f"{PREFIX}workers_reporting")
    if reporting is not None and reporting < workers:
        yield f"only {reporting:.0f} of {counted(int(workers), 'worker')} say how they are"
    if restarts := lately.counted(f"{PREFIX}worker_restarts_total"):
        yield f"{counted(round(restarts), 'worker')} ended lately, unasked"


def _of_limits(figures: Figures) -> Iterator[str]:
    for name in ("transfers", "connections"):
        used, limit = figures.sum(PREFIX + name), figures.sum(f"{PREFIX}{name}_limit")
        if used and limit and used >= limit:
            yield f"there are as many {name} as there may be ({limit:,.0f})"
    for pool, waiting in figures.by(f"{PREFIX}pool_queued", "pool").items():
        size = figures.sum(f"{PREFIX}pool_size", pool=pool)
        if waiting and size and (figures.sum(f"{PREFIX}pool_busy", pool=pool) or 0) >= size:
            yield f"all threads of {pool} are at work, and {counted(int(waiting), 'call')} more to do"


def counts_words(counts: Mapping[str, float], most: int = 99) -> str:
    """How many there are of each kind, without those of which there are none; the first of them only."""
    shown = [f"{kind} {count:,.0f}" for kind, count in counts.items() if count]
    return ", ".join([*shown[:most], *(["..."] if len(shown) > most else [])])
