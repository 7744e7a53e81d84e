"""C{pacarchive admin} as operators call it: real processes, beside real services, and on a terminal."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import forks
import pytest

from pacarchive.ids import id_to_path
from system.harness import PATIENCE, content, until
from system.pages import MANUAL, Shell, shell_blocks
from system.terminal import COMMAND, Terminal, run

if TYPE_CHECKING:
    from collections.abc import Callable

    from system import sideband
    from system.harness import Service
    from system.hpss import Site

OLD_COMMAND = (sys.executable, "-c", "import sys; from pacarchive.cli.admin.predecessor import main; sys.exit(main())")

PAGE = MANUAL / "admin.md"

NO_UNNAMED_FILES = "import os\nos.O_TMPFILE = 0o100000000\n"
"""For a process that finds no unnamed files, as on NFS: uploads have names then."""


def _say_type(directory: Path, name: str) -> None:
    """Make C{operator.ini} of the service's settings: the service got its type on the command line."""
    settings = (directory / "settings.ini").read_text()
    (directory / "operator.ini").write_text(settings.replace("[server]", f"[server]\ntype = {name}"))


def _has_pending(pid: int, number: signal.Signals) -> bool:
    fields = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return any(int(fields[name], 16) >> (number - 1) & 1 for name in ("SigPnd", "ShdPnd"))


# delete


def _put(service: Service, *file_ids: int) -> None:
    for file_id in file_ids:
        assert service.ask("PUT", file_id, content(file_id, 1000)).status == 201


def test_delete_beside_a_service(serve: Callable[..., Service]) -> None:
    """The service knows at once; ids without a file are told of; files, digests and locks are as DELETE leaves them."""
    service = serve(workers=2)
    _put(service, 5, 6, 7, 12345)
    for file_id in (5, 6):
        assert service.ask("GET", file_id).status == 200
    done = run(service.directory, "admin", "delete", "-c", "settings.ini", "--prefix", "archive", "-y", "5", "99", "6")
    assert (done.returncode, done.stdout) == (1, "2 removed, 1 had no file\n")
    assert done.stderr == "pacarchive: file 99: there is none\n"
    assert [service.ask("GET", file_id).status for file_id in (5, 6, 7)] == [404, 404, 200]
    _put(service, 5)
    assert service.ask("DELETE", 12345).status == 200
    done = run(service.directory, "admin", "delete", "--prefix", "archive", "--yes", "--json", "7", "7")
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {"file": "7", "removed": True},
        {"summary": {"removed": 1, "absent": 0, "failed": 0, "left": 0}},
    ]
    assert (done.returncode, done.stderr) == (0, "")
    assert set(service.visible()) == {"5"}
    assert service.temporaries() == []


def test_delete_asks(serve: Callable[..., Service], tmp_path: Path) -> None:
    """On a terminal, before anything is removed."""
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive/5").write_text("x")
    for answer, code, left in (("n\n", 2, ["5"]), ("yes\n", 0, [])):
        with Terminal(tmp_path, "admin", "delete", "--prefix", "archive", "5") as terminal:
            terminal.shows("for good? Type yes:")
            terminal.type(answer)
            assert terminal.ends() == code
        assert [each for each in os.listdir(tmp_path / "archive") if each != ".pacarchive"] == left
    assert terminal.screens[-1][-1] == "1 removed"


def test_delete_is_interrupted(tmp_path: Path) -> None:
    """Ctrl-C: the file at hand is removed to the end, and the others stay; the summary says so."""
    (tmp_path / "archive/.pacarchive/locks").mkdir(parents=True)
    for name in ("1", "2", "3"):
        (tmp_path / "archive" / name).write_text("x")
    with open(tmp_path / "archive/.pacarchive/locks/02", "w") as lock:
        os.chmod(lock.name, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        with forks.Popen(
            [*COMMAND, "admin", "delete", "--yes", "--prefix", "archive", "1", "2", "3"], cwd=tmp_path, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as process:  # fmt: skip
            try:
                until(lambda: _reads(process.pid, Path(lock.name)), "it waits for the lock")
                process.send_signal(signal.SIGINT)
                until(lambda: not _has_pending(process.pid, signal.SIGINT), "the signal is taken")
                fcntl.flock(lock, fcntl.LOCK_UN)
                out, err = process.communicate(timeout=PATIENCE)
            finally:
                process.kill()
    left = {each for each in os.listdir(tmp_path / "archive") if each != ".pacarchive"}
    assert (process.returncode, err) == (130, "")
    assert (out, left) == ("2 removed, 1 not tried: interrupted\n", {"3"})


def test_delete_in_hpss(site: Site) -> None:
    """Files on disk and on tape go, nothing is recalled, and the service goes on; without HPSS, exit code 3."""
    from system.hpss import PREFIX, environment

    service = site.start()
    for file_id in (5, 300, 12345, 7):
        site.put(file_id, content(file_id, 1000))
    site.send_to_tape(300)
    stages = site.archive.calls("hpss_StageCallBack"), site.archive.calls("hpss_Stage")
    delete = ("admin", "delete", "-c", "operator.ini", "--prefix", PREFIX, "-y")
    _say_type(service.directory, "hpss")
    done = run(service.directory, *delete, "5", "300", "99", environment=environment())
    assert (done.returncode, done.stdout) == (1, "2 removed, 1 had no file\n"), done.stderr
    assert [service.ask("HEAD", file_id).status for file_id in (5, 300, 7)] == [404, 404, 204]
    assert (site.archive.calls("hpss_StageCallBack"), site.archive.calls("hpss_Stage")) == stages
    old = run(
        service.directory, "-t", "hpss", "--prefix", PREFIX, "-c", "operator.ini", "delete", "7", "99", "12345",
        command=OLD_COMMAND, environment=environment(),
    )  # fmt: skip
    assert (old.returncode, old.stdout) == (1, "")
    assert "file 99: Can't " in old.stderr
    assert [service.ask("HEAD", file_id).status for file_id in (7, 12345)] == [404, 204]
    service.stop()
    site.archive.set("server_state", "down")
    done = run(service.directory, *delete, "12345", environment=environment())
    assert done.returncode == 3, done
    assert "HPSS" in done.stderr
    site.archive.set("server_state", "up")
    assert site.entry(12345).size == 1000


def test_delete_in_oracle_hsm(sam: sideband.Site) -> None:
    """Files on disk and on tape go, and nothing is staged; the database need not answer."""
    service = sam.start()
    _put(service, 5, 300, 12345)
    sam.to_tape(300)
    delete = ("admin", "delete", "-c", "operator.ini", "--prefix", "archive", "-y")
    _say_type(service.directory, "hsmsideband")
    done = run(service.directory, *delete, "300", "99")
    assert (done.returncode, done.stdout) == (1, "1 removed, 1 had no file\n"), done.stderr
    assert service.ask("GET", 300).status == 404
    sam.server.freeze()
    done = run(service.directory, *delete, "5")
    assert (done.returncode, done.stdout) == (0, "1 removed\n"), done.stderr
    sam.server.thaw()
    assert (sam.runs, sam.waits) == ([], [])
    assert sam.path_of(12345).exists()


def test_the_old_name(tmp_path: Path) -> None:
    """It asks nobody, says nothing, and ends at the first id that it cannot remove; settings are found where they
    were."""
    archive, home = tmp_path / "archive", tmp_path / "home"
    (home / ".pacifica-archiveinterface").mkdir(parents=True)
    (home / ".pacifica-archiveinterface/config.ini").write_text("[posix]\nuse_id2filename = true\n")
    places = {file_id: archive / id_to_path(file_id)[1:] for file_id in (1, 1234, 12345, 70000)}
    for place in places.values():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("x")
    environment = {"HOME": str(home), "PAI_PREFIX": "archive"}
    done = run(tmp_path, "delete", "1", "1234", command=OLD_COMMAND, environment=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = run(tmp_path, "delete", "12345", "99", "70000", command=OLD_COMMAND, environment=environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("pacifica-archiveinterface-cmd: file 99: Can't open posix file with error: [Errno 2]")
    assert [file_id for file_id, place in places.items() if place.exists()] == [70000]


# copy


def test_copy_is_interrupted(serve: Callable[..., Service], tmp_path: Path) -> None:
    """Ctrl-C amid a file: nothing of it is to be seen; the same again copies it, and a service has it at once."""
    service = serve()
    (tmp_path / "old").mkdir()
    data = content("copied", 8 << 20)
    (tmp_path / "old/7").write_bytes(data)
    (tmp_path / "old.ini").write_text(f"[server]\nprefix = {tmp_path}/old\n")
    (tmp_path / "new.ini").write_text(f"[server]\nprefix = {service.prefix}\n")
    copy = ("admin", "copy", "-c", "old.ini", "--to", "new.ini")
    with forks.Popen(
        [*COMMAND, *copy, "--rate", "0.1"], cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            until(lambda: _reads(process.pid, tmp_path / "old/7"), "it reads the file")
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert process.returncode == 130
    assert err.endswith("pacarchive: interrupted; run it again to go on from here\n")
    assert out == "0 files copied, 0 B (0 bytes), 0 there already\n"
    assert (service.visible(), service.temporaries()) == ({}, [])
    assert service.ask("GET", 7).status == 404
    done = run(tmp_path, *copy)
    assert (done.returncode, done.stdout) == (0, "1 file copied, 8.0 MiB (8,388,608 bytes), 0 there already\n")
    assert service.ask("GET", 7).body == data


def test_copy_out_of_hpss(site: Site, tmp_path: Path) -> None:
    """What is on disk there; what is on tape is named, and not recalled.  The next time, only that is left."""
    from system.hpss import PREFIX, environment

    service = site.start()
    for file_id in (5, 300, 12345):
        site.put(file_id, content(file_id, 100_000))
    site.send_to_tape(300)
    stages = site.archive.calls("hpss_StageCallBack"), site.archive.calls("hpss_Stage")
    _say_type(service.directory, "hpss")
    (tmp_path / "new").mkdir()
    (service.directory / "new.ini").write_text(f"[server]\nprefix = {tmp_path}/new\n")
    copy = ("admin", "copy", "-c", "operator.ini", "--prefix", PREFIX, "--to", "new.ini")
    for words in ("2 files copied, 195.3 KiB (200,000 bytes), 0 there", "0 files copied, 0 B (0 bytes), 2 there"):
        done = run(service.directory, *copy, environment=environment())
        assert (done.returncode, done.stdout) == (1, f"{words} already, 1 on tape\n"), done.stderr
        assert "pacarchive: file 300: not copied: it is on tape" in done.stderr
    assert {file_id: (tmp_path / "new" / str(file_id)).read_bytes() for file_id in (5, 12345)} == {
        file_id: content(file_id, 100_000) for file_id in (5, 12345)
    }
    assert (site.archive.calls("hpss_StageCallBack"), site.archive.calls("hpss_Stage")) == stages


# sweep


def test_sweep_beside_a_service(serve: Callable[..., Service], tmp_path: Path) -> None:
    """An upload under way is let alone, and comes to its end; what a killed service leaves goes."""
    (tmp_path / "sitecustomize.py").write_text(NO_UNNAMED_FILES)
    environment = {"PYTHONPATH": str(tmp_path)}
    service = serve(environment=environment)
    data = content("upload", 4 << 20)
    sweep = ("admin", "sweep", "--prefix", "archive")
    (service.prefix / "1").write_text("x")
    with service.connect() as connection:
        connection.sendall(b"PUT /5 HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(data))
        connection.sendall(data[: 3 << 20])
        until(service.temporaries, "the upload is on its way to the disk")
        for more in ([], ["--dry-run"]):
            done = run(service.directory, *sweep, *more)
            assert (done.returncode, done.stdout) == (0, "0 left over, 0 bytes: 0 removed, 0 not removed\n")
        assert len(service.temporaries()) == 1
        connection.sendall(data[3 << 20 :])
        assert connection.recv(4096).startswith(b"HTTP/1.1 201 ")
    assert service.ask("GET", 5).body == data
    with service.connect() as connection:
        connection.sendall(b"PUT /6 HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(data))
        connection.sendall(data[: 3 << 20])
        until(service.temporaries, "the upload is on its way to the disk")
        service.kill()
    (left,) = service.temporaries()
    done = run(service.directory, *sweep, "-n")
    assert f".pacarchive/tmp/{left}  " in done.stdout
    assert service.temporaries() == [left]
    done = run(service.directory, *sweep)
    assert (done.returncode, service.temporaries()) == (0, [])
    assert "1 left over" in done.stdout
    assert set(service.visible()) == {"1", "5"}


def test_sweep_in_hpss(site: Site) -> None:
    """The same, where the names tell who writes."""
    from system.hpss import PREFIX, environment

    service = site.start(hpss={"block_size": 4 << 20})
    _say_type(service.directory, "hpss")
    sweep = ("admin", "sweep", "-c", "operator.ini", "--prefix", PREFIX, "--json")

    def swept(*options: str) -> list[Any]:
        done = run(service.directory, *sweep, *options, environment=environment())
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    nothing = {"summary": {"found": 0, "bytes": 0, "removed": 0, "failed": 0}}
    with service.connect() as connection:
        connection.sendall(b"PUT /5 HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (12 << 20))
        connection.sendall(content("upload", 9 << 20))
        until(site.temporaries, "the upload is on its way")
        assert swept() == [nothing]
        assert len(site.temporaries()) == 1
        service.kill()
    (left,) = site.temporaries()
    found, _ = swept("--dry-run")
    assert (found["path"], found["removed"]) == (left, False)
    assert site.temporaries() == [left]
    found, summary = swept()
    assert (found["path"], found["removed"]) == (left, True)
    assert summary["summary"]["removed"] == 1
    assert site.temporaries() == []
    assert swept() == [nothing]


# digest, adopt


def _reads(pid: int, path: Path) -> bool:
    with suppress(FileNotFoundError):
        for each in os.listdir(f"/proc/{pid}/fd"):
            with suppress(FileNotFoundError):
                if os.readlink(f"/proc/{pid}/fd/{each}") == str(path):
                    return True
    return False


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file that takes longer to read than anybody waits, with holes for bytes, in an archive."""
    path = tmp_path / "archive/7"
    path.parent.mkdir()
    path.touch()
    os.truncate(path, 4 << 40)
    return path


@pytest.mark.parametrize("jobs", ["1", "3"])
def test_digest_is_interrupted(large: Path, jobs: str) -> None:
    """Ctrl-C ends it at once, in words; what was stored so far is."""
    directory = large.parents[1]
    (large.parent / "5").write_text("x")
    with forks.Popen(
        [*COMMAND, "admin", "digest", "--prefix", "archive", "--jobs", jobs], cwd=directory, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        try:
            until(lambda: _reads(process.pid, large), "it reads the large file")
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert (process.returncode, err) == (130, "pacarchive: interrupted; run it again to go on from here\n")
    assert out.startswith(("1 file,", "2 files,"))
    assert "user.pacarchive.sha256" not in os.listxattr(large)


def test_digest_on_a_terminal(large: Path) -> None:
    """A bar in one line with files, rate and time left; what is bad stands above it; Ctrl-C leaves a clean screen."""
    directory = large.parents[1]
    for name in ("5", "6"):
        (large.parent / name).write_text("x")
        (large.parent / name).chmod(0o644)
        os.setxattr(large.parent / name, "user.pacarchive.sha256", bytes(32))
    with Terminal(directory, "admin", "digest", "--verify", "--prefix", "archive") as terminal:
        terminal.shows(" left")
        terminal.shows("file 5: is damaged")
        terminal.shows("file 6: is damaged")
        terminal.type("\x03")
        assert terminal.ends() == 130
    bars = [line for shown in terminal.screens for line in shown if "MiB/s" in line]
    assert all(line.startswith("verifying ━") and "/3 files  " in line for line in bars)
    assert all(sum("verifying ━" in line for line in shown) <= 1 for shown in terminal.screens)
    assert max(len(line) for line in bars) <= 80
    last = terminal.screens[-1]
    assert not any("━" in line for line in last)
    assert last[-2:] == [
        "pacarchive: interrupted; run it again to go on from here",
        next(line for line in last if line.startswith("3 files, ")),
    ]


def test_adopt_on_a_terminal(tmp_path: Path) -> None:
    """The files are counted, a bar runs, and the report is all that is left."""
    (tmp_path / "archive").mkdir()
    for number in range(10_000):
        (tmp_path / f"archive/{number}").touch(0o444)
    with Terminal(tmp_path, "admin", "adopt", "--prefix", "archive", "--examples", "1") as terminal:
        assert terminal.ends() == 0
    shown = {line for shown in terminal.screens for line in shown}
    assert any("counting: " in line for line in shown)
    assert any("/10,000 files" in line for line in shown)
    last = terminal.screens[-1]
    assert not any("━" in line for line in last)
    assert last[0].startswith("posix archive ")
    assert last[-1] == "Nothing needs attention."


# the page


def test_the_page(tmp_path: Path) -> None:
    """Its commands, and what it says that they print."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with Shell(tmp_path, {}, {"PATH": path}) as shell:
        assert shell.show(PAGE) >= len(shell_blocks(PAGE))
