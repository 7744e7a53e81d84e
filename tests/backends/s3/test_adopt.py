"""Buckets of plain objects that are taken over: which are, which are not, and what stays."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from backends.s3.archives import archive
from backends.s3.servers import ACCESS_KEY, BUCKET, SECRET_KEY, ObjectServer
from pacarchive import errors
from pacarchive.backends.contract.handling import content, in_reactor, load, pattern, store
from pacarchive.backends.s3.order import Order, Outcome, Told
from pacarchive.cli.admin.adopt_objects import mapped
from pacarchive.digests import PRIMARY
from pacarchive.settings.reading import ConfigError

SIZES: dict[str, Any] = {"small_file": 4}


class Plain:
    """Plain objects beside an archive."""

    def __init__(self, server: ObjectServer, name: str, **objects: bytes) -> None:
        self.start = f"{name}-imports/"
        self._server = server
        for key, data in objects.items():
            self.put(key.removeprefix("_"), data)

    def put(self, key: str, data: bytes) -> None:
        """Store one."""
        assert self._server.ask("PUT", f"/{BUCKET}/{self.start}{key}", data)[0] == 200

    def has(self, key: str) -> bool:
        """Whether one is there."""
        return self._server.ask("GET", f"/{BUCKET}/{self.start}{key}")[0] == 200

    async def adopted(
        self,
        backend: Any,
        mapping: Iterable[tuple[str, str]] | None = None,
        *,
        trial: bool = False,
        moves: bool = False,
        start: str | None = None,
    ) -> dict[Outcome, set[str]]:
        """The ends of keys, by what has become of them."""
        all_told: list[Told] = []

        async def at_once(size: int) -> None:
            self.read += size

        self.read = 0
        order = Order(trial=trial, jobs=2, pace=at_once, stopped=lambda: False, told=all_told.append)
        place = f"s3://{BUCKET}/{self.start}" if start is None else start
        await backend.adopter(place, moves=moves).run(order, mapping)
        return {
            outcome: {each.key.removeprefix(self.start) for each in all_told if each.outcome is outcome}
            for outcome in {each.outcome for each in all_told}
        }


@in_reactor
async def test_objects_whose_keys_are_ids(object_server: ObjectServer, tmp_path: Path) -> None:
    """Are files afterwards, with digests; their sources stay.  A second time nothing is read that need not be."""
    plain = Plain(object_server, tmp_path.name, _1=pattern(100), _22=b"tiny", _333=b"", _4=pattern(300))
    plain.put("007", b"leading")
    plain.put("name", b"no number")
    async with archive(object_server, tmp_path.name, **SIZES) as backend:
        taken, other = {"1", "22", "333", "4"}, {"007", "name"}
        assert await plain.adopted(backend, trial=True) == {Outcome.MADE: taken, Outcome.NO_ID: other}
        assert plain.read == 0
        assert await content(backend, 1) is None
        assert await plain.adopted(backend) == {Outcome.MADE: taken, Outcome.NO_ID: other}
        assert plain.read == 400
        for file_id, data in ((1, pattern(100)), (22, b"tiny"), (333, b""), (4, pattern(300))):
            status, found = await load(backend, file_id)
            assert found == data
            assert PRIMARY in status.digests
        assert all(plain.has(each) for each in taken)
        assert await plain.adopted(backend) == {Outcome.THERE: taken, Outcome.NO_ID: other}
        assert plain.read <= 4
        assert (await plain.adopted(backend, trial=True))[Outcome.THERE] >= {"1", "4"}


@in_reactor
async def test_no_file_of_the_archive_is_replaced(object_server: ObjectServer, tmp_path: Path) -> None:
    """It is told that the id is taken, be it by a file of the same size or not."""
    plain = Plain(object_server, tmp_path.name, _1=pattern(100), _2=pattern(100), _3=pattern(100))
    async with archive(object_server, tmp_path.name, **SIZES) as backend:
        await store(backend, 1, pattern(99))
        await store(backend, 2, bytes(100))
        await store(backend, 3, pattern(100))
        assert await plain.adopted(backend, moves=True) == {Outcome.CLASH: {"1", "2"}, Outcome.THERE: {"3"}}
        assert plain.has("1")
        assert plain.has("2")
        assert not plain.has("3")
        assert (await load(backend, 1))[1] == pattern(99)
        assert (await load(backend, 2))[1] == bytes(100)


@in_reactor
async def test_objects_are_moved(object_server: ObjectServer, tmp_path: Path) -> None:
    """Not in a trial; each when it is in the archive.  Again, there is nothing left to do."""
    plain = Plain(object_server, tmp_path.name, _1=pattern(100), _2=b"tiny")
    async with archive(object_server, tmp_path.name, **SIZES) as backend:
        assert await plain.adopted(backend, moves=True, trial=True) == {Outcome.MADE: {"1", "2"}}
        assert plain.has("1")
        assert await plain.adopted(backend, moves=True) == {Outcome.MADE: {"1", "2"}}
        assert not plain.has("1")
        assert not plain.has("2")
        assert (await load(backend, 1))[1] == pattern(100)
        assert await plain.adopted(backend, moves=True) == {}


@in_reactor
async def test_ids_from_a_list(object_server: ObjectServer, tmp_path: Path) -> None:
    """What is not there, twice the same id with other bytes, and what is elsewhere is told."""
    plain = Plain(object_server, tmp_path.name, a=pattern(100), b=pattern(200), c=pattern(300))
    at = plain.start
    mapping = [("1", f"{at}a"), ("2", f"{at}none"), ("x", f"{at}b"), ("3", "elsewhere/c"), ("4", f"{at}../d/c")]
    async with archive(object_server, tmp_path.name, **SIZES) as backend:
        assert await plain.adopted(backend, mapping) == {
            Outcome.MADE: {"a"},
            Outcome.NO_ID: {"b"},
            Outcome.FAILED: {"none", "elsewhere/c", "../d/c"},
        }
        assert await plain.adopted(backend, [("1", f"{at}c")]) == {Outcome.CLASH: {"c"}}
        assert (await load(backend, 1))[1] == pattern(100)


@in_reactor
async def test_only_roots_are_taken_over(object_server: ObjectServer, tmp_path: Path) -> None:
    """Nor is anything of the archive itself, where it lies beside plain objects."""
    object_server.ask("PUT", f"/{BUCKET}/{tmp_path.name}-other/5", b"words")
    plain = Plain(object_server, tmp_path.name)
    async with archive(object_server, tmp_path.name, **SIZES) as any_backend:
        backend: Any = any_backend
        outside = await plain.adopted(backend, start=f"s3://{BUCKET}/{tmp_path.name}-other/")
        assert outside == {Outcome.FAILED: {f"{tmp_path.name}-other/5"}}
        await store(backend, 7, pattern(70))
        assert await plain.adopted(backend, start=f"s3://{BUCKET}/{tmp_path.name}/") == {}
        assert await content(backend, 5) is None


@in_reactor
async def test_a_store_that_fails_is_not_asked_for_ever(object_server: ObjectServer, tmp_path: Path) -> None:
    """After some files in a row without an answer it ends."""
    plain = Plain(object_server, tmp_path.name, **{f"_{each}": pattern(10) for each in range(30)})
    async with archive(object_server, tmp_path.name, **SIZES) as any_backend:
        backend: Any = any_backend

        async def fail(*_: object, **__: object) -> Any:
            raise errors.BackendUnavailable("The store is away.")

        backend._bucket.copy = fail
        with pytest.raises(errors.BackendUnavailable, match="is away"):
            await plain.adopted(backend)


@pytest.mark.parametrize(
    "text",
    ["id,key\n1,a\n2,\"b,c\"\n\n", "1,a\n2,\"b,c\"", '{"id": 1, "key": "a"}\n\n{"key": "b,c", "id": "2"}\n'],
    ids=["head", "csv", "json"],
)  # fmt: skip
def test_lists_of_ids_and_keys(text: str, tmp_path: Path) -> None:
    """In two forms."""
    (tmp_path / "list").write_text(text)
    with (tmp_path / "list").open(newline="") as lines:
        assert list(mapped(lines, "list")) == [("1", "a"), ("2", "b,c")]


@pytest.mark.parametrize("text", ["1,a\n2\n", "1,a\n2,b,c\n", '{"id": 1, "key": "a"}\n{"id": 2}\n', "{\n"])
def test_a_list_that_is_none(text: str, tmp_path: Path) -> None:
    """The line is named."""
    (tmp_path / "list").write_text(text)
    with (tmp_path / "list").open(newline="") as lines, pytest.raises(ConfigError, match=r"list, line [12]"):
        list(mapped(lines, "list"))


def test_the_command_takes_over(ministack: ObjectServer, tmp_path: Path) -> None:
    """As a process, with the service's settings."""
    (tmp_path / "s3.ini").write_text(
        f"[server]\ntype = s3\nprefix = /{BUCKET}/{tmp_path.name}\nmove_roots = /{BUCKET}/{tmp_path.name}-imports\n"
        f"[s3]\nendpoint = {ministack.endpoint}\naccess_key = {ACCESS_KEY}\nsecret_key = {SECRET_KEY}\n"
    )
    plain = Plain(ministack, tmp_path.name, _12345=b"words", _name=b"more words")
    (tmp_path / "list.csv").write_text(f"id,key\n6,{plain.start}name\n")

    def adopt(*options: str) -> subprocess.CompletedProcess[str]:
        command = "import sys; from pacarchive.cli import main; sys.exit(main())"
        return subprocess.run(
            [sys.executable, "-c", command, "admin", "adopt", "-c", str(tmp_path / "s3.ini"), *options],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    assert adopt().returncode == 2
    assert adopt("--from", "bucket/start").returncode == 2
    place = ("--from", f"s3://{BUCKET}/{plain.start}")
    assert adopt(*place, "--map", str(tmp_path / "none")).returncode == 2
    done = adopt(*place, "--dry-run")
    assert (done.returncode, done.stdout) == (1, "1 file would be taken over, 5 B (5 bytes), 1 without an id\n")
    assert f"pacarchive: {plain.start}name: has no id\n" in done.stderr
    done = adopt(*place, "--json", "--rate", "100")
    found, summary = map(json.loads, done.stdout.splitlines())
    assert (found["outcome"], summary["summary"]["made"], summary["summary"]["no_id"]) == ("no_id", 1, 1)
    done = adopt(*place, "--map", str(tmp_path / "list.csv"), "--move", "-j", "2")
    assert (done.returncode, done.stdout) == (0, "1 file taken over, 10 B (10 bytes)\n")
    assert (plain.has("12345"), plain.has("name")) == (True, False)
    assert ministack.ask("GET", f"/{BUCKET}/{tmp_path.name}/i/1c/12345")[0] == 200
    (tmp_path / "posix.ini").write_text(f"[server]\nprefix = {tmp_path}\n")
    assert adopt("-c", str(tmp_path / "posix.ini"), *place).returncode == 2
