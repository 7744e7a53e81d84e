"""Requests to an object store: what is repeated, what is not, and what a client is told."""

from __future__ import annotations

import pytest
from botocore.credentials import RefreshableCredentials
from twisted.internet.defer import CancelledError, Deferred
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from backends.s3.double import TIME, Double, Given, error
from pacarchive import errors
from pacarchive.backends.s3.bucket import Absent, Promises, Stored, Tagged, UnfulfilledError
from pacarchive.backends.s3.lane import Lane
from pacarchive.backends.s3.sums import Check

STORED = Given(200, headers={"ETag": '"abc"'})
PASSING = [
    error(500, "InternalError"),
    error(503, "SlowDown"),
    error(503, "ServiceUnavailable"),
    error(429, "TooManyRequests"),
    error(409, "OperationAborted"),
    error(409, "ConditionalRequestConflict"),
    error(400, "RequestTimeout"),
    error(400, "BadDigest"),
    Given(502, b"<html>what a proxy says</html>"),
    Given(500),
    Given(0),
    Given(1),
]


@pytest.mark.parametrize("trouble", PASSING, ids=lambda given: f"{given.status}-{given.body[32:50].decode()}")
def test_what_passes_is_waited_for(trouble: Given) -> None:
    """The same request is sent again, signed anew, until it succeeds."""
    double = Double(trouble, trouble, STORED)
    assert double.result(double.bucket.put("i/1", [b"wor", b"ds"])) == Stored("abc", "", 5)
    assert [each.body for each in double.script.heard] == [b"words"] * 3
    assert {each.path for each in double.script.heard} == {"/archive/i/1"}


def test_pauses_grow_and_end() -> None:
    """Each is twice the one before, until they are long; after a minute the caller is told, in our words."""
    double = Double()
    double.script.then = error(500, "InternalError")
    with pytest.raises(errors.BackendUnavailable, match="does not answer, or fails") as raised:
        double.result(double.bucket.put("i/1", [b"words"]))
    assert double.slept == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10, 10, 10]
    assert "secret" not in str(raised.value)


def test_pauses_differ_between_clients() -> None:
    """By chance, so that many do not come back at the same moment."""
    double = Double(error(500, "InternalError"), STORED)
    double.store._chance = lambda: 0.0
    double.result(double.bucket.put("i/1", [b"words"]))
    assert double.slept == [0.05]


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (error(403, "AccessDenied"), errors.BackendUnavailable),
        (error(400, "InvalidArgument"), errors.BackendUnavailable),
        (error(404, "NoSuchBucket"), errors.BackendUnavailable),
        (error(400, "EntityTooLarge"), errors.TooLarge),
        (error(507, "InsufficientStorage"), errors.NoSpace),
        (error(403, "QuotaExceeded"), errors.NoSpace),
        (Given(301), errors.BackendUnavailable),
    ],
)
def test_what_does_not_pass_is_not_repeated(given: Given, kind: type[Exception]) -> None:
    """And the store's own words are not for clients."""
    double = Double(given)
    with pytest.raises(kind) as raised:
        double.result(double.bucket.put("i/1", [b"words"]))
    assert [each.method for each in double.script.heard if each.method != "HEAD"] == ["PUT"]
    assert "secret" not in str(raised.value)


def test_a_busy_store_is_asked_less() -> None:
    """By half for each time that it says so, and slowly more again."""
    double = Double(error(503, "SlowDown"), error(429, "Whatever"))
    double.result(double.bucket.put("i/1", [b"words"]))
    assert double.store._small.limit == 2
    for _ in range(40):
        double.result(double.bucket.put("i/1", [b"words"]))
    assert double.store._small.limit == 8


def test_conditions_are_sent_and_judged() -> None:
    """With quotes or without, as the store wants them."""
    double = Double(STORED, Given(412), STORED, Given(404), Given(412), STORED)
    double.result(double.bucket.put("i/1", [b"words"], Absent()))
    with pytest.raises(UnfulfilledError):
        double.result(double.bucket.put("i/1", [b"words"], Absent()))
    double.result(double.bucket.put("i/1", [b"words"], Tagged("abc")))
    with pytest.raises(UnfulfilledError):
        double.result(double.bucket.put("i/1", [b"words"], Tagged("abc")))
    with pytest.raises(UnfulfilledError):
        double.result(double.bucket.delete("i/1", Tagged("abc")))
    double.bucket.promises = Promises(quoted_tags=False)
    double.result(double.bucket.put("i/1", [b"words"], Tagged("abc")))
    fields = [(each.headers.get("if-none-match"), each.headers.get("if-match")) for each in double.script.heard]
    assert fields == [("*", None)] * 2 + [(None, '"abc"')] * 3 + [(None, "abc")]


# Success that is none


def _completed(*answers: Given) -> tuple[Double, Stored]:
    double = Double(*answers)
    return double, double.result(double.bucket.complete("d/1", "upload", [{"ETag": '"a"', "PartNumber": "1"}], 5))


HEAD = Given(200, b"words", {"ETag": '"whole-1"'})
DONE = Given(200, b"<CompleteMultipartUploadResult/>")


def test_success_with_an_error_is_repeated() -> None:
    """Stores send the status before they have begun, and white space while they are at it."""
    double, stored = _completed(Given(200, b" \n\n" + error(500, "InternalError").body), DONE, HEAD)
    assert stored == Stored("whole-1", "", 5)
    assert [each.method for each in double.script.heard] == ["POST", "POST", "HEAD"]


def test_data_that_looks_like_an_error_is_data() -> None:
    """A client may store what it likes."""
    body = error(500, "InternalError").body
    double = Double(Given(200, body, {"ETag": '"abc"'}))
    assert double.result(double.bucket.get("i/1", most=1000)) == (body, Stored("abc", "", len(body)))


@pytest.mark.parametrize("lost", [Given(0), Given(1), error(500, "InternalError")], ids=["cut", "silent", "error"])
def test_a_lost_answer_of_a_completion(lost: Given) -> None:
    """The second attempt finds no upload any more; what counts is the object."""
    _double, stored = _completed(lost, error(404, "NoSuchUpload"), HEAD)
    assert stored == Stored("whole-1", "", 5)


@pytest.mark.parametrize("head", [Given(404), Given(200, b"word", {"ETag": '"whole-1"'})], ids=["nothing", "less"])
def test_a_completion_that_made_something_else(head: Given) -> None:
    """It is not believed."""
    with pytest.raises(errors.BackendUnavailable, match="lost"):
        _completed(DONE, head)


def test_an_upload_without_an_id() -> None:
    """It is none."""
    for body in (b"", b"no document", b"<InitiateMultipartUploadResult/>", b"<Other><UploadId>1</UploadId></Other>"):
        double = Double(Given(200, body))
        with pytest.raises(errors.BackendUnavailable):
            double.result(double.bucket.create("d/1"))


def test_an_answer_without_end_is_left() -> None:
    """What the store sends takes no more memory than what was asked for."""
    double = Double()
    double.script.then = Given(200, b"x" * 2000)
    with pytest.raises(errors.BackendUnavailable):
        double.result(double.bucket.get("i/1", most=1000))


# What is corrected


def test_the_clock_of_the_store_is_followed() -> None:
    """A machine whose clock is wrong can go on, and its requests have the store's time."""
    late = error(403, "RequestTimeTooSkewed", Date="Fri, 15 Jan 2027 10:00:00 GMT")
    double = Double(late, STORED, STORED)
    for _ in range(2):
        double.result(double.bucket.put("i/1", [b"words"]))
    assert [each.headers["x-amz-date"] for each in double.script.heard] == [
        "20270115T080000Z",
        "20270115T100000Z",
        "20270115T100000Z",
    ]
    assert double.store.now() == TIME + 7200


def test_a_clock_that_is_right_is_not_corrected() -> None:
    """Nor is one of nonsense followed."""
    for date in ("Fri, 15 Jan 2027 08:00:30 GMT", "yesterday", ""):
        double = Double(error(403, "RequestTimeTooSkewed", Date=date))
        with pytest.raises(errors.BackendUnavailable):
            double.result(double.bucket.put("i/1", [b"words"]))
        assert double.store.now() == TIME


def test_the_region_is_taken_from_the_refusal() -> None:
    """The store knows where the bucket is."""
    wrong = error(400, "AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>")
    double = Double(wrong, STORED)
    double.result(double.bucket.put("i/1", [b"words"]))
    assert ["/eu-west-1/s3/" in each.headers["authorization"] for each in double.script.heard] == [False, True]


def test_a_store_that_is_never_content_is_left() -> None:
    """It cannot make a client go round for ever."""
    double = Double()
    double.script.then = error(403, "ExpiredToken")
    with pytest.raises(errors.BackendUnavailable):
        double.result(double.bucket.put("i/1", [b"words"]))
    assert len(double.script.heard) == 3


# Documents


@pytest.mark.parametrize(
    "document",
    [
        b'<!DOCTYPE x [<!ENTITY a "aaaa">]><ListBucketResult>&a;</ListBucketResult>',
        '<?xml version="1.0" encoding="utf-16"?><ListBucketResult/>'.encode("utf-16"),
        '<?xml version="1.0" encoding="cp037"?><!DOCTYPE x><ListBucketResult/>'.encode("cp037"),
        b"<ListBucketResult>&undefined;</ListBucketResult>",
        b"<ListBucketResult>",
        b"",
        b"<html/>",
        b"<ListBucketResult><Contents><Key>k</Key><Size>-1</Size></Contents></ListBucketResult>",
        b"<ListBucketResult><Contents><Size>1</Size><LastModified>?</LastModified></Contents></ListBucketResult>",
    ],
)
def test_documents_are_not_trusted(document: bytes) -> None:
    """Neither their form nor what is in them."""
    double = Double(Given(200, document))
    with pytest.raises(errors.BackendUnavailable, match="an answer that is none"):
        double.result(double.bucket.page("i/", 10))


def test_a_list_is_read() -> None:
    """With and without a name space, and where it goes on."""
    entry = (
        "<Contents><Key>i/1 &amp; 2</Key><Size>7</Size><LastModified>2027-01-15T08:00:00.000Z</LastModified></Contents>"
    )
    for space in ("", ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'):
        more = "<IsTruncated>true</IsTruncated><NextContinuationToken>t&lt;</NextContinuationToken>"
        double = Double(Given(200, f"<ListBucketResult{space}>{more}{entry}</ListBucketResult>".encode()))
        page = double.result(double.bucket.page("i/", 10, after="i/0 0"))
        assert [(each.key, each.size, each.modified) for each in page.objects] == [("i/1 & 2", 7, TIME)]
        assert page.token == "t<"
        (heard,) = double.script.heard
        assert heard.path == "/archive?list-type=2&max-keys=10&prefix=i%2F&start-after=i%2F0%200"


# Data


@implementer(IAgent)
class Silent:
    """An agent whose requests never end."""

    def __init__(self) -> None:
        self.requests: list[Deferred[IResponse]] = []

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        self.requests.append(Deferred())
        return self.requests[-1]


def test_who_leaves_takes_no_slot_along() -> None:
    """Neither one whose request is sent, nor one that waits for its turn."""
    double = Double(agent=Silent(), most=1)
    work = [Deferred.fromCoroutine(double.bucket.head("i/1")) for _ in range(3)]
    ended: list[object] = []
    for each in work:
        each.addErrback(lambda failure: ended.append(failure.check(CancelledError)))
    for each in (work[1], work[0], work[2]):
        each.cancel()
    assert ended == [CancelledError] * 3
    assert double.store._small._under_way == 0
    assert double.clock.getDelayedCalls() == []


def test_slots_are_given_in_turn() -> None:
    """First come, first served."""
    lane = Lane(1)
    order: list[int] = []

    async def work(number: int) -> None:
        await lane.enter()
        order.append(number)

    for number in range(3):
        Deferred.fromCoroutine(work(number))
    lane.leave()
    assert order == [0, 1]
    lane.leave()
    assert order == [0, 1, 2]


@pytest.mark.parametrize(
    ("checks", "unsigned", "expected"),
    [
        (
            {Check.CRC32, Check.MD5},
            True,
            {"x-amz-checksum-crc32": "cX0ejA==", "x-amz-content-sha256": "UNSIGNED-PAYLOAD"},
        ),
        (
            {Check.CRC32, Check.SHA256, Check.MD5},
            False,
            {"x-amz-content-sha256": "dba36bffa5cab0f922d087a3aeb179f9d4e745df40b323e1b1471402848c8a3e"},
        ),
        ({Check.MD5}, True, {"content-md5": "iXWeEoTiR5uZHSZp3hBJQg==", "x-amz-content-sha256": "UNSIGNED-PAYLOAD"}),
    ],
    ids=["crc32", "sha256", "md5"],
)
def test_parts_have_a_sum_that_the_store_compares(checks: set[Check], unsigned: bool, expected: dict[str, str]) -> None:
    """The cheapest of those that it heeds, and a signature of the data where others may be on the way."""
    double = Double(STORED)
    double.bucket._unsigned = unsigned
    double.bucket.promises = Promises(checks=frozenset(checks))
    summing = double.bucket.summing()
    for piece in (b"wor", b"ds"):
        summing.update(piece)
    double.result(double.bucket.put_part("d/1", "upload", 1, [b"wor", b"ds"], summing.total()))
    (heard,) = double.script.heard
    found = {name: value for name, value in heard.headers.items() if name in expected or "md5" in name or "crc" in name}
    assert found == expected


# Credentials


def test_credentials_that_expire_are_renewed() -> None:
    """Before they do, and when the store does not take them any more."""
    asked: list[int] = []

    def refresh() -> dict[str, str]:
        asked.append(1)
        return {
            "access_key": f"key{len(asked)}",
            "secret_key": "s",
            "token": "t",
            "expiry_time": "2100-01-01T00:00:00Z",
        }

    found = RefreshableCredentials.create_from_metadata(refresh(), refresh, "test")
    double = Double(STORED, error(403, "ExpiredToken"), STORED, find=lambda: found)
    for _ in range(2):
        double.result(double.bucket.put("i/1", [b"words"]))
    assert [each.headers["x-amz-security-token"] for each in double.script.heard] == ["t"] * 3
    assert ["Credential=key1/" in each.headers["authorization"] for each in double.script.heard] == [True] * 3


def test_without_credentials_nothing_is_sent() -> None:
    """And a later request looks again."""
    given: list[object] = []
    double = Double(STORED, find=lambda: given[0] if given else None)
    with pytest.raises(errors.BackendUnavailable, match="no credentials"):
        double.result(double.bucket.put("i/1", [b"words"]))
    assert double.script.heard == []
    double.clock.advance(61)
    given.append(Double().credentials._find())
    double.result(double.bucket.put("i/1", [b"words"]))
