"""Nothing outside the archive is opened, moved or removed, whatever a request names.

C{PACARCHIVE_FUZZ_TARGETS} sets how many hostile requests there are (4000), C{PACARCHIVE_FUZZ_SEED} repeats a run.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from pacarchive.access.gate import Gate
from pacarchive.access.policy import Policy
from pacarchive.access.rights import EVERYTHING
from pacarchive.backends.local.move import locate
from pacarchive.backends.local.tree import FileTree
from pacarchive.backends.memory import MemoryArchive
from pacarchive.errors import ArchiveError
from pacarchive.recall.engine import RecallEngine
from pacarchive.recall.settings import RecallSettings
from pacarchive.runtime.threads import BlockingPool
from pacarchive.settings.server import ServerSettings, VerifyReads
from pacarchive.web.application import archive_site
from pacarchive.web.context import RouteContext
from pacarchive.web.download import Sender
from pacarchive.web.http.settings import LimitSettings
from system.harness import content
from system.hostile import STARTS, TAILS, WORDS, Request, furnish, hostile_moves, hostile_requests
from system.trace import read_trace, stray_calls

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from pacarchive.model import FileStatus
    from system.harness import Service

COUNT = int(os.environ.get("PACARCHIVE_FUZZ_TARGETS", "4000"))
SEED = int(os.environ.get("PACARCHIVE_FUZZ_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)

BATCH = 50
"""Requests sent at once on one connection."""

TARGETS_ONLY, MOVES = 987_654_321_001, 987_654_321_002
"""Ids whose look-up marks in the trace where the two parts begin."""


def answers(connection: socket.socket, batch: Sequence[Request]) -> list[int]:
    """
    Send requests in one go, and read the answers until one of them is said to be the last.

    @return: The status of each answer.  No other bytes may come.
    """
    connection.sendall(b"".join(request.data for request in batch))
    statuses: list[int] = []
    with connection.makefile("rb") as stream:
        for request in batch:
            line = stream.readline()
            assert line.startswith(b"HTTP/1.1 "), (line, len(statuses), request.data[:300])
            statuses.append(int(line.split()[1]))
            fields = {}
            while (field := stream.readline()) != b"\r\n":
                name, colon, value = field.partition(b":")
                assert colon, (line, field)
                fields[name.lower()] = value.strip()
            last = fields.get(b"connection") == b"close"
            # To a request that it could not read to the end, the server may say so as if it were no HEAD.
            if request.has_body or last:
                json.loads(stream.read(int(fields[b"content-length"])))
            if last:
                break
        connection.shutdown(1)
        assert stream.read() == b""
    return statuses


def send_all(service: Service, requests: Iterator[Request]) -> int:
    """@return: How many answers there were, one to each request; all of them are refusals."""
    count = 0
    while batch := list(itertools.islice(requests, BATCH)):
        while batch:
            with service.connect() as connection:
                statuses = answers(connection, batch)
            for request, status in zip(batch, statuses, strict=False):
                assert 400 <= status < 500, (status, request.data[:300])
            count += len(statuses)
            batch = batch[len(statuses) :]
    return count


def warm_up(service: Service) -> None:
    """One of everything, so that Python has opened all the modules that it needs."""
    with service.client() as client:
        for method in ("HEAD", "GET", "DELETE", "POST", "PATCH", "PROPFIND", "PUT", "BREW"):
            client.ask(method, 1, b"")
            client.ask(method, "/x", b"")
        assert client.ask("PUT", 55, content(55, 300_000)).status == 201
        assert client.ask("GET", 55).status == 200
        for source in ("/etc/passwd", str(service.prefix / "none"), "\0", "x"):
            client.ask("PATCH", 56, json.dumps({"path": source}), {"Content-Type": "application/json"})


def listing(root: Path) -> dict[str, tuple[int, int, float, bytes]]:
    """All that can be seen of a directory."""
    found = {}
    for directory, directories, names in os.walk(root):
        for name in [*directories, *names]:
            path = os.path.join(directory, name)
            state = os.lstat(path)
            data = b""
            if os.path.isfile(path) and not os.path.islink(path):
                with open(path, "rb") as file:
                    data = file.read()
            found[path] = (state.st_ino, state.st_mode, state.st_mtime, data)
    return found


@pytest.mark.timeout(900)
def test_nothing_outside_is_touched(serve: Callable[..., Service], tmp_path: Path) -> None:
    """
    Requests with hostile targets cause no system call that has a path; moves with hostile sources look names up at
    most, and open nothing that is not below the prefix.  Each gets one answer, which refuses it.
    """
    assert shutil.which("strace"), "strace is needed: without it nobody sees what the server opens"
    print(f"PACARCHIVE_FUZZ_SEED={SEED}")  # noqa: T201  (shown when it fails)
    rng, outside, trace = random.Random(SEED), tmp_path / "outside", tmp_path / "trace"
    outside.mkdir()
    (tmp_path / "service").mkdir()
    for canary in (outside / "canary", tmp_path / "service" / "canary"):
        canary.write_bytes(content(str(canary), 1000))
    strace = [
        "strace",
        "-f",
        "-qq",
        "--seccomp-bpf",
        "-y",
        "-e",
        "trace=%file",
        "-e",
        "signal=none",
        "-o",
        str(trace),
    ]
    service = serve(wrapper=strace, settings="[limits]\nlinger_timeout = 0.5\n")
    prefix = os.path.realpath(service.prefix)
    warm_up(service)
    furnish(service.prefix, outside)
    before = listing(outside) | listing(service.prefix)

    assert service.ask("GET", TARGETS_ONLY).status == 404
    assert send_all(service, hostile_requests(rng, COUNT * 4 // 5)) == COUNT * 4 // 5
    assert service.ask("GET", MOVES).status == 404
    assert send_all(service, hostile_moves(rng, COUNT // 5, prefix, str(outside))) == COUNT // 5
    assert service.ask("GET", 55).body == content(55, 300_000)
    service.stop()

    assert listing(outside) | listing(service.prefix) == before
    assert (tmp_path / "service" / "canary").read_bytes() == content(str(tmp_path / "service" / "canary"), 1000)
    calls = list(read_trace(trace))
    trace.unlink()  # many megabytes
    begin, middle = (
        max(index for index, call in enumerate(calls) if call.paths == [f"{prefix}/{marker}"])
        for marker in (TARGETS_ONLY, MOVES)
    )
    in_targets = [call for call in calls[begin + 1 : middle] if call.paths != [f"{prefix}/{MOVES}"]]
    assert [call.line for call in in_targets] == []
    in_moves = calls[middle + 1 :]
    assert [call.line for call in stray_calls(in_moves, prefix)] == []
    # Else nothing was tried: most sources are refused by what they resolve to, before anything is opened.
    assert sum(call.name in ("lstat", "newfstatat", "readlink", "openat2") for call in in_moves) > COUNT // 100
    assert sum(call.name == "openat2" for call in in_moves) > COUNT // 400


class Recording(MemoryArchive):
    """
    A backend that takes down what it is asked for.

    @ivar asked: The ids.
    """

    def __init__(self) -> None:
        super().__init__(Clock())
        self.asked: list[int] = []

    async def status(self, file_id: int) -> FileStatus:
        self.asked.append(file_id)
        return await super().status(file_id)


class Transport(StringTransport):
    """One that can be closed in one direction."""

    def loseWriteConnection(self) -> None:
        """Nobody reads."""


TARGETS = st.one_of(
    st.binary(max_size=30),
    st.integers(0, 2**65).map(b"/%d".__mod__),
    st.tuples(st.sampled_from(STARTS), st.lists(st.sampled_from(WORDS), max_size=4), st.sampled_from(TAILS)).map(
        lambda parts: parts[0] + "/".join(parts[1]).encode() + parts[2]
    ),
)


@given(TARGETS)
@example(b"/" + b"9" * 5000)
@example(b"http:///0")
def test_only_ids_reach_the_backend(target: bytes) -> None:
    """Of all targets, only those that are a file id in its one spelling get through, and as that id."""
    archive = Recording()
    clock: Any = Clock()
    application = RouteContext(
        backend=archive,
        sender=Sender(clock, BlockingPool(clock, "unused", 1), VerifyReads.AUTO, LimitSettings()),
        settings=ServerSettings(),
        body_limit=1,
        clock=clock,
        recall=RecallEngine(clock, archive, RecallSettings(), "fuzz"),
        recall_settings=RecallSettings(),
        gate=Gate(clock, Policy(EVERYTHING, {})),
    )
    site = archive_site(application, LimitSettings(), clock)
    channel, transport = site.buildProtocol(None), Transport()  # type: ignore[no-untyped-call]
    assert channel is not None
    channel.makeConnection(transport)
    channel.dataReceived(b"HEAD %b HTTP/1.1\r\nHost: a\r\n\r\n" % target)
    path = re.sub(rb"\Ahttps?://[^/?#:][^/?#]*", b"", target, flags=re.IGNORECASE).partition(b"?")[0]
    is_id = re.fullmatch(rb"/+(0|[1-9][0-9]{0,19})", path)  # of more digits int() reads only so many
    file_id = int(is_id[1]) if is_id and int(is_id[1]) < 2**64 and not re.search(rb"[\0\r\n ]", target) else None
    assert archive.asked == ([] if file_id is None else [file_id])
    channel.connectionLost(Failure(ConnectionDone()))


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> FileTree:
    """A tree with ways out."""
    prefix, outside = tmp_path_factory.mktemp("prefix"), tmp_path_factory.mktemp("outside")
    furnish(prefix, outside)
    return FileTree(prefix, str, [prefix])


@given(st.lists(st.sampled_from([*WORDS, "directory", "out", "back", "root", "loop", "PREFIX", "\0"]), max_size=8))
def test_sources_are_found_below_the_roots(furnished: FileTree, words: list[str]) -> None:
    """Whatever path is named, what comes of it lies below a root, links followed, and is not the archive's own."""
    source = "/" + "/".join(str(furnished.prefix) if word == "PREFIX" else word for word in words)
    try:
        root, below = locate(furnished, source)
    except ArchiveError:
        return
    real = os.path.realpath(source)
    assert real == os.path.realpath(os.path.join(root, below))
    assert real.startswith(f"{furnished.prefix}/")
    assert not real.startswith(f"{furnished.prefix}/.pacarchive")
