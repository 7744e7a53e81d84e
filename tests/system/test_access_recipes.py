"""The recipes of the manual's page on access, with the settings that it shows; L{test_access_clients} has one more."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest
from campaigns.proxies import proxy

from system.harness import HOST, Answer, Client, at_once, content
from system.pages import MANUAL, recipe
from system.terminal import run
from system.test_clients import Curl, fetch_as_cartd, follow_the_manual, ingest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from system.harness import Service

PAGE = MANUAL / "access.md"
DATA = content("recipe", 100_000)

# Clients of pacifica


def pacifica(network: str) -> str:
    """The recipe, for a network."""
    return recipe(PAGE, "Clients of pacifica", "ini", {"10.1.2.0/28": network})


def test_pacifica_clients(serve: Callable[..., Service], tmp_path: Path) -> None:
    """Where theirs is the network of the rule, all that they do goes on."""
    service = serve("--endpoint", "tcp:0:interface=0.0.0.0", port=None, settings=pacifica("127.0.0.0/8"))
    follow_the_manual(Curl(service, tmp_path / "curl"))
    ingest(service, 20)
    fetch_as_cartd(service)


def test_pacifica_clients_elsewhere(serve: Callable[..., Service]) -> None:
    """From elsewhere they get 403, which is no 500 that they would try again, and nothing has happened."""
    service = serve(settings=pacifica("192.0.2.0/28"))
    (service.prefix / "7").write_bytes(DATA)
    with service.client() as client:
        assert client.ask("GET", "/").status == 200
        document = json.dumps({"path": str(service.prefix / "7")}).encode()
        for method, file_id, body in (
            ("PUT", 8, DATA), ("PUT", 7, b"other"), ("GET", 7, None), ("GET", 8, None), ("HEAD", 7, None),
            ("POST", 7, None), ("PATCH", 9, document), ("DELETE", 7, None),
        ):  # fmt: skip
            answer = client.ask(method, file_id, body)
            assert (method, file_id, answer.status) == (method, file_id, 403)
            assert "www-authenticate" not in answer.fields, "there is nothing that they could present"
    assert {name: path.read_bytes() for name, path in service.visible().items()} == {"7": DATA}


# Instruments that may only add


@pytest.fixture
def instrument(tmp_path: Path) -> Callable[[str], str]:
    """Makes the recipe's settings, with what happens to taken ids, and the instrument's token in a file."""

    def make(overwrite: str) -> str:
        here = {"= identical": f"= {overwrite}", "/etc/pacarchive/tokens": f"{tmp_path}/tokens"}
        settings = recipe(PAGE, "Instruments that may only add", "ini", here)
        (tmp_path / "tokens.ini").write_text(settings)
        more = ("microscope", "-c", str(tmp_path / "tokens.ini"), "--may", "create", "--ids", "1000-1999")
        made = run(tmp_path, "admin", "token", "create", *more)
        assert made.returncode == 0, made
        (tmp_path / "microscope.token").write_text(made.stdout)
        return settings

    return make


def test_instruments(serve: Callable[..., Service], tmp_path: Path, instrument: Callable[[str], str]) -> None:
    """They add, also once more after a lost answer; they neither replace nor delete nor read, and keep to their ids."""
    service = serve(settings=instrument("identical"))
    given = ("--token-file", str(tmp_path / "microscope.token"), "--url", f"http://{HOST}:{service.port}")
    image = tmp_path / "image"
    image.write_bytes(DATA)
    for _ in range(2):
        done = run(tmp_path, "put", "image", "--id", "1000", *given)
        assert (done.returncode, "sha256:" in done.stdout) == (0, True), done
    image.write_bytes(b"another")
    for words, told in (
        (("put", "image", "--id", "1000"), "The id has another file already"),
        (("put", "image", "--id", "1000", "--replace"), "The id has another file already"),
        (("put", "image", "--id", "2000"), "lacks the right 'create' for file 2000"),
        (("rm", "1000", "--yes"), "lacks the right 'modify' for file 1000"),
        (("get", "1000", "-o", "copy"), "lacks the right 'read' for file 1000"),
    ):
        done = run(tmp_path, *words, *given)
        assert (done.returncode != 0, told in done.stderr) == (True, True), done
    token = {"Authorization": f"Bearer {(tmp_path / 'microscope.token').read_text().strip()}"}
    for method, body, status in (("PUT", DATA, 201), ("PUT", b"another", 409), ("DELETE", None, 403)):
        assert service.ask(method, 1000, body, token).status == status
    assert {name: path.read_bytes() for name, path in service.visible().items()} == {"1000": DATA}


@pytest.mark.parametrize(("overwrite", "refused"), [("allow", 403), ("identical", 409), ("deny", 409)])
def test_many_instruments(
    serve: Callable[..., Service], tmp_path: Path, instrument: Callable[[str], str], overwrite: str, refused: int
) -> None:
    """Of many that add one id at once, through two workers, one is the first, and its bytes are the file."""
    service = serve(settings=instrument(overwrite), workers=2)
    token = {"Authorization": f"Bearer {(tmp_path / 'microscope.token').read_text().strip()}"}
    for file_id in range(1000, 1005):
        bodies = [content((file_id, number), 50_000 + number) for number in range(16)]

        def put(body: bytes, file_id: int = file_id) -> int:
            with service.client() as client:
                return client.ask("PUT", file_id, body, token).status

        statuses = at_once([lambda body=body: put(body) for body in bodies])  # type: ignore[misc]
        assert sorted(statuses) == [201] + [refused] * 15
        assert (service.prefix / str(file_id)).read_bytes() == bodies[statuses.index(201)]
    assert service.temporaries() == []


# Behind nginx with the users there

NGINX = """
daemon off; master_process off; pid {place}/pid; error_log {place}/log; worker_processes 1;
events {{ worker_connections 64; }}
http {{
    access_log off; client_body_temp_path {place}/body; proxy_temp_path {place}/proxy; fastcgi_temp_path {place}/f;
    uwsgi_temp_path {place}/u; scgi_temp_path {place}/s; client_max_body_size 0;
    proxy_http_version 1.1;
    server {{
        listen 127.0.0.1:{at};
{location}
    }}
}}
"""


class Front:
    """
    nginx, which knows the users.

    @ivar service: The server behind it.
    @ivar port: nginx's.
    @ivar address: What the server sees of nginx.
    """

    def __init__(self, service: Service, port: int, address: str) -> None:
        self.service = service
        self.port = port
        self.address = address

    def ask(self, user: str | None, method: str, file_id: int, body: bytes | None = None, *fields: str) -> Answer:
        """Ask through nginx with curl, as a user whose password is the name backwards."""
        given = [] if user is None else ["-u", f"{user}:{user[::-1]}"]
        more = [each for field in fields for each in ("-H", field)]
        sent = [] if body is None else ["--data-binary", "@-"]
        done = subprocess.run(
            ["curl", "-q", "-sS", "-X", method, *given, *more, *sent, *(["-I"] if method == "HEAD" else []),
             "-w", "%{stderr}%{http_code}", f"http://{HOST}:{self.port}/{file_id}"],
            input=body, capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done
        return Answer(int(done.stderr), {}, done.stdout)


def settings(more: str = "") -> str:
    """The recipe's, with an audit file."""
    return recipe(PAGE, "Behind nginx with the users there", "ini", {}) + more


@pytest.fixture(params=["tcp", "unix"])
def front(request: pytest.FixtureRequest, serve: Callable[..., Service], tmp_path: Path) -> Iterator[Front]:
    """nginx before an archive with file 1; connected with it by a port, or by a UNIX socket."""
    for program in ("curl", "htpasswd"):
        assert shutil.which(program), f"{program} is needed: tools/test installs it"
    for user in ("alice", "bob"):
        flags = "-bB" if (tmp_path / "users").exists() else "-cbB"
        subprocess.run(
            ["htpasswd", flags, "-C", "4", tmp_path / "users", user, user[::-1]], check=True, capture_output=True
        )
    endpoints = ["--endpoint", f"tcp:0:interface={HOST}"]
    path = tmp_path / "s"
    if request.param == "unix":
        endpoints += ["--endpoint", f"unix:{path}"]
    service = serve(*endpoints, port=None, settings=settings(f"[audit]\nfile = {tmp_path}/audit\n"))
    to = f"http://{HOST}:{service.port}" if request.param == "tcp" else f"http://unix:{path}:"
    here = {"http://127.0.0.1:8080": to, "/etc/nginx/archive.users": f"{tmp_path}/users"}
    location = recipe(PAGE, "Behind nginx with the users there", "nginx", here)

    def run(place: Path, at: int, _: int) -> list[str]:
        (place / "settings").write_text(NGINX.format(place=place, at=at, location=location))
        return ["nginx", "-p", str(place), "-e", f"{place}/log", "-c", f"{place}/settings"]

    (service.prefix / "1").write_bytes(DATA)
    with proxy("nginx", service.port, run) as port:
        yield Front(service, port, HOST if request.param == "tcp" else "local")


def test_nginx(front: Front, tmp_path: Path) -> None:
    """Each user has what the rules give; who that is, is in the audit file.  nginx itself refuses all others."""
    assert front.ask("alice", "GET", 1).body == DATA
    assert front.ask("alice", "PUT", 2, DATA, "Content-Type: application/octet-stream").status == 201
    assert front.ask("bob", "GET", 2).body == DATA
    assert front.ask("bob", "HEAD", 2).status == 204
    refused = front.ask("bob", "PUT", 3, DATA)
    assert (refused.status, json.loads(refused.body)["message"]) == (
        403, "user:bob lacks the right 'create' for file 3.",
    )  # fmt: skip
    assert front.ask("alice", "DELETE", 1).status == 403
    assert front.ask(None, "GET", 1).status == 401
    assert front.service.visible().keys() == {"1", "2"}
    lines = [json.loads(line) for line in (tmp_path / "audit").read_text().splitlines()]
    assert {each["address"] for each in lines} == {front.address}
    assert [(each["principal"], each["how"], each["what"], each["result"]) for each in lines] == [
        ("user:alice", "proxy", "put", "done"), ("user:bob", "proxy", "PUT", "refused"),
        ("user:alice", "proxy", "DELETE", "refused"),
    ]  # fmt: skip


def test_a_client_that_names_a_user(front: Front) -> None:
    """nginx replaces what a client sends in the field, however often, and without a password lets nothing through."""
    for field in ("X-Remote-User: alice", "x-remote-user: alice", "X-Remote-User: bob, alice"):
        assert front.ask("bob", "PUT", 3, DATA, field).status == 403
        assert front.ask("bob", "PUT", 3, DATA, field, field).status == 403
        assert front.ask(None, "GET", 1, None, field).status == 401
    assert front.service.visible().keys() == {"1"}


def test_a_client_that_goes_round_the_proxy(serve: Callable[..., Service]) -> None:
    """Who connects from another address names whom it will: nobody is recognised."""
    service = serve("--endpoint", "tcp:0:interface=0.0.0.0", port=None, settings=settings())
    (service.prefix / "1").write_bytes(DATA)
    fields = {"X-Remote-User": "alice"}
    assert service.ask("GET", 1, None, fields).status == 200
    if (here := another_address()) is None:
        pytest.skip("this machine has no address but the loopback interface's")
    client = Client(service.port, here)
    with client:
        for method, body in (("GET", None), ("PUT", b"other"), ("HEAD", None)):
            assert client.ask(method, 1, body, fields).status == 403
    assert (service.prefix / "1").read_bytes() == DATA


def another_address() -> str | None:
    """An address of this machine's that is not the loopback interface's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.1", 9))  # sends nothing
        except OSError:
            return None
        found: str = probe.getsockname()[0]
    return None if found.startswith("127.") else found
