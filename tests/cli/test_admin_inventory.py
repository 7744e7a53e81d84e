"""C{pacarchive admin inventory}: all files, as CSV or JSON lines."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

SHA256 = hashlib.sha256(b"data").hexdigest()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """One of three files, of which one has a digest, and of what is no file of an id."""
    for name in ("5", "6", "18446744073709551615", "007"):
        (tmp_path / name).write_text("data")
    os.setxattr(tmp_path / "5", "user.pacarchive.sha256", bytes.fromhex(SHA256))
    (tmp_path / "8").mkdir()
    return tmp_path


def run(archive: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """A process, as the reactor runs once in each."""
    command = "import sys; from pacarchive.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", command, "admin", "inventory", "--prefix", str(archive), *options],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_json_lines(archive: Path) -> None:
    """An object for each file; the totals are on standard error."""
    done = run(archive, "--ndjson")
    assert (done.returncode, done.stderr) == (0, "3 files, 12 bytes\n")
    found = {each["file"]: each for each in map(json.loads, done.stdout.splitlines())}
    assert found.keys() == {"5", "6", "18446744073709551615"}
    assert (found["5"]["bytes"], found["5"]["locality"], found["5"]["digests"]) == (4, "DISK", {"sha256": SHA256})
    assert found["6"]["digests"] == {}
    assert run(archive).stdout == done.stdout


def test_csv(archive: Path) -> None:
    """A head, and a line for each file."""
    rows = {row["file"]: row for row in csv.DictReader(run(archive, "--csv").stdout.splitlines())}
    assert rows.keys() == {"5", "6", "18446744073709551615"}
    assert rows["5"]["digests"] == f"sha256:{SHA256}"
    assert (rows["6"]["bytes"], rows["6"]["digests"], rows["6"]["error"]) == ("4", "", "")


def test_one_form_only(archive: Path) -> None:
    """Not both."""
    assert run(archive, "--csv", "--ndjson").returncode == 2


def test_a_tree_that_is_none(archive: Path) -> None:
    """Is said to be none."""
    done = run(archive / "absent")
    assert done.returncode == 2
    assert "absent" in done.stderr
