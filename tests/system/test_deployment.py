"""C{pacarchive check} as operators run it, against every kind of archive; L{test_check_lies} has broken ones."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shlex
import signal
import struct
import subprocess
import termios
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import attrs
import forks
import pytest
from test_listening import certificate

from pacarchive.access.rights import EVERYTHING
from pacarchive.cli.check.catalogue import CHECKS
from pacarchive.cli.check.predecessor import EXPECTED
from pacarchive.cli.check.session import SPARE
from system.checking import MANY, MODES, SMALL, Ran, check, command, environment, ids
from system.harness import HOST, PATIENCE, Service, content, until
from system.liar import Forward, Liar, Reply, Request
from system.pages import MANUAL, Shell
from system.test_access import settings, write_tokens
from system.test_migration import directory, installed, precede

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from system import hpss, sideband
    from system.test_migration import Precede

# The fixtures of others that are used here.
__all__ = ["certificate", "directory", "installed", "precede"]

# What is downloaded and installed once counts for whichever test is the first.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for all tests that leave nothing in it."""
    started = Service(tmp_path_factory.mktemp("archive"), settings="[server]\noverwrite = allow\n")
    yield started
    started.stop()
    started.assert_clean()


# archives that are in order


@pytest.mark.parametrize(
    ("overwrite", "mode"), [("allow", "none"), ("deny", "none"), ("identical", "pacifica"), ("deny", "pacifica")]
)
def test_a_posix_archive_passes(serve: Callable[..., Service], tmp_path: Path, mode: str, overwrite: str) -> None:
    """In both modes, and whatever it does with an id that is taken; and it is left as it was."""
    service = serve(settings=f"[server]\ncompatibility = {mode}\noverwrite = {overwrite}\n", workers=2)
    service.ask("PUT", 5, b"somebody's")
    (service.prefix / "incoming").write_bytes(b"to be moved")
    ran = check(service.port, "--move-from", str(service.prefix / "incoming"))
    ran.assert_passed()
    assert ran.having("not applicable") == set()
    assert list(ran.outcomes) == [each.name for each in CHECKS]
    assert ran.events[0]["compatibility"] == mode
    assert {"allow": "replaces", "identical": "unless it has the same bytes", "deny": "refused"}[overwrite] in ran.end[
        "overwrite"
    ]
    assert list(service.visible()) == ["5"]
    assert service.temporaries() == []
    assert service.jobs() == []


@pytest.mark.parametrize("mode", MODES)
def test_an_hpss_archive_passes(site: hpss.Site, mode: str) -> None:
    """On a simulated HPSS; nothing is left there."""
    service = site.start(server={"compatibility": mode})
    check(service.port).assert_passed()
    assert site.files() == {}


@pytest.mark.parametrize("mode", MODES)
def test_a_sideband_archive_passes(sam: sideband.Site, mode: str) -> None:
    """On a mount of SAM's with its database; nothing is left there."""
    service = sam.start(server={"compatibility": mode})
    check(service.port).assert_passed()
    assert service.visible() == {}


def test_a_layout_of_directories_passes(serve: Callable[..., Service]) -> None:
    """The ids are such that few directories are made, which stay."""
    service = serve(settings="[posix]\nuse_id2filename = true\n")
    check(service.port, "--many", "150").assert_passed()
    assert service.visible() == {}
    made = [path for path in service.prefix.rglob("*") if path.is_dir() and ".pacarchive" not in path.parts]
    assert len(made) < 12


def test_the_predecessor_fails_just_what_is_known(precede: Precede) -> None:
    """With --expect, that is a success; without it, those are failures."""
    with precede("") as predecessor:
        predecessor.ask("PUT", 5, b"somebody's")
        ran = check(predecessor.port, "--expect", "predecessor")
        assert ran.having("expected failure") == set(EXPECTED), ran.events
        assert ran.having("failed") == ran.having("unexpected pass") == set(), ran.events
        assert (ran.code, ran.end["left"]) == (0, []), ran.errors
        assert os.listdir(predecessor.prefix) == ["5"]
        ran = check(predecessor.port)
        assert (ran.code, ran.having("failed")) == (1, set(EXPECTED))
        assert os.listdir(predecessor.prefix) == ["5"]


def test_more_than_is_known_to_work_is_told(archive: Service) -> None:
    """What is expected to fail and does not is no failure, and is told."""
    ran = check(archive.port, "--expect", "predecessor", "--only", "range*", "--only", "text-get")
    assert ran.code == 0
    assert ran.having("unexpected pass") == {"range", "range-beyond", "range-if", "range-large"}
    assert ran.having("passed") == {"range-odd", "text-get"}


# safety


@pytest.mark.parametrize("number", [0, 40, MANY + SPARE - 1])
def test_an_id_that_is_taken_is_left_alone(archive: Service, number: int) -> None:
    """The check does not begin, and says what to do; other ids can be used beside it."""
    service = archive
    taken = ids()[number]
    data = content("somebody's", 5000)
    assert service.ask("PUT", taken, data).status == 201
    before = service.ask("HEAD", taken).fields["x-pacifica-ctime"]
    for options in ([], ["--expect", "predecessor"]):
        ran = check(service.port, *options)
        assert (ran.code, ran.events) == (2, [])
        assert f"Id {taken} is taken" in ran.errors
    ran = check(service.port, "--clean-up")
    assert (ran.code, ran.end["removed"], ran.end["foreign"]) == (0, [], [str(taken)])
    assert list(service.visible()) == [str(taken)]
    assert service.ask("GET", taken).body == data
    found = re.search(r"--first-id (\d+)", check(service.port).errors)
    assert found is not None
    check(service.port, "--first-id", found[1], "--only", "text", "--only", "many").assert_passed()
    assert list(service.visible()) == [str(taken)]
    assert service.ask("HEAD", taken).fields["x-pacifica-ctime"] == before
    assert service.ask("DELETE", taken).status == 200


def test_an_id_that_is_taken_meanwhile_is_left_alone(archive: Service) -> None:
    """Who puts something there while the check runs finds it there afterwards."""
    service = archive
    taken = ids()[60]
    with forks.Popen(
        command(f"http://{HOST}:{service.port}", *SMALL, "--json"), stdout=subprocess.PIPE, text=True, env=environment()
    ) as process:
        assert process.stdout is not None
        json.loads(process.stdout.readline())
        assert service.ask("PUT", taken, b"somebody's").status == 201
        *_, end = [json.loads(line) for line in process.stdout]
    assert end["left"] == []
    assert list(service.visible()) == [str(taken)]
    assert service.ask("GET", taken).body == b"somebody's"
    assert service.ask("DELETE", taken).status == 200


def test_an_id_that_is_taken_between_look_and_put_is_left_alone(serve: Callable[..., Service]) -> None:
    """Nothing is replaced or removed of which the check did not see that it was taken: not even an empty file."""
    service = serve()
    files = {file_id: content(file_id, 300 * (number % 2)) for number, file_id in enumerate(ids()[:70])}
    for file_id, data in files.items():
        assert service.ask("PUT", file_id, data).status == 201
    before = {file_id: service.ask("HEAD", file_id).fields["x-pacifica-ctime"] for file_id in files}

    put = set()

    def lie(request: Request, forward: Forward) -> Reply:
        if request.method == "PUT":
            put.add(request.path)
        return Reply(404) if request.method == "HEAD" and request.path not in put else forward(request)

    with Liar(service.port, lie) as liar:
        ran = check(liar.port)
    assert ran.code == 1
    assert len(put) > 20
    assert {each["reason"] for each in ran.end["left"]} <= {"what is there now is not what was put"}
    assert {file_id: service.ask("HEAD", file_id).fields.get("x-pacifica-ctime") for file_id in files} == before
    assert {file_id: service.ask("GET", file_id).body for file_id in files} == files


@pytest.mark.parametrize("tags", [True, False], ids=["with entity tags", "without"])
def test_a_file_that_somebody_replaces_meanwhile_is_left_alone(serve: Callable[..., Service], tags: bool) -> None:
    """What is there at the end is not what the check has put: that is told, and it stays."""
    service = serve()
    taken = ids()[0]
    begun, replaced = threading.Event(), threading.Event()

    def lie(request: Request, forward: Forward) -> Reply:
        if request.method == "PUT" and len(request.body) > 1 << 20:
            begun.set()
            assert replaced.wait(PATIENCE)
        answer = forward(request)
        return answer if tags else attrs.evolve(answer, fields={**answer.fields, "etag": ""})

    with Liar(service.port, lie) as liar, ThreadPoolExecutor(1) as pool:
        running = pool.submit(check, liar.port, "--only", "text-put", "--only", "large-put")
        assert begun.wait(PATIENCE)
        assert service.ask("PUT", taken, b"somebody's").status == 201
        replaced.set()
        ran = running.result()
    assert (ran.code, [each["id"] for each in ran.end["left"]]) == (1, [str(taken)])
    assert list(service.visible()) == [str(taken)]
    assert service.ask("GET", taken).body == b"somebody's"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("at", ["binary-get", "large-put", "many-put", "rewrite-whole", "client"])
def test_breaking_it_off_leaves_nothing(archive: Service, number: signal.Signals, at: str) -> None:
    """Ctrl-C in the middle of a check: it is cleaned up, and said."""
    service = archive
    process = forks.Popen(
        command(f"http://{HOST}:{service.port}", "--large-file-size", "1GiB", "--many", "800", "--json",
                "--only", "text-put", "--only", at, "--only", "large-get"),
        stdout=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        events = []
        for line in process.stdout:
            events.append(json.loads(line))
            if events[-1].get("name") == at:
                process.send_signal(number)
                break
        events += [json.loads(line) for line in process.stdout]
    assert process.returncode == 130
    assert (events[-1]["event"], events[-1]["interrupted"], events[-1]["left"]) == ("end", True, [])
    assert events[-2].get("name") == at, "nothing was begun after that"
    assert service.visible() == {}
    until(lambda: not service.temporaries(), "nothing is half there")


def test_what_a_kill_leaves_is_known_again(serve: Callable[..., Service]) -> None:
    """After kill -9 the next check says what the matter is, and --clean-up removes test files and nothing else."""
    service = serve()
    assert service.ask("PUT", 5, b"somebody's").status == 201
    process = forks.Popen(
        command(f"http://{HOST}:{service.port}", *SMALL, "--keep", "--json"),
        stdout=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line).get("name") == "stage-job":
                process.kill()
    left = set(service.visible()) - {"5"}
    assert len(left) > MANY
    ran = check(service.port)
    assert ran.code == 2
    assert "--clean-up" in ran.errors
    assert set(service.visible()) == {"5", *left}
    ran = check(service.port, "--clean-up")
    assert (ran.code, set(ran.end["removed"]), ran.end["foreign"]) == (0, left, [])
    assert list(service.visible()) == ["5"]


def test_files_can_be_kept(archive: Service) -> None:
    """With --keep they stay until --clean-up; also the empty one, by its time."""
    service = archive
    ran = check(service.port, "--keep", "--only", "*-put")
    assert ran.code == 0
    assert set(ran.end["kept"]) == set(service.visible())
    assert len(service.visible()) >= MANY + 4
    assert check(service.port, "--clean-up").code == 0
    assert service.visible() == {}


def test_what_cannot_be_removed_is_told(serve: Callable[..., Service]) -> None:
    """Where a proxy lets no DELETE through: every id, and what to type."""
    service = serve()

    def lie(request: Request, forward: Forward) -> Reply:
        return Reply(405) if request.method == "DELETE" else forward(request)

    with Liar(service.port, lie) as liar:
        ran = forks.run(
            command(f"http://{HOST}:{liar.port}", *SMALL, "--only", "binary-get"),
            capture_output=True, text=True, check=False, env=environment(),
        )  # fmt: skip
    (left,) = service.visible()
    assert ran.returncode == 1
    assert f"{left}: DELETE was answered with 405" in ran.stdout
    assert f"pacarchive admin delete {left}" in ran.stdout
    assert f"pacifica-archiveinterface-cmd delete {left}" in ran.stdout


# the command


@pytest.mark.parametrize("trusted", [True, False])
def test_tls_and_a_token(serve: Callable[..., Service], tmp_path: Path, certificate: str, trusted: bool) -> None:
    """With --ca and --token-file; without the authority, no byte is sent."""
    token = write_tokens(tmp_path, operator=EVERYTHING)["operator"]["Authorization"].removeprefix("Bearer ")
    (tmp_path / "token").write_text(f"{token}\n")
    service = serve(
        *("--endpoint", f"ssl:0:privateKey={certificate}:certKey={certificate}:interface={HOST}"),
        settings=settings(tmp_path),
        port=None,
    )
    ran = forks.run(
        command(f"https://localhost:{service.port}", *SMALL, "--json", "--token-file", str(tmp_path / "token"),
                *(["--ca", certificate] if trusted else [])),
        capture_output=True, text=True, check=False, env=environment(), timeout=10 * PATIENCE,
    )  # fmt: skip
    found = Ran(ran.returncode, [json.loads(line) for line in ran.stdout.splitlines()], ran.stderr)
    if trusted:
        found.assert_passed()
    else:
        assert (found.code, found.events) == (3, [])
        assert "certificate" in found.errors
    assert token not in ran.stdout + ran.stderr
    assert service.visible() == {}


def test_nobody_listens() -> None:
    """Exit code 3."""
    ran = check(1)
    assert (ran.code, ran.events) == (3, [])
    assert "cannot be reached: connection refused" in ran.errors


def test_variables(archive: Service) -> None:
    """Those of the predecessor's manual count where the command line says nothing."""
    variables = {
        "ARCHIVE_URL": f"http://{HOST}:{archive.port}/", "LARGE_FILE_SIZE": "1048577", "MANY_FILES_TEST_COUNT": "7",
    }  # fmt: skip
    ran = forks.run(
        command("--only", "large-get", "--only", "many-put"), capture_output=True, text=True, check=True,
        env=environment(**variables),
    )  # fmt: skip
    assert re.search(r"^passed +many-put +7 files, ", ran.stdout, re.MULTILINE)
    assert archive.visible() == {}


def test_the_manual(archive: Service, tmp_path: Path) -> None:
    """The page's command, and what it says that it prints."""
    (tmp_path / "pacarchive").write_text(f'#!/bin/sh\nexec {shlex.join(command())[: -len(" check")]} "$@"\n')
    (tmp_path / "pacarchive").chmod(0o755)
    here = {"127.0.0.1:8080": f"{HOST}:{archive.port}"}
    with Shell(tmp_path, here, {"PATH": f"{tmp_path}:{os.environ['PATH']}"}) as shell:
        assert shell.show(MANUAL / "check.md") == 1


def test_a_person_sees_it(archive: Service) -> None:
    """On a terminal of 80 columns: what is going on while it does, and then a table, speeds and the sum."""
    import pyte

    screen = pyte.HistoryScreen(80, 100, history=1000)
    stream = pyte.ByteStream(screen)
    leader, follower = os.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 100, 80, 0, 0))
    seen = set()
    with forks.Popen(
        command(f"http://{HOST}:{archive.port}", "--large-file-size", "256MiB", "--many", "300",
                "--only", "large", "--only", "many", "--only", "etag"),
        stdout=follower, stderr=follower, stdin=follower, env=environment(TERM="xterm-256color", COLUMNS="80"),
    ) as process:  # fmt: skip
        os.close(follower)
        while True:
            try:
                data = os.read(leader, 65536)
            except OSError:
                break
            stream.feed(data)
            seen |= {line.split()[0] for line in screen.display if "sending" in line}
    os.close(leader)
    assert process.returncode == 0
    lines = [line.rstrip() for line in screen.display]
    text = "\n".join(lines)
    assert {"large-put", "many-put"} & seen, seen
    assert re.search(r"^check +outcome +s", text, re.MULTILINE)
    assert re.search(r"^etag +passed +\d+\.\d", text, re.MULTILINE)
    assert re.search(r"^put, one large file: +\d+ MiB/s$", text, re.MULTILINE)
    assert re.search(r"^put, many small files: +\d+ files/s$", text, re.MULTILINE)
    assert "11 passed" in text
    assert "sending" not in text, "nothing is left of the display"
    assert "━" not in text
    assert archive.visible() == {}
