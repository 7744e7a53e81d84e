"""A process that uses an archive, for tests of several: C{python -m simulator.worker TASK ARCHIVE VARIANT NAME}."""

from __future__ import annotations

import itertools
import os
import sys
import threading
from pathlib import Path

from hpss_simulator import Archive

from .clients import Client
from .header import load

FILES, THREADS = 25, 4
SIZE = 3000
"""Of each file, which is written in three parts."""


def say(*words: object) -> None:
    """Tell the test."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def write_whole(client: Client, path: str, temporary: str) -> None:
    """Publish a file the careful way."""
    descriptor = client.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    assert descriptor >= 0, descriptor
    for _ in range(3):
        assert client.sdk.Write(descriptor, b"x" * (SIZE // 3), SIZE // 3) == SIZE // 3
    assert client.sdk.Close(descriptor) == 0
    assert client.set_attributes(temporary, state="Valid") == 0
    assert client.sdk.Rename(temporary.encode(), path.encode()) == 0


def fill(client: Client, name: str, _archive: Archive) -> None:
    """Make so many files, in several threads."""

    def work(thread: int) -> None:
        for number in range(FILES):
            write_whole(client, f"/{name}.{thread}.{number}", f"/tmp.{name}.{thread}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    say("done")


def churn(client: Client, name: str, _archive: Archive) -> None:
    """Make, move and remove files until somebody ends it."""
    say("ready")
    for number in itertools.count():
        final = f"/{name}.{number}"
        write_whole(client, final, f"/tmp.{name}.{number}")
        descriptor = client.open(final, os.O_RDWR)
        client.sdk.Migrate(descriptor, 0, 0, client.ffi.NULL)
        client.sdk.Purge(descriptor, 0, 0, 0, client.sdk.BFS_PURGE_ALL, client.ffi.NULL)
        client.sdk.Close(descriptor)
        if number % 3:
            client.sdk.Rename(final.encode(), f"/{name}.{number - number % 3}".encode())
        else:
            client.sdk.Unlink(f"/{name}.{number - 3}".encode())


def fork(client: Client, name: str, archive: Archive) -> None:
    """What a child may do with its parent's login, and with its own."""
    client.put(f"/{name}.before", b"parent")
    descriptor = client.open(f"/{name}.before", os.O_RDONLY)
    child = os.fork()
    if child == 0:
        found = [client.stat("/"), client.sdk.Close(descriptor), client.login(archive)]
        client.put(f"/{name}.child", b"child")
        say("child", *found, client.get(f"/{name}.before"))
        os._exit(0)
    os.waitpid(child, 0)
    client.put(f"/{name}.after", b"parent")
    say("parent", client.get(f"/{name}.child"), client.read(descriptor, 9))


def orphan(client: Client, name: str, archive: Archive) -> None:
    """A child that goes on using the archive after its parent has gone."""
    client.put(f"/{name}", b"parent")
    reading, writing = os.pipe()
    if os.fork():
        os.read(reading, 1)
        os._exit(0)
    assert client.login(archive) == 0
    client.put(f"/{name}.0", b"child")
    os.write(writing, b"x")
    say("ready")
    for number, _ in enumerate(sys.stdin, 1):
        client.put(f"/{name}.{number}", b"child")
        say("done")


def main() -> None:
    """Log in and do the task."""
    task, directory, variant, name = sys.argv[1:]
    client = Client(load(variant))
    with Archive(Path(directory)) as archive:
        assert client.login(archive) == 0
    client.sdk.Umask(0)
    {"fill": fill, "churn": churn, "fork": fork, "orphan": orphan}[task](client, name, archive)


if __name__ == "__main__":
    main()
