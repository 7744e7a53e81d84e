"""The default place of the job store, and the archive's name in it."""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs

from pacarchive.runtime.filesystems import is_one_machines

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pacarchive.settings.server import ServerSettings

STATE_VARIABLE = "STATE_DIRECTORY"
"""The environment variable in which systemd names a service's own directory."""

_INSIDE = ".pacarchive/recall.sqlite"  # in the archive's own directory below the prefix
_FORMER = "recall.sqlite"


@attrs.frozen
class DefaultStore:
    """
    The place of the job store when the settings do not name one.

    @ivar path: The file.
    @ivar is_inside: Whether it is below the prefix, and so belongs to that archive, wherever the prefix is mounted.
    @ivar former: Where earlier versions had it.
    """

    path: str
    is_inside: bool
    former: str


def archive_name(server: ServerSettings) -> str:
    """Return the name of an archive in its job store."""
    return f"{server.type}:{server.prefix}"


def absolute_store(address: str) -> str:
    """Return a store's address, independent of the working directory."""
    return address if address.startswith("mariadb:") else os.path.abspath(address)


def default_store(server: ServerSettings, local_prefix: bool, environ: Mapping[str, str]) -> DefaultStore:
    """
    Find the place of the job store when the settings do not name one.

    It is in the archive, so that the stores of several archives are apart; unless the archive is not on a disk of this
    machine: SQLite has shared memory beside its file, which machines cannot share, and storage with tape should be read
    and written as little as possible.

    @param server: The section C{[server]}.
    @param local_prefix: Whether the prefix is a directory of this machine.
    @param environ: As C{os.environ}.
    """
    # systemd names the directories of StateDirectory= with colons between them.
    home = environ.get(STATE_VARIABLE, "").partition(":")[0]
    if not home:
        with suppress(FileNotFoundError):  # the working directory may have been removed
            home = os.getcwd()
    former = os.path.join(home, _FORMER)
    # A prefix that does not exist yet is about to be created, in the working directory.
    if local_prefix and (not os.path.exists(server.prefix) or is_one_machines(server.prefix)):
        return DefaultStore(os.path.join(server.prefix, _INSIDE), True, former)
    mark = hashlib.sha256(archive_name(server).encode()).hexdigest()[:12]
    name = f"recall-{re.sub(r'[^0-9A-Za-z_-]', '_', server.type)}-{mark}.sqlite"
    return DefaultStore(os.path.join(home, name), False, former)
