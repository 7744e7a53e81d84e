"""What the manual and the README show is what a real server does: their commands are run, their answers compared."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ports import free_port

from system.harness import HOST
from system.pages import MANUAL, README, ROOT, Command, Shell, commands, for_pip, shell_blocks

if TYPE_CHECKING:
    from collections.abc import Callable

    from system.harness import Service

USAGE = MANUAL / "usage.md"

PREDECESSOR = [
    """curl -X GET http://127.0.0.1:8080""",
    """curl -X PUT -H 'Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT' --upload-file /tmp/foo.txt http://127.0.0.1:8080/12345""",
    """curl -o /tmp/foo.txt http://127.0.0.1:8080/12345""",
    """curl -I -X HEAD http://127.0.0.1:8080/12345""",
    """curl -X POST -d '' http://127.0.0.1:8080/12345""",
    """curl -X PATCH -H 'Content-Type: application/json' http://127.0.0.1:8080/123456 -d'{
  "path": "/tmp/12345"
}'""",
]
"""Chapter 4 of the predecessor's manual."""


@pytest.fixture
def service(serve: Callable[..., Service], tmp_path: Path) -> Service:
    """A server that keeps the list of its jobs in the test's own directory."""
    return serve(settings=f"[recall]\nstore = {tmp_path}/recall.sqlite\n")


@pytest.fixture
def shell(tmp_path: Path) -> Callable[[dict[str, str]], Shell]:
    """Makes shells with a home of their own."""
    home = tmp_path / "home"
    home.mkdir()
    return lambda replacements: Shell(home, replacements)


def test_usage(service: Service, shell: Callable[[dict[str, str]], Shell]) -> None:
    """The whole page, in its order."""
    here = {"127.0.0.1:8080": f"{HOST}:{service.port}", "/tmp/": f"{service.prefix}/"}
    with shell(here) as session:
        assert session.show(USAGE) > 40


def test_inventory(service: Service, shell: Callable[[dict[str, str]], Shell]) -> None:
    """The page of that name."""
    here = {"127.0.0.1:8080": f"{HOST}:{service.port}", "pacarchive ": f"{Path(sys.executable).parent}/pacarchive "}
    with shell(here) as session:
        assert session.show(MANUAL / "inventory.md") >= 5


def test_usage_has_the_lines_of_the_predecessor() -> None:
    """As they are printed there, and in that order."""
    shown = [command.text for block in shell_blocks(USAGE) for command in commands(block)]
    assert [text for text in shown if text in PREDECESSOR] == PREDECESSOR


def test_the_readme(service: Service, shell: Callable[[dict[str, str]], Shell], tmp_path: Path) -> None:
    """The lines of its chapter "Use", each of which succeeds."""
    document = b"Document Contents\n"
    here = {"127.0.0.1:8080": f"{HOST}:{service.port}", "$PWD/archive/": f"{service.prefix}/"}
    with shell(here) as session:
        assert session.show(README, "Use") == 10
    assert (tmp_path / "home/foo.txt").read_bytes() == document
    assert not (service.prefix / "12345").exists()
    assert not (service.prefix / "123456").exists()


def test_access(tmp_path: Path) -> None:
    """The page of that name, from a file of users to the audit file."""
    home = tmp_path / "home"
    home.mkdir()
    port = free_port()
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with Shell(home, {"127.0.0.1:8081": f"{HOST}:{port}", "tcp:8081": f"tcp:{port}"}, {"PATH": programs}) as shell:
        assert shell.show(MANUAL / "access.md") >= 15


@pytest.mark.timeout(600)
def test_installation(tmp_path: Path) -> None:
    """
    The quick start and the page itself, on a copy of the sources, with a Python that has nothing of them yet.  What
    both of them install, the first does.
    """
    home, sources = tmp_path / "home", tmp_path / "sources"
    home.mkdir()
    shutil.copytree(ROOT, sources, ignore=shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__", "archive"))
    port = free_port()
    here = {"127.0.0.1:8080": f"{HOST}:{port}", "-p 8080": f"-p {port}", "python3 ": f"{sys.executable} "}
    installing = ["python3 -m venv ~/.virtualenvs/pacarchive", "pip install -q ."]
    for page, least in (("quickstart.md", 18), ("installation.md", 9)):
        shown = {command.text for block in shell_blocks(MANUAL / page) for command in commands(block)}
        assert shown >= set(installing)
        with Shell(home, here, for_pip(), start=sources) as shell:
            assert shell.show(MANUAL / page, limit=500) >= least
        here |= dict.fromkeys(installing, "true")


def test_tls(shell: Callable[[dict[str, str]], Shell]) -> None:
    """The chapter with a trial, from a certificate to the next."""
    with shell({"8443": str(free_port()), "twistd ": f"{Path(sys.executable).parent}/twistd "}) as session:
        assert session.show(MANUAL / "tls.md", "A trial") == 10


def test_s3(tmp_path: Path) -> None:
    """The chapter with a trial, on a store that imitates one."""
    home = tmp_path / "home"
    home.mkdir()
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    here = {"9000": str(free_port()), "8080": str(free_port())}
    with Shell(home, here, {"PATH": programs}) as shell:
        assert shell.show(MANUAL / "s3.md", "A trial") == 9


# What the comparison itself is worth


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("printf 'one\\ntwo\\n'", "one\ntwo"),
        ("printf 'one\\ntwo\\n\\n'", "one\n..."),
        ("printf one", "one\n..."),
        ("printf 'one\\ntwo\\nthree'", "...\nthree"),
        ("echo 'a (b) 123 c'", "a (b) ... c"),
        ("echo 'an id: 00ff00ff, and 00ff00ff'", "an id: JOB, and JOB"),
        ("true", ""),
        ("true", None),
        ("echo whatever", None),
        ("curl -sS http://service/404", '{"status": "404 Not Found", ...}'),
    ],
)
def test_right_answers(
    service: Service, shell: Callable[[dict[str, str]], Shell], text: str, answer: str | None
) -> None:
    """What fits, passes."""
    with shell({"service": f"{HOST}:{service.port}"}) as session:
        session.check(Command("here", text, answer))


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("printf 'one\\ntwo\\n'", "one"),
        ("printf 'one\\ntwo\\n'", "two"),
        ("echo 'a\nb'", "a...b"),
        ("echo one", ""),
        ("true", "one"),
        ("echo 'an id: 00ff00ff, and 00ff00fe'", "an id: JOB, and JOB"),
        ("false", None),
        ("false", ""),
        ("curl -sS http://127.0.0.1:1/", None),
        ("curl -sS http://service/404", None),
        ("curl -sS -o /dev/null http://service/404", ""),
    ],
)
def test_wrong_answers(
    service: Service, shell: Callable[[dict[str, str]], Shell], text: str, answer: str | None
) -> None:
    """What does not fit, fails."""
    with shell({"service": f"{HOST}:{service.port}"}) as session, pytest.raises(AssertionError):
        session.check(Command("here", text, answer))


def test_a_job_is_the_same_from_then_on(tmp_path: Path) -> None:
    """The first id that was answered stands for JOB in later commands and answers."""
    with Shell(tmp_path, {}) as session:
        session.check(Command("here", "echo 0123456789abcdef", "JOB"))
        session.check(Command("here", "echo JOB", "0123456789abcdef"))
        with pytest.raises(AssertionError):
            session.check(Command("here", "echo fedcba9876543210", "JOB"))
