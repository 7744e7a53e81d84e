"""One client and one archive for every test of the library, in each of its variants."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import hpss_build
import pytest
from hpss_simulator import Archive

from .clients import Client
from .header import load


@pytest.fixture(params=hpss_build.VARIANTS)
def client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A client that has not logged in, and gives up soon."""
    monkeypatch.setenv("HPSS_SIMULATOR_LOGIN_TIMEOUT", "0.2")
    made = Client(load(request.param))
    made.configure(NumRetries=0, BusyRetries=0, BusyDelay=1, TotalDelay=1, RetryStageInp=0)
    yield made
    made.end()


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Archive]:
    """A new archive whose clock stands still."""
    with Archive.create(tmp_path / "archive", drives=2) as made:
        made.clock.freeze()
        yield made


@pytest.fixture
def archive(empty: Archive, client: Client) -> Archive:
    """A new archive that the client is logged in to."""
    assert client.login(empty) == 0
    return empty
