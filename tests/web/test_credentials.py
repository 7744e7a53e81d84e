"""L{pacarchive.web.http.credentials}: what a server proves itself with is right, or is refused in one line."""

from __future__ import annotations

import os
import pickle
import time
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from certificates import Pair
from cryptography.hazmat.primitives.serialization import Encoding

from pacarchive.settings.errors import ConfigError
from pacarchive.web.http.credentials import CredentialsFiles, make_context, read_peer_certificate
from pacarchive.web.http.settings import ClientCertificates, TlsSettings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROOT = Pair("Root", authority=True)
BETWEEN = Pair("Between", ROOT, authority=True)
SERVER = Pair("server", BETWEEN, names=("localhost", "127.0.0.1"))
OTHER = Pair("other", BETWEEN, names=("localhost",))
OPTIONAL = ClientCertificates.OPTIONAL


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Any]:
    """Reads credentials from files that a test makes."""

    def read(certificate: bytes, key: bytes | None = SERVER.key, ca: bytes | None = None, **settings: Any) -> Any:
        named = {"certificate": certificate, "key": key, "client_ca": ca}
        for name, text in named.items():
            if text is not None:
                (tmp_path / name).write_bytes(text)
                os.chmod(tmp_path / name, 0o600)
                settings[name] = str(tmp_path / name)
        return CredentialsFiles(TlsSettings(**settings), "site.ini").read(time.time())

    return read


def test_a_chain_and_its_key(read: Callable[..., Any]) -> None:
    """In two files or in one, in any order of key and certificates; it can be pickled, and shows no key."""
    chain = SERVER.pem + BETWEEN.pem + ROOT.pem
    for found in (read(chain), read(chain + SERVER.key, None), read(SERVER.key + chain, None)):
        assert found.names == ("localhost", "127.0.0.1")
        assert found.not_after == SERVER.certificate.not_valid_after_utc.timestamp()
        assert found.chain == chain
        assert pickle.loads(pickle.dumps(found)) == found
        assert "PRIVATE" not in repr(found)
        assert str(found).startswith("certificate of localhost, 127.0.0.1, valid until 20")
        make_context(found)


@pytest.mark.parametrize(
    ("certificate", "key", "words"),
    [
        (b"", SERVER.key, "[tls] certificate: @/certificate has no certificate in PEM"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", SERVER.key, "has no certificate in PEM"),
        (SERVER.pem, OTHER.key, "[tls] key: the key in @/key is not that of the certificate"),
        (SERVER.pem, b"", "[tls] key: @/key has no private key in PEM"),
        (SERVER.pem, None, "[tls] key: @/certificate has no private key in PEM"),
        (SERVER.pem, SERVER.locked_key(), "is encrypted; the server cannot ask for a password"),
        (
            SERVER.pem + ROOT.pem + BETWEEN.pem,
            SERVER.key,
            "certificate 2 (CN=Root,O=Tests) has not issued the one before it; the server's comes first",
        ),
        (SERVER.pem + OTHER.pem, SERVER.key, "certificate 2 (CN=other,O=Tests) has not issued"),
    ],
    ids=["empty", "broken", "foreign", "no key", "no key within", "encrypted", "order", "stranger"],
)
def test_what_does_not_fit(
    read: Callable[..., Any], tmp_path: Path, certificate: bytes, key: bytes | None, words: str
) -> None:
    """One line names the file, the section and the key."""
    with pytest.raises(ConfigError) as caught:
        read(certificate, key)
    assert str(caught.value).startswith("site.ini: [tls] ")
    assert words in str(caught.value).replace(str(tmp_path), "@")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("days", "words"), [((-9, -1), "has expired on"), ((1, 9), "is not valid before")])
def test_dates(read: Callable[..., Any], days: tuple[int, int], words: str) -> None:
    """A certificate whose time is over, or to come, is refused; that of an authority too."""
    with pytest.raises(ConfigError, match=rf"\[tls\] certificate: .*: the certificate of localhost {words} 20"):
        read((pair := Pair("late", names=("localhost",), days=days)).pem, pair.key)
    with pytest.raises(ConfigError, match=rf"\[tls\] client_ca: .*: the certificate of CN=users,O=Tests {words} 20"):
        read(SERVER.pem, ca=Pair("users", authority=True, days=days).pem, client=OPTIONAL)


def test_clients_need_an_authority(read: Callable[..., Any]) -> None:
    """Nobody is asked for a certificate that cannot be verified."""
    with pytest.raises(ConfigError, match=r"\[tls\] client_ca: must be set with client = optional"):
        read(SERVER.pem, client=OPTIONAL)
    with pytest.raises(ConfigError, match=r"\[tls\] client_ca: .* has no certificate in PEM"):
        read(SERVER.pem, ca=b"nothing", client=OPTIONAL)
    assert read(SERVER.pem, ca=b"nothing").client_ca == ""  # which nobody needs
    assert read(SERVER.pem, ca=ROOT.pem + BETWEEN.pem, client=OPTIONAL).client_ca.count("BEGIN") == 2


def test_files_that_are_not_there(tmp_path: Path) -> None:
    """What is named and missing, and what is not named at all."""
    missing = TlsSettings(certificate=str(tmp_path / "nothing"))
    with pytest.raises(ConfigError, match=r"site.ini: \[tls\] certificate: .*/nothing: No such file"):
        CredentialsFiles(missing, "site.ini").read(time.time())
    with pytest.raises(ConfigError, match=r"settings: \[tls\] certificate: must be set where TLS is spoken"):
        CredentialsFiles(TlsSettings(), None).read(time.time())


def test_a_key_that_all_may_read(tmp_path: Path) -> None:
    """A word, and no more: it may be wanted."""
    path = SERVER.write(tmp_path / "pair")
    files = CredentialsFiles(TlsSettings(certificate=str(path)), None)
    assert files.warnings() == []
    path.chmod(0o644)
    (words,) = files.warnings()
    assert words.startswith(f"[tls] key: everyone on this machine may read {path}")


def test_the_stamp_tells_of_changes(tmp_path: Path) -> None:
    """Of any of the files: written, replaced, gone; and not of anything else."""
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    key.write_bytes(SERVER.key)
    certificate.write_bytes(SERVER.pem)
    files = CredentialsFiles(TlsSettings(certificate=str(certificate), key=str(key)), None)
    stamps = [files.stamp()]
    certificate.read_bytes()
    (tmp_path / "another").touch()
    assert files.stamp() == stamps[0]
    key.write_bytes(OTHER.key + b"\n")
    stamps.append(files.stamp())
    (tmp_path / "new").write_bytes(OTHER.pem)
    (tmp_path / "new").rename(certificate)
    stamps.append(files.stamp())
    certificate.unlink()
    stamps.append(files.stamp())
    assert len(set(stamps)) == len(stamps)


def test_what_is_in_a_client_certificate() -> None:
    """All its names, by kind; its subject, as RFC 4514 writes it; and when it ends."""
    pair = Pair("robot, the", names=("robot.example.org", "spiffe://site/robot", "robot@example.org", "192.0.2.7"))
    found = read_peer_certificate(pair.certificate.public_bytes(Encoding.DER))
    names = ("dns:robot.example.org", "uri:spiffe://site/robot", "email:robot@example.org", "ip:192.0.2.7")
    assert attrs.astuple(found) == (
        names,
        "CN=robot\\, the,O=Tests",
        pair.certificate.not_valid_after_utc.timestamp(),
    )
    assert read_peer_certificate(ROOT.certificate.public_bytes(Encoding.DER)).names == ()
