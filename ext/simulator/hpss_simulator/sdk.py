"""Where the built simulator is: in the installed package, or in the source tree beside it."""

from __future__ import annotations

import ctypes
import fcntl
import re
import subprocess
from functools import cache
from pathlib import Path

from hpss_simulator.words import SimulatorError

DEFAULT_VARIANT = "8.3"

_FUNCTION = re.compile(rb"(?<=\0)(?:hpss|API)_\w+(?=\0)")  # in the table of a library's symbols

_PACKAGE = Path(__file__).parent
_INSTALLED = _PACKAGE / "variants"
_SOURCE = _PACKAGE.parent
_BUILT = _SOURCE / "build"


def hpss_root(variant: str = DEFAULT_VARIANT) -> Path:
    """
    A variant of the simulator, laid out as C{HPSS_ROOT} is: C{include/} and C{lib/libhpss.so}.

    In a source tree it is built, or brought up to date, which several processes may ask for at once.

    @param variant: C{7.4}, C{7.5}, C{8.3}, or C{8.3-asan} (only in a source tree).
    @raise SimulatorError: It cannot be built.
    """
    if (_INSTALLED / variant).is_dir():
        return _INSTALLED / variant
    if not (_SOURCE / "Makefile").exists():
        raise SimulatorError(f"variant {variant} of the simulator is not installed")
    _BUILT.mkdir(exist_ok=True)
    with (_BUILT / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = subprocess.run(
            ["make", "-C", str(_SOURCE), f"VARIANTS={variant}"], capture_output=True, text=True, check=False
        )
    if made.returncode:
        raise SimulatorError(f"the simulator cannot be built:\n{made.stderr.strip()}")
    return _BUILT / variant


def schema() -> str:
    """The SQL that makes an archive's database."""
    for place in (_PACKAGE, _SOURCE):
        if (place / "schema.sql").exists():
            return (place / "schema.sql").read_text()
    raise SimulatorError("schema.sql is missing: the simulator is not wholly installed")


@cache
def functions() -> frozenset[str]:
    """The names of all functions of the client API, in whatever variants are built."""
    _library()  # one is
    libraries = (built for folder in (_INSTALLED, _BUILT) for built in folder.glob("*/lib/libhpss.so"))
    found = {name.decode() for built in libraries for name in _FUNCTION.findall(built.read_bytes())}
    return frozenset(name for name in found if not name.startswith("hpss_sim_"))


@cache
def _library() -> ctypes.CDLL:
    # What is built is good enough: tests of several processes must not wait for each other's make.
    for folder in (_INSTALLED, _BUILT):
        for built in sorted(folder.glob("[0-9].[0-9]/lib/libhpss.so"), reverse=True):
            return ctypes.CDLL(str(built))
    return ctypes.CDLL(str(hpss_root() / "lib" / "libhpss.so"))


def play(directory: Path) -> None:
    """
    Have the library play what is due in an archive.

    @raise SimulatorError: It failed.
    """
    code = _library().hpss_sim_advance(bytes(directory))
    if code < 0:
        raise SimulatorError(f"{directory}: the tape library cannot be played", code)
