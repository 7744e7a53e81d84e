"""Rights of those who have a certificate."""

from __future__ import annotations

import json
import ssl
from contextlib import closing
from http.client import HTTPSConnection
from typing import TYPE_CHECKING

import pytest
from certificates import Pair, trusting

from pacarchive.access.rights import Right
from system.harness import PATIENCE, Service
from system.test_access import write_tokens

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROOT = Pair("Root", authority=True)
USERS = Pair("Users", authority=True)


@pytest.fixture
def robot(tmp_path: Path) -> dict[str, str]:
    """What one presents that has a token to add files with."""
    return write_tokens(tmp_path, robot=Right.CREATE)["robot"]


@pytest.fixture
def service(tmp_path: Path, robot: dict[str, str], serve: Callable[..., Service]) -> Service:
    """One that asks for certificates, and goes on without."""
    Pair("server", ROOT, names=("localhost",)).write(tmp_path / "server.pem")
    (tmp_path / "users.pem").write_bytes(USERS.pem)
    assert robot
    text = (
        f"[tls]\nendpoint = tcp:0:interface=127.0.0.1\ncertificate = {tmp_path}/server.pem\n"
        f"client_ca = {tmp_path}/users.pem\nclient = optional\n"
        f"[auth]\ntokens = {tmp_path}/tokens\n[audit]\nfile = {tmp_path}/audit\n"
        "[allow a]\nwho = cert:dns:robot.example.org\nmay = create\n"
        "[allow b]\nwho = cert:CN=Ada L,O=Tests\nmay = read\n"
    )
    return serve(settings=text, port=None, workers=2)


def ask(service: Service, context: ssl.SSLContext, method: str, target: str = "/1", **fields: str) -> int:
    """The status of one request on a connection of its own."""
    with closing(HTTPSConnection("localhost", service.port, context=context, timeout=PATIENCE)) as connection:
        connection.request(method, target, b"x" if method == "PUT" else None, fields)
        return connection.getresponse().status


def holder(tmp_path: Path, name: str, *names: str) -> ssl.SSLContext:
    """Who has a certificate of the users' authority."""
    context = trusting(ROOT)
    context.load_cert_chain(Pair(name, USERS, names=names).write(tmp_path / f"{len(list(tmp_path.iterdir()))}.pem"))
    return context


def test_certificates(service: Service, tmp_path: Path) -> None:
    """They are known by an alternative name, or else by their subject; who has none is nobody."""
    robot = holder(tmp_path, "whatever", "other.example.org", "robot.example.org")
    ada, eve, nobody = holder(tmp_path, "Ada L"), holder(tmp_path, "Eve"), trusting(ROOT)
    assert ask(service, robot, "PUT") == 201
    assert ask(service, robot, "GET") == 403
    assert ask(service, ada, "GET") == 200
    assert ask(service, ada, "DELETE") == 403
    assert ask(service, eve, "GET") == 403
    assert ask(service, nobody, "GET") == 401
    lines = [json.loads(line) for line in (tmp_path / "audit").read_text().splitlines()]
    assert [(line["principal"], line["how"]) for line in lines if line["how"] != "none"] == [
        ("cert:dns:other.example.org", "certificate"),
        ("cert:dns:other.example.org", "certificate"),
        ("cert:CN=Ada L,O=Tests", "certificate"),
        ("cert:CN=Eve,O=Tests", "certificate"),
    ]


def test_a_token_beside_a_certificate(service: Service, robot: dict[str, str], tmp_path: Path) -> None:
    """The rights of both hold; one that is not valid is not made up for."""
    ada = holder(tmp_path, "Ada L")
    assert ask(service, ada, "PUT", **robot) == 201
    assert ask(service, ada, "GET", **robot) == 200
    assert ask(service, trusting(ROOT), "GET", **robot) == 403
    assert ask(service, ada, "GET", Authorization="Bearer nonsense") == 401
