"""SIGHUP and other signals; and the log file that logrotate rotates meanwhile."""

from __future__ import annotations

import getpass
import grp
import gzip
import os
import pty
import re
import signal
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pacarchive.web.http.refusals import LINES
from system.harness import PATIENCE, TWISTD, Client, Service, in_background, until

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
SNIPPET = ROOT / "deploy/logrotate/pacarchive"

BOTH = pytest.mark.parametrize("workers", [1, 2])
ROTATIONS = 5
CLIENTS = 3
EACH = LINES // CLIENTS // (ROTATIONS + 1)
"""What each client asks between two rotations: all of it together is still logged line by line."""
ASKED = re.compile(r"refused \(NotFound\) [0-9.:]+: GET /([0-9]+):")
RELOADED = "SIGHUP: reloaded the log file"


@pytest.fixture
def logrotate(tmp_path: Path) -> Callable[[], None]:
    """Rotates the log below C{tmp_path} with the manual's settings, whether or not it is time."""
    text = SNIPPET.read_text()
    group = grp.getgrgid(os.getgid()).gr_name
    for ours, theirs in (
        ("/var/log/pacarchive", str(tmp_path)),
        ("/run/pacarchive", str(tmp_path)),
        ("su pacarchive pacarchive", f"su {getpass.getuser()} {group}"),
    ):
        assert ours in text
        text = text.replace(ours, theirs)
    settings = tmp_path / "logrotate.conf"
    settings.write_text(text)
    settings.chmod(0o644)

    def rotate() -> None:
        command = ["/usr/sbin/logrotate", "--force", "--state", str(tmp_path / "logrotate.state"), str(settings)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")

    return rotate


@BOTH
def test_logrotate_loses_no_line(
    tmp_path: Path, serve: Callable[..., Service], logrotate: Callable[[], None], workers: int
) -> None:
    """Each line is in one file, in the order in which they were written; and only logrotate makes files."""
    log, pid = tmp_path / "pacarchive.log", tmp_path / "twistd.pid"
    service = serve(workers=workers, log_file=log, twistd=[f"--pidfile={pid}"])
    port = service.port
    ids = iter(range(CLIENTS))
    asked = [0] * CLIENTS
    rotations = 0

    def ask(ended: threading.Event) -> None:
        client = next(ids)
        with Client(port) as connection:
            while not ended.is_set():
                if asked[client] >= EACH * (rotations + 1):
                    ended.wait(0.01)
                    continue
                assert connection.ask("GET", client * 10**6 + asked[client]).status == 404
                asked[client] += 1
                ended.wait(0.005)  # so that there are still some to come while the log is rotated

    with in_background(ask, CLIENTS):
        while rotations < ROTATIONS:
            before = rotations * CLIENTS * EACH
            until(lambda before=before: sum(asked) > before + EACH, "requests are logged")  # type: ignore[misc]
            logrotate()
            rotations += 1
            until(lambda: RELOADED in log.read_text(), "the server goes on in the new file")
    service.stop()

    rotated = [tmp_path / f"pacarchive.log.{number}.gz" for number in range(ROTATIONS, 1, -1)]
    files = [*rotated, tmp_path / "pacarchive.log.1", log]
    assert sorted(tmp_path.glob("*.log*")) == sorted(files)
    texts = [(gzip.decompress(each.read_bytes()) if each in rotated else each.read_bytes()).decode() for each in files]
    for text in texts[1:]:
        assert RELOADED in text.split("\n", 1)[0]  # what came before went to the file before
    found = [int(number) for number in ASKED.findall("".join(texts))]
    assert len(found) == sum(asked)
    for client in range(CLIENTS):
        mine = [number for number in found if number // 10**6 == client]
        assert mine == [client * 10**6 + number for number in range(asked[client])]
    assert sum("pacarchive.log" in name for name in os.listdir(tmp_path)) == len(files)


@BOTH
def test_no_signal_of_operators_ends_it(tmp_path: Path, serve: Callable[..., Service], workers: int) -> None:
    """Not while it starts, not many in a row, neither sent to the parent nor to a worker nor to all of them."""
    pid = tmp_path / "twistd.pid"
    service = serve(workers=workers, twistd=[f"--pidfile={pid}"])
    until(pid.exists, "twistd writes its process id")
    for _ in range(200):
        service.process.send_signal(signal.SIGHUP)
    assert service.ask("PUT", 1, b"x").status == 201
    living = service.workers()
    assert len(living) == workers
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        os.killpg(service.process.pid, number)
        for each in (service.process.pid, *living):
            for _ in range(20):
                os.kill(each, number)
        until(lambda number=number: f"{number.name}: " in service.log.replace(" is ignored", ": "), number.name)  # type: ignore[misc]
        assert service.ask("GET", 1).body == b"x"
    assert service.workers() == living
    assert "SIGHUP: nothing to reload" in service.log
    assert service.stop() == -signal.SIGTERM


def test_a_worker_that_starts_is_not_ended_either(serve: Callable[..., Service]) -> None:
    """One signal reaches a process group at any time, that in which a worker is only being made included."""
    service = serve(workers=2)
    assert service.port
    for death in range(1, 3):
        os.kill(service.workers()[0], signal.SIGKILL)
        until(lambda death=death: service.log.count("replaced in") == death, "its end is noticed")  # type: ignore[misc]
        deadline = time.monotonic() + PATIENCE
        while len(service.workers()) < 2:
            assert time.monotonic() < deadline
            os.killpg(service.process.pid, signal.SIGHUP)
        for _ in range(300):  # it imports, and does not serve yet
            os.killpg(service.process.pid, signal.SIGHUP)
            time.sleep(0.001)
    until(lambda: not service.refuses(), "it serves")
    assert "SIGHUP; replaced" not in service.log
    assert service.log.count("killed by SIGKILL") == service.log.count("replaced in")


@BOTH
def test_a_drain_goes_on(serve: Callable[..., Service], workers: int) -> None:
    """A transfer under way is finished, whoever sends SIGHUP meanwhile."""
    service = serve(workers=workers)
    with service.connect() as writer:
        writer.sendall(b"PUT /5 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n12345")
        assert service.ask("GET", "/health").status == 200
        service.process.terminate()
        until(service.refuses, "new connections are refused")
        os.killpg(service.process.pid, signal.SIGHUP)
        until(lambda: "SIGHUP: " in service.log, "the signal is noticed")
        assert service.process.poll() is None
        writer.sendall(b"67890")
        assert writer.recv(12) == b"HTTP/1.1 201"
    assert service.ends() == -signal.SIGTERM


@BOTH
def test_it_outlives_its_terminal(tmp_path: Path, workers: int) -> None:
    """Whoever closes the window in which a server runs has not asked for its end; and nobody listens to its log."""
    (tmp_path / "archive").mkdir()
    leader, follower = pty.openpty()
    opens = "import os; os.close(os.open(os.ttyname(0), os.O_RDWR)); "  # and so has it as its terminal
    process = subprocess.Popen(
        [
            TWISTD[0], TWISTD[1], opens + TWISTD[2], *TWISTD[3:],
            "pacarchive", "-c", "/dev/null", "--prefix", "archive", "-p", "0", "--workers", str(workers),
        ],
        cwd=tmp_path, stdin=follower, stdout=follower, stderr=follower, start_new_session=True,
    )  # fmt: skip
    try:
        os.close(follower)
        seen = b""
        while not (serving := re.search(rb"http://127.0.0.1:(\d+)/", seen)):
            seen += os.read(leader, 4096)
        os.close(leader)
        for number in range(5):
            with Client(int(serving[1])) as client:
                assert client.ask("PUT", number, b"x").status == 201
                assert client.ask("GET", 99).status == 404  # which is logged
        process.terminate()
        assert process.wait(PATIENCE) == -signal.SIGTERM
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_log_file_that_cannot_be_opened_again(tmp_path: Path, serve: Callable[..., Service]) -> None:
    """The server says so in the one that it has, and goes on there until it can."""
    directory, moved = tmp_path / "logs", tmp_path / "moved"
    directory.mkdir()
    service = serve(log_file=directory / "log")
    assert service.port
    directory.rename(moved)
    service.process.send_signal(signal.SIGHUP)
    until(lambda: "cannot reload: [Errno 2]" in (moved / "log").read_text(), "the old file tells of it")
    assert service.ask("GET", 7).status == 404
    assert "GET /7: " in (moved / "log").read_text()
    directory.mkdir()
    service.process.send_signal(signal.SIGHUP)
    until(lambda: RELOADED in service.log, "the new one is used")


def test_a_log_file_that_cannot_be_opened_at_all(tmp_path: Path) -> None:
    """One line, and the exit code of settings that cannot be used."""
    command = [*TWISTD, "--logfile=/nonexistent/log", "pacarchive", "-c", "/dev/null", "-p", "0"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        2,
        "pacarchive: --logfile: /nonexistent/log: No such file or directory\n",
    )


def test_the_manual_has_the_settings_of_logrotate() -> None:
    """The very ones that are tried here."""
    assert f"```text\n{SNIPPET.read_text()}```\n" in (ROOT / "docs/deployment.md").read_text()
