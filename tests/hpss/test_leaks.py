"""Nothing is left behind by a hundred thousand status calls: no memory, no descriptor, no thread context."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import hpss_build
import pytest

VARIANT = hpss_build.use_extension()

from hpss_simulator import Archive  # noqa: E402

from pacarchive.backends.hpss import client  # noqa: E402

CALLS = 100_000
SANITIZED_CALLS = 10_000
"""Of a leak, the sanitizer finds a single one."""

HERE = Path(__file__).parent


@pytest.mark.timeout(600)
def test_the_shim_leaks_nothing(tmp_path: Path) -> None:
    """By the address sanitizer's account, of the shim and of what the library leaves to its callers."""
    root = hpss_build.simulator("8.3-asan")
    driver = hpss_build.compile_with_shim(HERE / "drive_shim.c", root, tmp_path, "-fsanitize=address,undefined")
    archive = Archive.create(tmp_path / "archive")
    archive.clock.set_scale(1000)
    done = subprocess.run(
        [driver, archive.principal, archive.keytab, "/", str(SANITIZED_CALLS)],
        env={**os.environ, "ASAN_OPTIONS": "detect_leaks=1:halt_on_error=1", "UBSAN_OPTIONS": "halt_on_error=1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert archive.calls("hpss_FileGetXAttributes") > SANITIZED_CALLS
    assert archive.descriptors() == archive.contexts() == 0


@pytest.mark.timeout(600)
def test_status_calls_from_python_leave_nothing(tmp_path: Path) -> None:
    """From threads, as the backend makes them."""
    archive = Archive.create(tmp_path / "archive")
    client.login(archive.principal, str(archive.keytab))
    archive.write("/file", b"content")
    archive.migrate("/file")

    def ask(times: int) -> None:
        client.thread_start()
        for _ in range(times):
            assert client.attributes("/file").size == 7
        client.thread_end()

    in_threads(2, ask, CALLS // 50)  # allocators and caches have their size after this
    before = resident_bytes(), open_files()
    in_threads(2, ask, CALLS // 2)
    grown = resident_bytes() - before[0]
    assert open_files() == before[1]
    assert archive.descriptors() == archive.contexts() == 0
    assert grown < 2**20, f"{grown} bytes more"  # a leaked list of volumes would be over 3 MB
    client.logout()


def in_threads(count: int, work: Callable[[int], None], argument: int) -> None:
    """Do it in some threads at a time."""
    threads = [threading.Thread(target=work, args=(argument,)) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def resident_bytes() -> int:
    """The process's resident memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def open_files() -> int:
    """The process's open descriptors."""
    return len(os.listdir("/proc/self/fd"))
