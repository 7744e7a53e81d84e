"""What is found out of stores at the start, and what follows from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backends.s3.archives import archive
from backends.s3.double import Double, Given, error
from backends.s3.servers import ObjectServer
from pacarchive import errors
from pacarchive.backends.contract.handling import ALLOW, content, in_reactor, store
from pacarchive.backends.s3.bucket import Promises
from pacarchive.backends.s3.probe import probe, words_of
from pacarchive.backends.s3.sums import Check


def _promises(backend: Any) -> Promises:
    found: Promises = backend._bucket.promises
    return found


@in_reactor
async def test_seaweedfs_heeds_conditions(seaweedfs: ObjectServer, tmp_path: Path) -> None:
    """All of them."""
    async with archive(seaweedfs, tmp_path.name) as backend:
        found = _promises(backend)
        assert (found.conditional_put, found.conditional_delete, found.conditional_get) == (True, True, True)
        assert found.quoted_tags
        assert found.ranges
        assert {Check.CRC32, Check.MD5} <= found.checks


@in_reactor
async def test_nothing_is_written_where_conditions_are_ignored(rclone: ObjectServer, tmp_path: Path) -> None:
    """A server that would not keep its promises refuses, and says so."""
    async with archive(rclone, tmp_path.name) as backend:
        assert not _promises(backend).conditional_put
        with pytest.raises(errors.NotPermitted):
            await store(backend, 1, b"words")
        with pytest.raises(errors.NotPermitted):
            await backend.remove(1, ALLOW)
        with pytest.raises(errors.NotPermitted):
            await backend.move(1, "/archive/x/y", ALLOW)
        assert await content(backend, 1) is None
        health = await backend.health()
        assert (health.ready, health.degraded) == (True, True)


@in_reactor
async def test_who_is_alone_writes_all_the_same(rclone: ObjectServer, tmp_path: Path) -> None:
    """It was said to be, and sees to the rest itself."""
    async with archive(rclone, tmp_path.name, single_node=True) as backend:
        await store(backend, 1, b"words")
        assert await content(backend, 1) == b"words"
        await backend.remove(1, ALLOW)
        assert await content(backend, 1) is None


@in_reactor
async def test_without_a_bucket_there_is_no_start(seaweedfs: ObjectServer, tmp_path: Path) -> None:
    """Nor with wrong credentials, or without a name."""
    with pytest.raises(errors.BackendUnavailable, match="does not store an object"):
        async with archive(seaweedfs, tmp_path.name, secret_key="wrong"):
            pass


GOOD = Given(200, headers={"ETag": '"tag"'})
TAKEN = Given(412)
PART = Given(206, b"arc")
ONLINE = error(403, "InvalidObjectState")
WRONG = error(400, "BadDigest")


def _probed(*answers: Given) -> tuple[Promises, list[str]]:
    double = Double(*answers)
    double.script.then = Given(204)
    found = double.result(probe(double.bucket, "p/"))
    assert double.script.heard[-1].method == "DELETE"
    return found, [each.method for each in double.script.heard]


def test_a_store_that_heeds_all() -> None:
    """It gets what it heeds."""
    found, _ = _probed(GOOD, TAKEN, TAKEN, GOOD, TAKEN, WRONG, WRONG, WRONG, PART, TAKEN, GOOD, ONLINE, TAKEN, TAKEN)
    assert found == Promises()
    assert words_of(found) == (
        "heeds conditional PUT, conditional DELETE, conditional GET, ranges, CRC32, signed SHA-256, Content-MD5; "
        "ignores nothing; knows restores"
    )


def test_who_may_not_list_versions_starts_all_the_same() -> None:
    """The sweep will say what it lacks."""
    kept = Given(200, headers={"ETag": '"tag"', "x-amz-version-id": "1"})
    lock = Given(
        200, b"<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>"
    )
    rest = (TAKEN, TAKEN, GOOD, TAKEN, WRONG, WRONG, WRONG, PART, TAKEN, GOOD, ONLINE, TAKEN, TAKEN)
    found, methods = _probed(kept, *rest, lock, error(403, "AccessDenied"))
    assert found == Promises(versions=True, locks=True)
    assert methods[-2:] == ["GET", "DELETE"]


def test_a_store_that_wants_bare_tags() -> None:
    """As old gateways do, and ignore the condition of a DELETE."""
    found, _ = _probed(
        GOOD,
        TAKEN,
        TAKEN,
        TAKEN,
        GOOD,
        TAKEN,
        GOOD,
        WRONG,
        WRONG,
        PART,
        TAKEN,
        GOOD,
        error(501, "NotImplemented"),
        Given(204),
        Given(204),
    )
    assert found == Promises(
        quoted_tags=False, conditional_delete=False, checks=frozenset({Check.MD5, Check.SHA256}), restores=False
    )
    assert "without quotes" in words_of(found)


@pytest.mark.parametrize("ignored", range(1, 5))
def test_each_condition_of_a_put_counts(ignored: int) -> None:
    """A store that ignores one of them is none to rely on."""
    answers = [GOOD, TAKEN, TAKEN, GOOD, TAKEN]
    answers[ignored] = TAKEN if ignored == 3 else GOOD
    more = [TAKEN] if ignored == 3 else [Given(204)] if ignored == 4 else []
    found, _ = _probed(*answers[: ignored + 1], *more, *answers[ignored + 1 :], WRONG, WRONG, WRONG, PART)
    assert not found.conditional_put


def test_a_store_that_does_not_answer() -> None:
    """It is not said to ignore anything."""
    double = Double(GOOD)
    double.script.then = Given(0)
    with pytest.raises(errors.BackendUnavailable):
        double.result(probe(double.bucket, "p/"))
