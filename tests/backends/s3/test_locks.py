"""Buckets that keep versions, and objects that may not be removed."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest

from backends.s3.archives import archive
from backends.s3.double import Double, Given, error
from backends.s3.servers import ACCESS_KEY, SECRET_KEY, ObjectServer
from pacarchive import errors
from pacarchive.backends.contract.handling import ALLOW, in_reactor, load, pattern, store
from pacarchive.backends.s3 import versions
from pacarchive.backends.s3.documents import BadDocumentError, Version
from pacarchive.backends.s3.documents import versions as parsed
from pacarchive.backends.s3.probe import words_of
from pacarchive.backends.s3.record import file_id_at

BUCKET = "locked"
SOON: dict[str, Any] = {"small_file": 4, "sweep_after": 1e-6}
LOCKED = Given(200, headers={"x-amz-object-lock-mode": "COMPLIANCE"})
HELD = Given(200, headers={"x-amz-object-lock-legal-hold": "ON"})
FREE = Given(200, headers={"x-amz-object-lock-legal-hold": "OFF"})


@pytest.fixture
def locking(object_server: ObjectServer) -> ObjectServer:
    """A store with a bucket that has object lock, and so keeps versions."""
    made, answer = object_server.ask("PUT", f"/{BUCKET}", headers={"x-amz-bucket-object-lock-enabled": "true"})
    assert made in (200, 409), answer
    return object_server


def keep(server: ObjectServer, key: str, version: str) -> None:
    """Have a version kept for years."""
    body = b"<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>2999-01-01T00:00:00Z</RetainUntilDate></Retention>"
    sum_of = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
    done = server.ask("PUT", f"/{BUCKET}/{key}?retention&versionId={version}", body, {"Content-MD5": sum_of})
    assert done[0] == 200, done


async def all_versions(backend: Any, kind: str = "") -> list[Version]:
    """All that is in the bucket below the archive's prefix, or of one kind."""
    layout = backend._records.layout
    return [each async for each in versions.listed(backend._bucket, getattr(layout, kind) if kind else layout.prefix)]


@in_reactor
async def test_the_start_says_what_the_bucket_keeps(locking: ObjectServer, tmp_path: Path) -> None:
    """And leaves nothing behind itself."""
    async with archive(locking, tmp_path.name) as any_backend:
        plain: Any = any_backend
        assert "versions" not in words_of(plain._bucket.promises)
    async with archive(locking, tmp_path.name, bucket=BUCKET) as any_backend:
        backend: Any = any_backend
        assert words_of(backend._bucket.promises).endswith("; the bucket keeps versions; the bucket has object lock")
        assert await all_versions(backend, "probes") == []


@in_reactor
async def test_a_sweep_leaves_no_version(locking: ObjectServer, tmp_path: Path) -> None:
    """Neither of data that was replaced, nor of what was removed by its key alone; what is needed stays."""
    async with archive(locking, tmp_path.name, bucket=BUCKET, **SOON) as any_backend:
        backend: Any = any_backend
        await store(backend, 1, pattern(100))
        await store(backend, 1, pattern(50))
        await store(backend, 2, pattern(70))
        kept = {each.version for each in await all_versions(backend, "data") if each.size != 100}
        (needed,) = [each.key for each in await all_versions(backend, "data") if each.size == 70]
        await backend._bucket.delete(needed)  # as a careless person does
        layout = backend._records.layout
        for key in (f"{layout.data}00/3/{'0' * 32}", f"{layout.garbage}00/3/{'0' * 32}", f"{layout.probes}left"):
            await backend._bucket.put(key, [b"words"])
            await backend._bucket.delete(key)
        would = [each async for each in backend.sweeper(dry_run=True).run()]
        before = await all_versions(backend)
        done = [each async for each in backend.sweeper(dry_run=False).run()]
        assert not any(each.removed for each in would)
        assert all(each.removed for each in done)
        assert {each.size for each in done if each.key.startswith(layout.data)} >= {100}
        assert len(before) > len(await all_versions(backend))
        assert {each.version for each in await all_versions(backend, "data")} >= kept
        assert {each.key for each in await all_versions(backend, "data")} >= {needed}
        assert await all_versions(backend, "garbage") == await all_versions(backend, "probes") == []
        assert (await load(backend, 1))[1] == pattern(50)
        assert (await load(backend, 2))[1] == pattern(70)


@in_reactor
async def test_what_is_locked_is_told_and_the_sweep_goes_on(locking: ObjectServer, tmp_path: Path) -> None:
    """The one stays, the other goes; the file itself can be replaced, as its record is another version then."""
    async with archive(locking, tmp_path.name, bucket=BUCKET, **SOON) as any_backend:
        backend: Any = any_backend
        for file_id in (1, 2):
            await store(backend, file_id, pattern(100 + file_id))
        (data,) = [each for each in await all_versions(backend, "data") if each.size == 101]
        keep(locking, data.key, data.version)
        for file_id in (1, 2):
            await backend.remove(file_id, ALLOW)
        found = {each.key: each async for each in backend.sweeper(dry_run=False).run()}
        assert {each.size: (each.removed, each.locked) for each in found.values()} == {
            101: (False, True),
            102: (True, False),
        }
        assert [each.version for each in await all_versions(backend, "data")] == [data.version]
        (mark,) = {each.key for each in await all_versions(backend, "garbage")}
        assert file_id_at(mark.removeprefix(backend._records.layout.garbage).rpartition("/")[0]) == 1


@in_reactor
async def test_a_bucket_that_locks_all(locking: ObjectServer, tmp_path: Path) -> None:
    """It starts, stores, replaces and removes; what is left of all that stays, and is told as locked."""
    name = f"all-{tmp_path.name.lower().replace('_', '-')[:50]}-locked"  # which must not end in a hyphen
    assert locking.ask("PUT", f"/{name}", headers={"x-amz-bucket-object-lock-enabled": "true"})[0] == 200
    rule = b"<Rule><DefaultRetention><Mode>GOVERNANCE</Mode><Days>1</Days></DefaultRetention></Rule>"
    body = (
        b'<ObjectLockConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        b"<ObjectLockEnabled>Enabled</ObjectLockEnabled>" + rule + b"</ObjectLockConfiguration>"
    )
    sum_of = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
    done = locking.ask("PUT", f"/{name}?object-lock", body, {"Content-MD5": sum_of})
    assert done[0] == 200, done
    async with archive(locking, tmp_path.name, bucket=name, **SOON) as backend:
        await store(backend, 1, pattern(100))
        await store(backend, 1, pattern(50))
        await store(backend, 2, b"tiny")
        assert (await load(backend, 1))[1] == pattern(50)
        await backend.remove(2, ALLOW)
        with pytest.raises(errors.NotFound):
            await backend.status(2)
        swept = [each async for each in cast("Any", backend).sweeper(dry_run=False).run()]
        assert {(each.size, each.locked) for each in swept if each.size == 100} == {(100, True)}
        assert (await load(backend, 1))[1] == pattern(50)


def test_the_command_counts_what_is_locked(ministack: ObjectServer, tmp_path: Path) -> None:
    """It is no failure: nobody can do anything about it."""
    ministack.ask("PUT", f"/{BUCKET}", headers={"x-amz-bucket-object-lock-enabled": "true"})
    (tmp_path / "s3.ini").write_text(
        f"[server]\ntype = s3\nprefix = /{BUCKET}/{tmp_path.name}\n[s3]\nendpoint = {ministack.endpoint}\n"
        f"access_key = {ACCESS_KEY}\nsecret_key = {SECRET_KEY}\nsweep_after = 0.000001\n"
    )
    place = f"/{BUCKET}/{tmp_path.name}/p/old"
    until = {"x-amz-object-lock-mode": "GOVERNANCE", "x-amz-object-lock-retain-until-date": "2999-01-01T00:00:00Z"}
    assert ministack.ask("PUT", place, b"words", until)[0] == 200
    command = "import sys; from pacarchive.cli import main; sys.exit(main())"
    runs = [
        subprocess.run(
            [sys.executable, "-c", command, "admin", "sweep", "-c", str(tmp_path / "s3.ini"), *options],
            capture_output=True, text=True, check=False, timeout=60,
        )
        for options in ((), ("--json",))
    ]  # fmt: skip
    assert [each.returncode for each in runs] == [0, 0]
    assert runs[0].stdout.endswith("old: locked\n1 left over, 5 bytes: 0 removed, 0 not removed, 1 locked\n")
    found, summary = map(json.loads, runs[1].stdout.splitlines())
    assert found["locked"]
    assert summary == {"summary": {"found": 1, "bytes": 5, "removed": 0, "failed": 0, "locked": 1}}


@pytest.mark.parametrize(
    "answers",
    [
        (error(403, "AccessDenied"), LOCKED),
        (error(403, "AccessDenied"), HELD),
        (error(403, "ObjectLocked"),),
        (Given(400, b"<Error><Code>InvalidRequest</Code><Message>Object is WORM protected</Message></Error>"),),
        (Given(403, b"<Error><Code>AccessDenied</Code><Message>protected by object lock</Message></Error>"),),
    ],
    ids=["retention", "hold", "code", "worm", "words"],
)
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_a_lock_is_told_in_words(method: str, answers: tuple[Given, ...]) -> None:
    """However the store says it, and nothing of how it does."""
    double = Double(*answers)
    work = double.bucket.put("key", [b"words"]) if method == "PUT" else double.bucket.delete("key", version="7")
    with pytest.raises(errors.Locked, match="The file is locked") as caught:
        double.result(work)
    assert "secret" not in str(caught.value)
    assert len(double.script.heard) == len(answers)
    if method == "DELETE" and len(answers) == 2:
        assert double.script.heard[1].path == "/archive/key?versionId=7"


@pytest.mark.parametrize("looked_at", [FREE, Given(404), Given(403), Given(0)], ids=["free", "none", "denied", "cut"])
def test_a_lack_of_rights_is_no_lock(looked_at: Given) -> None:
    """It may pass, and an operator has to see to it."""
    double = Double(error(403, "AccessDenied"), looked_at)
    double.script.then = looked_at
    with pytest.raises(errors.BackendUnavailable, match="does not permit"):
        double.result(double.bucket.delete("key"))


def test_versions_are_listed_in_pages() -> None:
    """The next page is asked for before the first is given out."""

    def page(more: str, *entries: str) -> bytes:
        return f"<ListVersionsResult>{more}{''.join(entries)}</ListVersionsResult>".encode()

    about = (
        "<Key>k</Key><VersionId>%s</VersionId><IsLatest>%s</IsLatest><LastModified>2026-01-01T00:00:00Z</LastModified>"
    )
    mark = f"<DeleteMarker>{about % ('b', 'true')}</DeleteMarker>"
    version = f"<Version>{about % ('a', 'false')}<Size>5</Size></Version>"
    more = "<IsTruncated>true</IsTruncated><NextKeyMarker>k</NextKeyMarker><NextVersionIdMarker>b</NextVersionIdMarker>"
    double = Double(Given(200, page(more, mark)), Given(200, page("", version)))

    async def all_of_them() -> list[tuple[str, int, bool, bool, int]]:
        return [
            (each.version, each.size, each.is_mark, each.is_latest, len(double.script.heard))
            async for each in versions.listed(double.bucket, "k")
        ]

    assert double.result(all_of_them()) == [("b", 0, True, True, 2), ("a", 5, False, False, 2)]
    assert double.script.heard[1].path.endswith("?key-marker=k&prefix=k&version-id-marker=b&versions=")
    with pytest.raises(BadDocumentError):
        parsed(page("", "<Version><Key>k</Key></Version>"))
