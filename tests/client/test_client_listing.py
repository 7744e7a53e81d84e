"""The list of files, as the client reads it: page by page, as far as it is wanted, and believing little."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from pacarchive.client import Locality, ProtocolError, ServerUnavailable
from pacarchive.client import listing as module
from pacarchive.client.testing import FakeArchive, result_of

if TYPE_CHECKING:
    from pacarchive.client import ArchiveClient, FilesPage


@pytest.fixture
def archive() -> FakeArchive:
    """With seven files."""
    archive = FakeArchive()
    for file_id in (1, 2, 3, 10, 11, 12, 2**64 - 1):
        archive.add(file_id, b"x" * (file_id % 100), on_tape=file_id == 3)
    return archive


async def pages(client: ArchiveClient, *args: int, **options: Any) -> list[FilesPage]:
    return [page async for page in client.files(*args, **options)]


def ids(found: list[FilesPage]) -> list[int]:
    return [file.file_id for page in found for file in page.files]


def test_all_files(archive: FakeArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Page by page; each says where the next begins."""
    monkeypatch.setattr(module, "PAGE", 3)
    found = result_of(pages(archive.client()))
    assert ids(found) == [1, 2, 3, 10, 11, 12, 2**64 - 1]
    assert [len(page.files) for page in found] == [3, 3, 1]
    assert found[-1].cursor is None
    assert ids(result_of(pages(archive.client(), cursor=found[0].cursor))) == [10, 11, 12, 2**64 - 1]


def test_what_is_told(archive: FakeArchive) -> None:
    """All that a page has of a file."""
    (page,) = result_of(pages(archive.client(), 2, 3))
    first, second = page.files
    stored = archive.files[2]
    assert (first.size, first.mtime_ns, first.digests) == (2, stored.mtime_ns, stored.digests)
    assert (first.locality, second.locality, first.error) == (Locality.DISK, Locality.TAPE, None)


def test_what_is_asked_for(archive: FakeArchive) -> None:
    """The range, and the fields."""
    asked: list[str] = []
    archive.render = _noting(archive.render, asked)  # type: ignore[method-assign]
    assert ids(result_of(pages(archive.client(), 2, 11, digests=False))) == [2, 3, 10, 11]
    assert asked == ["/files?limit=2000&fields=bytes%2Cmtime%2Cctime%2Clocality&from=2&to=11"]


def _noting(render: Any, asked: list[str]) -> Any:
    def note(request: Any) -> Any:
        asked.append(request.uri.decode())
        return render(request)

    return note


def test_no_more_than_is_wanted(archive: FakeArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next page is asked for when somebody wants it."""
    monkeypatch.setattr(module, "PAGE", 3)

    async def first() -> FilesPage:
        return await anext(aiter(archive.client().files()))

    assert len(result_of(first()).files) == 3
    assert len(archive.requests) == 1


def test_a_failure(archive: FakeArchive) -> None:
    """Is tried again, and then told."""
    from pacarchive.client import NEVER

    archive.answer_with(503)
    with pytest.raises(ServerUnavailable):
        result_of(pages(archive.client(retry=NEVER)))


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        {"files": [{"bytes": 5}]},
        {"files": [{"file": "05"}]},
        {"files": [{"file": "5", "mtime": "yesterday"}]},
        {"files": [{"file": "5", "locality": "MOON"}]},
        {"files": [{"file": "5", "digests": {"sha256": "xy"}}]},
        {"files": [], "next": "http://elsewhere.example.org/"},
        {"files": [], "next": "/files?cursor=a&cursor=b"},
        {"files": [], "next": "/files?cursor=same"},
    ],
    ids=lambda document: json.dumps(document),
)
def test_nonsense(archive: FakeArchive, document: object) -> None:
    """What is no list, or has no end, is a failure with words."""
    archive._list = lambda request: json.dumps(document).encode()  # type: ignore[method-assign]
    with pytest.raises(ProtocolError):
        result_of(pages(archive.client(), cursor="same"))


def test_arguments_that_cannot_be_meant(archive: FakeArchive) -> None:
    """Ids that are none."""
    with pytest.raises(ValueError, match="file id"):
        result_of(pages(archive.client(), -1))


def test_an_error_of_one_file(archive: FakeArchive) -> None:
    """Has its words, and nothing else."""
    told = {"files": [{"file": "5", "error": {"kind": "BackendUnavailable", "message": "The storage failed."}}]}
    archive._list = lambda request: json.dumps(told).encode()  # type: ignore[method-assign]
    (page,) = result_of(pages(archive.client()))
    (file,) = page.files
    assert (file.file_id, file.size, file.locality, file.error) == (5, None, None, "The storage failed.")
