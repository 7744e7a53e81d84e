"""The C{s3} backend keeps the contract: on a real store, and on an imitation of the one that the protocol is of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backends.s3.archives import factory_for, importing, with_tombstones
from backends.s3.servers import SLOW_LANE
from pacarchive.backends.contract import Capabilities, make_backend_tests

if TYPE_CHECKING:
    from backends.s3.servers import ObjectServer

_VERSIONS = "versions"

_servers: list[ObjectServer] = []


def _server() -> ObjectServer:
    return _servers[-1]


_capabilities = Capabilities(durable=True, moves=importing(_server))

# With the settings that there are where nobody sets anything.
TestOnSeaweedFS = make_backend_tests(factory_for(_server), _capabilities)

# Where the condition of a DELETE is ignored, and all that is not tiny has an object of its own.
TestOnMinistack = make_backend_tests(factory_for(_server, with_tombstones, small_file=4), _capabilities)

# In a bucket that keeps versions and has object lock.
TestInVersions = make_backend_tests(factory_for(_server, small_file=4, bucket=_VERSIONS), _capabilities)

# Where it is looked where the data is, as some may be in a cold class.
TestWithColdClasses = make_backend_tests(factory_for(_server, small_file=4, cold_classes=("GLACIER",)), _capabilities)


@pytest.fixture(autouse=True)
def object_server(request: pytest.FixtureRequest) -> None:
    """The store of a class."""
    name = "ministack" if issubclass(request.cls, TestOnMinistack) else "seaweedfs"
    if SLOW_LANE:
        name = "ceph"
    _servers[:] = [request.getfixturevalue(name)]
    if issubclass(request.cls, TestInVersions):
        if SLOW_LANE:
            pytest.skip("Ceph 16 ignores conditions in a bucket that keeps versions: it is refused for writing")
        locks = {"x-amz-bucket-object-lock-enabled": "true"}
        assert _server().ask("PUT", f"/{_VERSIONS}", headers=locks)[0] in (200, 409)
