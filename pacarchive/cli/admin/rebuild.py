"""C{pacarchive admin rebuild}: make the records of an object store's files again, from their data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pacarchive.backends.s3.order import Order, Outcome
from pacarchive.cli.admin.archive import settings_of
from pacarchive.cli.admin.bulk import Bulk
from pacarchive.settings.reading import ConfigError

if TYPE_CHECKING:
    import argparse

    from pacarchive.backends.s3.archive import S3Archive

_WORDS = {
    Outcome.MADE: "rebuilt",
    Outcome.THERE: "there already",
    Outcome.MARKED: "marked as not needed, and left out",
    Outcome.OLDER: "older versions left out",
    Outcome.YOUNG: "too young, and left out",
    Outcome.NO_ID: "not of an archive",
    Outcome.FAILED: "not rebuilt",
}


def run(arguments: argparse.Namespace) -> int:
    """Run the command.  @return: The exit code."""
    settings = settings_of(arguments)
    if settings.server.type != "s3":
        raise ConfigError("admin rebuild", f"an archive of type {settings.server.type} has no records to rebuild")

    async def work(archive: S3Archive, order: Order) -> None:
        await archive.rebuilder(settled=arguments.settled, with_marked=arguments.marked).run(order)

    return Bulk(arguments, "rebuilding", _WORDS).run(settings, work)
