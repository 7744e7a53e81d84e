"""An archive's URL as people write it: it works, or there is one line about it."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.web.server import Site

from pacarchive.client import NEVER, ArchiveClient
from pacarchive.client.addresses import Place
from pacarchive.client.testing import FakeArchive

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("written", "url", "whole"),
    [
        ("http://host:8080", "http://host:8080", None),
        ("http://host:8080\n", "http://host:8080", None),
        ("\ufeff http://host/ \r\n", "http://host", None),
        ("HTTP://Host/Path/", "http://host/Path", None),
        ("HttpS://host:443", "https://host", None),
        ("http://host:80/", "http://host", None),
        ("http://host:", "http://host", None),
        ("http://host_1.example.org./a//", "http://host_1.example.org./a", None),
        ("http://münchen.example/ä%20b", "http://xn--mnchen-3ya.example/%C3%A4%20b", None),
        ("http://BÜCHER.example:81", "http://xn--bcher-kva.example:81", None),
        ("http://例え.jp", "http://xn--r8jz45g.jp", None),
        ("http://127.0.0.1:1", "http://127.0.0.1:1", None),
        ("http://[::1]:8080/x", "http://[::1]:8080/x", None),
        ("http://[FE80::1%25eth0]:8080/x", "http://[fe80::1]:8080/x", "http://[fe80::1%25eth0]:8080/x"),
        ("http://[fe80::1%eth0]", "http://[fe80::1]", "http://[fe80::1%25eth0]"),
        ("http://[fe80::1%25]", "http://[fe80::1]", "http://[fe80::1%2525]"),
        ("http://[fe80::1%25a%2Fb]", "http://[fe80::1]", "http://[fe80::1%25a%2Fb]"),
    ],
)
def test_what_can_be_meant_works(written: str, url: str, whole: str | None) -> None:
    """What goes out is the same however it is written; the zone of an address is nothing to the other side."""
    place = Place.of(written)
    assert (place.url, place.whole_url) == (url, whole or url)
    assert Place.of(place.whole_url) == place


REFUSED = [
    "", "\n", "archive", "//host", "http://", "http:///x", "ftp://host", "http:host", "http://a b", "http://a\nb",
    "http://host/a\rb", "http://host\x00", "http://host/?q=1", "http://host?", "http://host/#part", "http://host#",
    "http://user:w0rd@host/", "ftp://user:w0rd@host/", "http://user@host", "http://host:0", "http://host:65536",
    "http://host:x", "http://host:-1", "http://host:٣", "http://host:8 0", "http://::1:80", "http://[::1", "http://[]",
    "http://[::1]80", "http://[host]", "http://[127.0.0.1]", "http://[fe80::1%]", "http://-host", "http://ho..st",
    "http://xn--ü.example", "http://\u00ad.example", "http://a" + "é" * 70 + ".example", "http://" + "a." * 130,
    "http://ho%73t", "http://h\\ost", "http://\udcff",
]  # fmt: skip


@pytest.mark.parametrize("written", REFUSED)
def test_what_cannot_be_meant_is_one_line(written: str) -> None:
    """Without the password that may be in it."""
    with pytest.raises(ValueError) as caught:
        ArchiveClient(Clock(), written)
    assert "\n" not in str(caught.value)
    assert "w0rd" not in str(caught.value)
    assert "http" in str(caught.value) or "URL" in str(caught.value)


@given(st.text() | st.from_regex(r"(?i)https?://[a-z\[\]:.%@0-9äß]{1,20}(:[0-9]{0,6})?(/.*)?", fullmatch=True))
@example("http://\u0130.example")
def test_a_url_is_refused_with_words_or_has_one_meaning(written: str) -> None:
    """Nothing else comes of any text; and what goes out is ASCII that every part of the way reads the same."""
    try:
        place = Place.of(written)
    except UnicodeError:
        raise
    except ValueError:
        return
    assert place.url.isascii()
    assert Place.of(place.whole_url) == place
    ArchiveClient(Clock(), written)


def asynchronous(test: Callable[..., Any]) -> Callable[..., None]:
    """A test that is a coroutine of Twisted's."""
    decorated: Callable[..., None] = pytest_twisted.ensureDeferred(test)
    return decorated


@asynchronous
async def test_an_address_with_a_zone_is_reached() -> None:
    """Over the link that it names; the request names the address without it."""
    from twisted.internet import reactor

    hosts: list[Any] = []

    class Listening(FakeArchive):
        def render(self, request: Any) -> bytes:
            hosts.append(request.getHeader("Host"))
            return super().render(request)

    archive = Listening()
    archive.add(1, b"data")
    listener: Any = reactor
    port = listener.listenTCP(0, Site(archive, timeout=None), interface="::1")
    number = port.getHost().port
    try:
        for zone in ("%25lo", "%lo", f"%25{socket.if_nametoindex('lo')}"):
            async with ArchiveClient(reactor, f"http://[::1{zone}]:{number}", retry=NEVER) as client:
                assert (await client.status(1)).size == 4
        assert hosts == [f"[::1]:{number}"] * 3
        with pytest.raises(ValueError, match="no network interface 'none'"):
            ArchiveClient(reactor, f"http://[fe80::1%25none]:{number}")
    finally:
        await port.stopListening()


def link_local() -> tuple[str, str]:
    """An address that means something on one link only, and that link."""
    addresses = [line.split() for line in Path("/proc/net/if_inet6").read_text().splitlines()]
    local = [(each[0], each[5]) for each in addresses if each[0].startswith("fe80")]
    number, zone = (*local, ("0" * 31 + "1", "lo"))[0]
    return socket.inet_ntop(socket.AF_INET6, bytes.fromhex(number)), zone


@asynchronous
async def test_a_link_local_address_is_reached() -> None:
    """Where this machine has one; the loopback interface has none, and stands for it elsewhere."""
    from twisted.internet import reactor

    address, zone = link_local()
    archive = FakeArchive()
    archive.add(1, b"data")
    listener: Any = reactor
    port = listener.listenTCP(0, Site(archive, timeout=None), interface="::")
    try:
        url = f"http://[{address}%25{zone}]:{port.getHost().port}"
        async with ArchiveClient(reactor, url, retry=NEVER) as client:
            assert (await client.status(1)).size == 4
    finally:
        await port.stopListening()
