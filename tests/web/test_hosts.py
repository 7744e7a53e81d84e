"""Names that a request may be for, where only this machine reaches the server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import DATA, Answer, Server, compose, serving
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from pacarchive.settings.converters import host_names
from pacarchive.settings.server import Compatibility
from pacarchive.web.http.hosts import host_of

V4, V6, OUTSIDE = "127.0.0.1", "::1", "192.0.2.7"
SITE = ("archive.example.org", "192.0.2.9", "2001:db8::1")


def address(host: str, port: int = 8080) -> Any:
    return (IPv6Address if ":" in host else IPv4Address)("TCP", host, port)


def ask(
    server: Server,
    target: str = "/102",
    *,
    host: str | None = None,
    to: Any = None,
    method: str = "GET",
    body: Any = None,
) -> Answer:
    """Ask over a connection that came to an address; by default to the loopback interface's."""
    client = server.connect()
    client.transport.hostAddr = to or address(V4)
    answer = client.ask(method, target, host=host, body=body)
    assert answer.closes != client.connected
    client.hang_up()
    return answer


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that listens to its own machine, with a name, and with a proxy that has another."""
    with serving(Server(hosts=host_names("Archive.Example.ORG., 192.0.2.9 [2001:DB8:0::1]"),
                        public_url="https://Grid.Example:8443/deep")) as server:  # fmt: skip
        server.archive.place(102, DATA)
        server.site.listening.append(address(V4))
        yield server


KNOWN = [
    "localhost", "LOCALHOST:8080", "localhost.", "archive.localhost", V4, "127.0.0.1:1", "127.9.9.9", "[::1]",
    "[::1]:8080", "[0:0::1]:80", "[::ffff:127.0.0.1]", "archive.example.org", "archive.example.org.:443",
    "ARCHIVE.example.org:", "grid.example", "Grid.Example:99", "192.0.2.9", "[2001:db8:0::1]:8080", "[2001:DB8::1]",
]  # fmt: skip
OTHERS = [
    "evil.example", "evil.example:8080", "localhost.evil.example", "notlocalhost", "127.0.0.1.evil.example",
    "archive.example.org.evil.example", "xarchive.example.org", "archive.example.or", "0.0.0.0", "[::]", "192.0.2.8",
    "[2001:db8::2]", "", ":8080", "2130706433", "0x7f000001", "127.1", "a.archive.example.org",
]  # fmt: skip


@pytest.mark.parametrize("to", [V4, V6, "127.8.8.8", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("host", KNOWN)
def test_known(server: Server, host: str, to: str) -> None:
    """Names that nobody else can own, in any spelling, and those that are set; the port is the proxy's affair."""
    assert ask(server, host=host, to=address(to)).body == DATA


@pytest.mark.parametrize("host", OTHERS)
@pytest.mark.parametrize(("method", "target"), [("GET", "/102"), ("GET", "/jobs"), ("PUT", "/7"), ("GET", "/nothing")])
def test_others(server: Server, host: str, method: str, target: str) -> None:
    """Refused on all paths before anything is done, in words that name the setting; the connection goes on."""
    answer = ask(server, target, host=host, method=method, body=DATA if method == "PUT" else None)
    assert answer.line == "HTTP/1.1 421 Misdirected Request"
    assert f'"{host}" is not a name of this server' in answer.error["message"]
    assert "[server] hosts" in answer.error["message"]
    assert (server.archive.calls, server.recalls.calls) == ([], [])
    assert server.site.events == {"421 Misdirected Request": 1}
    assert "refused (421 Misdirected Request) " in server.words()[-1]


def test_one_connection(server: Server) -> None:
    """Each of its requests is looked at."""
    client = server.connect()
    client.transport.hostAddr = address(V4)
    statuses = [client.ask("GET", "/102", host=host).status for host in (V4, V4, "evil.example", V4, "evil.example")]
    assert statuses == [200, 200, 421, 200, 421]


def test_a_large_body_is_not_read(server: Server) -> None:
    """Nor invited."""
    client = server.connect()
    client.transport.hostAddr = address(V4)
    client.send(compose("PUT", "/7", "Expect: 100-continue", "Content-Length: 1000000", host="evil.example"))
    (answer,) = client.answers("PUT")
    assert (answer.status, answer.closes) == (421, True)


def test_the_targets_host(server: Server) -> None:
    """It is the one that counts (RFC 9112, section 3.2.2)."""
    assert ask(server, f"http://{V4}/102", host="evil.example").body == DATA
    assert ask(server, "http://evil.example/102", host=V4).status == 421
    assert ask(server, "HTTPS://LOCALHOST:99/102?x", host="evil.example").body == DATA


@pytest.mark.parametrize(
    "authority", ["", ":80", "me@localhost", "local host", "local\xe4", "[::1", "a,b:x", "localhost:x"]
)
def test_a_target_without_a_host(server: Server, authority: str) -> None:
    """It is malformed, and what Host says does not help."""
    client = server.connect().send(f"GET http://{authority}/102 HTTP/1.1\r\nHost: {V4}\r\n\r\n".encode("latin-1"))
    (answer,) = client.answers()
    assert (answer.status, answer.closes) == (400, True)


def test_no_host(server: Server) -> None:
    """HTTP/1.0 need not name one, and no browser does without."""
    client = server.connect()
    client.transport.hostAddr = address(V4)
    client.send(b"GET /102 HTTP/1.0\r\n\r\n")
    assert [answer.status for answer in client.answers()] == [200]


@pytest.mark.parametrize("to", [address(OUTSIDE), address("2001:db8::7"), UNIXAddress("/run/a.sock")], ids=str)
def test_what_others_reach(server: Server, to: Any) -> None:
    """Where not only this machine asks, any name will do; a page cannot reach a socket in the file system."""
    assert ask(server, host="evil.example", to=to).status == 200


@pytest.mark.parametrize("everywhere", ["0.0.0.0", "::"])
def test_what_listens_everywhere(server: Server, everywhere: str) -> None:
    """A loopback address of a port that all may ask is no secret; but it is of another port."""
    server.site.listening.append(address(everywhere, 8081))
    assert ask(server, host="evil.example", to=address(V4, 8081)).status == 200
    assert ask(server, host="evil.example", to=address(V4, 8080)).status == 421


def test_own_addresses(server: Server) -> None:
    """Where else this server listens is its own address too."""
    server.site.listening.append(address(OUTSIDE))
    assert ask(server, host=f"{OUTSIDE}:99").status == 200


def test_pacifica() -> None:
    """Its sites have proxies that pass on what they were asked for."""
    with serving(Server(compatibility=Compatibility.PACIFICA)) as server:
        server.archive.place(102, DATA)
        assert ask(server, host="evil.example").status == 200


@given(st.text(st.sampled_from("localhst.127:[]0f"), max_size=20))
def test_only_names_of_this_machine(host: str) -> None:
    """No spelling of another name is taken for one of these."""
    if "localhost" not in host_of(host) and not host_of(host).startswith("127.") and host_of(host) != "::1":
        with serving(Server(hosts=())) as server:
            client = server.connect()
            client.transport.hostAddr = address(V4)
            client.send(compose("GET", "/", host=host))
            (answer,) = client.answers("GET")
            assert answer.status in (400, 421)
