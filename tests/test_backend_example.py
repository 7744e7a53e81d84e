"""The example of C{docs/backends.md}: a real server finds it as a plugin, and it keeps the contract."""

from __future__ import annotations

import hashlib
import re
import types
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from system.harness import PATIENCE, Service, content, repr_digest
from twisted.internet import reactor
from twisted.plugin import IPlugin
from zope.interface.verify import verifyObject

from pacarchive.backends.contract import Capabilities, make_backend_tests, started
from pacarchive.interfaces import BackendSettings, IBackendProvider
from pacarchive.model import Durability

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractAsyncContextManager

    from pacarchive.interfaces import IArchiveBackend

MANUAL = Path(__file__).parent.parent / "docs/backends.md"
CODE = max(re.findall(r"^```python\n(.*?)^```$", MANUAL.read_text(), re.DOTALL | re.MULTILINE), key=len)

# Not imported: on the path of this process it would be an installed backend.
example = types.ModuleType("pacarchive_sqlite")
exec(compile(CODE, str(MANUAL), "exec"), vars(example))


def archive(directory: Path) -> AbstractAsyncContextManager[IArchiveBackend]:
    """An archive that the example's provider makes."""
    settings = BackendSettings(
        prefix=directory,
        move_roots=(),
        digests=(),
        durability=Durability.FULL,
        io_threads=1,
        own=example.SqliteSettings(),
    )
    return started(example.sqlite.make(reactor, settings))


TestExample = make_backend_tests(archive, Capabilities(durable=True))


def test_the_provider_is_one() -> None:
    """By both interfaces."""
    verifyObject(IBackendProvider, example.sqlite)
    verifyObject(IPlugin, example.sqlite)


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """A real server with two workers, which has the example from a directory of the site's."""
    plugins = tmp_path / "site/twisted/plugins"
    plugins.mkdir(parents=True)
    (plugins / "pacarchive_sqlite.py").write_text(CODE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    service = Service(tmp_path, "-t", "sqlite", settings="[sqlite]\nlargest = 2 MiB\n", workers=2)
    try:
        yield service
        service.stop(PATIENCE)
        service.assert_clean()
    finally:
        service.kill()


def test_it_serves(service: Service) -> None:
    """All verbs, from several processes over one database, with the limit of its own settings."""
    data = content("example", 1 << 20)
    etag = f'"{hashlib.sha256(data).hexdigest()}"'
    assert service.ask("GET", 7).status == 404
    stored = service.ask("PUT", 7, data, {"Repr-Digest": repr_digest(data)})
    assert (stored.status, stored.fields["etag"]) == (201, etag)
    for _ in range(8):  # by chance from either worker
        whole = service.ask("GET", 7)
        assert (whole.status, whole.body, whole.fields["etag"]) == (200, data, etag)
        part = service.ask("GET", 7, fields={"Range": "bytes=1000-1999"})
        assert (part.status, part.body) == (206, data[1000:2000])
        head = service.ask("HEAD", 7)
        assert (head.status, head.fields["x-content-length"]) == (204, str(len(data)))
    assert service.ask("PUT", 7, b"words", {"If-None-Match": "*"}).status == 412
    assert service.ask("PUT", 8, b"words", {"Repr-Digest": repr_digest(b"others")}).status == 400
    assert service.ask("PUT", 8, content("large", 3 << 20)).status == 413
    assert service.ask("DELETE", 7).status == 200
    for file_id in (7, 8):
        assert service.ask("GET", file_id).status == 404
    assert (service.prefix / "files.sqlite").exists()
