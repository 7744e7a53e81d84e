"""What the tests of the recall engine share as fixtures."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sideband.conftest import mariadb, own_mariadb  # noqa: F401  (fixtures)
from sideband.server import MariaDB

from pacarchive.recall.engine import RecallEngine
from recall.surroundings import Surroundings

_numbers = itertools.count(1)
_PASSWORD = "s3cret'\"%\\x"


@pytest.fixture
def mariadb_store(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """How to reach an empty database, with an account that may do anything there."""
    server: MariaDB = request.getfixturevalue("mariadb")
    name = f"recall_{next(_numbers)}"
    server.execute(f"CREATE DATABASE {name} CHARACTER SET latin1")
    server.execute("CREATE USER %s@localhost IDENTIFIED BY %s", [name, _PASSWORD])
    server.execute(f"GRANT ALL ON `{name}`.* TO %s@localhost", [name])
    yield {"store": f"mariadb://{name}@/{name}?socket={server.socket}", "store_password": _PASSWORD}
    server.execute("DROP USER %s@localhost", [name])
    server.execute(f"DROP DATABASE {name}")


@pytest.fixture
def sqlite_store(tmp_path: Path) -> dict[str, Any]:
    """Where a store is to be made."""
    return {"store": str(tmp_path / "recall.sqlite")}


@pytest.fixture(params=["sqlite", pytest.param("mariadb", marks=pytest.mark.database)])
def store_address(request: pytest.FixtureRequest) -> dict[str, Any]:
    """How to reach an empty store, as settings of the section C{[recall]}."""
    found: dict[str, Any] = request.getfixturevalue(f"{request.param}_store")
    return found


@pytest.fixture
def around(store_address: dict[str, Any]) -> Iterator[Surroundings]:
    """A storage system, and what starts engines over it; on each kind of store."""
    found = Surroundings(store_address)
    yield found
    found.close()


@pytest.fixture
def locally(sqlite_store: dict[str, Any]) -> Iterator[Surroundings]:
    """The same, on SQLite only: for what has nothing to do with the kind of store."""
    found = Surroundings(sqlite_store)
    yield found
    found.close()


@pytest.fixture
def engine(around: Surroundings) -> RecallEngine:
    """The only engine, over files 1 to 9 on tape, with one drive."""
    around.tapes.add(*range(1, 10))
    return around.engine(drives=1)
