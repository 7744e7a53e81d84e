"""What was answered at once is counted and written down as all else, for a turn together."""

from __future__ import annotations

from http import HTTPStatus
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.task import Clock
from twisted.internet.tcp import Connection

from pacarchive.access.identity import Access, How
from pacarchive.access.rights import EVERYTHING, grant
from pacarchive.telemetry.counts import Counts
from pacarchive.telemetry.requests import RequestCounts
from pacarchive.telemetry.settings import AccessFormat
from pacarchive.web.http.accesslines import LONGEST, line_of, lines_of
from pacarchive.web.http.answers import QuickAnswer
from pacarchive.web.http.ledger import Asking, Entry, Ledger, Sort
from pacarchive.web.http.outbox import Outbox

RUN = "0123456789abcdef"
SORTS = (
    Sort(b"GET", HTTPStatus.OK, "matched"),
    Sort(b"GET", HTTPStatus.OK),
    Sort(b"HEAD", HTTPStatus.NO_CONTENT),
    Sort(b"DELETE", HTTPStatus.UNAUTHORIZED, refused=True),
)
KNOWN = Access("user:ada%s \xe4", How.PASSWORD, (grant(EVERYTHING),))
ASKING = (
    Asking(None, IPv4Address("TCP", "192.0.2.1", 5), Access("anonymous", How.NETWORK, ())),
    Asking(b'a "100 %" agent %d\xff', IPv4Address("TCP", "192.0.2.2", 5), KNOWN),
    Asking(b"%" * (LONGEST + 5), UNIXAddress(None), None),
)

entries = st.builds(
    lambda sort, asking, target, size, number, began, took: (
        (sort, asking, b"/%d" % target, size, number, began, began + took)
    ),
    st.sampled_from(SORTS),
    st.sampled_from(ASKING),
    st.integers(0, 10**19),
    st.integers(0, 1 << 20),
    st.integers(1, 10**9),
    st.floats(1.7e9, 1.8e9),
    st.floats(0, 0.004) | st.floats(-1, 100),
)


def answer_of(entry: Entry) -> QuickAnswer:
    """What a request has that is written down by itself."""
    sort, asking, target, size, number, began, ended = entry
    return QuickAnswer(
        sort.method, target, sort.status, size, f"{RUN}-{number:x}", sort.digest, asking.access, asking.agent,
        asking.client, began, 0.0 if sort.refused else ended, routed=not sort.refused,
    )  # fmt: skip


@given(st.sampled_from(AccessFormat), st.lists(entries, min_size=1, max_size=5))
def test_the_same_lines(form: AccessFormat, some: list[Entry]) -> None:
    """Byte for byte."""
    write, write_all = line_of(form), lines_of(form, RUN)
    for each in ASKING:
        each.lines.clear()
    alone = [write(answer_of(each), each[6], each[0].status, True) for each in some]
    assert write_all(some) == b"".join(alone)


@given(st.lists(entries, min_size=1, max_size=9))
@example([(SORTS[0], ASKING[0], b"/1", 1024, 1, 0.0, 0.001), (SORTS[0], ASKING[0], b"/1", 1025, 1, 0.0, 0.0011)])
def test_the_same_counts(some: list[Entry]) -> None:
    """In the same buckets, with the same sums but for rounding; and once each."""
    together, alone = Counts(), Counts()
    site: Any = SimpleNamespace(
        counts=RequestCounts(together), outbox=SimpleNamespace(waits=True), when_over=None, when_answered=None
    )
    ledger = Ledger(site)
    for each in some:
        ledger.note(each)
    ledger.settle()
    ledger.settle()
    one_by_one = RequestCounts(alone)
    for sort, _, _, size, _, began, ended in some:
        one_by_one.ended(sort.method, sort.status, ended - began, ended - began, size)
        one_by_one.sent(size)
    found, wanted = together.read(), alone.read()
    assert found.keys() == wanted.keys()
    for series, numbers in wanted.items():
        assert found[series] == pytest.approx(numbers), series


class Posted(Connection):
    """A connection to nowhere."""

    def __init__(self, notes: list[object]) -> None:
        self.notes = notes
        self.connected = True
        self.disconnecting = False

    def write(self, data: bytes) -> None: ...

    def doWrite(self) -> Any:
        self.notes.append("sent")


@pytest.mark.parametrize("together", [True, False], ids=["together", "each"])
def test_before_they_leave(together: bool) -> None:
    """Nobody has an answer that is not counted; and where none waits to leave, nothing waits to be counted."""
    notes: list[object] = []
    clock = Clock()
    site: Any = SimpleNamespace(
        counts=RequestCounts(Counts()),
        name_of=lambda number: f"{RUN}-{number:x}",
        when_over=lambda answer, now, code, answered: notes.append((answer, now, code, answered)),
        when_answered=(lambda entries: notes.append(list(entries))) if together else None,
    )
    ledger = Ledger(site)
    site.outbox = Outbox(clock, ledger.settle)
    some: list[Entry] = [(SORTS[0], ASKING[1], b"/%d" % number, 5, number, 1.0, 2.0) for number in range(2)]
    for each in some:
        site.outbox.post(Posted(notes), b"x")
        ledger.note(each)
    assert notes == []
    clock.advance(0)
    noted = [some] if together else [(answer_of(each), 2.0, HTTPStatus.OK, True) for each in some]
    assert notes == [*noted, "sent", "sent"]
    notes.clear()
    ledger.note(some[0])
    assert notes == ([some[:1]] if together else noted[:1])


def test_other_rights() -> None:
    """Of who asks is written what holds then."""
    write_all = lines_of(AccessFormat.JSON, RUN)
    asking = Asking(None, None, None)
    before: Entry = (SORTS[0], asking, b"/1", 5, 1, 1.0, 2.0)
    asking = asking.by(KNOWN)
    assert asking.by(KNOWN) is asking
    lines = write_all([before, (SORTS[0], asking, b"/1", 5, 2, 1.0, 2.0)]).splitlines()
    assert b"principal" not in lines[0]
    assert b'"principal": "user:ada%s \\u00e4", "how": "password"' in lines[1]
