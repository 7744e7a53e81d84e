"""Publishing and removing records where answers are lost and others are faster."""

from __future__ import annotations

import attrs
import pytest

from backends.s3.double import Double, Given, error
from pacarchive import errors
from pacarchive.backends.contract.handling import ABSENT, ALLOW, DENY, IDENTICAL, matching
from pacarchive.backends.s3.bucket import Promises
from pacarchive.backends.s3.record import Damaged, Data, Layout, Record, data_at, decode, file_id_at, place_of
from pacarchive.backends.s3.records import OutcomeUnknownError, Publication, Records
from pacarchive.digests import PRIMARY
from pacarchive.model import WriteConditions

DONE = Given(200, headers={"ETag": '"new"'})
TAKEN = Given(412)


def record(body: bytes = b"words", **more: object) -> Record:
    """A version of file 7."""
    whole = Record(file_id=7, size=len(body), body=body, digests={PRIMARY: body.ljust(32)})
    return attrs.evolve(whole, **more)  # type: ignore[arg-type]


def stored(found: Record) -> Given:
    """The answer that has it."""
    return Given(200, b"".join(found.encode()), {"ETag": '"old"'})


def records(*answers: Given, **promises: bool) -> tuple[Double, Records]:
    """Records in a store that gives these answers."""
    double = Double(*answers)
    double.bucket.promises = attrs.evolve(Promises(), **promises)  # type: ignore[arg-type]
    return double, Records(double.bucket, Layout("archive", "first/"))


def methods(double: Double) -> str:
    """The methods of what was asked."""
    return " ".join(each.method for each in double.script.heard)


MINE, OTHERS = record(), record(b"other words")


def test_a_free_id_takes_one_request() -> None:
    """Whatever the conditions; but C{If-Match} is about what is there."""
    for conditions in (ALLOW, DENY, ABSENT, IDENTICAL):
        double, found = records(DONE)
        assert double.result(found.publish(MINE, conditions, Publication())) == (MINE, None)
        (heard,) = double.script.heard
        assert heard.path == f"/archive/first/i/{place_of(7)}"
        assert heard.headers["if-none-match"] == "*"


def test_a_file_is_replaced_as_it_was_seen() -> None:
    """And again, when it has changed since."""
    double, found = records(TAKEN, stored(OTHERS), TAKEN, stored(OTHERS), DONE)
    assert double.result(found.publish(MINE, ALLOW, Publication())) == (MINE, attrs.evolve(OTHERS, body=b""))
    assert [each.headers.get("if-match") for each in double.script.heard] == [None, None, '"old"', None, '"old"']


@pytest.mark.parametrize(
    ("conditions", "kind"),
    [(DENY, errors.AlreadyExists), (ABSENT, errors.PreconditionFailed), (IDENTICAL, errors.AlreadyExists)],
)
def test_a_taken_id_is_refused_for_certain(conditions: WriteConditions, kind: type[Exception]) -> None:
    """So that the data can be removed."""
    double, found = records(TAKEN, stored(OTHERS))
    publication = Publication()
    with pytest.raises(kind):
        double.result(found.publish(MINE, conditions, publication))
    assert publication.is_nothing


@pytest.mark.parametrize("lost", [Given(0), Given(1), error(500, "InternalError")], ids=["cut", "silent", "error"])
@pytest.mark.parametrize("conditions", [ALLOW, DENY, ABSENT, IDENTICAL], ids=["allow", "deny", "absent", "identical"])
def test_an_own_success_is_no_refusal(lost: Given, conditions: WriteConditions) -> None:
    """The first attempt had succeeded: the record is the own one."""
    double, found = records(lost, TAKEN, stored(MINE))
    assert double.result(found.publish(MINE, conditions, Publication())) == (MINE, None)
    assert methods(double) == "PUT PUT GET"


def test_what_is_not_certain_is_not_removed() -> None:
    """The first attempt may have succeeded, and somebody may have read and replaced it."""
    double, found = records(Given(0), TAKEN, stored(OTHERS))
    publication = Publication()
    with pytest.raises(OutcomeUnknownError):
        double.result(found.publish(MINE, DENY, publication))
    assert not publication.is_nothing
    double, found = records()
    double.script.then = Given(0)
    publication = Publication()
    with pytest.raises(errors.BackendUnavailable):
        double.result(found.publish(MINE, DENY, publication))
    assert not publication.is_nothing


def test_what_is_certain_by_what_the_record_says() -> None:
    """That names those before it, by which it is told whether the own one was there."""
    double, found = records(Given(0), TAKEN, stored(OTHERS.after(None)))
    publication = Publication()
    with pytest.raises(errors.AlreadyExists):
        double.result(found.publish(MINE, DENY, publication))
    assert publication.is_nothing
    double, found = records(Given(0), TAKEN, stored(OTHERS.after(MINE)))
    assert double.result(found.publish(MINE, DENY, Publication())) == (MINE, None)


def test_a_tombstone_is_a_free_id() -> None:
    """But one that is replaced as it was seen."""
    gone = Record(file_id=7, removed=True)
    for conditions in (ALLOW, DENY, ABSENT):
        double, found = records(TAKEN, stored(gone), DONE)
        assert double.result(found.publish(MINE, conditions, Publication())) == (MINE, None)
    double, found = records(stored(gone))
    with pytest.raises(errors.PreconditionFailed):
        double.result(found.publish(MINE, matching("*"), Publication()))


def test_a_store_that_refuses_for_ever_is_left() -> None:
    """It says that the record has changed, and it never has."""
    double, found = records()
    double.script.then = TAKEN
    with pytest.raises(errors.ArchiveError):
        double.result(found.publish(MINE, ALLOW, Publication()))


def test_a_removal_whose_answer_was_lost() -> None:
    """It is one that has succeeded, if its own record is there."""
    double, found = records(stored(MINE), Given(0), TAKEN)
    double.script.late = lambda: Given(200, double.script.heard[1].body, {"ETag": '"gone"'})
    assert double.result(found.remove(7, ALLOW)) == attrs.evolve(MINE, body=b"")
    assert methods(double) == "GET PUT PUT GET"


def test_of_two_removals_one_is_told_so() -> None:
    """The other one finds nothing."""
    double, found = records(stored(MINE), TAKEN, stored(Record(file_id=7, removed=True)))
    with pytest.raises(errors.NotFound):
        double.result(found.remove(7, ALLOW))


def test_a_removal_by_one_process_alone() -> None:
    """It leaves nothing; and where there is no answer to it, that is told."""
    double, found = records(stored(MINE), Given(204), conditional_put=False)
    assert double.result(found.remove(7, ALLOW)) == attrs.evolve(MINE, body=b"")
    assert methods(double) == "GET DELETE"
    double, found = records(stored(MINE), conditional_put=False)
    double.script.then = Given(0)
    with pytest.raises(OutcomeUnknownError):
        double.result(found.remove(7, ALLOW))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"words",
        b"{}\n",
        b"[]\n",
        b"null\n",
        b"\xff\n",
        b"".join(record().encode())[:-1],
        b"".join(record().encode()) + b"x",
        b"".join(record(version="../../x").encode()),
        b"".join(attrs.evolve(record(), file_id=8).encode()),
        b"".join(record().encode()).replace(b'"size":5', b'"size":-5'),
        b"".join(record().encode()).replace(b'"size":5', b'"size":"five"'),
        b"".join(record(data=Data("t", ""), body=b"").encode()).replace(b'"tag"', b'"tug"'),
    ],
)
def test_a_damaged_record_is_no_file(body: bytes) -> None:
    """And is not taken for a free id either."""
    with pytest.raises(Damaged):
        decode(body, 7, whole=True)
    double, found = records(Given(200, body, {"ETag": '"old"'}))
    with pytest.raises(errors.BackendUnavailable):
        double.result(found.get(7, whole=True))


def test_records_come_back() -> None:
    """With all that they say."""
    for each in (
        record(b""),
        record(b"two\nlines\n"),
        record(b"", size=1 << 50, data=Data('t"ag', "v1"), mtime_ns=-5, ctime_ns=2**62),
        Record(file_id=7, removed=True, ctime_ns=5).after(record().after(None)),
    ):
        assert decode(b"".join(each.encode()), 7, whole=True) == each


@pytest.mark.parametrize("file_id", [0, 7, 12345, 2**64 - 1])
def test_places_lead_back(file_id: int) -> None:
    """And no other text does."""
    place = place_of(file_id)
    assert file_id_at(place) == file_id
    assert data_at(f"{place}/{'0' * 32}") == (file_id, "0" * 32)
    for wrong in (f"{place}/", f"0{place}", place.replace("/", "/0"), f"{place} ", place.upper() + "A", ""):
        with pytest.raises(ValueError):
            file_id_at(wrong)


def test_one_process_alone_takes_turns() -> None:
    """Where the store does not heed conditions, and is not asked to."""
    double, found = records(Given(404), DONE, stored(MINE), conditional_put=False, conditional_delete=False)
    assert double.result(found.publish(MINE, DENY, Publication())) == (MINE, None)
    with pytest.raises(errors.AlreadyExists):
        double.result(found.publish(OTHERS, DENY, Publication()))
    assert not any("if-match" in each.headers or "if-none-match" in each.headers for each in double.script.heard)
    assert found._locks == {}
