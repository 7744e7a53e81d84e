"""Packages of npm that tests run, in the cache of pytest."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def installed(config: pytest.Config, package: str) -> Path:
    """
    Install a package there, once.  Where it cannot be, the tests fail.

    @param package: Its name and version.
    @return: What Node.js needs as C{NODE_PATH}; its commands are in C{.bin} there.
    """
    assert config.cache is not None
    directory = config.cache.mkdir(package.strip("@").replace("/", "-"))
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several processes run tests
        if not (directory / "done").exists():
            npm = shutil.which("npm")
            assert npm, "npm is needed (tools/test installs it)"
            subprocess.run(
                [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", directory, package],
                check=True, capture_output=True, timeout=540,
            )  # fmt: skip
            (directory / "done").touch()
    return directory / "node_modules"
