"""What the tests of the sideband share as fixtures."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from sideband.server import MariaDB, Sideband

if TYPE_CHECKING:
    from collections.abc import Iterator

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    """The server that most tests share: to be left running, and in the SQL mode that it had."""
    with MariaDB() as server:
        yield server


@pytest.fixture
def database(mariadb: MariaDB, request: pytest.FixtureRequest) -> Iterator[Sideband]:
    """
    A new database, dropped after the test.

    Parametrised indirectly, it takes the arguments of L{MariaDB.create_database} as a dictionary.
    """
    name = f"sam_{next(_numbers)}"
    try:
        mariadb.create_database(name, **getattr(request, "param", {}))
        yield Sideband(mariadb, name, *mariadb.create_reader(name))
    finally:
        mariadb.drop_reader(f"{name}_reader")
        mariadb.drop_database(name)


@pytest.fixture
def own_mariadb() -> Iterator[MariaDB]:
    """A server to restart, freeze and kill, at a port also; what was committed outlives that."""
    with MariaDB(tcp=True, durable=True) as server:
        yield server
