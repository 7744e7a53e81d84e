"""What lies around a backend on the simulator: another client of the same HPSS, and what it sees of the backend."""

from __future__ import annotations

import ctypes
import hashlib
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import attrs
from hpss_simulator import Archive
from simulated import INCOMING, PREFIX, serving, settings_for, simulated
from threaded import until
from twisted.internet import reactor

from pacarchive.backends import hpss
from pacarchive.backends.contract import started
from pacarchive.backends.hpss import client
from pacarchive.backends.hpss.archive import HpssArchive
from pacarchive.backends.hpss.tree import HIDDEN

TEMPORARIES = f"{PREFIX}/{HIDDEN}"


def made_from(archive: Archive, prefix: str = PREFIX, roots: Sequence[str] = (PREFIX, INCOMING)) -> HpssArchive:
    """A backend with another prefix or other move roots."""
    settings = attrs.evolve(settings_for(archive), prefix=Path(prefix), move_roots=tuple(map(Path, roots)))
    backend = hpss.make(reactor, settings)
    assert isinstance(backend, HpssArchive)
    return backend


@asynccontextmanager
async def serving_from(
    archive: Archive, prefix: str = PREFIX, roots: Sequence[str] = (PREFIX, INCOMING)
) -> AsyncIterator[HpssArchive]:
    """As L{simulated.serving}, with another prefix or other move roots."""
    backend = made_from(archive, prefix, roots)
    async with started(backend):
        yield backend


async def settled(archive: Archive) -> None:
    """Wait until no call is under way and nothing is open."""
    await until(lambda: archive.calls_in_flight() == archive.descriptors() == 0)


def temporaries(archive: Archive) -> list[str]:
    """What lies in the archive's hidden directory."""
    return [entry.path for entry in archive.entries(TEMPORARIES) if entry.path != TEMPORARIES]


def paths(archive: Archive, below: str = "/") -> set[str]:
    """Every name there is."""
    return {entry.path for entry in archive.entries(below)}


def checksum_attributes(algorithm: str, data: bytes) -> dict[str, str]:
    """A digest as HSI keeps it."""
    values = {
        "algorithm": algorithm,
        "checksum": hashlib.new(algorithm, data).hexdigest(),
        "errors": "0",
        "lastupdate": "1400000000",
        "state": "Valid",
        "app": "hashcreate",
        "filesize": str(len(data)),
    }
    return {f"/hpss/user/cksum/{key}": value for key, value in values.items()}


class Neighbour:
    """Another client of HPSS, in this thread, while a backend keeps the process logged in."""

    def __init__(self) -> None:
        # The very one that the extension has loaded: another would know of no login.
        self._library = ctypes.CDLL("libhpss.so", mode=os.RTLD_NOW | os.RTLD_NOLOAD)

    def symlink(self, target: str, path: str) -> None:
        """Make a symbolic link."""
        assert self._library.hpss_Symlink(os.fsencode(target), os.fsencode(path)) == 0

    def truncate(self, path: str, size: int) -> None:
        """Cut a file."""
        assert self._library.hpss_Truncate(os.fsencode(path), ctypes.c_uint64(size)) == 0

    def put(self, path: str, data: bytes, attributes: Mapping[str, str] | None = None) -> None:
        """
        Make a file.

        @param attributes: Its user-defined ones.
        """
        descriptor = client.create(path, size=len(data))
        assert client.write(descriptor, data) == len(data)
        client.close(descriptor)
        client.set_user_attributes(path, attributes or {})

    def put_sparse(self, path: str, size: int, data: bytes) -> None:
        """Make a file with nothing but a hole before its last bytes."""
        descriptor = client.create(path, size=size)
        client.seek(descriptor, size - len(data))
        assert client.write(descriptor, data) == len(data)
        client.close(descriptor)


@contextmanager
def neighbour() -> Iterator[Neighbour]:
    """Another client."""
    client.thread_start()
    try:
        yield Neighbour()
    finally:
        client.thread_end()


@asynccontextmanager
async def running_archive(directory: Path, **own: Any) -> AsyncIterator[tuple[Archive, HpssArchive]]:
    """A simulated HPSS and a backend on it."""
    with simulated(directory) as archive:
        async with serving(archive, **own) as backend:
            yield archive, backend
            await settled(archive)


def made_between(archive: Archive, before: dict[str, int]) -> dict[str, int]:
    """The calls since then, but for pings."""
    made = Counter(archive.all_calls()) - Counter(before)
    return {name: count for name, count in made.items() if name not in ("hpss_PingCore", "hpss_LookupRootCS")}
