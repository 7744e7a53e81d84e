"""What the tests build: the simulated C{libhpss.so}, and the extension on it.  Once a run, whoever asks first."""

from __future__ import annotations

import fcntl
import importlib
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType

from hpss_simulator import hpss_root

EXT = Path(__file__).parents[1] / "ext"

VARIANTS = ("7.4", "7.5", "8.3")
"""The shapes of the client API that the simulator has."""

SANITIZED = "8.3-asan"
"""The newest with the address and undefined behaviour sanitizers."""


class BuildError(Exception):
    """A build failed; its output is the text."""


@contextmanager
def _locked(build: Path) -> Iterator[None]:
    """Have one process at a time build there: several test runs may share a checkout."""
    build.mkdir(parents=True, exist_ok=True)
    with (build / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(*command: str | Path) -> None:
    made = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if made.returncode:
        raise BuildError(f"{made.stdout}{made.stderr}")


@cache
def simulator(variant: str = VARIANTS[-1]) -> Path:
    """
    Build the simulator, or bring it up to date.

    @param variant: One of L{VARIANTS}, or L{SANITIZED}.
    @return: What C{HPSS_ROOT} can be set to: C{include/} and C{lib/libhpss.so}.
    """
    return hpss_root(variant)


_SHIM = EXT / "hpss"


@cache
def extension(variant: str = VARIANTS[-1]) -> Path:
    """
    Build the extension module against a variant of the simulator, or bring it up to date.

    @param variant: One of L{VARIANTS}.
    @return: The directory that C{_hpss} is in.
    """
    root = simulator(variant)
    output = _SHIM / "build" / f"{variant}-{sys.implementation.cache_tag}"
    module = output / f"_hpss{sysconfig.get_config_var('EXT_SUFFIX')}"
    with _locked(_SHIM / "build"):
        if _is_older(module, [*_SHIM.glob("*.*"), *(root / "include").iterdir()]):
            _run(sys.executable, _SHIM / "build.py", "--output", output, "--hpss-root", root)
    return output


def _is_older(target: Path, sources: Iterable[Path]) -> bool:
    return not target.exists() or target.stat().st_mtime <= max(each.stat().st_mtime for each in sources)


def use_extension() -> str:
    """
    Make the extension, and the simulator's control package, importable in this process.

    @return: The variant: the one that the environment names (C{PACARCHIVE_TEST_HPSS}), or the newest.
    """
    variant = os.environ.get("PACARCHIVE_TEST_HPSS", VARIANTS[-1])
    for directory in (str(extension(variant)), str(EXT / "simulator")):
        if directory not in sys.path:
            sys.path.insert(0, directory)
    return variant


@contextmanager
def builder() -> Iterator[ModuleType]:
    """C{ext/hpss/build.py}, imported only for as long as it is used: its names are too common to leave about."""
    sys.path.insert(0, str(_SHIM))
    try:
        yield importlib.import_module("build")
    finally:
        sys.path.remove(str(_SHIM))
        for name in ("build", "sdk"):
            sys.modules.pop(name, None)


def compile_with_shim(program: Path, root: Path, directory: Path, *flags: str) -> Path:
    """
    Compile a C program together with the shim, all warnings being errors.

    @param root: A variant of the simulator, as an SDK.
    @param directory: Where the program goes.
    @return: The executable.
    """
    executable = directory / program.stem
    warnings = ("-Wall", "-Wextra", "-Wpedantic", "-Werror")
    with builder() as build:
        sdk = build.open_sdk(root)
        build.generate(sdk, directory)
        _run(
            *("cc", "-std=gnu11", "-g", "-O1", *warnings, *flags, *sdk.compile_flags, f"-I{_SHIM}", f"-I{directory}"),
            *(program, *build.SOURCES, "-o", executable, *sdk.link_flags),
        )
    return executable
