"""What C{pacarchive admin} does with archives in object stores alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pacarchive import errors
from pacarchive.cli import exits
from pacarchive.cli.admin.running import Interruption, NotStarted, with_backend
from pacarchive.cli.printing import complain
from pacarchive.cli.streams import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable

    from pacarchive.backends.s3.sweep import LeftOver
    from pacarchive.interfaces import IArchiveBackend
    from pacarchive.settings.sections import Settings


def sweep(settings: Settings, found: Callable[[LeftOver], None], *, dry_run: bool, force: bool) -> tuple[int, int]:
    """
    Remove what nothing needs.

    @param found: Called for each.
    @param dry_run: Whether nothing is changed.
    @param force: Whether to go on where much data has no record.
    @return: How much data was marked, to be removed later; and an exit code, if it was not swept to the end.
    """
    from pacarchive.backends.s3.archive import S3Archive
    from pacarchive.backends.s3.sweep import RecordsLostError

    marked = 0

    async def work(backend: IArchiveBackend, interruption: Interruption) -> None:
        nonlocal marked
        assert isinstance(backend, S3Archive), "that is what the settings name"
        sweeper = backend.sweeper(dry_run=dry_run, believes=force)
        try:
            async for each in sweeper.run():
                found(each)
                if interruption.received:
                    break
        finally:
            marked = sweeper.marked

    try:
        with_backend(settings, work)
    except (NotStarted, errors.Unavailable) as error:
        return marked, complain(error, exits.UNAVAILABLE)
    except RecordsLostError as error:
        advice = "if records were lost, pacarchive admin rebuild makes them again; if not, --force sweeps all the same"
        return marked, complain(f"stopped: {error}; {advice}", exits.FAILED)
    except Interrupted as error:
        return marked, error.code
    return marked, exits.OK
