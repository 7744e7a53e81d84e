"""What the system tests share as fixtures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from system.harness import Service
from system.issuer import PACKAGE, Issuer
from system.npm import installed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sideband.server import MariaDB

    from system import sideband
    from system.browsing import Browser
    from system.hpss import Site


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """
    Starts a L{Service}, by default over one and the same archive.

    At the end of the test those that still run are stopped, and every log must be clean.
    """
    started: list[Service] = []

    def start(*options: str, directory: Path = tmp_path / "service", **more: Any) -> Service:
        started.append(Service(directory, *options, **more))
        return started[-1]

    yield start
    try:
        for each in started:
            if each.process.poll() is None:
                each.stop()
            each.assert_clean()
    finally:
        for each in started:
            each.kill()


@pytest.fixture(scope="session")
def issuer_modules(request: pytest.FixtureRequest) -> Path:
    """Where the package of the issuer of tokens is."""
    return installed(request.config, PACKAGE)


@pytest.fixture(scope="session")
def chromium(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all tests."""
    from system.browsing import axe_script, browsing  # only now: most tests need none

    with browsing(tmp_path_factory.mktemp("profile"), axe_script(request.config)) as found:
        yield found


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    """It, without cookies and news of the test before."""
    chromium.base = ""
    yield chromium
    chromium.forget()


@pytest.fixture
def issuer(issuer_modules: Path, tmp_path: Path) -> Iterator[Issuer]:
    """An issuer of tokens that answers."""
    found = Issuer(issuer_modules, tmp_path / "issuer")
    yield found
    found.stop()


@pytest.fixture
def site(tmp_path: Path, serve: Callable[..., Service]) -> Iterator[Site]:
    """A simulated HPSS, and what starts services on it; at the end they have left nothing behind there."""
    from system.hpss import Site  # only now: it builds the simulator

    found = Site(tmp_path, serve)
    yield found
    found.close()


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    """One server for the databases of all tests, each of which begins with it running and leaves nothing there."""
    from sideband.server import MariaDB  # only now: other tests need no PyMySQL

    with MariaDB(tcp=True, durable=True) as server:
        yield server


@pytest.fixture
def sam(tmp_path: Path, serve: Callable[..., Service], mariadb: MariaDB) -> Iterator[sideband.Site]:
    """A mount of SAM's with its sideband database, and what starts services on it."""
    from system.sideband import Site

    mariadb.revive()
    found = Site(tmp_path, serve, mariadb)
    try:
        yield found
    finally:
        mariadb.revive()
        found.close()
