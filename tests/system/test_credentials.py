"""The command and its credentials: real processes, and an archive in memory that requires authentication."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from pacarchive.access.rights import EVERYTHING, Right
from system.harness import HOST, PATIENCE, until
from system.terminal import COMMAND, Terminal, run
from system.test_access import settings, write_tokens
from system.test_tls import pair

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from system.harness import Service

SECRET = "s3cret-t0ken"
"""What is searched for in all that can be seen."""

ARCHIVE = """
import sys
from pathlib import Path
from twisted.internet import reactor, ssl
from twisted.web.server import NOT_DONE_YET, Site
from pacarchive.client.testing import FakeArchive

class Archive(FakeArchive):
    def render(self, request):
        self.tokens = set(Path("tokens").read_text().split())
        self.users = dict([Path("user").read_text().split()]) if Path("user").exists() else {}
        if Path("recalled").exists():
            self.recall()
        with open("asked", "a") as asked:
            asked.write(f"{request.method.decode()} {request.path.decode()} {request.getHeader('Authorization')}\\n")
        if request.path == b"/555":
            return NOT_DONE_YET
        if request.path == b"/666":
            self.answer_with(403, WWW_Authenticate='Bearer error="insufficient_scope", scope="storage.modify:/666"')
        return super().render(request)

archive = Archive()
archive.add(1, b"one", on_tape=True)
archive.add(2, b"two")
if "tls" in sys.argv:
    own = ssl.PrivateCertificate.loadPEM(Path("own.pem").read_bytes())
    mine = ssl.Certificate.loadPEM(Path("mine.pem").read_bytes())
    port = reactor.listenSSL(0, Site(archive), own.options(mine), interface="127.0.0.1")
else:
    port = reactor.listenTCP(0, Site(archive), interface="127.0.0.1")
print(port.getHost().port, flush=True)
reactor.run()
"""


@attrs.frozen
class Known:
    """An archive that answers those alone that it knows, and a user of it; C{url} is the archive's."""

    directory: Path
    url: str

    def know(self, *tokens: str) -> None:
        """Take these tokens from now on."""
        (self.directory / "other").write_text(" ".join(tokens))
        os.replace(self.directory / "other", self.directory / "tokens")

    def log(self) -> str:
        """A line with method, path and credentials of each request so far."""
        path = self.directory / "asked"
        return path.read_text() if path.exists() else ""

    def asked(self) -> list[list[str]]:
        """The same in words; afterwards they are forgotten."""
        found = [line.split(" ", 2) for line in self.log().splitlines()]
        (self.directory / "asked").unlink(missing_ok=True)
        return found

    def environment(self, **more: str) -> dict[str, str]:
        """Variables of somebody who has a home of their own."""
        home = str(self.directory / "home")
        return {"PACARCHIVE_URL": self.url, "HOME": home, "XDG_CONFIG_HOME": f"{home}/.config", **more}

    def types(self, *words: str, stdin: str | None = None, **more: str) -> subprocess.CompletedProcess[str]:
        """A command, to its end.  No secret is in what it says."""
        done = run(self.directory, *words, environment=self.environment(**more), stdin=stdin)
        assert SECRET not in done.stdout + done.stderr
        return done

    def write(self, name: str, text: str) -> str:
        """Make a file of the user's."""
        path = self.directory / "home" / name
        path.write_text(text)
        path.chmod(0o600)
        return str(path)


def archive_in(directory: Path, *words: str) -> Iterator[Known]:
    """Start one, and end it."""
    (directory / "home").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", ARCHIVE, *words], cwd=directory, stdout=subprocess.PIPE, text=True, stderr=None
    )
    assert process.stdout is not None
    scheme = "https" if words else "http"
    known = Known(directory, f"{scheme}://{HOST}:{process.stdout.readline().strip()}")
    known.know(SECRET)
    try:
        yield known
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def known(tmp_path: Path) -> Iterator[Known]:
    """An archive without TLS."""
    yield from archive_in(tmp_path)


# credentials


def test_a_token_is_found_wherever_it_is(known: Known) -> None:
    """Each place alone, by a process of its own."""
    file = known.write("token", f"{SECRET}\n")
    for words, environment in (
        (["--token-file", file], {}),
        (["--token-file", "/dev/stdin"], {}),
        (["--token-file", "-"], {}),
        ([], {"PACARCHIVE_TOKEN": SECRET}),
        ([], {"BEARER_TOKEN": SECRET}),
        ([], {"BEARER_TOKEN_FILE": file}),
    ):
        stdin = SECRET if {"/dev/stdin", "-"} & {*words} else None
        done = known.types("stat", "2", *words, stdin=stdin, **environment)
        assert (done.returncode, done.stderr) == (0, ""), words
        assert [each[2] for each in known.asked()] == [f"Bearer {SECRET}"]
    (known.directory / "run").mkdir()
    (known.directory / f"run/bt_u{os.geteuid()}").write_text(SECRET)
    assert known.types("stat", "2", XDG_RUNTIME_DIR=str(known.directory / "run")).returncode == 0


def test_each_refusal_has_its_exit_code(known: Known) -> None:
    """And its words: who asks is not known, or may not; programs are told the kind."""
    done = known.types("stat", "2")
    assert done.returncode == 6
    assert done.stderr == (
        "pacarchive: file 2: The archive requires authentication, or does not accept the credentials. "
        "Give a fresh token with --token-file or in $PACARCHIVE_TOKEN.\n"
    )
    done = known.types("rm", "2", "--yes", PACARCHIVE_TOKEN=f"{SECRET}-old")
    assert (done.returncode, "The credentials are not valid." in done.stderr) == (6, True)
    done = known.types("rm", "666", "--yes", PACARCHIVE_TOKEN=SECRET)
    assert done.returncode == 7
    assert "file 666: The test wants it so. Ask whoever runs the archive." in done.stderr
    done = known.types("stat", "2", "--json", PACARCHIVE_TOKEN=f"{SECRET}-old")
    assert json.loads(done.stdout)["error"]["kind"] == "Unauthorised"
    done = known.types("check", "--only", "greeting", "--many", "1", PACARCHIVE_TOKEN=f"{SECRET}-old")
    assert (done.returncode, "give --token-file, --user or --cert" in done.stderr) == (2, True)
    assert known.types("health", PACARCHIVE_TOKEN=SECRET).returncode == 0


def test_a_token_that_ends_while_a_job_is_waited_for_is_read_again(known: Known) -> None:
    """And the command goes on."""
    file = known.write("token", f"{SECRET}-1")
    known.know(f"{SECRET}-1")
    process = subprocess.Popen(
        [*COMMAND, "stage", "1", "--wait", "--token-file", file],
        cwd=known.directory,
        env={**os.environ, **known.environment()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: f"{SECRET}-1" in known.log(), "it has asked")
    known.write("token", f"{SECRET}-2")
    known.know(f"{SECRET}-2")
    until(lambda: f"{SECRET}-2" in known.log(), "it has asked with the other one")
    (known.directory / "recalled").touch()
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, SECRET in out + err) == (0, False)


def test_a_user_has_a_password_of_netrc_or_types_it(known: Known) -> None:
    """Without both, that is said; it is in no output."""
    (known.directory / "user").write_text(f"alice {SECRET}")
    done = known.types("stat", "2", "--user", "alice", NETRC=known.write("n", f"default login alice password {SECRET}"))
    assert (done.returncode, done.stderr) == (0, "")
    known.write(".netrc", f"machine {HOST} login alice password {SECRET}")
    assert known.types("stat", "2", "--user", "alice").returncode == 0
    (known.directory / "home/.netrc").unlink()
    with Terminal(known.directory, "stat", "2", "--user", "alice", environment=known.environment()) as terminal:
        terminal.shows(f"Password of alice at {known.url}:")
        terminal.type(f"{SECRET}\n")
        assert terminal.ends() == 0
        assert SECRET.encode() not in terminal.received


def test_a_user_without_a_terminal_is_told(known: Known) -> None:
    """In one line."""
    done = subprocess.run(
        [*COMMAND, "stat", "2", "--user", "alice"],
        cwd=known.directory,
        env={**os.environ, **known.environment()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        start_new_session=True,
    )
    assert done.returncode == 2
    assert re.fullmatch(r"pacarchive: there is no terminal to type at \(Password of alice at .*\); .*\n", done.stderr)


def test_a_certificate_is_shown(tmp_path: Path) -> None:
    """To an archive with TLS that wants one; without it, that is what is said."""
    for name in ("own", "mine"):
        (tmp_path / f"{name}.pem").write_bytes(pair("ec"))
    for known in archive_in(tmp_path, "tls"):
        known.know()
        url = {"PACARCHIVE_URL": known.url.replace(HOST, "localhost"), "PACARCHIVE_CA": str(tmp_path / "own.pem")}
        done = known.types("stat", "2", "--cert", "mine.pem", **url)
        assert (done.returncode, done.stderr) == (0, "")
        done = known.types("stat", "2", "--cert", "mine.pem", "--key", "mine.pem", **url)
        assert (done.returncode, done.stderr) == (0, "")
        done = known.types("stat", "2", **url)
        assert (done.returncode, "requires a client certificate. Give --cert FILE." in done.stderr) == (6, True)
        for words in (["--cert", "none"], ["--cert", "mine.pem", "--key", "own.pem"]):
            assert known.types("stat", "2", *words, **url).returncode == 2
        assert known.types("check", "--only", "greeting", "--many", "1", "--cert", "none", **url).returncode == 2


# the server


def test_the_server_itself_authenticates_the_command(tmp_path: Path, serve: Callable[..., Service]) -> None:
    """By tokens and passwords; what it refuses is reported with its message, and C{pacarchive check} passes."""
    fields = write_tokens(tmp_path, robot=Right.READ | Right.CREATE, operator=EVERYTHING, nobody=Right.POLL)
    (home := tmp_path / "home").mkdir()
    for name, field in fields.items():
        (home / name).write_text(field["Authorization"].removeprefix("Bearer "))
    (home / "netrc").touch(0o600)
    (home / "netrc").write_text(f"machine {HOST} login ada password lovelace\n")
    (home / "file").write_text("data")
    service = serve(settings=settings(tmp_path))
    told = {"PACARCHIVE_URL": f"http://{HOST}:{service.port}", "NETRC": str(home / "netrc")}
    for words, code, message in (
        ("put file --id 1 --token-file robot", 0, ""),
        ("stat 1 --token-file robot", 0, ""),
        ("get 1 -o copy --user ada", 0, ""),
        ("verify file --id 1 --token-file robot", 0, ""),
        ("stat 1", 6, "Give a fresh token with --token-file or in $PACARCHIVE_TOKEN, or --user NAME."),
        ("get 1 -o other", 6, "The request has no credentials"),
        ("stat 1 --token-file file", 6, "not valid"),
        ("put netrc --id 1 --replace --token-file robot", 7, "lacks the right 'modify'"),
        ("put netrc --id 2 --user ada", 7, "lacks the right 'create' for file 2"),
        ("rm 1 --yes --token-file robot", 7, "lacks the right 'modify' for file 1"),
        ("mv /x 3 --token-file robot", 7, "lacks the right 'import' for file 3"),
        ("stage 1 --token-file robot", 7, "lacks the right 'stage'"),
        ("check --token-file operator --many 20 --large-file-size 3MiB", 0, ""),
        ("check", 2, "The archive requires authentication (401): give --token-file, --user or --cert."),
        ("check --token-file nobody", 2, "The archive does not allow the checks (403): they need the rights to read"),
        ("rm 1 --yes --token-file operator", 0, ""),
    ):
        done = run(home, *words.split(), environment=told)
        assert (done.returncode, message in done.stderr) == (code, True), f"{words}: {done.stderr} {done.stdout}"


# profiles


def test_a_profile_is_set_once_and_used_by_every_command(known: Known) -> None:
    """Its token comes by a pipe; the file is its owner's alone."""
    for words, stdin in (
        (["url", known.url], None),
        (["token", "-"], f"{SECRET}\n"),
    ):
        done = known.types("config", "set", *words, "--profile", "a", stdin=stdin)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")
    path = known.directory / "home/.config/pacarchive/profiles.ini"
    assert path.stat().st_mode & 0o777 == 0o600
    commands = [["stat", "2"], ["get", "2"], ["verify", "2", "--id", "2"], ["health"], ["rm", "2", "--yes"]]
    for command in commands:
        assert known.types(*command, "--profile", "a", PACARCHIVE_URL="").returncode == 0
        assert {each[2] for each in known.asked()} == {f"Bearer {SECRET}"}
    assert known.types("health", PACARCHIVE_URL="", PACARCHIVE_PROFILE="a").returncode == 0
    known.types("check", "--only", "greeting", "--many", "1", "--profile", "a", PACARCHIVE_URL="")
    assert f"Bearer {SECRET}" in {each[2] for each in known.asked()}
    assert "(set)" in known.types("config", "list").stdout
    path.chmod(0o644)
    for words in (["health", "--profile", "a"], ["config", "list"], ["check", "--profile", "a"]):
        done = known.types(*words, PACARCHIVE_URL="")
        assert (done.returncode, f"chmod 600 {path}" in done.stderr) == (2, True)
    assert known.asked() == []


# what can be seen


@pytest.mark.parametrize("way", ["file", "variable", "profile", "netrc"])
def test_no_secret_is_in_the_list_of_processes(known: Known, way: str) -> None:
    """Neither in what the command was given nor in what it starts, if it starts anything."""
    (known.directory / "user").write_text(f"alice {SECRET}")
    known.write(".netrc", f"default login alice password {SECRET}")
    words, more = {
        "file": (["--token-file", known.write("token", SECRET)], {}),
        "variable": ([], {"PACARCHIVE_TOKEN": SECRET}),
        "profile": (["--profile", "a"], {}),
        "netrc": (["--user", "alice"], {}),
    }[way]
    known.types("config", "set", "token", "-", "--profile", "a", stdin=SECRET)
    process = subprocess.Popen(
        [*COMMAND, "stat", "555", *words],
        cwd=known.directory,
        env={**os.environ, **known.environment(**more)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        until(lambda: "/555" in known.log(), "it asks")
        assert "None" not in known.log()
        shown = [each.read_text() for each in Path("/proc").glob(f"{process.pid}/task/*/cmdline")]
        assert any("stat" in each for each in shown)
        assert SECRET not in "".join(shown)
    finally:
        process.terminate()
        out, _ = process.communicate(timeout=PATIENCE)
    assert SECRET not in out


def test_no_option_takes_a_secret() -> None:
    """Each that is about one takes a file, or a name."""
    from pacarchive.cli import make_parser
    from pacarchive.cli.arguments import _commands

    def options(parser: Any) -> Iterator[tuple[str, Any]]:
        for command in _commands(parser).values():
            for action in command._actions:
                yield from ((name, action.metavar) for name in action.option_strings)
            yield from options(command)

    found = {(name, value) for name, value in options(make_parser()) if re.search("token|pass|secret|key|user", name)}
    assert found == {("--token-file", "FILE"), ("--key", "FILE"), ("--user", "NAME")}
