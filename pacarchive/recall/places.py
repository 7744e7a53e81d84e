"""Where the list of stage jobs is kept when nobody says, and what it says of whose it is."""

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
    @ivar path: The file.
    @ivar is_inside: Whether it is below the prefix, and so that archive's for sure, wherever the prefix is mounted.
    @ivar former: Where earlier versions had it.
    """

    path: str
    is_inside: bool
    former: str


def archive_name(server: ServerSettings) -> str:
    """What an archive is known by in its list of stage jobs."""
    return f"{server.type}:{server.prefix}"


def absolute_store(address: str) -> str:
    """A store as it is named, whatever the working directory is later."""
    return address if address.startswith("mariadb:") else os.path.abspath(address)


def default_store(server: ServerSettings, local_prefix: bool, environ: Mapping[str, str]) -> DefaultStore:
    """
    Where the list of stage jobs is, if the settings do not say.

    It is with the archive, so that several are in nobody's way; unless that is on no disk of this machine: SQLite has
    shared memory beside its file, which machines cannot share, and what is on tape is read and written as little as can
    be.

    @param local_prefix: Whether the prefix is a directory of this machine.
    @param environ: As C{os.environ}.
    """
    # systemd names the directories of StateDirectory= with colons between them.
    home = environ.get(STATE_VARIABLE, "").partition(":")[0]
    if not home:
        with suppress(FileNotFoundError):  # it may be gone, where all that is needed is named
            home = os.getcwd()
    former = os.path.join(home, _FORMER)
    # One that does not exist yet is about to be made, in the working directory.
    if local_prefix and (not os.path.exists(server.prefix) or is_one_machines(server.prefix)):
        return DefaultStore(os.path.join(server.prefix, _INSIDE), True, former)
    mark = hashlib.sha256(archive_name(server).encode()).hexdigest()[:12]
    name = f"recall-{re.sub(r'[^0-9A-Za-z_-]', '_', server.type)}-{mark}.sqlite"
    return DefaultStore(os.path.join(home, name), False, former)
