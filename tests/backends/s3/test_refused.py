"""A server over what only looks like an object store: it serves, and writes nothing unless it is said to be alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backends.s3.services import node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from system.harness import Service

    from backends.s3.servers import ObjectServer

REFUSAL = "the object store ignores conditions: nothing can be written"


@pytest.fixture
def start(rclone: ObjectServer, tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Starts a server over it."""
    started: list[Service] = []

    def begin(**own: object) -> Service:
        started.append(node(tmp_path, rclone.endpoint, tmp_path.name, **own))  # type: ignore[arg-type]
        return started[-1]

    yield begin
    for each in started:
        each.stop()
        each.assert_clean()


def test_a_store_that_ignores_conditions_is_refused(start: Callable[..., Service]) -> None:
    """For writing, in one line of the log, in the answers, and in what the server says of its health."""
    service = start()
    answer = service.ask("PUT", 1, b"words")
    assert (answer.status, b"ignores conditions" in answer.body) == (403, True)
    assert service.ask("DELETE", 1).status == 403
    assert service.ask("GET", 1).status == 404
    assert b"the object store ignores conditions; nothing can be written" in service.ask("GET", "/health").body
    (line,) = (line for line in service.log.splitlines() if REFUSAL in line)
    assert "heeds" not in line


def test_one_server_alone_may_write_to_it(start: Callable[..., Service]) -> None:
    """Where it is said to be that."""
    service = start(single_node="yes")
    assert service.ask("PUT", 1, b"words").status == 201
    assert service.ask("PUT", 1, b"other", {"If-None-Match": "*"}).status == 412
    assert service.ask("GET", 1).body == b"words"
    assert service.ask("DELETE", 1).status == 200
    assert service.ask("GET", 1).status == 404
    assert REFUSAL not in service.log
    assert "the object store ignores conditions: this process is said to be alone" in service.log
