"""Access in real processes: who may start, what is reloaded, what the audit file has after kill -9."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import threading
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import bcrypt
import pytest

from pacarchive.access.rights import Right
from pacarchive.access.tokens import Token, digest_of, make_token
from system.harness import Client, Service, content, in_background, reset, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BOTH = pytest.mark.parametrize("workers", [1, 2])


def settings(tmp_path: Path, more: str = "") -> str:
    """With a file of tokens, a file of users, and an audit file."""
    return (
        f"[auth]\ntokens = {tmp_path}/tokens\nhtpasswd = {tmp_path}/users\nrefresh = 1000\n"
        f"[audit]\nfile = {tmp_path}/audit\n[allow users]\nwho = user:ada\nmay = read\n{more}"
    )


def write_tokens(tmp_path: Path, **holders: Right) -> dict[str, dict[str, str]]:
    """Make the files anew; for each holder the field to be sent."""
    (tmp_path / "users").write_text(f"ada:{bcrypt.hashpw(b'lovelace', bcrypt.gensalt(4)).decode()}\n")
    made = {name: make_token() for name in holders}
    text = "".join(f"{Token(name, digest_of(made[name]), rights).line}\n" for name, rights in holders.items())
    fresh = tmp_path / "tokens.new"
    fresh.write_text(text)
    os.rename(fresh, tmp_path / "tokens")
    return {name: {"Authorization": f"Bearer {token}"} for name, token in made.items()}


def audited(tmp_path: Path) -> list[dict[str, Any]]:
    """The lines of the audit file."""
    return [json.loads(line) for line in (tmp_path / "audit").read_text().splitlines()]


@pytest.mark.parametrize("endpoint", ["tcp:0", "tcp:0:interface=0.0.0.0", "tcp6:0:interface=\\:\\:"])
def test_a_network_with_nothing_said(tmp_path: Path, serve: Callable[..., Service], endpoint: str) -> None:
    """It does not start, and says in one line why; told what everyone may, it does."""
    service = serve("--endpoint", endpoint, port=None)
    assert service.ends() == 2
    assert service.log == (
        f"pacarchive: settings: [auth] anonymous: everyone who reaches {endpoint} could write and delete, as nothing "
        "says who may do what: set it (all, none, read...), here or by --anonymous, or make rules [allow NAME]\n"
    )
    told = serve("--endpoint", endpoint, "--anonymous", "read", port=None)
    assert told.port
    with Client(told.port) as client:
        assert client.ask("PUT", 1, b"x").status == 403
        assert client.ask("GET", 1).status == 404


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("tokens", "robot\n", "[auth] tokens: {path}: line 1: a line is NAME"),
        ("tokens", None, "[auth] tokens: {path}: No such file or directory"),
        ("users", "ada:$apr1$x$y\n", "[auth] htpasswd: {path}: "),
        ("users", None, "[auth] htpasswd: {path}: No such file or directory"),
    ],
)
def test_a_file_that_cannot_be_used(
    tmp_path: Path, serve: Callable[..., Service], name: str, text: str | None, words: str
) -> None:
    """A missing file, or one that is not well formed, ends the start: never is it as if nothing had been asked for."""
    write_tokens(tmp_path)
    path = tmp_path / name
    path.unlink() if text is None else path.write_text(text)
    service = serve(settings=settings(tmp_path), workers=2)
    assert service.ends() == 2
    assert words.format(path=path) in service.log
    assert service.log.count("\n") == 1


@BOTH
def test_users_change_under_load(tmp_path: Path, serve: Callable[..., Service], workers: int) -> None:
    """While tokens come and go, none of those who hold one all the time is refused, and a download ends whole."""
    fields = write_tokens(tmp_path, steady=Right.READ | Right.CREATE | Right.STAT)
    service = serve(settings=settings(tmp_path), workers=workers)
    data = content("large", 64 << 20)
    with service.client() as client:
        assert client.ask("PUT", 1, data, fields["steady"]).status == 201
    kept = (tmp_path / "tokens").read_text()
    statuses: list[int] = []

    def ask(ended: threading.Event) -> None:
        while not ended.is_set():
            with service.client() as client:
                statuses.append(client.ask("HEAD", 1, fields=fields["steady"]).status)

    with in_background(ask, 3), service.client() as reader:
        answer = reader.begin("GET", 1, fields=fields["steady"])
        received = answer.read(1 << 20)
        for number in range(5):
            token = make_token()
            line = Token(f"n{number}", digest_of(token), Right.STAT).line
            (tmp_path / "tokens.new").write_text(f"{kept}{line}\n")
            os.rename(tmp_path / "tokens.new", tmp_path / "tokens")
            service.process.send_signal(signal.SIGHUP)
            until(lambda token=token: _all_take(service, token, workers), "the new token is taken")  # type: ignore[misc]
        received += answer.read()
    assert received == data
    assert len(statuses) > 20
    assert set(statuses) == {204}


def _all_take(service: Service, token: str, workers: int) -> bool:
    # Connections are spread over the workers by chance: often enough is all of them.
    for _ in range(8 * workers):
        with service.client() as client:
            if client.ask("HEAD", 1, fields={"Authorization": f"Bearer {token}"}).status != 204:
                return False
    return True


def test_a_bad_change(tmp_path: Path, serve: Callable[..., Service]) -> None:
    """It leaves in force what was, and the log says so; a good one revokes at once."""
    fields = write_tokens(tmp_path, robot=Right.STAT)
    service = serve(settings=settings(tmp_path))
    with service.client() as client:
        assert client.ask("HEAD", 1, fields=fields["robot"]).status == 404
        (tmp_path / "tokens").write_text("nonsense\n")
        service.process.send_signal(signal.SIGHUP)
        until(lambda: "line 1: a line is NAME" in service.log, "the log says it")
        assert "what was in force stays in force" in service.log
        assert client.ask("HEAD", 1, fields=fields["robot"]).status == 404
        write_tokens(tmp_path)
        service.process.send_signal(signal.SIGHUP)
        until(lambda: client.ask("HEAD", 1, fields=fields["robot"]).status == 401, "the token is revoked")


def test_files_are_looked_at(tmp_path: Path, serve: Callable[..., Service]) -> None:
    """A change is noticed without a signal, too."""
    fields = write_tokens(tmp_path, robot=Right.STAT)
    service = serve(settings=settings(tmp_path).replace("1000", "0.2"))
    with service.client() as client:
        assert client.ask("HEAD", 1, fields=fields["robot"]).status == 404
        fields = write_tokens(tmp_path, robot=Right.STAT)
        until(lambda: client.ask("HEAD", 1, fields=fields["robot"]).status == 404, "the new token is taken")


def test_a_file_that_cannot_be_read_for_a_while(tmp_path: Path, serve: Callable[..., Service]) -> None:
    """It is read when it can be: what it revokes is not in force until somebody changes it once more."""
    fields = write_tokens(tmp_path, robot=Right.STAT)
    service = serve(settings=settings(tmp_path).replace("1000", "0.2"))
    with service.client() as client:
        assert client.ask("HEAD", 1, fields=fields["robot"]).status == 404
        (server,) = service.workers()
        most, hard = resource.prlimit(server, resource.RLIMIT_NOFILE)
        resource.prlimit(server, resource.RLIMIT_NOFILE, (0, hard))
        try:
            write_tokens(tmp_path)
            until(lambda: "/tokens: Too many open files" in service.log, "the log says it")
        finally:
            resource.prlimit(server, resource.RLIMIT_NOFILE, (most, hard))
        until(lambda: client.ask("HEAD", 1, fields=fields["robot"]).status == 401, "the token is revoked", 10)
    assert service.log.count("/tokens: Too many open files") == 1


def test_a_user(tmp_path: Path, serve: Callable[..., Service]) -> None:
    """As htpasswd has it."""
    write_tokens(tmp_path)
    service = serve(settings=settings(tmp_path))
    with service.client() as client:
        for given, status in (("ada:lovelace", 404), ("ada:byron", 401), ("bob:lovelace", 401)):
            field = {"Authorization": f"Basic {b64encode(given.encode()).decode()}"}
            assert client.ask("GET", 1, fields=field).status == status


@BOTH
def test_the_audit_file_after_kill(tmp_path: Path, serve: Callable[..., Service], workers: int) -> None:
    """All that was acknowledged is in it, with who did it; so are refusals, and no secret."""
    fields = write_tokens(tmp_path, robot=Right.MODIFY, other=Right.READ)
    service = serve(settings=settings(tmp_path), workers=workers)
    acknowledged: list[int] = []
    ids = iter(range(10**6))

    def put(ended: threading.Event) -> None:
        while not ended.is_set():
            try:
                with service.client() as client:
                    for _ in range(10):
                        number = next(ids)
                        more = {"X-Request-Id": f"r{number}"}
                        if client.ask("PUT", number, b"data", fields["robot"] | more).status == 201:
                            acknowledged.append(number)
            except OSError:
                return

    with service.client() as client:
        assert client.ask("DELETE", 99, fields=fields["other"]).status == 403
        assert client.ask("DELETE", "/99?authz=secret").status == 401
        assert client.ask("PUT", 10**7, b"data", fields["robot"]).status == 201
        assert client.ask("DELETE", 10**7, fields=fields["robot"]).status == 200
    with in_background(put, 3):
        until(lambda: len(acknowledged) > 100 or None, "files are stored")
        service.kill()
    lines = audited(tmp_path)
    stored = {line["id"]: line for line in lines if line["what"] == "put"}
    assert {str(number) for number in acknowledged} <= stored.keys()
    line = stored[str(acknowledged[0])]
    line.pop("time")
    assert line == {
        "principal": "token:robot", "how": "token", "address": "127.0.0.1", "request": f"r{acknowledged[0]}",
        "what": "put", "id": str(acknowledged[0]), "result": "done", "bytes": 4,
        "digest": "sha256:3a6eb0790f39ac87c94f3856b2dd2c5d110e6811602261a9a923d3bb23adc8b7",
    }  # fmt: skip
    refused = [line for line in lines if line["result"] == "refused"]
    assert [(each.get("principal"), each["status"], each["path"]) for each in refused] == [
        ("token:other", 403, "/99"), ("anonymous", 401, "/99"),
    ]  # fmt: skip
    assert any(line["what"] == "delete" and line["id"] == str(10**7) for line in lines)
    text = (tmp_path / "audit").read_text() + service.log
    assert "secret" not in text
    assert "pac_" not in text


def test_who_goes_leaves_a_line(tmp_path: Path, serve: Callable[..., Service]) -> None:
    """Whatever is changed has a line, also when the client is gone before the answer."""
    fields = write_tokens(tmp_path, robot=Right.MODIFY)
    service = serve(settings=settings(tmp_path))
    field = f"Authorization: {fields['robot']['Authorization']}"
    with service.client() as client:
        for number in range(60):
            assert client.ask("PUT", number, b"x", fields["robot"]).status == 201
    for number in range(60):
        connection = service.connect()
        connection.sendall(f"DELETE /{number} HTTP/1.1\r\nHost: localhost\r\n{field}\r\n\r\n".encode())
        if number % 3 == 1:  # as long as it takes to answer another
            with service.client() as client:
                client.ask("HEAD", number, fields=fields["robot"])
        elif number % 3 == 2:  # until it is answered
            connection.recv(1)
        reset(connection)
    service.stop()
    deleted = {line["id"] for line in audited(tmp_path) if line["what"] == "delete"}
    gone = {str(number) for number in range(60) if not (service.prefix / str(number)).exists()}
    assert deleted == gone
    assert gone


def test_a_name_to_listen_at(tmp_path: Path, serve: Callable[..., Service]) -> None:
    """C{localhost} is this machine, with nothing said."""
    service = serve("-a", "localhost")
    with service.client() as client:
        assert client.ask("GET", 1).status == 404


def test_an_audit_file_that_cannot_be_opened(tmp_path: Path, serve: Callable[..., Service]) -> None:
    """The start fails, and says why."""
    write_tokens(tmp_path)
    text = settings(tmp_path).replace(f"{tmp_path}/audit", f"{tmp_path}/missing/audit")
    service = serve(settings=text)
    assert service.ends() == 2
    assert service.log == f"pacarchive: settings: [audit] file: {tmp_path}/missing/audit: No such file or directory\n"


def test_the_audit_file_is_opened_again(tmp_path: Path, serve: Callable[..., Service]) -> None:
    """On SIGHUP, as logrotate sends it."""
    fields = write_tokens(tmp_path, robot=Right.CREATE)
    service = serve(settings=settings(tmp_path))
    with service.client() as client:
        assert client.ask("PUT", 1, b"x", fields["robot"]).status == 201
        os.rename(tmp_path / "audit", tmp_path / "audit.1")
        service.process.send_signal(signal.SIGHUP)
        until(lambda: "the audit file" in service.log, "it is opened again")
        assert client.ask("PUT", 2, b"x", fields["robot"]).status == 201
    assert [line["id"] for line in audited(tmp_path)] == ["2"]


def test_htpasswd_of_apache(tmp_path: Path, serve: Callable[..., Service]) -> None:
    """What C{htpasswd -B} writes is taken."""
    write_tokens(tmp_path)
    subprocess.run(["htpasswd", "-bB", "-C", "5", str(tmp_path / "users"), "eve", "s3cret"], check=True)
    service = serve(settings=settings(tmp_path, "[allow eve]\nwho = user:eve\nmay = read\n"))
    with service.client() as client:
        field = {"Authorization": f"Basic {b64encode(b'eve:s3cret').decode()}"}
        assert client.ask("GET", 1, fields=field).status == 404
