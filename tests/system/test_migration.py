"""
The way from pacifica-archiveinterface and back, with the real one: the same tree, settings file and calls.

It is installed once, into the cache of pytest, by the command that the manual has for that.  Where it cannot be
installed, the tests fail.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import forks
import pytest
from ports import free_port

from system.harness import HOST, PATIENCE, Client, content, until
from system.pages import MANUAL, Shell, blocks, commands, for_pip, shell_blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from system.harness import Answer, Service

    Precede = Callable[..., AbstractContextManager["Predecessor"]]

# What is downloaded and installed once counts for whichever test is the first.
pytestmark = pytest.mark.timeout(600)

PAGE = MANUAL / "migration.md"
REHEARSAL = "A rehearsal"

CHERRYPY = """
[/]
request.dispatch: cherrypy.dispatch.MethodDispatcher()
tools.response_headers.on: True
tools.response_headers.headers: [('Content-Type', 'application/json')]
"""

DATE = {"Last-Modified": "Sun, 06 Nov 1994 08:49:37 GMT"}
JSON = {"Content-Type": "application/json"}
FIELDS = ("content-type", "x-pacifica-messsage", "x-pacifica-file", "x-content-length", "last-modified",
          "x-pacifica-bytes-per-level", "x-pacifica-file-storage-media")  # fmt: skip


@pytest.fixture(scope="session")
def installed(request: pytest.FixtureRequest) -> Path:
    """The virtual environment with the predecessor."""
    cache = request.config.cache
    assert cache is not None
    directory = cache.mkdir(f"pacifica-archiveinterface-{sys.implementation.cache_tag}")
    found, done = directory / "predecessor", directory / "done"
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several processes run tests
        if not done.exists():
            (command,) = commands(shell_blocks(PAGE, REHEARSAL)[0])
            with Shell(directory, {"python3 ": f"{sys.executable} "}, for_pip()) as shell:
                shell.check(command, limit=540)
            done.touch()
    return found


class Predecessor:
    """pacifica-archiveinterface with CherryPy's server, over the archive that a L{Service} has in the directory."""

    def __init__(self, installed: Path, directory: Path, *options: str) -> None:
        self.prefix = directory / "archive"
        self.prefix.mkdir(parents=True, exist_ok=True)
        (directory / "server.conf").write_text(CHERRYPY)
        self.port = free_port()
        environment = {**os.environ, "ARCHIVEINTERFACE_CONFIG": str(directory / "settings.ini")}
        self.process = subprocess.Popen(
            [installed / "bin/pacifica-archiveinterface", "--cherrypy-config", directory / "server.conf", "-t", "posix",
             "-p", str(self.port), "-a", HOST, "--prefix", self.prefix, *options],
            cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def ask(self, method: str, path: str | int, body: Any = None, fields: Mapping[str, str] | None = None) -> Answer:
        """One request on a connection of its own."""
        with Client(self.port) as client:
            return client.ask(method, path, body, fields)

    def answers(self) -> bool:
        """Whether it is up."""
        assert self.process.poll() is None, "the predecessor has ended"
        try:
            return self.ask("GET", "/").status == 200
        except ConnectionRefusedError:
            return False

    def stop(self) -> None:
        """As its service would be stopped."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where archive and settings are; those of L{Service}s, too."""
    directory = tmp_path / "service"
    (directory / "archive").mkdir(parents=True)
    return directory


@pytest.fixture
def precede(installed: Path, directory: Path) -> Precede:
    """Runs the predecessor over the archive, with the settings that a L{Service} there has."""

    @contextmanager
    def run(settings: str, *options: str) -> Iterator[Predecessor]:
        (directory / "settings.ini").write_text(settings)
        predecessor = Predecessor(installed, directory, *options)
        try:
            until(predecessor.answers, "the predecessor starts")
            yield predecessor
            predecessor.stop()
        finally:
            predecessor.process.kill()
            predecessor.process.wait()

    return run


def pacarchive(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The operator's command."""
    return forks.run(
        [sys.executable, "-c", "import sys; from pacarchive.cli import main; sys.exit(main())", *arguments],
        cwd=directory, capture_output=True, text=True, check=False,
    )  # fmt: skip


def state(prefix: Path) -> dict[str, tuple[bytes, int, int]]:
    """What is to stay of every file of the archive: contents, time and mode."""
    return {
        str(path.relative_to(prefix)): (path.read_bytes(), path.stat().st_mtime_ns, stat.S_IMODE(path.stat().st_mode))
        for path in prefix.rglob("*")
        if path.is_file() and ".pacarchive" not in path.parts
    }


def status(server: Predecessor | Service, file_id: int) -> dict[str, str | None]:
    """What the HEAD of the predecessor's clients is about."""
    answer = server.ask("HEAD", file_id)
    assert answer.status == 204
    return {name: answer.fields.get(name) for name in FIELDS}


def assert_served(server: Predecessor | Service, files: Mapping[int, bytes]) -> None:
    """All of them, whole and in parts, and staged, in the predecessor's words."""
    for file_id, data in files.items():
        answer = server.ask("GET", file_id)
        assert (answer.status, answer.body == data) == (200, True), file_id
        assert server.ask("GET", f"/{file_id}?byte_range=5-20").body == data[5:20]
        staged = server.ask("POST", file_id)
        assert (staged.status, staged.body) == (200, f'{{"message": "File was staged", "file": "{file_id}"}}'.encode())


def put(server: Predecessor | Service, files: Mapping[int, bytes]) -> None:
    """As its clients do it."""
    for file_id, data in files.items():
        answer = server.ask("PUT", file_id, data, DATE)
        assert (answer.status, json.loads(answer.body)) == (
            201, {"message": "File added to archive", "total_bytes": len(data)}
        )  # fmt: skip


def move(server: Predecessor | Service, file_id: int, data: bytes) -> None:
    """A file that lies in the archive's file system already."""
    source = server.prefix / f"incoming-{file_id}"
    source.write_bytes(data)
    answer = server.ask("PATCH", file_id, json.dumps({"path": str(source)}), JSON)
    assert (answer.status, answer.body) == (200, b'{"message": "File Moved Successfully"}')


@pytest.mark.parametrize("layout", ["false", "true"], ids=["flat", "id2filename"])
def test_there_and_back(layout: str, precede: Precede, serve: Callable[..., Service], directory: Path) -> None:
    """What one has stored, the other serves, with the same status; nothing of a file changes but its attributes."""
    settings = f"[posix]\nuse_id2filename = {layout}\n[server]\ncompatibility = pacifica\n"
    sizes = {0: 0, 7: 1, 300: 24, 12345: (1 << 20) + 1, 2**64 - 1: 3 << 20, 8: 30}
    files = {file_id: content(file_id, size) for file_id, size in sizes.items()}
    with precede(settings) as predecessor:
        put(predecessor, files)
        files[99] = content("moved", 100)
        move(predecessor, 99, files[99])
        assert predecessor.ask("DELETE", 8).status == 200
        del files[8]
        assert_served(predecessor, files)
        before = {file_id: status(predecessor, file_id) for file_id in files}
    stored = state(directory / "archive")
    assert len(stored) == len(files)

    service = serve(settings=settings)
    assert {file_id: status(service, file_id) for file_id in files} == before
    assert_served(service, files)
    assert service.ask("GET", 8).status == 500
    assert service.ask("PUT", 300, b"other").status == 500, "it is taken"
    more = {file_id: content(file_id, size) for file_id, size in {8: 30, 70000: 300_000, 2**40: 2 << 20}.items()}
    put(service, more)
    more[100] = content("moved, too", 100)
    move(service, 100, more[100])
    for _ in range(2):
        digested = pacarchive(directory, "admin", "digest", "-c", "settings.ini", "--prefix", "archive", "--verify")
        assert (digested.returncode, digested.stderr) == (0, "")
    assert f"{len(files) + len(more)} verified, 0 bad" in digested.stdout
    now = state(directory / "archive")
    assert {name: now[name] for name in stored} == stored
    assert len(now) == len(files) + len(more)
    files |= more
    before = {file_id: status(service, file_id) for file_id in files}
    service.stop()

    with precede(settings) as predecessor:
        assert {file_id: status(predecessor, file_id) for file_id in files} == before
        assert_served(predecessor, files)
        # What pacarchive has stored is its own to remove, replace and move.
        assert predecessor.ask("DELETE", 70000).status == 200
        files[70000] = content("anew", 5000)
        put(predecessor, {70000: files[70000]})
        source = next(path for path in (directory / "archive").rglob("*") if path.name in (str(2**40), f"{2**40:x}"))
        assert predecessor.ask("PATCH", 5, json.dumps({"path": str(source)}), JSON).status == 200
        files[5] = files.pop(2**40)
        assert_served(predecessor, files)

    service = serve(settings=settings)
    assert_served(service, files)
    verified = pacarchive(directory, "admin", "digest", "-c", "settings.ini", "--prefix", "archive", "--verify")
    assert (verified.returncode, verified.stderr) == (0, "")


def test_replaced_in_place(precede: Precede, serve: Callable[..., Service], directory: Path) -> None:
    """A file whose contents the predecessor has changed counts as damaged, and the page's command mends that."""
    settings = "[posix]\nuse_id2filename = true\n[server]\ncompatibility = pacifica\n"
    service = serve(settings=settings)
    put(service, {12345: b"the old"})
    service.stop()
    with precede(settings) as predecessor:
        os.chmod(
            directory / "archive/39/3039", 0o644
        )  # root, which the predecessor may run as, needs no right to write
        put(predecessor, {12345: b"the new"})
    service = serve(settings=settings)
    assert service.ask("GET", 12345).status == 500
    verify = ("admin", "digest", "-c", "settings.ini", "--prefix", "archive", "--verify")
    verified = pacarchive(directory, *verify)
    assert verified.returncode == 1
    assert "file 12345: is damaged" in verified.stderr
    (block,) = [each for each in blocks(PAGE) if each.reason is not None and "replaced" in each.reason]
    (command,) = commands(block)
    subprocess.run(command.text, shell=True, cwd=directory / "archive", check=True)
    assert service.ask("GET", 12345).body == b"the new"
    verified = pacarchive(directory, *verify)
    assert (verified.returncode, verified.stderr) == (0, "")


def test_names_that_are_no_ids(precede: Precede, serve: Callable[..., Service], directory: Path) -> None:
    """The page's command finds them; they are not served, and stay; PATCH gives them an id."""
    settings = "[server]\ncompatibility = none\n"
    names = ["abc", "-5", "007", "18446744073709551615x", "1_0"]
    with precede(settings) as predecessor:
        for name in [*names, "0", "10", "18446744073709551615"]:
            assert predecessor.ask("PUT", f"/{name}", name.encode()).status == 201
    (block,) = [each for each in blocks(PAGE) if each.reason is not None and "other layout" in each.reason]
    (command,) = commands(block)
    found = subprocess.run(
        command.text, shell=True, cwd=directory / "archive", capture_output=True, text=True, check=True
    )
    assert sorted(found.stdout.split()) == sorted(f"./{name}" for name in names)
    service = serve(settings=settings)
    for name in names:
        assert service.ask("GET", f"/{name}").status == 404
        assert (service.prefix / name).read_text() == name
    assert service.ask("PATCH", 11, json.dumps({"path": str(service.prefix / "abc")}), JSON).status == 200
    assert service.ask("GET", 11).body == b"abc"


@pytest.mark.parametrize("layout", ["false", "true"], ids=["flat", "id2filename"])
def test_the_command_to_delete(installed: Path, directory: Path, layout: str) -> None:
    """pacarchive's of the predecessor's name ends as the predecessor's, and leaves the same files."""
    names = ["1", "300", "12345", "70000"] if layout == "false" else ["file.1", "2c/12c", "39/3039", "70/11/11170"]
    (directory / "settings.ini").write_text(f"[posix]\nuse_id2filename = {layout}\n")
    environment = {**os.environ, "ARCHIVEINTERFACE_CONFIG": str(directory / "settings.ini")}
    ours = (sys.executable, "-c", "import sys; from pacarchive.cli.admin.predecessor import main; sys.exit(main())")
    for number, arguments in enumerate(
        [
            ["delete", "1", "12345"],
            ["-t", "posix", "delete", "12345"],
            ["-c", "settings.ini", "--type", "posix", "delete", "12345", "99", "1"],
            ["delete", "300", "300", "1"],
            ["delete"],
            ["-t", "nonsense", "delete", "1"],
        ]
    ):
        outcomes = []
        for who, command in (("theirs", (installed / "bin/pacifica-archiveinterface-cmd",)), ("ours", ours)):
            prefix = directory / f"{who}-{number}"
            for name in names:
                (prefix / name).parent.mkdir(parents=True, exist_ok=True)
                (prefix / name).write_text(name)
                (prefix / name).chmod(0o444)
            done = forks.run(
                [*command, "--prefix", prefix, *arguments], cwd=directory, env=environment, stdin=subprocess.DEVNULL,
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            outcomes.append((done.returncode, done.stdout, sorted(state(prefix)), bool(done.stderr)))
        assert outcomes[0] == outcomes[1], arguments


def test_the_report_on_its_tree(precede: Precede, directory: Path) -> None:
    """What the predecessor has finished needs no attention; what it was writing when it was killed does."""
    settings = "[posix]\nuse_id2filename = true\n[server]\ncompatibility = pacifica\n"
    report = ("admin", "adopt", "-c", "settings.ini", "--prefix", "archive", "--json")
    files = {file_id: content(file_id, size) for file_id, size in {0: 0, 7: 1, 12345: 1 << 20, 2**64 - 1: 30}.items()}
    with precede(settings) as predecessor:
        put(predecessor, files)
        assert predecessor.ask("GET", 0xABCDEF).status == 500  # makes directories
        done = pacarchive(directory, *report)
        assert done.returncode == 0, done.stdout
        summary = json.loads(done.stdout.splitlines()[-1])["summary"]
        assert (summary["files"], summary["id2filename"], summary["bytes"]) == (4, 4, (1 << 20) + 31)
        assert summary["findings"]["empty_directory"] == 1
        with socket.create_connection((HOST, predecessor.port)) as connection:
            connection.sendall(b"PUT /300 HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + bytes(500_000))
            half = directory / "archive/2c/12c"
            until(lambda: half.exists() and half.stat().st_size > 100_000, "it is being written")
            predecessor.process.kill()
            predecessor.process.wait()
    done = pacarchive(directory, *report)
    assert done.returncode == 1
    found = [json.loads(line) for line in done.stdout.splitlines()]
    (attention,) = [each for each in found if each.get("needs_attention")]
    assert (attention["finding"], attention["path"]) == ("unfinished", "2c/12c")
    assert not (directory / "archive/.pacarchive").exists()


def test_the_option_for_the_settings(precede: Precede, serve: Callable[..., Service], directory: Path) -> None:
    """The predecessor's C{-c} has no effect, as the page warns; the file is the one that the environment names."""
    (directory / "other.ini").write_text("[posix]\nuse_id2filename = true\n")
    with precede("", "-c", str(directory / "other.ini")) as predecessor:
        put(predecessor, {12345: b"data"})
    assert (directory / "archive/12345").exists()
    service = serve("-c", "other.ini")
    put(service, {12346: b"data"})
    assert (directory / "archive/3a/303a").exists()


def test_what_differs(precede: Precede, serve: Callable[..., Service], directory: Path) -> None:
    """Rows of the page's tables, each tried on both."""
    settings = "[posix]\nuse_id2filename = true\n[server]\ncompatibility = pacifica\n"
    data = content("data", 1000)

    def try_out(server: Predecessor | Service, first: int) -> dict[str, Any]:
        """Ask for everything; C{first} and the ids after it are free."""
        put(server, {first: data})
        got = server.ask("GET", first, fields={"Range": "bytes=0-9"})
        missing = server.ask("GET", first + 0x0100)
        outside = directory / "outside"
        outside.write_bytes(data)
        return {
            "Last-Modified of a PUT": status(server, first)["last-modified"] == "784111777.0",
            "chunks": server.ask("PUT", first + 1, iter([data])).status,
            "Range": (got.status, len(got.body)),
            "length": "content-length" in server.ask("GET", first).fields,
            "/ID/extra": server.ask("GET", f"/{first}/extra").body == data,
            "alias": server.ask("GET", f"/00{first}").body == data,
            "PATCH from outside": server.ask("PATCH", first + 2, json.dumps({"path": str(outside)}), JSON).status,
            "missing": missing.status,
            "traceback": "File " in json.loads(missing.body)["traceback"],
            "byte_range": server.ask("GET", f"/{first}?byte_range=5-").status,
        }

    with precede(settings) as predecessor:
        assert try_out(predecessor, 0x10001) == {
            "Last-Modified of a PUT": False, "chunks": 500, "Range": (200, 1000), "length": False, "/ID/extra": True,
            "alias": True, "PATCH from outside": 200, "missing": 500, "traceback": True, "byte_range": 500,
        }  # fmt: skip
        assert predecessor.ask("GET", 0xABCDEF).status == 500
        assert (directory / "archive/ef/cd").is_dir()
    expected = {
        "Last-Modified of a PUT": True, "chunks": 201, "Range": (206, 10), "length": True, "/ID/extra": False,
        "alias": False, "PATCH from outside": 500, "missing": 500, "traceback": False, "byte_range": 500,
    }  # fmt: skip
    service = serve(settings=settings)
    assert try_out(service, 0x20001) == expected
    assert service.ask("GET", 0xABCDEE).status == 500
    assert not (directory / "archive/ee").exists()
    service.stop()
    service = serve(settings=settings.replace("pacifica", "none"))
    assert try_out(service, 0x30001) == {**expected, "PATCH from outside": 403, "missing": 404, "byte_range": 400}


def test_the_tables_are_complete(installed: Path) -> None:
    """Every setting and option of the predecessor is in the page's tables, with its default."""
    code = (
        "from pacifica.archiveinterface.config import get_config\n"
        "settings = get_config()\n"
        "for section in settings.sections():\n"
        "    for key in settings[section]:\n"
        "        print(f'| `[{section}] {key}` | `{settings[section][key]}` |')\n"
    )

    def told(*command: str | Path) -> str:
        return subprocess.run(command, capture_output=True, text=True, check=True, env={"HOME": "/nonexistent"}).stdout

    settings = told(installed / "bin/python", "-c", code).splitlines()
    page = PAGE.read_text()
    assert len(settings) == 11
    rows = [line for line in page.splitlines() if line.startswith("| `[")]
    for row in settings:
        assert [each for each in rows if each.startswith(row)], row
    options = told(installed / "bin/pacifica-archiveinterface", "--help")
    for option in set(re.findall(r"--[a-z-]+", options)) - {"--help"}:
        assert f"`{option}`" in page, option
    for variable in ("ARCHIVEINTERFACE_CONFIG", "ARCHIVEINTERFACE_CPCONFIG", "PAI_BACKEND_TYPE", "PAI_PREFIX"):
        assert f"`{variable}`" in page


def test_the_rehearsal(installed: Path, tmp_path: Path) -> None:
    """The page's own commands, from the first to the last, and what it says that they print."""
    (tmp_path / "predecessor").symlink_to(installed)
    port = free_port()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    count = 0
    with Shell(tmp_path, {"127.0.0.1:8080": f"{HOST}:{port}", "-p 8080": f"-p {port}"}, {"PATH": path}) as shell:
        for block in shell_blocks(PAGE, REHEARSAL)[1:]:
            for command in commands(block):
                shell.check(command)
                count += 1
    assert count > 20
