"""Loading the extension: what is said when it cannot be, and what loading leaves behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import hpss_build
import pytest

LOAD = """
import sys
from pacarchive.backends.hpss.loading import load
before = sys.getdlopenflags()
try:
    load({deep_bind})
except ImportError as error:
    print(error)
else:
    from pacarchive.backends.hpss import client
    print("loaded", client.build_level())
assert sys.getdlopenflags() == before
"""


def load(*path: Path, deep_bind: bool = False, **environment: str) -> str:
    """What loading says in a process that finds modules in C{path}."""
    done = subprocess.run(
        [sys.executable, "-c", LOAD.format(deep_bind=deep_bind)],
        env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join(map(str, path))},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("deep_bind", [False, True])
def test_it_loads_in_either_way(deep_bind: bool) -> None:
    """Without any library path in the environment, and the flags for later imports are as they were."""
    assert load(hpss_build.extension("8.3"), deep_bind=deep_bind).startswith("loaded")


def test_an_extension_that_is_not_built_is_one_line() -> None:
    """It tells what to do."""
    words = load()
    assert words == "the HPSS client extension is not built: install pacarchive with HPSS_ROOT naming the SDK"


def test_an_extension_that_cannot_be_loaded_says_what_the_loader_said(tmp_path: Path) -> None:
    """One line with the loader's reason."""
    built = next(hpss_build.extension("8.3").glob("_hpss*.so"))
    (tmp_path / built.name).write_text("no shared object")
    words = load(tmp_path)
    assert words.startswith("the HPSS client extension cannot be loaded: ")
    assert "\n" not in words


def test_a_library_of_another_release_is_refused() -> None:
    """Its structures have other sizes."""
    other = hpss_build.simulator("8.3") / "lib"
    words = load(hpss_build.extension("7.5"), LD_LIBRARY_PATH=str(other))
    assert words.startswith("the HPSS client extension was built for HPSS 7.5, and the library is 8.3")
