"""Files that are taken in from the store itself, and what becomes of their sources."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from backends.s3.double import Double, Given, error
from pacarchive import errors
from pacarchive.backends.contract.handling import ALLOW
from pacarchive.backends.s3 import move
from pacarchive.backends.s3.bucket import Promises
from pacarchive.backends.s3.incoming import Way
from pacarchive.backends.s3.memory import Memory
from pacarchive.backends.s3.move import Mover
from pacarchive.backends.s3.record import Layout
from pacarchive.backends.s3.records import Records
from pacarchive.backends.s3.upload import Parting
from pacarchive.digests import PRIMARY

SOURCE = "/imports/files/name"
FOUND = Given(200, headers={"ETag": '"it"', "Content-Length": "5"})
OTHER = Given(200, headers={"ETag": '"other"', "Content-Length": "5"})
READ = Given(200, b"words", {"ETag": '"it"'})
STORED = Given(200, headers={"ETag": '"record"'})


def mover(*answers: Given, small: int = 100, **promises: bool) -> tuple[Double, Mover]:
    """What takes files in, in a store that gives these answers."""
    double = Double(*answers)
    double.bucket.promises = attrs.evolve(Promises(), **promises)  # type: ignore[arg-type]
    records = Records(double.bucket, Layout("archive", "first/"))
    parting = Parting(size=5 << 20, equal=False, in_flight=1)
    way = Way(bucket=double.bucket, records=records, memory=Memory(1 << 30), parting=parting, small=small)
    return double, Mover(way, [Path("/imports/files"), Path("/archive/elsewhere")])


def asked(double: Double) -> list[str]:
    """What was asked for."""
    return [f"{each.method} {each.path}" for each in double.script.heard]


def test_the_source_goes_if_it_is_the_same_still() -> None:
    """Which the store itself looks at."""
    double, of = mover(FOUND, READ, STORED, Given(204))
    assert double.result(of.move(7, f"s3:/{SOURCE}", ALLOW, [PRIMARY])).size == 5
    assert asked(double)[-1] == f"DELETE {SOURCE}"
    assert double.script.heard[-1].headers["if-match"] == '"it"'


def test_another_source_stays() -> None:
    """It has come between, and there is no other copy of it."""
    double, of = mover(FOUND, READ, STORED, Given(412))
    assert double.result(of.move(7, SOURCE, ALLOW, [PRIMARY])).size == 5


@pytest.mark.parametrize(
    ("now", "goes"), [(FOUND, True), (OTHER, False), (Given(404), False)], ids=["it", "other", "no"]
)
def test_where_a_removal_has_no_condition(now: Given, goes: bool) -> None:
    """It is looked at once more."""
    double, of = mover(FOUND, READ, STORED, now, Given(204), conditional_delete=False)
    double.result(of.move(7, SOURCE, ALLOW, [PRIMARY]))
    assert (f"DELETE {SOURCE}" in asked(double)) is goes


def test_a_removal_without_a_condition_is_tried_once() -> None:
    """By the time of a second attempt there may be another source, which has no other copy."""
    double, of = mover(FOUND, READ, STORED, FOUND, Given(0), conditional_delete=False)
    assert double.result(of.move(7, SOURCE, ALLOW, [PRIMARY])).size == 5
    assert asked(double)[-1] == f"DELETE {SOURCE}"
    assert len(asked(double)) == 5


def test_a_source_that_cannot_be_removed() -> None:
    """The file is in; that its source stays is in the log."""
    double, of = mover(FOUND, READ, STORED, error(403, "AccessDenied"))
    assert double.result(of.move(7, SOURCE, ALLOW, [PRIMARY])).size == 5


@pytest.mark.parametrize("read", [Given(200, b"other", {"ETag": '"other"'}), Given(404)], ids=["another", "none"])
def test_a_source_that_changes_meanwhile(read: Given) -> None:
    """Nothing is stored, and nothing removed."""
    double, of = mover(FOUND, read)
    with pytest.raises(errors.NotFound, match="is another"):
        double.result(of.move(7, SOURCE, ALLOW, [PRIMARY]))
    assert [each.method for each in double.script.heard] == ["HEAD", "GET"]


@pytest.mark.parametrize(
    "source",
    [
        "/imports/files",
        "/imports/files2/name",
        "/imports/files/../name",
        "/imports/files/./name",
        "/imports/files/a/..",
        "/other/files/name",
        "imports/files/name",
        "s3://imports/files/..",
        "s3:/imports/files/name",
        "/imports/files/a\nb",
        "/",
        "",
    ],
)
def test_sources_elsewhere(source: str) -> None:
    """The store is not even asked."""
    double, of = mover()
    with pytest.raises(errors.NotPermitted):
        double.result(of.move(7, source, ALLOW, [PRIMARY]))
    assert asked(double) == []


def test_dots_in_names() -> None:
    """Are names like others, where they are not all of a part."""
    double, of = mover(FOUND, READ, STORED, Given(204))
    assert double.result(of.move(7, "/imports/files/..a/b../c.d", ALLOW, [PRIMARY])).size == 5


def test_a_copy_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Is told, whatever becomes of what is left of it."""
    monkeypatch.setattr(move, "_LARGEST_COPY", 4)
    begun = Given(200, b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>")
    refused = error(403, "AccessDenied")
    double, of = mover(FOUND, begun, Given(412), refused, refused, small=1)
    with pytest.raises(errors.NotFound, match="is another"):
        double.result(of.move(7, SOURCE, ALLOW, [PRIMARY]))
    assert [each.method for each in double.script.heard] == ["HEAD", "POST", "PUT", "DELETE", "DELETE", "HEAD"]
