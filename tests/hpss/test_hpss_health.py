"""Whether an archive in HPSS can be used: its start, its health, and what others have left in it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import attrs
import pytest
from hpss_simulator import Archive
from simulated import INCOMING, PREFIX, serving, settings_for, simulated
from surroundings import (
    TEMPORARIES,
    made_between,
    neighbour,
    paths,
    running_archive,
    temporaries,
)
from threaded import log, until
from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred

from pacarchive import errors
from pacarchive.backends import hpss
from pacarchive.backends.contract.handling import (
    ALLOW,
    content,
    in_reactor,
    store,
)
from pacarchive.backends.hpss import client
from pacarchive.backends.hpss.temporaries import OTHER_HOST_MAX_AGE, this_writer

__all__ = ["log"]  # the fixture

pytestmark = pytest.mark.usefixtures("log")

WORDS = b"words"


@in_reactor
async def test_temporaries_of_others(tmp_path: Path) -> None:
    """What another machine began is swept when it is old; what is no temporary of ours never is."""
    me = this_writer()
    elsewhere = attrs.evolve(me, host="elsewhere")
    before_boot = attrs.evolve(me, boot="before")
    dead = attrs.evolve(me, started=me.started - 1)
    long_ago = time.time() - OTHER_HOST_MAX_AGE - 3600
    archive = Archive.create(tmp_path / "hpss", start=long_ago, scale=0)
    archive.mkdir(INCOMING)
    kept: set[str] = set()

    def put(name: str, is_kept: bool) -> None:
        archive.write(f"{TEMPORARIES}/{name}", WORDS)
        if is_kept:
            kept.add(f"{TEMPORARIES}/{name}")

    for name in ("notes.txt", "a.b.c.d.e.f", ".hidden", "a.b.c.1.2"):
        put(name, True)
    put(elsewhere.new_name(), False)
    put(me.new_name(), True)
    archive.clock.advance(OTHER_HOST_MAX_AGE + 3600)
    put(elsewhere.new_name(), True)
    put(before_boot.new_name(), False)
    put(dead.new_name(), False)
    archive.mkdir(f"{TEMPORARIES}/directory")
    kept.add(f"{TEMPORARIES}/directory")
    archive.close()
    async with running_archive(tmp_path) as (archive, _):
        assert set(temporaries(archive)) == kept


async def pinged(archive: Archive) -> None:
    """Wait for the end of a ping that has not begun yet."""

    def pings() -> int:  # after a failed one the core server is looked up again
        return archive.calls("hpss_PingCore") + archive.calls("hpss_LookupRootCS")

    before = pings()
    await until(lambda: pings() >= before + 3)


@in_reactor
async def test_health(tmp_path: Path) -> None:
    """It tells the operator what is wrong; meanwhile requests are refused at once, and not left waiting."""
    async with running_archive(tmp_path, ping_interval=0.01) as (archive, backend):
        await store(backend, 1, WORDS)
        health = await backend.health()
        assert health.ready
        assert health.words.startswith("HPSS: the core server answers in ")
        archive.set("server_state", "down")
        await pinged(archive)
        health = await backend.health()
        assert health.words.startswith("HPSS: the core server does not answer: hpss_")
        assert health.words.endswith(": HPSS_ECONN (-50)")
        before = archive.all_calls()
        for call in (
            lambda: backend.status(1),
            lambda: backend.open(1),
            lambda: backend.remove(1, ALLOW),
            lambda: backend.receive(1, 5, ALLOW, ()),
            lambda: backend.move(1, f"{INCOMING}/file", ALLOW),
            lambda: backend.locate([1]),
            lambda: backend.recall(uuid4(), [1]),
            lambda: backend.poll(uuid4(), [1]),
        ):
            with pytest.raises(errors.BackendUnavailable):
                await call()
        assert set(made_between(archive, before)) <= {"hpss_GetLastHPSSErrno", "hpss_ClearLastHPSSErrno"}
        archive.set("server_state", "up")
        await pinged(archive)
        assert (await backend.health()).ready
        assert await content(backend, 1) == WORDS


@pytest.mark.parametrize(
    "trouble", ["read-only", "moved", "without its own directory", "out of space for names", "nothing can be removed"]
)
@in_reactor
async def test_an_archive_that_takes_nothing_is_not_ready(tmp_path: Path, trouble: str) -> None:
    """Although the core server answers; and it is again when the trouble is over."""
    async with running_archive(tmp_path) as (archive, backend):
        with neighbour():
            match trouble:
                case "read-only":
                    archive.fault("hpss_Mkdir", value=-30)
                case "moved":
                    client.rename(PREFIX, "/elsewhere")
                case "without its own directory":
                    client.rmdir(TEMPORARIES)
                case "out of space for names":
                    archive.fault("hpss_Mkdir", value=-28)
                case "nothing can be removed":
                    archive.fault("hpss_Rmdir", value=-13)
            health = await backend.health()
            assert not health.ready
            assert "nothing can be stored: " in health.words
            assert PREFIX not in health.words
            if trouble == "moved":
                client.rename("/elsewhere", PREFIX)
            elif trouble == "without its own directory":
                archive.mkdir(TEMPORARIES)
        assert (await backend.health()).ready
        assert temporaries(archive) == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"prefix": Path("/missing")}, "HPSS: the prefix /missing cannot be used: hpss_Stat: HPSS_ENOENT (-2)"),
        ({"prefix": Path("/file")}, "HPSS: /file is not a directory"),
        ({"user": "somebody"}, "HPSS: somebody cannot log in with KEYTAB: hpss_SetLoginCred: HPSS_SEC_EBAD_PRINCIPAL"),
        ({"auth": "/missing"}, "HPSS: hpss cannot log in with /missing: hpss_SetLoginCred: HPSS_SEC_EKEYTAB"),
        ({"sitename": "elsewhere"}, "HPSS: there is no site elsewhere: hpss_LookupRootCS: HPSS_ENOENT (-2)"),
    ],
)
@in_reactor
async def test_a_start_that_cannot_be(tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    """It says in words why, and another one is not hindered."""
    with simulated(tmp_path) as archive:
        archive.write("/file", b"")
        before = paths(archive)
        own = {key: value for key, value in changed.items() if key != "prefix"}
        prefix = changed.get("prefix", Path(PREFIX))
        backend = hpss.make(reactor, attrs.evolve(settings_for(archive, **own), prefix=prefix))
        with pytest.raises(errors.BackendUnavailable) as raised:
            await maybeDeferred(backend.startService)
        assert str(raised.value).replace(str(archive.keytab), "KEYTAB").startswith(words)
        await maybeDeferred(backend.stopService)
        assert paths(archive) - {TEMPORARIES} == before
        async with serving(archive) as other:
            assert await content(other, 1) is None
