"""What stands in for SAM where files are staged: a command, and a library."""

from __future__ import annotations

import atexit
import functools
import os
import subprocess
import tempfile
from pathlib import Path

from pacarchive.backends.sideband.libsam import LibSam
from pacarchive.backends.sideband.stage import FileToStage

_SCRIPT = """#!/bin/sh
{
    for each in "$@"; do printf '<%s>' "$each"; done
    echo
} >> "$0.asked"
case "$*" in
*/child*) sleep 20; exit 0 ;;
*/background*) sleep 20 & ;;
*/hang*) exec sleep 20 ;;
*/bad*) echo "no such file on host samhost" >&2; exit 3 ;;
*/signal*) kill -9 $$ ;;
esac
"""


class Command:
    """
    A stage command.

    It fails for files with C{bad} in their names, and hangs for C{hang}, itself, or for C{child}, in a child of its.
    For C{background} it ends, and a child of its goes on.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / "stage.sh"
        self.path.write_text(_SCRIPT)
        self.path.chmod(0o755)

    @property
    def asked(self) -> list[str]:
        """The arguments of each run, each within angles."""
        record = Path(f"{self.path}.asked")
        return record.read_text().splitlines() if record.exists() else []


@functools.cache
def _compiled() -> str:
    with tempfile.NamedTemporaryFile(suffix=".so", delete=False) as library:
        atexit.register(os.unlink, library.name)
        source = Path(__file__).with_name("fake_libsam.c")
        command = [
            "gcc",
            "-Wall",
            "-Werror",
            "-Wno-format-truncation",
            "-shared",
            "-fPIC",
            "-o",
            library.name,
            str(source),
        ]
        subprocess.run(command, check=True, timeout=60)
        return library.name


def fake_library() -> LibSam:
    """The real binding, of a library that is not SAM's."""
    return LibSam(_compiled())


def set_state(path: str | Path, attributes: int, flags: int = 0, error: int = 0) -> None:
    """What the fake library says of a file."""
    Path(f"{path}.state").write_text(f"{attributes:x} {flags:x} {error:x}\n")


def hang(path: str | Path) -> Path:
    """Have the fake library not return when it is asked about a file, while there is this one."""
    marker = Path(f"{path}.hang")
    marker.touch()
    return marker


def asked_of_library(path: str | Path) -> list[str]:
    """What it was asked for."""
    record = Path(f"{path}.asked")
    return record.read_text().split() if record.exists() else []


def wanted(directory: Path, name: str, file_id: int = 1) -> FileToStage:
    """A file for a way to stage."""
    return FileToStage(file_id, os.fspath(directory / name), f"/archive/{name}")
