"""Changes whose answers are lost while others change the same file: each is made once or not at all, and told truly."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from backends.s3.double import Double, Given, Heard, error
from pacarchive import errors
from pacarchive.backends.contract.handling import ABSENT, ALLOW, DENY, IDENTICAL, matching
from pacarchive.backends.s3.bucket import Promises
from pacarchive.backends.s3.record import GONE_SIZE, Layout, Record, decode
from pacarchive.backends.s3.records import OutcomeUnknownError, Publication, Records
from pacarchive.digests import PRIMARY

Fate: TypeAlias = Literal["good", "lost", "failed", "never", "refused", "late", "full"]
"""
What becomes of a PUT: its answer is lost, or is an error; it never comes there, which is not told or is; it comes there
after the next one; the next one is refused for another reason.
"""

Others: TypeAlias = tuple[str, ...]
"""What others do between two attempts."""

MANY: Others = ("put",) * 17


def version_of(number: int) -> Record:
    """A version of file 7."""
    body = b"%d" % number
    return Record(file_id=7, size=len(body), body=body, digests={PRIMARY: hashlib.sha256(body).digest()})


class Key:
    """
    A key of a store that heeds conditions.

    @ivar log: The versions that have been stored under it.
    """

    def __init__(self) -> None:
        self.body: bytes | None = None
        self.log: list[str] = []

    @property
    def tag(self) -> str:
        """The entity tag of what is there."""
        return hashlib.md5(self.body or b"", usedforsecurity=False).hexdigest()

    def answer(self, heard: Heard) -> Given:
        """Do what is asked for."""
        headers = {"ETag": f'"{self.tag}"'}
        if heard.method == "GET":
            return Given(404) if self.body is None else Given(200, self.body, headers)
        assert heard.method == "PUT", "a record is never removed by those who change files"
        if "if-none-match" in heard.headers and self.body is not None:
            return Given(412)
        if "if-match" in heard.headers and (self.body is None or heard.headers["if-match"] != headers["ETag"]):
            return Given(404 if self.body is None else 412)
        self.store(heard.body)
        return Given(200, headers={"ETag": f'"{self.tag}"'})

    def store(self, body: bytes) -> None:
        """Store it."""
        self.body = body
        self.log.append(decode(body, 7, whole=True).version)


@attrs.define
class Rig:
    """
    One who changes a file, over a connection to which the fates of its PUTs happen, and others who do meanwhile.

    @ivar fates: What becomes of the PUTs; those after them are good.
    @ivar between: What others do after each PUT.
    """

    fates: Sequence[Fate]
    between: Sequence[Others]
    key: Key = attrs.field(factory=Key)
    made: int = 0
    put: int = 0
    waiting: list[Heard] = attrs.field(factory=list)

    def client(self) -> tuple[Double, Records]:
        """The one."""
        double = Double()
        double.script.late = lambda: self.spoilt(double.script.heard[-1])
        double.bucket.promises = Promises()
        return double, Records(double.bucket, Layout("archive", ""))

    def others(self, done: Others) -> None:
        """Others do something, without any trouble."""
        for each in done:
            self.made += 1
            current = None if self.key.body is None else decode(self.key.body, 7, whole=True)
            record = version_of(self.made) if each == "put" else Record(file_id=7, removed=True)
            if each == "put" or (current is not None and not current.removed):
                self.key.store(b"".join(record.after(current).encode()))

    def spoilt(self, heard: Heard) -> Given:
        """What the one gets to hear."""
        if heard.method != "PUT":
            return self.key.answer(heard)
        number, self.put = self.put, self.put + 1
        fate = self.fates[number] if number < len(self.fates) else "good"
        waiting, self.waiting = self.waiting, []
        if fate == "late":
            self.waiting.append(heard)
        given = Given(0)
        if fate in ("good", "lost", "failed"):
            given = self.key.answer(heard)
        for each in waiting:
            self.key.answer(each)
        if number < len(self.between):
            self.others(self.between[number])
        match fate:
            case "good":
                return given
            case "failed":
                return error(500, "InternalError")
            case "refused":
                return error(503, "SlowDown")
            case "full":
                return error(507, "InsufficientStorage")
        return Given(0)

    def end(self) -> None:
        """What is on its way comes there."""
        for each in self.waiting:
            self.key.answer(each)


_fates = st.lists(st.sampled_from(["good", "lost", "failed", "never", "refused", "late", "full"]), max_size=4)
_others = st.sampled_from([(), ("remove",), ("put",), ("remove", "put"), ("put", "remove"), ("put", "put"), MANY])
_VERBS: dict[str, Any] = {"allow": ALLOW, "deny": DENY, "absent": ABSENT, "identical": IDENTICAL, "any": matching("*")}


@settings(max_examples=300)
@given(
    verb=st.sampled_from([*_VERBS, "remove", "create"]),
    before=_others,
    fates=_fates,
    between=st.lists(_others, max_size=4),
)
@example(verb="deny", before=(), fates=["lost"], between=[("remove",)])
@example(verb="create", before=(), fates=["lost"], between=[("remove",)])
@example(verb="absent", before=(), fates=["lost"], between=[("put", "remove")])
@example(verb="absent", before=(), fates=["failed"], between=[("put",)])
@example(verb="allow", before=("put",), fates=["lost"], between=[("put",)])
@example(verb="remove", before=("put",), fates=["failed"], between=[("put",)])
@example(verb="remove", before=("put",), fates=["lost"], between=[("put", "remove")])
@example(verb="any", before=("put",), fates=["late"], between=[("put",), ("remove",)])
@example(verb="allow", before=("put",), fates=["lost", "full"], between=[])
@example(verb="any", before=("put",), fates=["lost"], between=[MANY])
@example(verb="allow", before=MANY, fates=["lost"], between=[])
def test_each_change_is_made_once_and_told_truly(
    verb: str, before: Others, fates: list[Fate], between: list[Others]
) -> None:
    """A success is one, a refusal has changed nothing, and whatever else is said to be unknown."""
    rig = Rig(fates, between)
    rig.others(before)
    double, records = rig.client()
    mine = version_of(1000)
    publication = Publication()
    begun = len(rig.key.log)
    told: BaseException | None = None
    try:
        if verb == "remove":
            double.result(records.remove(7, ALLOW))
        elif verb == "create":
            double.result(records.create(mine))  # says whether a record was there, whoever's
        else:
            double.result(records.publish(mine, _VERBS[verb], publication))
    except errors.ArchiveError as caught:
        told = caught
    said_nothing = publication.is_nothing
    rig.end()
    own = [decode(each.body, 7, whole=True).version for each in double.script.heard if each.method == "PUT"]
    times = sum(rig.key.log[begun:].count(each) for each in set(own))
    assert times <= 1
    if verb == "create":
        return
    if told is None:
        assert times == 1
    elif isinstance(told, OutcomeUnknownError):
        assert MANY in between or "full" in fates
        assert verb == "remove" or not said_nothing
    else:
        assert times == 0


@pytest.mark.parametrize("verb", ["allow", "remove"])
def test_who_gets_no_answer_is_told_that_nothing_is_known(verb: str) -> None:
    """Whatever has become of it: it may be made later still.  But what was never sent is not made."""
    fates: list[tuple[Fate, bool]] = [("never", True), ("refused", False)]
    for fate, in_doubt in fates:
        rig = Rig([fate] * 40, [])
        rig.others(("put",))
        double, records = rig.client()
        publication = Publication()
        work = records.remove(7, ALLOW) if verb == "remove" else records.publish(version_of(9), ALLOW, publication)
        with pytest.raises(errors.BackendUnavailable) as caught:
            double.result(work)
        assert isinstance(caught.value, OutcomeUnknownError) is in_doubt
        assert ("not known" in str(caught.value)) is in_doubt
        if verb == "allow":
            assert publication.is_nothing is not in_doubt


def test_what_has_no_answer_is_looked_at() -> None:
    """If all answers are lost but that one, it is known all the same."""
    rig = Rig(["lost"] * 40, [])
    double, records = rig.client()
    mine = version_of(9)
    assert double.result(records.publish(mine, DENY, Publication())) == (mine, None)
    assert rig.key.log == [mine.version]


def test_the_last_records_are_remembered() -> None:
    """Not more of them than there is room for; and who removes a file writes so much, as a sweep goes by that."""
    rig = Rig([], [])
    rig.others(MANY)
    rig.others(("remove",))
    assert rig.key.body is not None
    assert len(rig.key.body) == GONE_SIZE
    record = decode(rig.key.body, 7, whole=True)
    assert record.before == tuple(each[:16] for each in rig.key.log[-2:-18:-1])
