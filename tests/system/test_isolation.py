"""Requests that go on at the same time have nothing to do with each other, and on one id each sees whole versions."""

from __future__ import annotations

import itertools
import json
from functools import partial
from typing import TYPE_CHECKING

import pytest

from system.harness import WANT_DIGEST, at_once, content, in_background, repr_digest

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from system.harness import Answer, Service

MIB = 1 << 20
CLIENTS = 64
TREE = "[posix]\nuse_id2filename = true\n"


def _file(file_id: int) -> bytes:
    """Every second file is small: the two kinds take different ways through the server."""
    return content(file_id, 3 * MIB if file_id % 2 else 1000)


def _put(service: Service, file_id: int, data: bytes) -> None:
    answer = service.ask("PUT", file_id, data)
    assert (answer.status, json.loads(answer.body)["total_bytes"]) == (201, len(data))
    assert answer.fields["repr-digest"] == repr_digest(data)


def _get(service: Service, file_id: int, data: bytes) -> None:
    answer = service.ask("GET", file_id, fields=WANT_DIGEST)
    assert (answer.status, answer.body == data) == (200, True)
    assert _digest_is_right(answer)


def _digest_is_right(answer: Answer) -> bool:
    """A file that was moved into place has no digest before its first whole read; a wrong one, none has ever."""
    expected = repr_digest(answer.body)
    return answer.fields.get("repr-digest", expected) == expected


@pytest.mark.parametrize("settings", ["", TREE], ids=["flat", "tree"])
def test_many_readers_and_writers(serve: Callable[..., Service], settings: str) -> None:
    """64 writers at once, 64 readers at once, then both together: every answer is right, byte for byte."""
    service = serve(settings=settings, workers=2)
    old, new = range(100, 100 + CLIENTS), range(1000, 1000 + CLIENTS)
    files = {file_id: _file(file_id) for file_id in [*old, *new]}
    reading = [partial(_get, service, file_id, files[file_id]) for file_id in old]
    at_once([partial(_put, service, file_id, files[file_id]) for file_id in old])
    at_once(reading)
    at_once([*reading, *(partial(_put, service, file_id, files[file_id]) for file_id in new)])
    at_once([partial(_get, service, file_id, files[file_id]) for file_id in new])
    assert len(service.visible()) == 2 * CLIENTS


def test_readers_on_kept_connections(serve: Callable[..., Service]) -> None:
    """64 clients that go on asking for other files on their connections never get one of another client."""
    service = serve(workers=2)
    files = {file_id: _file(file_id) for file_id in range(8)}
    for file_id, data in files.items():
        _put(service, file_id, data)

    def read(start: int) -> int:
        with service.client() as client:
            for step in range(6):
                answer = client.ask("GET", file_id := (start + step) % 8)
                assert answer.body == files[file_id]
        return step

    at_once([partial(read, start) for start in range(CLIENTS)])


def _pieces(data: bytes, size: int) -> Iterable[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def test_interleaved_slow_uploads(serve: Callable[..., Service]) -> None:
    """Bodies that arrive in turns, a piece of each, in one worker, do not mix."""
    service = serve()
    sizes = [7, 64 << 10, 300 << 10, MIB + 1, 2 * MIB]
    files = {file_id: content(file_id, sizes[file_id % len(sizes)]) for file_id in range(10)}
    connections = {file_id: service.connect() for file_id in files}
    try:
        for file_id, data in files.items():
            head = f"PUT /{file_id} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n"
            connections[file_id].sendall(head.encode())
        streams = [
            [(connections[file_id], piece) for piece in _pieces(data, max(1, len(data) // 37))]
            for file_id, data in files.items()
        ]
        for turn in itertools.zip_longest(*streams):
            for connection, piece in filter(None, turn):
                connection.sendall(piece)
        for connection in connections.values():
            assert connection.recv(12) == b"HTTP/1.1 201"
    finally:
        for connection in connections.values():
            connection.close()
    for file_id, data in files.items():
        _get(service, file_id, data)


def test_two_uploads_to_one_id(serve: Callable[..., Service]) -> None:
    """Interleaved uploads to one id: each publishes its own bytes, and the one that ends last stays."""
    service = serve()
    first, second = content("first", 2 * MIB), content("second", 2 * MIB)
    head = f"PUT /5 HTTP/1.1\r\nHost: localhost\r\nContent-Length: {2 * MIB}\r\n\r\n".encode()
    with service.connect() as one, service.connect() as other:
        one.sendall(head)
        other.sendall(head)
        for piece, other_piece in zip(_pieces(first, 99_999), _pieces(second[:-1], 99_999), strict=True):
            one.sendall(piece)
            other.sendall(other_piece)
        assert one.recv(12) == b"HTTP/1.1 201"
        _get(service, 5, first)
        other.sendall(second[-1:])
        assert other.recv(12) == b"HTTP/1.1 201"
    _get(service, 5, second)


class Race:
    """
    One id that several change while others read it.

    The versions are of different sizes: below and above what is stored in one step, and what is sent in one piece.
    """

    ID = 77
    SIZES = (0, 1000, 64 << 10, 300 << 10, 2 * MIB)

    def __init__(self, service: Service) -> None:
        self.service = service
        self.versions = {content(index, size): index for index, size in enumerate(self.SIZES * 2)}
        self.seen: dict[object, int] = {}

    def read(self, ended: threading.Event) -> None:
        """Ask until the end; whatever comes must be a whole version, or nothing at all."""
        with self.service.client() as client:
            while not ended.is_set():
                answer = client.ask("GET", self.ID, fields=WANT_DIGEST)
                if answer.status == 200:
                    assert answer.body in self.versions, f"{len(answer.body)} bytes that nobody wrote"
                    assert _digest_is_right(answer)
                else:
                    assert answer.status == 404
                version = self.versions[answer.body] if answer.status == 200 else None
                self.seen[version] = self.seen.get(version, 0) + 1

    def put(self, start: int) -> None:
        """Write version after version."""
        with self.service.client() as client:
            for data in itertools.islice(itertools.cycle(self.versions), start, start + 30):
                assert client.ask("PUT", self.ID, data).status == 201

    def delete(self) -> None:
        """Remove it again and again."""
        with self.service.client() as client:
            assert {client.ask("DELETE", self.ID).status for _ in range(60)} <= {200, 404}

    def patch(self, start: int) -> None:
        """Move other files over it."""
        with self.service.client() as client:
            for turn, data in enumerate(itertools.islice(itertools.cycle(self.versions), start, start + 30)):
                source = self.service.prefix / f"source.{start}.{turn}"
                source.write_bytes(data)
                answer = client.ask("PATCH", self.ID, *_moving(source))
                assert (answer.status, source.exists()) == (200, False)

    def run(self, *changes: Callable[[], None]) -> None:
        """Let them loose."""
        with in_background(self.read, 4):
            at_once(changes)
        assert len(self.seen.keys() - {None}) > 1, f"the readers saw nothing of the race: {self.seen}"
        assert self.service.visible().keys() <= {str(self.ID)}
        assert not self.service.temporaries()


def _moving(source: Path) -> tuple[str, dict[str, str]]:
    """Body and header fields of a PATCH."""
    return json.dumps({"path": str(source)}), {"Content-Type": "application/json"}


@pytest.fixture
def race(serve: Callable[..., Service]) -> Race:
    """A race in two workers."""
    return Race(serve(workers=2))


def test_put_against_put(race: Race) -> None:
    """Readers see one whole version or another; the id is never free in between."""
    race.put(0)
    race.run(partial(race.put, 0), partial(race.put, 3), partial(race.put, 7))
    assert None not in race.seen


def test_put_against_delete(race: Race) -> None:
    """A whole version, or none."""
    race.run(partial(race.put, 0), partial(race.put, 5), race.delete, race.delete)


def test_patch_against_put(race: Race) -> None:
    """A file that is moved into place and one that is written do not mix."""
    race.put(0)
    race.run(partial(race.put, 0), partial(race.patch, 3), partial(race.patch, 6))
    assert None not in race.seen


@pytest.mark.parametrize("size", [1000, MIB])
def test_one_writer_wins(serve: Callable[..., Service], size: int) -> None:
    """Where overwriting is denied, of eight writers and movers at once exactly one succeeds, and its bytes stay."""
    service = serve(settings="[server]\noverwrite = deny\n", workers=2)

    def write(file_id: int, writer: int) -> int:
        data = content((file_id, writer), size)
        if writer < 6:
            return service.ask("PUT", file_id, data).status
        source = service.prefix / f"source.{file_id}.{writer}"
        source.write_bytes(data)
        return service.ask("PATCH", file_id, *_moving(source)).status

    winners = set()
    for file_id in range(20):
        statuses = at_once([partial(write, file_id, writer) for writer in range(8)])
        (winner,) = (writer for writer, status in enumerate(statuses) if status in (200, 201))
        winners.add(winner)
        assert sorted(statuses)[1:] == [409] * 7
        _get(service, file_id, content((file_id, winner), size))
    assert len(winners) > 1, "there was no race"
    assert len([path for path in service.visible() if path.isdigit()]) == 20
    assert not service.temporaries()


@pytest.mark.parametrize("size", [1000, MIB])
def test_one_update_wins(serve: Callable[..., Service], size: int) -> None:
    """Of eight writers at once that all would replace the version that they know, one does, and seven are told."""
    service = serve(workers=2)
    _put(service, 1, b"first")

    def write(turn: int, writer: int, etag: str) -> int:
        return service.ask("PUT", 1, content((turn, writer), size), {"If-Match": etag}).status

    winners = set()
    for turn in range(20):
        etag = service.ask("HEAD", 1).fields["etag"]
        statuses = at_once([partial(write, turn, writer, etag) for writer in range(8)])
        assert sorted(statuses) == [201] + [412] * 7
        winners.add(statuses.index(201))
        _get(service, 1, content((turn, statuses.index(201)), size))
    assert len(winners) > 1, "there was no race"
