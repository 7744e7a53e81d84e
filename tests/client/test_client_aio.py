"""The client in programs on asyncio: each is a process of its own, as a process has one reactor."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

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
    got = []

    async def take(piece):
        await asyncio.sleep(0)
        got.append(piece)

    async with aio.connected(f"http://127.0.0.1:{port.getHost().port}", connections=2) as client:
        await asyncio.gather(*(aio.call(client.put(each, b"%d" % each)) for each in range(20)))
        assert archive.files[19].data == b"19"
        await aio.call(client.get(19, "target"))
        await aio.call(client.put(1, aio.source(pieces())))
        fetched = await aio.call(client.get(1, aio.destination(take)))
        assert b"".join(got) == archive.files[1].data and fetched.size == 5000
        try:
            await aio.call(client.status(99))
        except NotFound as error:
            print(error.advice)
        async with asyncio.timeout(5):
            try:
                await aio.call(client.put(3, aio.source(endless()), size=5500))
            except SourceChanged:
                print("changed")
            waiting = aio.call(client.get(2, "target2", wait=60))
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

TWICE = (
    BEGIN
    + """
async def main():
    aio.reactor()

asyncio.run(main())
try:
    asyncio.run(main())
except RuntimeError as error:
    print(error)
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
    """Many calls at once, iterators and functions of asyncio's, and cancelling."""
    assert run(USE, tmp_path).splitlines()[-3:] == ["closed", "changed", "cancelled"]
    assert (tmp_path / "target").read_bytes() == b"19"
    assert not (tmp_path / "target2").exists()


def test_a_second_loop_is_refused_with_words(tmp_path: Path) -> None:
    """The reactor belongs to the first."""
    assert "another loop" in run(TWICE, tmp_path)


def test_a_reactor_of_another_kind_is_refused_with_words(tmp_path: Path) -> None:
    """It would never turn."""
    assert "not the one for asyncio" in run(OTHER, tmp_path)
