"""Recalls from cold storage classes: every answer of a store, and what the engine is told of it."""

from __future__ import annotations

import re
from email.utils import formatdate
from typing import Any
from uuid import uuid4

import attrs
import pytest

from backends.s3.double import TIME, Double, Given, Heard, error
from pacarchive import errors
from pacarchive.backends.s3 import recall
from pacarchive.backends.s3.bucket import Bucket, Source, Stored
from pacarchive.backends.s3.recall import Recaller
from pacarchive.backends.s3.record import Data, Layout, Record
from pacarchive.backends.s3.records import Records
from pacarchive.backends.s3.residency import Residency
from pacarchive.backends.s3.restore import Restorer
from pacarchive.backends.s3.sums import small_sum
from pacarchive.model import RecallProgress, RecallState, TapeLocation

ONGOING = 'ongoing-request="true"'
DAY = 86400


def copy_until(days: float) -> str:
    """The header of a copy that stays for some days."""
    return f'ongoing-request="false", expiry-date="{formatdate(TIME + days * DAY, usegmt=True)}"'


@attrs.define
class Object:
    """An object of the store."""

    record: Record
    storage_class: str = "GLACIER"
    restore: str = ""
    archive: str = ""
    restored: int = 0


class Cold:
    """
    A store with files in cold classes.

    @ivar answers: What a request for a restore gets instead of being carried out.
    @ivar lists: Whether lists tell of restores.
    @ivar down: Whether nothing is answered.
    """

    def __init__(self, *, days: int = 7, tier: str = "Standard") -> None:
        self.double = Double()
        self.double.script.late = lambda: self._answer(self.double.script.heard[-1])
        self.layout = Layout("archive", "")
        self.objects: dict[int, Object] = {}
        self.answers: list[Given] = []
        self.lists = False
        records = Records(self.double.bucket, self.layout)
        restorer = Restorer(self.double.bucket, days, tier)
        self.recaller = Recaller(restorer, self.double.bucket, records, ("GLACIER", "DEEP_ARCHIVE"), days)

    def add(self, *file_ids: int, body: bytes = b"", **more: Any) -> None:
        """Have files."""
        for file_id in file_ids:
            data = None if body else Data("tag", "")
            record = Record(file_id=file_id, size=len(body) or 1000, data=data, body=body)
            self.objects[file_id] = Object(record, **more)

    def asked(self, method: str, what: str = "") -> list[Heard]:
        """The requests that the store got."""
        return [each for each in self.double.script.heard if each.method == method and what in each.path]

    def recall(self, file_id: int) -> RecallProgress:
        """Recall one file."""
        return self.double.result(self.recaller.recall(file_id))

    def poll(self, *file_ids: int) -> dict[int, RecallProgress]:
        """Poll files."""
        return self.double.result(self.recaller.poll(file_ids))

    def states(self, *file_ids: int) -> set[RecallState]:
        """The states of files."""
        return {each.state for each in self.poll(*file_ids).values()}

    def _answer(self, heard: Heard) -> Given:
        if "list-type" in heard.path:
            return self._list(heard)
        match = re.search(r"/([id])/../(\d+)", heard.path)
        assert match is not None, heard.path
        found = self.objects.get(int(match[2]))
        if found is None:
            return error(404, "NoSuchKey")
        if match[1] == "i":
            return Given(200, b"".join(found.record.encode()), {"ETag": '"r"'})
        if heard.method == "POST":
            if self.answers:
                return self.answers.pop(0)
            found.restored += 1
            found.restore = ONGOING
            return Given(202)
        if found.storage_class == "GONE":
            return Given(404)
        headers = {
            "x-amz-storage-class": found.storage_class,
            "Last-Modified": "Fri, 15 Jan 2027 07:00:00 GMT",
            "x-amz-restore": found.restore,
            "x-amz-archive-status": found.archive,
        }
        return Given(200, b"", {name: value for name, value in headers.items() if value})

    def _list(self, heard: Heard) -> Given:
        assert heard.headers["x-amz-optional-object-attributes"] == "RestoreStatus"
        start = re.search(r"start-after=([^&]*)", heard.path)
        after = "" if start is None else start[1].replace("%2F", "/")
        keys = sorted((self.layout.data_key(each.record), each) for each in self.objects.values())
        left = [each for each in keys if each[0] > after]
        text = ""
        for key, each in left[:1000]:
            status = ""
            if self.lists and each.restore == ONGOING:
                status = "<RestoreStatus><IsRestoreInProgress>true</IsRestoreInProgress></RestoreStatus>"
            kind = f"<StorageClass>{each.storage_class}</StorageClass>"
            when = "<LastModified>2027-01-15T07:00:00.000Z</LastModified>"
            text += f"<Contents><Key>{key}</Key><Size>1</Size>{when}{kind}{status}</Contents>"
        more = "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"
        return Given(200, f"<ListBucketResult>{text}{more if len(left) > 1000 else ''}</ListBucketResult>".encode())


def test_a_recall() -> None:
    """It is asked for once, with days and tier; then it is under way, and at last the bytes are there."""
    cold = Cold()
    cold.add(1)
    assert cold.recall(1).state is RecallState.ACTIVE
    (asked,) = cold.asked("POST")
    assert asked.path.endswith("?restore=")
    assert b"<Days>7</Days><GlacierJobParameters><Tier>Standard</Tier></GlacierJobParameters>" in asked.body
    assert "content-md5" in asked.headers
    assert cold.recall(1).state is RecallState.ACTIVE
    assert cold.states(1) == {RecallState.ACTIVE}
    cold.objects[1].restore = copy_until(7)
    cold.double.clock.advance(10)
    assert cold.states(1) == {RecallState.RESIDENT}
    assert cold.objects[1].restored == 1


@pytest.mark.parametrize(
    ("answer", "state", "words"),
    [
        (Given(202), RecallState.ACTIVE, ""),
        (Given(200), RecallState.ACTIVE, ""),
        (error(409, "RestoreAlreadyInProgress"), RecallState.ACTIVE, ""),
        (error(503, "GlacierExpeditedRetrievalNotAvailable"), RecallState.UNKNOWN, "no capacity for expedited"),
        (error(503, "SlowDown"), RecallState.UNKNOWN, "too busy"),
        (error(403, "AccessDenied"), RecallState.FAILED, "does not permit"),
        (error(405, "MethodNotAllowed"), RecallState.FAILED, "knows no restores"),
        (error(501, "NotImplemented"), RecallState.FAILED, "knows no restores"),
        (error(412, "Whatever"), RecallState.FAILED, "refuses to restore"),
        (error(403, "InvalidObjectState"), RecallState.UNKNOWN, "nothing to restore"),
        (error(404, "NoSuchKey"), RecallState.UNKNOWN, "nothing to restore"),
    ],
)
def test_each_answer(answer: Given, state: RecallState, words: str) -> None:
    """The store's own words are not for clients."""
    cold = Cold()
    cold.add(1)
    cold.answers = [answer]
    found = cold.recall(1)
    assert (found.state, words in found.words, "secret" in found.words) == (state, True, False)
    assert bool(words) == bool(found.words)


def test_a_tier_that_is_not_taken() -> None:
    """It is left out, for all that follow too; a request that is wrong without one is wrong."""
    cold = Cold(tier="Expedited")
    cold.add(1, 2)
    cold.answers = [error(400, "MalformedXML")]
    assert cold.recall(1).state is RecallState.ACTIVE
    assert cold.recall(2).state is RecallState.ACTIVE
    assert [b"Tier" in each.body for each in cold.asked("POST")] == [True, False, False]
    other = Cold()
    other.add(1)
    other.answers = [error(400, "MalformedXML")] * 2
    assert other.recall(1).state is RecallState.FAILED


def test_what_need_not_be_restored() -> None:
    """No request is made, as each costs: small files, files that are readable, restores that are under way, nothing."""
    cold = Cold()
    cold.add(1, body=b"words")
    cold.add(2, storage_class="")
    cold.add(3, restore=copy_until(6))
    cold.add(4, restore=ONGOING)
    cold.add(5, storage_class="GONE")
    expected = [
        (1, RecallState.RESIDENT),
        (2, RecallState.RESIDENT),
        (3, RecallState.RESIDENT),
        (4, RecallState.ACTIVE),
        (5, RecallState.FAILED),
        (6, RecallState.FAILED),
    ]
    assert [(each, cold.recall(each).state) for each, _ in expected] == expected
    assert [(each, cold.poll(each)[each].state) for each, _ in expected] == expected
    assert cold.asked("POST") == []


def test_a_copy_that_ends_soon_stays_longer() -> None:
    """It is asked for again when less than half of its days are left, and can be read meanwhile."""
    cold = Cold()
    cold.add(1, restore=copy_until(3))
    cold.answers = [Given(200)]
    found = cold.double.result(cold.recaller.location(1))
    assert found == TapeLocation(medium="archive/GLACIER", position=int(TIME) - 3600, size=1000)
    assert cold.recall(1).state is RecallState.RESIDENT
    assert len(cold.asked("POST")) == 1
    cold.objects[1].restore = copy_until(7)
    assert cold.double.result(cold.recaller.location(1)) is None


def test_a_copy_that_has_ended_is_none() -> None:
    """Whatever the store still says of it."""
    cold = Cold()
    cold.add(1, restore=copy_until(-0.001))
    residency, seen = cold.double.result(cold.recaller.residency(cold.objects[1].record))
    assert residency is Residency.OFFLINE
    assert "3 to 5 hours" in str(cold.recaller.offline(seen))
    assert cold.states(1) == {RecallState.UNKNOWN}
    assert cold.recall(1).state is RecallState.ACTIVE


def test_what_the_store_has_moved_comes_back_for_good() -> None:
    """Such a restore has no days."""
    cold = Cold()
    cold.add(1, storage_class="INTELLIGENT_TIERING", archive="ARCHIVE_ACCESS")
    assert cold.recall(1).state is RecallState.ACTIVE
    assert b"Days" not in cold.asked("POST")[0].body


def test_a_store_that_takes_its_time() -> None:
    """Some write a request down and read it later; one that never does is asked again in the end."""
    cold = Cold()
    cold.add(1)
    cold.recall(1)
    cold.objects[1].restore = ""
    cold.double.clock.advance(60)
    assert cold.states(1) == {RecallState.QUEUED}
    cold.double.clock.advance(600)
    assert cold.states(1) == {RecallState.UNKNOWN}


def test_it_is_looked_at_ever_less() -> None:
    """A restore of five hours costs some hundred requests, however often the engine polls, and its end is seen soon."""
    cold = Cold()
    cold.add(1)
    cold.recall(1)
    for _ in range(5 * 360):
        cold.double.clock.advance(10)
        assert cold.states(1) == {RecallState.ACTIVE}
    assert 50 < len(cold.asked("HEAD")) < 150
    cold.objects[1].restore = copy_until(7)
    cold.double.clock.advance(300)
    assert cold.states(1) == {RecallState.RESIDENT}


def test_another_process_goes_on() -> None:
    """What was asked for is the store's to know."""
    cold = Cold()
    cold.add(1, restore=ONGOING)
    assert cold.states(1) == {RecallState.ACTIVE}


def test_a_file_that_was_replaced() -> None:
    """The version that is there now counts."""
    cold = Cold()
    cold.add(1)
    cold.recall(1)
    cold.add(1, storage_class="")
    cold.double.clock.advance(10)
    assert cold.states(1) == {RecallState.RESIDENT}


def _watching(cold: Cold, count: int) -> None:
    cold.add(*range(count))
    for file_id in range(count):
        cold.recall(file_id)
    cold.double.clock.advance(10)
    cold.double.script.heard.clear()


def test_many_are_looked_at_by_listing() -> None:
    """Where the lists tell of restores; what has ended is looked at itself."""
    cold = Cold()
    cold.lists = True
    _watching(cold, 100)
    cold.objects[7].restore = copy_until(7)
    progress = cold.poll(*range(100))
    assert [file_id for file_id, each in progress.items() if each.state is RecallState.RESIDENT] == [7]
    assert (len(cold.asked("GET", "list-type")), len(cold.asked("HEAD"))) == (1, 1)
    assert cold.states(*range(100)) == {RecallState.ACTIVE, RecallState.RESIDENT}


def test_lists_that_tell_nothing() -> None:
    """They are asked once, and files one by one from then on."""
    cold = Cold()
    _watching(cold, 30)
    for _ in range(2):
        assert cold.states(*range(30)) == {RecallState.ACTIVE}
        cold.double.clock.advance(10)
    assert (len(cold.asked("GET", "list-type")), len(cold.asked("HEAD"))) == (1, 60)


def test_few_among_many_are_not_listed() -> None:
    """A page that has few of them is the last."""
    cold = Cold()
    cold.lists = True
    cold.add(*range(1000, 9000))
    _watching(cold, 40)
    assert cold.states(*range(40)) == {RecallState.ACTIVE}
    assert len(cold.asked("GET", "list-type")) == 1
    assert len(cold.asked("HEAD")) > 30


def test_a_store_that_does_not_answer() -> None:
    """The engine hears of it."""
    cold = Cold()
    cold.add(1)
    cold.recall(1)
    cold.double.clock.advance(10)
    cold.double.script.late = lambda: error(500, "InternalError")
    with pytest.raises(errors.BackendUnavailable):
        cold.poll(1)


def test_what_is_watched_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest is looked at each time."""
    monkeypatch.setattr(recall, "_MOST_WATCHED", 2)
    cold = Cold()
    cold.add(1, 2, 3)
    for file_id in (1, 2, 3):
        cold.recall(file_id)
    assert list(cold.recaller._watched) == [2, 3]
    assert cold.states(1, 2, 3) == {RecallState.ACTIVE}


def test_versions_are_restored() -> None:
    """In a bucket that keeps them, the one that the record names."""
    cold = Cold()
    cold.add(1)
    cold.objects[1].record = attrs.evolve(cold.objects[1].record, data=Data("tag", f"v{uuid4().hex}"))
    cold.recall(1)
    assert all("versionId=v" in each.path for each in cold.asked("HEAD") + cold.asked("POST"))


def test_only_data_is_in_another_class() -> None:
    """Never what the archive needs to know of it."""
    double = Double()
    double.script.then = Given(
        200, b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
    )
    bucket = Bucket(double.store, unsigned=True, storage_class="GLACIER")
    double.result(bucket.put("i/1", [b"words"]))
    double.result(bucket.put("d/1", [b"words"], total=small_sum([b"words"])))
    double.result(bucket.create("d/1"))
    double.result(bucket.copy(Source("archive", "x", Stored("tag", "", 5)), "d/1"))
    classes = [each.headers.get("x-amz-storage-class") for each in double.script.heard]
    assert classes == [None, "GLACIER", "GLACIER", "GLACIER"]


def test_a_copy_that_goes_while_it_is_read() -> None:
    """The reader is cut off, and the request not repeated."""
    double = Double(error(403, "InvalidObjectState"))
    with pytest.raises(errors.BackendUnavailable, match="cold storage class"):
        double.result(double.bucket.stream("d/1", Stored("tag", "", 5), 0, 5))
    assert len(double.script.heard) == 1
