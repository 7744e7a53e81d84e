"""What was answered at once (L{pacarchive.web.quick}), counted and written down for all of a turn together.

To count is a dozen additions in memory that two processes share, and to write down is a line: for each request by
itself, that would be a tenth of what a small answer costs.  It is done before the answers leave, so that nobody has one
that is not counted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import attrs

from pacarchive.web.http.answers import QuickAnswer

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress

    from pacarchive.access.identity import Access
    from pacarchive.telemetry.requests import RequestCounts
    from pacarchive.web.http.outbox import Outbox

FEW = 3
"""Answers that are counted one by one: to sort them takes longer."""


@attrs.frozen(eq=False)
class Sort:
    """
    What all answers of one sort have in common.

    @ivar method: That of the requests.
    @ivar status: The status of the answers.
    @ivar digest: How the comparison of digests ended, where there was one.
    @ivar refused: Whether the requests were refused before their route was looked for.
    """

    method: bytes
    status: int
    digest: str | None = None
    refused: bool = False


@attrs.frozen(eq=False)
class Asking:
    """
    What the requests of a connection have in common, as long as their fields are the same.

    @ivar agent: What the client calls itself.
    @ivar client: Where they come from.
    @ivar access: Who asks.
    @ivar lines: What their lines in the access log have in common, by sort; for who writes them.
    """

    agent: bytes | None
    client: IAddress | None
    access: Access | None
    lines: dict[Sort, bytes] = attrs.field(factory=dict, init=False)

    def by(self, access: Access | None) -> Asking:
        """The same, where it may be somebody else who asks, or one with other rights."""
        return self if access is self.access else Asking(self.agent, self.client, access)


Entry: TypeAlias = tuple[Sort, Asking, bytes, int, int, float, float]
"""One answer: its sort, who asked, the target, the bytes of its body, the number of the request, when it came, and when
the answer was made.  No class: to make an instance takes longer than to count it."""


class Keeping(Protocol):
    """What is asked of the site."""

    counts: RequestCounts
    outbox: Outbox
    when_over: Callable[[Any, float, int, bool], None] | None
    when_answered: Callable[[list[Entry]], None] | None

    def name_of(self, number: int) -> str:
        """What a request is called."""


class Ledger:
    """
    Keeps what was answered in this turn.

    @param site: The site.
    """

    def __init__(self, site: Keeping) -> None:
        self._site = site
        self._entries: list[Entry] = []

    def note(self, entry: Entry) -> None:
        """Count and write down an answer, before it leaves."""
        self._entries.append(entry)
        if not self._site.outbox.waits:  # it has left
            self.settle()

    def settle(self) -> None:
        """See to all that was noted."""
        if not (entries := self._entries):
            return
        self._entries = []
        site = self._site
        if len(entries) <= FEW:
            for sort, _, _, size, _, began, ended in entries:
                site.counts.answered(sort.method, sort.status, ended - began, size)
        else:
            sorts = {each[0] for each in entries}
            for sort in sorts:
                some = entries if len(sorts) == 1 else [each for each in entries if each[0] is sort]
                durations = [each[6] - each[5] for each in some]
                site.counts.all_answered(sort.method, sort.status, durations, [each[3] for each in some])
        if site.when_answered is not None:
            site.when_answered(entries)
        elif site.when_over is not None:
            for each in entries:
                site.when_over(self._answer(each), each[6], each[0].status, True)

    def _answer(self, entry: Entry) -> QuickAnswer:
        sort, asking, target, size, number, began, ended = entry
        return QuickAnswer(
            sort.method, target, sort.status, size, self._site.name_of(number), sort.digest, asking.access,
            asking.agent, asking.client, began, 0.0 if sort.refused else ended, routed=not sort.refused,
        )  # fmt: skip
