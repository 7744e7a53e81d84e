"""Object stores that the tests of a module share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backends.s3.servers import SLOW_LANE, Ministack, ObjectServer, Rclone, SeaweedFS

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def seaweedfs() -> Iterator[ObjectServer]:
    """A real store, which takes seconds to start."""
    with SeaweedFS() as server:
        yield server


@pytest.fixture(scope="session")
def ministack() -> Iterator[ObjectServer]:
    """An imitation of the one that the protocol is of."""
    with Ministack() as server:
        yield server


@pytest.fixture(scope="session")
def rclone() -> Iterator[ObjectServer]:
    """What looks like a store, and cannot be relied on."""
    with Rclone() as server:
        yield server


@pytest.fixture(scope="session")
def ceph() -> Iterator[ObjectServer]:
    """One that is old and forgiving, for C{PACARCHIVE_TEST_S3=ceph}."""
    from backends.s3.ceph import Ceph

    with Ceph() as server:
        yield server


@pytest.fixture(params=["ceph"] if SLOW_LANE else ["seaweedfs", "ministack"])
def object_server(request: pytest.FixtureRequest) -> ObjectServer:
    """Each of them."""
    server: ObjectServer = request.getfixturevalue(request.param)
    return server
