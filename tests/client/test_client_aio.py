"""The client in programs on asyncio: each is a process of its own, as a process has one reactor."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from pacarchive.client import ArchiveClient, aio

if TYPE_CHECKING:
    from pathlib import Path

BEGIN = """
import asyncio
from pacarchive.client import NotFound, SourceChanged, aio
from pacarchive.client.testing import FakeArchive

archive = FakeArchive()

def serve():
    from twisted.web.server import Site
    return aio.reactor().listenTCP(0, Site(archive), interface="127.0.0.1")
"""

USE = (
    BEGIN
    + """
import io

async def pieces():
    for number in range(5):
        await asyncio.sleep(0)
        yield b"%d" % number * 1000

async def endless():
    try:
        while True:
            yield bytes(1000)
            await asyncio.sleep(0.01)
    finally:
        await asyncio.sleep(0)
        print("closed")

async def main():
    port = serve()
    got, plainly = [], []

    async def take(piece):
        await asyncio.sleep(0)
        got.append(piece)

    async with aio.connected(f"http://127.0.0.1:{port.getHost().port}", connections=2) as client:
        await asyncio.gather(*(client.put(each, b"%d" % each) for each in range(20)))
        assert archive.files[19].data == b"19"
        await client.get(19, "target")
        await client.put(1, pieces())
        fetched = await client.get(1, take)
        assert b"".join(got) == archive.files[1].data and fetched.size == 5000
        await client.get(1, plainly.append)
        assert plainly == got
        with open("target", "rb") as file:
            file.seek(1)
            await client.put(4, file)
            assert not file.closed
        assert archive.files[4].data == b"9"
        await client.put(5, io.BytesIO(bytes(3_000_000)))
        assert archive.files[5].data == bytes(3_000_000)
        try:
            await client.put(60, io.StringIO("text"))
        except TypeError as error:
            print(error)
        assert 60 not in archive.files
        assert (await client.status(1)).size == 5000
        assert (await asyncio.create_task(client.health())).ready
        await client.delete(1)
        try:
            await client.status(1)
        except NotFound as error:
            print(error)
        async with asyncio.timeout(5):
            try:
                await client.put(3, endless(), size=5500)
            except SourceChanged:
                print("changed")
            waiting = asyncio.create_task(client.get(2, "target2", wait=60))
            archive.to_tape(2)
            await asyncio.sleep(0.2)
            waiting.cancel()
            try:
                await waiting
            except asyncio.CancelledError:
                print("cancelled")

asyncio.run(main())
"""
)

WHO = (
    BEGIN
    + """
from pacarchive.client import TokenFile, Unauthorised

def write(token):
    with open("token", "w") as file:
        file.write(token)

async def main():
    port = serve()
    archive.tokens, archive.users = {"old"}, {"alice": "word"}
    url = f"http://127.0.0.1:{port.getHost().port}"
    write("old")
    async with aio.connected(url, token=TokenFile("token")) as client:
        await client.put(1, b"1")
        archive.tokens = {"new"}
        write("new")
        await asyncio.gather(*(client.status(1) for _ in range(20)))
    async with aio.connected(url, user="alice", password="word") as client:
        print((await client.status(1)).size)
    async with aio.connected(url, token="old") as client:
        try:
            await client.status(1)
        except Unauthorised as error:
            print(error.schemes)

asyncio.run(main())
"""
)

AGAIN = (
    BEGIN
    + """
import os, threading

async def main(number):
    port = serve()
    async with aio.connected(f"http://127.0.0.1:{port.getHost().port}") as client:
        await client.put(number, b"x")
        print((await client.status(number)).size)
    await aio.call(stopped(port))

async def stopped(port):
    await port.stopListening()

asyncio.run(main(0))
before = len(os.listdir("/proc/self/fd")), threading.active_count()
for number in range(1, 5):
    asyncio.run(main(number))
assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == before
"""
)

NESTED = (
    BEGIN
    + """
import threading

async def other():
    aio.reactor()

def run():
    try:
        asyncio.run(other())
    except RuntimeError as error:
        print(error)

async def main():
    aio.reactor()
    await asyncio.to_thread(run)

asyncio.run(main())
"""
)

OTHER = (
    BEGIN
    + """
from twisted.internet import reactor

async def main():
    aio.reactor()

try:
    asyncio.run(main())
except TypeError as error:
    print(error)
"""
)


def run(code: str, directory: Path) -> str:
    """Run a program."""
    ended = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=directory, capture_output=True, timeout=60)
    assert ended.returncode == 0, ended.stderr.decode()
    assert not ended.stderr, ended.stderr.decode()
    return ended.stdout.decode()


def test_a_program_on_asyncio_uses_the_client(tmp_path: Path) -> None:
    """Tasks await its calls; iterators, functions and open files of asyncio's are sources and destinations."""
    said = run(USE, tmp_path).splitlines()
    assert said == [
        "a file to store is opened in binary mode",
        "No file has this id.",
        "closed",
        "changed",
        "cancelled",
    ]
    assert (tmp_path / "target").read_bytes() == b"19"
    assert not (tmp_path / "target2").exists()


def test_it_sends_credentials(tmp_path: Path) -> None:
    """As the client itself does, with all that it takes."""
    assert run(WHO, tmp_path).splitlines() == ["1", "('Bearer', 'Basic')"]


def test_it_is_usable_again_on_the_next_loop(tmp_path: Path) -> None:
    """C{asyncio.run} as often as one likes; nothing of the loops before is left."""
    assert run(AGAIN, tmp_path).split() == ["1"] * 5


def test_a_second_loop_at_the_same_time_is_refused_with_words(tmp_path: Path) -> None:
    """The reactor belongs to the first until that has ended."""
    assert "another loop" in run(NESTED, tmp_path)


def test_every_call_of_the_client_is_there() -> None:
    """One that is added to the one is added to the other."""
    names = {name for name in vars(ArchiveClient) if not name.startswith("_")}
    assert names <= vars(aio.AsyncioClient).keys()


def test_a_reactor_of_another_kind_is_refused_with_words(tmp_path: Path) -> None:
    """It would never turn."""
    assert "not the one for asyncio" in run(OTHER, tmp_path)
