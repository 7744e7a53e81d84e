"""The C{pacarchive} command as users type it: real processes, a real service, and a network that may do harm."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import forks
import pytest

from pacarchive.cli import make_parser
from system.faulty_proxy import FaultyProxy
from system.harness import HOST, PATIENCE, Service, content, until
from system.hpss import path_of
from system.pages import MANUAL, Shell
from system.terminal import COMMAND, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from system.hpss import Site

MIB = 1 << 20
PAGE = MANUAL / "command.md"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One for all tests; each has ids of its own."""
    started = Service(tmp_path_factory.mktemp("archive"), workers=2)
    yield started
    started.stop()
    started.assert_clean()


@attrs.frozen
class User:
    """Somebody who types commands in a directory of their own."""

    directory: Path
    url: str

    def types(self, *words: str, stdin: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        """A command, to its end."""
        told = {"PACARCHIVE_URL": self.url, **environment}
        return run(self.directory, *words, environment=told, stdin=stdin)

    def begins(self, *words: str, **more: Any) -> forks.Popen:
        """A command, to be interrupted."""
        told = {**os.environ, "PACARCHIVE_URL": self.url}
        pipe = subprocess.PIPE
        return forks.Popen([*COMMAND, *words], cwd=self.directory, env=told, stdout=pipe, stderr=pipe, **more)

    def records(self, *words: str) -> tuple[int, list[Any]]:
        """The exit code and the JSON of a command."""
        done = self.types(*words, "--json")
        return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]

    def write(self, name: str, data: bytes) -> str:
        """Make a file.  @return: Its digest."""
        (self.directory / name).write_bytes(data)
        return hashlib.sha256(data).hexdigest()

    def files(self) -> list[str]:
        """All names, hidden ones too."""
        return sorted(os.listdir(self.directory))


@pytest.fixture
def user(service: Service, tmp_path: Path) -> User:
    """A user of the service."""
    (tmp_path / "home").mkdir()
    return User(tmp_path / "home", f"http://{HOST}:{service.port}")


# What is done


def test_a_file_goes_in_and_comes_out(user: User, service: Service) -> None:
    """With its bytes and its time; C{verify} says that it is still the same, and C{stat} what there is of it."""
    digest = user.write("results.h5", content("results", 3 * MIB))
    os.utime(user.directory / "results.h5", (1e9, 784111777.5))
    done = user.types("put", "results.h5", "--id", "1001")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"1001  results.h5  3.0 MiB  sha256:{digest[:16]}…  stored in ")
    assert (service.prefix / "1001").stat().st_mtime == 784111777.5
    done = user.types("get", "1001", "-o", "copy.h5")
    assert (done.returncode, done.stderr) == (0, "")
    assert (user.directory / "copy.h5").read_bytes() == content("results", 3 * MIB)
    assert user.files() == ["copy.h5", "results.h5"]
    assert user.types("verify", "results.h5", "--id", "1001").returncode == 0
    done = user.types("stat", "1001")
    head, row = done.stdout.splitlines()
    assert head.split() == ["ID", "SIZE", "MODIFIED", "(UTC)", "LOCALITY", "LEVELS", "SHA-256"]
    assert row.split() == ["1001", "3.0", "MiB", "1994-11-06", "08:49:37", "DISK", "████", f"{digest[:10]}…"]
    code, (record,) = user.records("stat", "1001")
    assert (record["file"], record["size"], record["mtime"]) == ("1001", 3 * MIB, 784111777.5)
    assert (code, record["digests"], record["locality"]) == (0, {"sha256": digest}, "DISK")


def test_several_files(user: User, service: Service) -> None:
    """By consecutive ids, or by a map; out of the archive into a directory; each is told of, and all together."""
    names = [f"run{number}.dat" for number in range(5)]
    for name in names:
        user.write(name, name.encode())
    done = user.types("put", *names, "--id", "1100")
    assert done.returncode == 0
    *lines, summary = done.stdout.splitlines()
    assert sorted(line.split()[1] for line in lines) == names
    assert summary.startswith("5 of 5 files stored, 40 B in ")
    map_of = "".join(f"{1200 + number} {name}\n" for number, name in enumerate(names))
    done = user.types("put", "--id-file", "-", stdin=map_of)
    assert (done.returncode, done.stderr) == (0, "")
    done = user.types("get", "1100-1102", "@ids", "-o", "runs/", stdin="")
    assert (done.returncode, done.stderr) == (2, "pacarchive: ids: No such file or directory\n")
    (user.directory / "ids").write_text("1103 # one\n1104\n")
    assert user.types("get", "1100-1102", "@ids", "-o", "runs/").returncode == 0
    assert sorted(os.listdir(user.directory / "runs")) == ["1100", "1101", "1102", "1103", "1104"]
    assert (user.directory / "runs/1104").read_text() == "run4.dat"
    assert user.types("verify", "runs").stdout.endswith("\n")
    user.write("runs/1104", b"run4.dat, edited")
    user.write("runs/1103", b"RUN3.dat")
    done = user.types("verify", "runs")
    assert done.returncode == 5
    assert "runs/1104 (id 1104) is different: 16 bytes here, 8 in the archive\n" in done.stderr
    assert "runs/1103 (id 1103) is different: its SHA-256 is " in done.stderr
    assert "3 of 5 files are the same as the archive's" in done.stdout
    assert "2 are different" in done.stdout


def test_what_was_done_is_not_done_again(user: User, service: Service) -> None:
    """Typed once more, a command sends and fetches nothing, and is right; so one that was cut short goes on."""
    data = [content(number, MIB) for number in range(3)]
    for number, each in enumerate(data):
        user.write(f"f{number}", each)
    assert user.types("put", "f0", "f1", "--id", "1300").returncode == 0
    with FaultyProxy(service.port) as proxy:
        again = attrs.evolve(user, url=proxy.url)
        code, (*files, summary) = again.records("put", "f0", "f1", "f2", "--id", "1300")
        assert code == 0
        assert {each["path"]: each["already_there"] for each in files} == {"f0": True, "f1": True, "f2": False}
        assert (summary["summary"]["stored"], summary["summary"]["already_there"]) == (1, 2)
        assert again.types("get", "1300-1302", "-o", "out/").returncode == 0
        before = proxy.moved["down"]
        code, (*files, _) = again.records("get", "1300-1302", "-o", "out/")
        assert code == 0
        assert all(each["already_there"] for each in files)
        assert proxy.moved["down"] - before < 10_000


def test_nothing_is_replaced_unasked(user: User, service: Service) -> None:
    """Neither in the archive nor here; C{--replace} and C{--force} do."""
    user.write("one", b"one")
    user.write("two", b"two, longer")
    assert user.types("put", "one", "--id", "1400").returncode == 0
    done = user.types("put", "two", "--id", "1400")
    assert done.returncode == 1
    assert done.stderr.startswith("pacarchive: two (id 1400): The id has another file already. Use another id; or --re")
    assert (service.prefix / "1400").read_bytes() == b"one"
    done = user.types("get", "1400", "-o", "two")
    assert (done.returncode, done.stdout) == (1, "")
    assert "two: exists and differs; --force replaces it" in done.stderr
    assert (user.directory / "two").read_bytes() == b"two, longer"
    assert user.types("put", "two", "--id", "1400", "--replace").returncode == 0
    assert (service.prefix / "1400").read_bytes() == b"two, longer"
    assert user.types("get", "1400", "-o", "one", "--force").returncode == 0
    assert (user.directory / "one").read_bytes() == b"two, longer"


@pytest.mark.parametrize("path", ["/dev/zero", "pipe", "gone", "folder"])
def test_what_is_no_file_is_left_alone(user: User, service: Service, path: str) -> None:
    """Neither read to an end that it does not have, nor replaced."""
    os.mkfifo(user.directory / "pipe")
    (user.directory / "gone").symlink_to("nowhere")
    (user.directory / "folder").mkdir()
    (user.directory / "folder/1450").mkdir()
    service.ask("PUT", 1450, b"x")
    done = user.types("get", "1450", "-o", path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "exists and is not a file" in done.stderr
    done = user.types("verify", path if path != "folder" else "folder/1450", "--id", "1450")
    assert done.returncode in (1, 5)


def test_pipes(user: User) -> None:
    """Into the archive, and out of it."""
    text = "line\n" * 100_000
    assert user.types("put", "-", "--id", "1500", stdin=text).returncode == 0
    done = user.types("get", "1500", "-o", "-")
    assert (done.returncode, done.stdout, done.stderr) == (0, text, "")
    assert user.files() == []
    # Somebody downstream has seen enough.
    with user.begins("get", "1500", "-o", "-") as process:
        assert process.stdout is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait(PATIENCE) == 141


@pytest.mark.timeout(90)
@pytest.mark.parametrize("words", [("put", "-", "--id", "1550"), ("get", "1551", "-o", "-")])
def test_a_pipe_that_stands_still_can_be_left(user: User, service: Service, words: tuple[str, ...]) -> None:
    """Whoever is at the other end and neither writes nor reads."""
    service.ask("PUT", 1551, content("pipe", MIB))
    with FaultyProxy(service.port) as proxy:
        process = attrs.evolve(user, url=proxy.url).begins(*words, stdin=subprocess.PIPE)
        assert process.stdin is not None
        assert process.stdout is not None
        if words[0] == "put":
            process.stdin.write(content("pipe", MIB))
            process.stdin.flush()
            until(lambda: proxy.moved["up"] > MIB, "all that there is was sent")
        else:
            process.stdout.read(10)  # there is more than goes into a pipe
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
        assert process.communicate()[1] == b"pacarchive: interrupted\n"
    until(lambda: not service.temporaries(), "nothing is left")


def test_mv_and_rm(user: User, service: Service) -> None:
    """A file in the archive's own storage gets an id, and nobody else's unasked; others are refused; C{rm} asks."""
    incoming, stored = service.prefix / "incoming", service.prefix / "1600"
    incoming.write_bytes(b"moved")
    assert user.types("mv", str(incoming), "1600").stdout.startswith("1600  moved from ")
    assert stored.read_bytes() == b"moved"
    incoming.write_bytes(b"newer")
    assert user.types("mv", str(incoming), "1600").returncode == 1
    assert (stored.read_bytes(), incoming.read_bytes()) == (b"moved", b"newer")
    assert user.types("mv", str(incoming), "1600", "--replace").returncode == 0
    assert stored.read_bytes() == b"newer"
    user.write("mine", b"mine")
    done = user.types("mv", str(user.directory / "mine"), "1601")
    assert done.returncode == 7
    assert "outside the directories" in done.stderr
    done = user.types("rm", "1600")
    assert (done.returncode, (service.prefix / "1600").exists()) == (2, True)
    assert done.stderr == "pacarchive: to remove file 1600 for good without being asked, give --yes\n"
    done = user.types("rm", "1600-1601", "--yes")
    assert (done.returncode, (service.prefix / "1600").exists()) == (1, False)
    assert done.stdout == "1600  removed\n1 of 2 files removed, 1 failed\n"
    assert done.stderr == "pacarchive: file 1601: No file has this id.\n"


def test_stage_over_posix(user: User) -> None:
    """There is no tape: all is there at once; what has no file is told of."""
    user.write("x", b"x")
    assert user.types("put", "x", "--id", "1700").returncode == 0
    done = user.types("stage", "1700", "--plan")
    assert (done.returncode, done.stdout) == (0, "nothing is to be recalled: 1 file is on disk\n")
    done = user.types("stage", "1700")
    assert done.returncode == 0
    job = done.stdout.split()[1].rstrip(":")
    assert user.types("job", job).stdout.startswith(f"job       {job}\n")
    assert user.types("job", job, "--release").returncode == 0
    done = user.types("job", job, "--wait")
    assert (done.returncode, done.stdout[:24]) == (0, "1 of 1 file is on disk, ")
    done = user.types("stage", "1700-1701", "--wait", "--pin", "1h")
    assert (done.returncode, "file 1701: No file has this id" in done.stderr) == (1, True)
    code, records = user.records("stage", "1700-1701", "--wait")
    assert (code, [each.get("state") for each in records[:2]]) == (1, ["completed", "failed"])


# What goes wrong


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("stat", "1", "--connections", "0"), 2, "--connections must be at least 1"),
        (
            ("stat", "1", "--retry", "0"),
            3,
            "file 1: http://127.0.0.1:1 cannot be reached: connection refused. Check the address",
        ),
        (
            ("health", "--retry", "0"),
            3,
            "pacarchive: http://127.0.0.1:1 cannot be reached: connection refused. Check the",
        ),
        (("stat", "1", "--url", "nonsense://x"), 2, "begins with http:// or https://"),
        (("stat", "1", "--url", ""), 2, "which server? Set PACARCHIVE_URL"),
        (("stat", "1", "--url", " \n"), 2, "which server? Set PACARCHIVE_URL"),
        (("stat", "1", "--url", "http://a b"), 2, "there is a blank or a control character in the archive's URL"),
        (("stat", "1", "--url", "host:99999"), 2, "a port is a number from 1 to 65535"),
        (("check", "http://ho st"), 2, "there is a blank or a control character in the archive's URL"),
        (("stat", "1", "--url", "http://[fe80::1%25none]"), 2, "there is no network interface 'none'"),
        (("stat", "1", "--url", "http://bücher.invalid", "--retry", "0"), 3, "cannot be reached"),
        (("stat", "1", "--token-file", "none"), 2, "none: No such file"),
        (("stat", "1", "--url", "https://127.0.0.1:1", "--ca", "none"), 2, "none: No such file"),
        (("stat", "x"), 2, "'x' is not a valid id"),
        (("put",), 2, "which files?"),
        (("put", "f"), 2, "under which id?"),
        (("put", "f", "--id-file", "m"), 2, "the files and their ids are named in there"),
        (("put", "-", "f", "-", "--id", "1"), 2, "standard input can be read once only"),
        (("get", "1-2", "-o", "x"), 2, "2 files need a directory"),
        (("get", "1", "--wait-limit", "soon"), 2, "is not a valid time"),
        (("get", "1", "-o", "/proc/none/"), 1, "/proc/none/: No such file or directory"),
        (("verify", "f"), 2, "which files?"),
        (("job", "x"), 2, ""),
        (("put", "none", "--id", "1", "--replace"), 1, "none (id 1): No such file or directory"),
    ],
)
def test_mistakes_are_told_in_one_line(tmp_path: Path, words: tuple[str, ...], code: int, said: str) -> None:
    """What is wrong, and what to do; no traceback."""
    user = User(tmp_path, "" if "--url" in words else "http://127.0.0.1:1")
    done = user.types(*words)
    assert said in done.stderr
    assert (done.returncode, done.stdout.count("\n") <= 1, done.stderr.count("\n")) == (code, True, 1)
    assert done.stderr.startswith("pacarchive: ")


def test_an_archive_that_is_not_there_is_told_of_once(tmp_path: Path) -> None:
    """And what was not begun is counted."""
    user = User(tmp_path, "http://127.0.0.1:1")
    for name in "abcdefghijklmnop":
        user.write(name, name.encode())
    done = user.types("put", *"abcdefghijklmnop", "--id", "5", "--replace", "--retry", "1")
    assert done.returncode == 3
    assert re.findall("cannot be reached.*?(trying again|Check the address)", done.stderr) == [
        "trying again",
        "Check the address",
    ]
    assert "8 failed, 8 not done; type the same again to go on" in done.stdout


def test_an_archive_that_is_not_there_is_told_of_to_programs(tmp_path: Path) -> None:
    """An object for each file that was begun, with a kind that does not change with the words."""
    code, records = User(tmp_path, "http://127.0.0.1:1").records("stat", "1-3", "--retry", "0")
    assert (code, [each["file"] for each in records]) == (3, ["1", "2", "3"])
    assert {each["error"]["kind"] for each in records} == {"ConnectionFailed"}


@pytest.mark.parametrize(
    ("closed", "words", "code", "said"),
    [
        ("<&-", ("put", "-", "--id", "1452"), 1, "pacarchive: - (id 1452): Bad file descriptor\n"),
        (">&-", ("stat", "1451"), 1, "pacarchive: Bad file descriptor\n"),
        (">&-", ("get", "1451", "-o", "-"), 1, "pacarchive: file 1451: Bad file descriptor\n"),
        ("2>&-", ("stat", "1451-1452"), 1, ""),
        (">/dev/full", ("stat", "1451"), 1, "pacarchive: No space left on device\n"),
        (">/dev/full", ("completion", "bash"), 1, "pacarchive: No space left on device\n"),
    ],
)
def test_what_cannot_be_read_or_written(
    user: User, service: Service, closed: str, words: tuple[str, ...], code: int, said: str
) -> None:
    """Standard files that a shell has closed, or that take no more: told once, and nothing goes where they were."""
    service.ask("PUT", 1451, content("closed", MIB))
    shell = ("sh", "-c", f'exec "$@" {closed}', "sh", *COMMAND)
    done = run(user.directory, *words, command=shell, environment={"PACARCHIVE_URL": user.url})
    assert (done.returncode, done.stderr) == (code, said)
    assert not (service.prefix / "1452").exists()


def test_a_server_that_is_no_archive(tmp_path: Path) -> None:
    """It is told of as such."""
    with _strange_server({"HEAD": 200, "GET": 200}) as (url, _):
        done = User(tmp_path, url).types("stat", "1")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1


def test_a_server_without_conditions_replaces_nothing(tmp_path: Path) -> None:
    """The predecessor overwrites whatever is there: it is asked before."""
    user = User(tmp_path, "")
    user.write("x", b"x")
    with _strange_server({"GET": 404, "HEAD": 204, "PUT": 201}) as (url, asked):
        done = attrs.evolve(user, url=url).types("put", "x", "--id", "5")
    assert done.returncode == 1
    assert "has another file already" in done.stderr
    assert "PUT" not in asked


@pytest.mark.parametrize("around", ["{}\n", "{}\r\n", " {} ", "{}/"])
def test_a_url_out_of_a_file_works(user: User, service: Service, around: str) -> None:
    """With what editors put behind it; also where it has no scheme, or one that is written large."""
    service.ask("PUT", 1460, b"x")
    for url in (user.url, user.url.upper(), user.url.removeprefix("http://")):
        assert attrs.evolve(user, url=around.format(url)).types("stat", "1460").returncode == 0


@pytest.mark.parametrize("retry", [0, 2])
def test_a_put_is_sent_as_often_as_was_said(tmp_path: Path, retry: int) -> None:
    """To an archive that is never available, although the bytes of the file have moved each time."""
    user = User(tmp_path, "")
    user.write("x", b"x" * MIB)
    with _strange_server({"GET": 200, "PUT": 503}) as (url, asked):
        done = attrs.evolve(user, url=url).types("put", "x", "--id", "5", "--replace", "--retry", str(retry))
    assert (done.returncode, asked.count("PUT")) == (3, retry + 1)


@contextmanager
def _strange_server(statuses: dict[str, int]) -> Iterator[tuple[str, list[str]]]:
    """@return: The address of something that is not pacarchive, and the methods that it was asked by."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            asked.append(self.command)
            self.rfile.read(int(self.headers["Content-Length"] or 0))
            self.send_response(statuses[self.command])
            self.send_header("Retry-After", "1")
            for name, value in (
                *(("X-Content-Length", "5"), ("Last-Modified", "1.5"), ("X-Pacifica-Ctime", "1.5")),
                *(("X-Pacifica-File-Storage-Media", "disk"), ("X-Pacifica-Bytes-Per-Level", "(5,)")),
            ):
                if statuses[self.command] == 204:
                    self.send_header(name, value)
            if statuses[self.command] != 204:
                self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_HEAD = do_PUT = _answer

        def log_message(self, *_: object) -> None:
            """Nobody wants to know."""

    server = ThreadingHTTPServer((HOST, 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_token_is_never_told(user: User) -> None:
    """Not in an error about it either."""
    done = user.types("stat", "1", PACARCHIVE_TOKEN="not a token: secret")
    assert (done.returncode, "secret" in done.stderr + done.stdout) == (2, False)


# What is cut short


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_get_that_is_ended_leaves_nothing(user: User, service: Service, number: signal.Signals) -> None:
    """Neither under the file's name nor under another; and it says that it was interrupted."""
    user.write("source", content("ended", 8 * MIB))
    user.types("put", "source", "--id", str(1800 + number))
    with FaultyProxy(service.port, trickle=2 * MIB) as proxy:
        process = attrs.evolve(user, url=proxy.url).begins("get", str(1800 + number), "-o", "target")
        until(lambda: proxy.moved["down"] > MIB, "it is under way")
        process.send_signal(number)
        _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == (-9 if number == signal.SIGKILL else 128 + number)
    assert stderr == (b"" if number == signal.SIGKILL else b"pacarchive: interrupted\n")
    assert user.files() == ["source"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_put_that_is_ended_leaves_nothing(user: User, service: Service, number: signal.Signals) -> None:
    """Nothing in the archive, and nothing half written in its own directory."""
    user.write("source", content("ended", 8 * MIB))
    with FaultyProxy(service.port, trickle=2 * MIB) as proxy:
        process = attrs.evolve(user, url=proxy.url).begins("put", "source", "--id", "1900")
        until(lambda: proxy.moved["up"] > MIB, "it is under way")
        process.send_signal(number)
        process.communicate(timeout=PATIENCE)
    assert process.returncode == (-9 if number == signal.SIGKILL else 130)
    until(lambda: not service.temporaries(), "the archive has given it up")
    assert not (service.prefix / "1900").exists()


def test_a_second_interruption_ends_at_once(user: User, service: Service) -> None:
    """Whatever the first waits for."""
    with FaultyProxy(service.port, stall_after=0) as proxy:
        process = attrs.evolve(user, url=proxy.url).begins("stat", "1")
        until(lambda: proxy.moved["up"] > 0, "it is under way")
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
    # Or by the signal itself, where the first had ended it when the second came: a shell calls both 130.
    assert process.returncode in (130, -signal.SIGINT)


def test_a_connection_that_is_being_made_can_be_left(tmp_path: Path) -> None:
    """To a host that says neither yes nor no; it is not taken for one that was lost, after which to try again."""
    with socket.create_server((HOST, 0), backlog=0) as silent, contextlib.ExitStack() as stack:
        port = silent.getsockname()[1]
        for _ in range(4):  # more than it lets wait
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex((HOST, port))

        def connecting() -> int:
            return Path("/proc/net/tcp").read_text().count(f":{port:04X} 02 ")  # SYN_SENT

        before = connecting()
        process = User(tmp_path, f"http://{HOST}:{port}").begins("health")
        until(lambda: connecting() > before, "it is under way")
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=PATIENCE)
    assert (process.returncode, stderr) == (130, b"pacarchive: interrupted\n")


def test_how_far_it_got_is_told(user: User, service: Service) -> None:
    """When several files were interrupted."""
    for number in range(20):
        user.write(f"f{number}", content(number, MIB // 2))
    with FaultyProxy(service.port, trickle=MIB) as proxy:
        names = [f"f{number}" for number in range(20)]
        slow = attrs.evolve(user, url=proxy.url)
        process = slow.begins("put", *names, "--id", "2000", "--connections", "2")
        until(lambda: (service.prefix / "2001").exists(), "some are done")
        process.send_signal(signal.SIGINT)
        stdout, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert b"not done; type the same again to go on" in stdout.splitlines()[-1]
    assert user.types("put", *names, "--id", "2000").returncode == 0


# Tape


def test_tape(site: Site, tmp_path: Path) -> None:
    """What is on tape is told as such, with what to type; with C{--wait} it is recalled, as one job."""
    service = site.start()
    user = User(tmp_path, f"http://{HOST}:{service.port}")
    for number in range(4):
        user.write(f"f{number}", content(number, 1000))
    assert user.types("put", "f0", "f1", "f2", "f3", "--id", "1").returncode == 0
    for file_id in (1, 2, 3):
        site.send_to_tape(file_id)
    site.archive.clock.freeze()
    assert [each["locality"] for each in user.records("stat", "1-4")[1]] == ["TAPE", "TAPE", "TAPE", "DISK"]
    done = user.types("get", "1", "-o", "one")
    assert (
        done.returncode,
        done.stderr.startswith("pacarchive: file 1 is on tape, and is being recalled now; add --wait"),
    ) == (4, True)
    assert "one" not in user.files()
    plan = user.types("stage", "1-4", "--plan").stdout
    assert plan.startswith("3 files on ")
    process = user.begins("get", "1-4", "-o", "out/", "--wait")
    until(lambda: (tmp_path / "out/4").exists(), "what is on disk comes without waiting")
    until(lambda: len(site.archive.requests(unfinished=True)) == 3, "the others are asked for")
    assert 3 in [job["files"] for job in service.jobs()]
    site.archive.clock.advance(3600)
    site.archive.clock.set_scale(1000)
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, stderr
    assert sorted(os.listdir(tmp_path / "out")) == ["1", "2", "3", "4"]
    assert (tmp_path / "out/3").read_bytes() == content(2, 1000)
    site.archive.purge(path_of(2))
    done = user.types("stage", "2", "--wait")
    assert (done.returncode, done.stdout[:22]) == (0, "1 of 1 file is on disk")
    assert user.records("stat", "2")[1][0]["locality"] == "DISK_AND_TAPE"


def test_an_archive_that_goes_away_is_not_waited_for(site: Site, tmp_path: Path) -> None:
    """Not longer than was asked for: the job goes on without, and it is said how to come back."""
    service = site.start()
    service.ask("PUT", 1, content(1, 1000))
    site.send_to_tape(1)
    site.archive.clock.freeze()
    process = User(tmp_path, f"http://{HOST}:{service.port}").begins("stage", "1", "--wait", "--retry", "2", "--quiet")
    until(lambda: site.archive.requests(unfinished=True), "the file is asked for")
    service.stop()
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 3
    assert re.fullmatch(
        "pacarchive: the job goes on; "
        "'pacarchive job (\\w+) --wait' comes back to it, 'pacarchive job \\1 --cancel' ends it\n"
        f"pacarchive: http://{HOST}:{service.port} cannot be reached: .*\n",
        stderr.decode(),
    )
    site.archive.clock.set_scale(1000)


# Help


def _commands() -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = [()]

    def visit(parser: Any, name: tuple[str, ...]) -> None:
        for action in parser._actions:
            if isinstance(action.choices, dict):
                for word, below in action.choices.items():
                    found.append((*name, word))
                    visit(below, (*name, word))

    visit(make_parser(), ())
    return found


@pytest.mark.parametrize("command", _commands(), ids=" ".join)
def test_help_fits_the_screen(command: tuple[str, ...], tmp_path: Path) -> None:
    """80 columns; with an example, for those that ask a server."""
    done = run(tmp_path, *command, "--help", environment={"COLUMNS": "80"})
    assert (done.returncode, done.stderr) == (0, "")
    assert max(map(len, done.stdout.splitlines())) <= 80
    if "--url" in done.stdout:
        assert "examples:" in done.stdout


def test_the_first_page_teaches(tmp_path: Path) -> None:
    """Every command that it shows is one."""
    shown = run(tmp_path, "--help").stdout.splitlines()
    lines = [line.split("  ")[1].split() for line in shown if line.startswith("  pacarchive ")]
    assert len(lines) >= 6
    for words in lines:
        make_parser().parse_args([word for word in words[1:] if word != "..."])


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "tcsh"])
def test_completion_is_printed(shell: str, tmp_path: Path) -> None:
    """For each shell."""
    done = run(tmp_path, "completion", shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--id-file" in done.stdout


def test_bash_completes(tmp_path: Path) -> None:
    """A command, its options, and files."""
    (tmp_path / "complete.bash").write_text(run(tmp_path, "completion", "bash").stdout)
    (tmp_path / "results.h5").touch()
    script = """
        source complete.bash
        complete_words() {
            COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}; COMPREPLY=()
            $(complete -p pacarchive | sed 's/.*-F \\([^ ]*\\).*/\\1/')
            echo "${COMPREPLY[@]}"
        }
        complete_words pacarchive sta
        complete_words pacarchive put --id-
        complete_words pacarchive put res
    """
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert [line.split() for line in done.stdout.splitlines()] == [["stat", "stage"], ["--id-file"], ["results.h5"]]


def test_the_page(serve: Callable[..., Service], tmp_path: Path) -> None:
    """Its commands, and what it says that they print."""
    (tmp_path / "home").mkdir()
    service = serve(settings=f"[recall]\nstore = {tmp_path}/recall.sqlite\n")
    here = {"127.0.0.1:8080": f"{HOST}:{service.port}"}
    path = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with Shell(tmp_path / "home", here, path) as shell:
        assert shell.show(PAGE) > 25


def test_config_as_json(service: Service) -> None:
    """The settings in force, by section."""
    done = run(service.directory, "config", "-c", "settings.ini", "--json")
    assert json.loads(done.stdout)["server"]["type"] == "posix"
