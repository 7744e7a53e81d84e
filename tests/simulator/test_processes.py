"""Several processes over one archive, killed and forked, and the library under the sanitizers."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from functools import partial
from pathlib import Path

import hpss_build
import pytest
from hpss_simulator import Archive

from .clients import Client, elsewhere
from .header import load
from .worker import FILES, SIZE, THREADS

TESTS = Path(__file__).parents[1]
FILE = 0x81

UNCOUNTED = {
    "hpss_" + name
    for name in (
        *("AuthnMechTypeFromString", "BuildLevelString", "ChompXMLHeader", "ErrnoName", "ErrnoString", "Getenv"),
        *("GetConfiguration", "ParseAuthString", "SetConfiguration", "sim_advance"),
    )
}
"""What the library answers by itself, without an archive."""


def start(task: str, archive: Archive, variant: str, name: str) -> subprocess.Popen[str]:
    """Run a worker."""
    search = os.pathsep.join([str(TESTS), str(hpss_build.EXT / "simulator")])
    return subprocess.Popen(
        [sys.executable, "-m", "simulator.worker", task, str(archive.directory), variant, name],
        env={**os.environ, "PYTHONPATH": search},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def check_consistent(archive: Archive) -> None:
    """What must be true of an archive at any moment, whoever has died."""
    with closing(sqlite3.connect(archive.directory / "hpss.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        objects = {row[0]: row[1:] for row in database.execute("SELECT id, type, nlink, size FROM object")}
        named = Counter(number for (number,) in database.execute("SELECT object FROM name"))
        levels = database.execute("SELECT object, sum(bytes) FROM level WHERE level = 0 GROUP BY object").fetchall()
        attributed = {number for (number,) in database.execute("SELECT DISTINCT object FROM attribute")}
        (disk_used,) = database.execute("SELECT disk_used FROM library").fetchone()
    files = {number for number, (kind, *_) in objects.items() if kind == FILE}
    assert files == {number for number in named if objects[number][0] == FILE}
    assert all(objects[number][1] == named[number] for number in files)
    assert {number for number, _ in levels} | attributed <= files
    assert disk_used == sum(size for _, size in levels)
    bytes_kept = {int(each.name): each.stat().st_size for each in (archive.directory / "data").iterdir()}
    assert all(bytes_kept[number] >= objects[number][2] for number in files)


def test_processes_of_all_variants_share_an_archive(empty: Archive) -> None:
    workers = [start("fill", empty, variant, f"w{number}") for number, variant in enumerate(hpss_build.VARIANTS)]
    assert [worker.communicate(timeout=60)[0] for worker in workers] == ["done\n"] * 3
    expected = {f"/w{worker}.{thread}.{n}" for worker in range(3) for thread in range(THREADS) for n in range(FILES)}
    assert {entry.path: entry.size for entry in empty.entries() if entry.path != "/"} == dict.fromkeys(expected, SIZE)
    assert empty.calls("hpss_Write") == 3 * len(expected)
    assert (empty.contexts(), empty.descriptors()) == (0, 0)
    check_consistent(empty)


@pytest.mark.parametrize("client", ["8.3"], indirect=True)
def test_a_killed_process_leaves_the_archive_consistent(empty: Archive, client: Client) -> None:
    for turn in range(6):
        workers = [start("churn", empty, "8.3", f"w{turn}.{number}") for number in range(2)]
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        time.sleep(0.02 + 0.03 * turn)  # anywhere in the middle
        for worker in workers:
            worker.send_signal(signal.SIGKILL)
            worker.communicate()
        check_consistent(empty)
        assert (empty.contexts(), empty.descriptors()) == (0, 0)
    whole = {entry.size for entry in empty.entries() if entry.path != "/" and not entry.path.startswith("/tmp.")}
    assert whole == {SIZE}
    assert client.login(empty) == 0
    client.put("/new", b"content")
    assert client.get("/new") == b"content"


@pytest.mark.parametrize("variant", ["7.4", "8.3"])
def test_a_forked_child_needs_a_login_of_its_own(empty: Archive, variant: str) -> None:
    worker = start("fork", empty, variant, "w")
    output = worker.communicate(timeout=60)[0].splitlines()
    assert output == ["child -50 -50 0 b'parent'", "parent b'child' b'parent'"]
    check_consistent(empty)
    assert empty.read("/w.child") == b"child"


def test_a_child_that_outlives_its_parent_keeps_its_hold_on_the_database(tmp_path: Path, client: Client) -> None:
    """Whoever opens the database next must see that it is in use: the child's locks are not its parent's."""
    with Archive.create(tmp_path / "archive") as archive:
        pass  # from here on only the child has the database open all the time

    def visit(turn: int) -> int:
        assert client.login(archive) == 0
        client.put(f"/visitor.{turn}", b"visitor")
        return 0

    with start("orphan", archive, client.sdk.variant, "child") as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
        worker.wait(10)  # the parent
        for turn in range(10):
            with elsewhere(partial(visit, turn)) as results:  # a thread closes its connection at its end
                pass
            assert results == [0]
            worker.stdin.write("more\n")
            worker.stdin.flush()
            assert worker.stdout.readline() == "done\n"
    check_consistent(archive)
    with elsewhere(lambda: client.names("/")) as results:
        pass
    assert set(results[0]) == {"child", *(f"child.{n}" for n in range(11)), *(f"visitor.{n}" for n in range(10))}


def test_many_processes_come_and_go_without_filling_the_control_page(empty: Archive) -> None:
    program = (
        "import ctypes, os, sys; library = ctypes.CDLL(sys.argv[1])\n"
        "for _ in range(300):\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        assert library.hpss_SetLoginCred(b'hpss', 2, 2, 2, sys.argv[2].encode()) == 0\n"
        "        library.hpss_Umask(0)\n"
        "        os._exit(0)\n"
        "    assert os.waitpid(child, 0)[1] == 0\n"
    )
    library = load("8.3").root / "lib" / "libhpss.so"
    subprocess.run([sys.executable, "-c", program, str(library), str(empty.keytab)], check=True, timeout=60)
    assert empty.calls("hpss_SetLoginCred") == 300
    assert empty.contexts() == 0


@pytest.mark.parametrize("variant", hpss_build.VARIANTS)
def test_a_c_program_makes_every_call(empty: Archive, tmp_path: Path, variant: str) -> None:
    """In the right way and in wrong ones, and it frees what is its own: the newest variant is checked for it."""
    root = hpss_build.simulator(hpss_build.SANITIZED if variant == "8.3" else variant)
    program = tmp_path / "calls"
    sanitizers = ["-fsanitize=address,undefined"] if variant == "8.3" else []
    include, lib = root / "include", root / "lib"
    subprocess.run(
        [
            *("gcc", "-std=c11", "-D_GNU_SOURCE", "-g", "-Wall", "-Wextra", "-Werror", "-pthread", *sanitizers),
            *("-o", program, Path(__file__).with_name("calls.c"), f"-I{include}", f"-L{lib}", f"-Wl,-rpath,{lib}"),
            "-lhpss",
        ],
        check=True,
    )
    empty.clock.set_scale(1000)
    empty.set("callback_timeout_ms", 20)
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=1", "UBSAN_OPTIONS": "halt_on_error=1"}
    ran = subprocess.run(
        [program, empty.keytab], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    symbols = subprocess.run(
        ["nm", "-D", "--defined-only", "--format=posix", lib / "libhpss.so"], capture_output=True, text=True, check=True
    )
    exported = {line.split()[0] for line in symbols.stdout.splitlines() if line.startswith("hpss_")}
    assert set(empty.all_calls()) == exported - UNCOUNTED
