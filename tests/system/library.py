"""What the tests of the client library against a real service have in common."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_twisted  # type: ignore[import-untyped]

from pacarchive.client import (
    ArchiveClient,
    RetryPolicy,
)
from system.harness import Service, content

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

MIB = 1 << 20
LARGE = int(os.environ.get("PACARCHIVE_CLIENT_MIB", "64")) * MIB
"""The size of the file that is cut over and over; 1024 for the real thing."""

CUTS = 20
QUICK = RetryPolicy(attempts=4, first=0.01, longest=0.05)


def asynchronous(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """A test that is a coroutine of Twisted's."""
    decorated: Callable[..., None] = pytest_twisted.ensureDeferred(test)
    return decorated


def client(url: str, **more: Any) -> ArchiveClient:
    """A client in this process."""
    from twisted.internet import reactor  # not before pytest_twisted has installed it

    return ArchiveClient(reactor, url, **{"retry": QUICK, **more})


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One service for all tests that do it no harm."""
    with suppress(FileNotFoundError):
        started = Service(tmp_path_factory.mktemp("archive"))
    yield started
    started.stop()
    started.assert_clean()


def large_file(path: Path, size: int = LARGE) -> str:
    """Make a file.  @return: Its SHA-256."""
    digest = hashlib.sha256()
    with open(path, "wb") as file:
        for number in range(size // MIB):
            piece = content(("large", number % 16), MIB - 8) + number.to_bytes(8, "big")
            file.write(piece)
            digest.update(piece)
    return digest.hexdigest()


def digest_of(path: Path) -> str:
    """The SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hidden(directory: Path) -> list[str]:
    """What a download left."""
    return [name for name in os.listdir(directory) if name.startswith(".")]


def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have files read over several connections, however fast one is."""
    for name, value in (("FAST", 1 << 60), ("LOOK", 0.0), ("FIRST", 8 * MIB), ("PART", 8 * MIB)):
        monkeypatch.setattr(f"pacarchive.client.download.{name}", value)
