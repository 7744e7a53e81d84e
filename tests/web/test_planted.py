"""Something that is no file in the place of an id, as clients see it."""

from __future__ import annotations

import json
import os
import socket
from typing import TYPE_CHECKING

import pytest
from support import DATA, disk_server, serving

from pacarchive.settings.server import Compatibility

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(("mode", "status"), [(Compatibility.NONE, 409), (Compatibility.PACIFICA, 500)])
@pytest.mark.parametrize("kind", ["directory", "pipe", "socket"])
def test_every_verb_is_told(tmp_path: Path, kind: str, mode: Compatibility, status: int) -> None:
    """To come back does not help, so it is no failure of the storage's, neither in the answer nor in the log."""
    place = tmp_path / "12"
    match kind:
        case "directory":
            place.mkdir()
        case "pipe":
            os.mkfifo(place)
        case "socket":
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(place))
    (tmp_path / "source").write_bytes(DATA)
    with serving(disk_server(tmp_path, compatibility=mode)) as server:
        move = json.dumps({"path": str(tmp_path / "source")}).encode()
        for method, body in (
            *(("GET", None), ("HEAD", None), ("POST", b""), ("PUT", DATA), ("PUT", DATA * 100_000)),
            *(("PATCH", move), ("DELETE", None), ("PROPFIND", None)),
        ):
            answer = server.ask(method, "/12", "Content-Type: application/json", body=body)
            assert (method, answer.status, answer.field("Retry-After")) == (method, status, None)
            if method != "HEAD":
                key, words = ("message", "not a file") if status == 409 else ("traceback", "not a regular file")
                assert words in answer.error[key]
        assert place.exists()
        assert set(server.site.events) == {"NotAFile"}
        assert all(line.startswith("refused (NotAFile)") for line in server.words())
