"""What the audit file says of one file of the archive."""

from __future__ import annotations

import json
import os
from pathlib import Path
from random import Random

import pytest

from pacarchive.telemetry.history import MOST_LINES, read_history


def line(number: int, file_id: int, filler: str = "") -> bytes:
    return json.dumps({"number": number, "what": "put", "id": str(file_id), "why": filler}).encode() + b"\n"


def numbers(path: Path, file_id: int) -> list[int]:
    return [each["number"] for each in read_history(path, file_id).lines]


@pytest.mark.parametrize("seed", range(4))
def test_the_last_lines_first(tmp_path: Path, seed: int) -> None:
    """Whatever their lengths, and wherever what is read at once begins: all of one file, and none of another."""
    random = Random(seed)
    path = tmp_path / "audit"
    said = [(number, random.randrange(1, 100), "x" * random.choice((0, 10, 1000, 30_000))) for number in range(300)]
    path.write_bytes(b"".join(line(*each) for each in said))
    assert path.stat().st_size > 1 << 20
    for file_id in range(1, 100):
        assert numbers(path, file_id) == [number for number, of, _ in reversed(said) if of == file_id]
    assert read_history(path, 1).whole


def test_what_looks_like_it(tmp_path: Path) -> None:
    """Reasons that quote a line, lines that are torn, an id that begins the same."""
    path = tmp_path / "audit"
    quoted = json.dumps({"id": "2", "why": '"id": "1"'}).encode()
    torn = line(4, 1)[:-9]
    path.write_bytes(b"".join((line(1, 1), line(2, 11), quoted + b"\n", b'["id": "1"]\n', line(3, 1), torn)))
    assert numbers(path, 1) == [3, 1]


def test_rotated(tmp_path: Path) -> None:
    """The file that was rotated last is read as well, and no other; neither has to be there."""
    path = tmp_path / "audit"
    assert read_history(path, 1) == read_history(tmp_path / "none" / "audit", 1)
    assert read_history(path, 1).lines == []
    (tmp_path / "audit.1").write_bytes(line(1, 1))
    (tmp_path / "audit.2").write_bytes(line(0, 1))
    assert numbers(path, 1) == [1]
    path.write_bytes(line(2, 1))
    assert numbers(path, 1) == [2, 1]


def test_no_more_than_can_be_waited_for(tmp_path: Path) -> None:
    """In bytes and in lines; it is told that there may be more."""
    path = tmp_path / "audit"
    path.write_bytes(line(1, 1) + line(2, 2) * 1000 + line(3, 1))
    near = read_history(path, 1, most_bytes=10_000)
    assert ([each["number"] for each in near.lines], near.whole) == ([3], False)
    found = read_history(path, 2)
    assert (len(found.lines), found.whole) == (MOST_LINES, False)


def test_what_is_no_file(tmp_path: Path) -> None:
    """A pipe is not waited for, and a link not followed."""
    path = tmp_path / "audit"
    os.mkfifo(path)
    assert read_history(path, 1).lines == []
    path.unlink()
    (tmp_path / "elsewhere").write_bytes(line(1, 1))
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        read_history(path, 1)
