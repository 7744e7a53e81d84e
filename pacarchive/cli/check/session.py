"""What the checks have in common: the archive that is checked, what is known of it, and the test files."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.task import deferLater

from pacarchive.cli.check.contents import Comparison, Content, http_date
from pacarchive.cli.check.ids import block, following
from pacarchive.cli.check.ledger import Ledger, all_of, delete, empty_mtime, whose
from pacarchive.cli.check.raw import Malformed
from pacarchive.cli.check.wire import PATIENCE, Answer, Trouble, nothing
from pacarchive.cli.check.words import NotApplicable, Refused, Speed, require
from pacarchive.client.words import UNNAMED, UP

if TYPE_CHECKING:
    from pacarchive.cli.check.wire import Wire
    from pacarchive.cli.check.words import Options

T = TypeVar("T")
R = TypeVar("R")

SPARE = 100
"""Ids beside those of the many files; more than the checks use."""

SMALL = 200_003
"""Bytes of the file that most checks are about; its parts are not of round numbers."""

SIZES = {"text": 20_011, "binary": 3_000_017, "empty": 0, "sample": SMALL}
"""Bytes of the test files that several checks share, by what they are called."""

_POLL = 1.0

OnProgress = Callable[[str, int, int], None]
"""Called with what is going on, how much of it is done, and of how much."""

_AS_500 = (400, 403, 404, 409, 413, 507)
"""What C{compatibility = pacifica} answers with 500."""


async def greeted(wire: Wire) -> Answer:
    """
    See that an archive answers, of whatever make, and in whatever state.

    @return: Its answer to C{GET /}.
    @raise Trouble: Nothing answers, or something else.
    """
    answer = await wire.ask("GET", "/")
    # Whether it says that word by word is for the check of the greeting.
    said = answer.document.get("message") if isinstance(answer.document, dict) else None
    if answer.status in (401, 403) or (isinstance(said, str) and (answer.status != 200 or UP in said)):
        return answer
    kind = answer.field("Content-Type") or "no type"
    server = answer.field("Server") or UNNAMED
    raise Trouble(
        f"no archive answers at {wire.place.whole_url}: GET / came back with {answer} ({kind}), from {server}; check"
        " the address and the path in it"
    )


class Session:
    """
    One run of the checks.

    @param progress: Called with how far a check has come.
    @ivar ids: All ids of this run.
    @ivar strict: Whether errors have the statuses of HTTP; else many are 500, as the predecessor's were.
    @ivar server: What it says that it is.
    @ivar overwrite: What a PUT to an id that is taken does, in words, once that was found out.
    """

    def __init__(self, reactor: Any, wire: Wire, options: Options, progress: OnProgress) -> None:
        self.reactor = reactor
        self.wire = wire
        self.options = options
        self.progress = progress
        self.ids = block(options.first_id, options.many + SPARE)
        self.strict = True
        self.server = ""
        self.overwrite = ""
        self.ledger = Ledger(reactor, wire)
        self.speeds: list[Speed] = []
        self.many: list[Content] = []
        self.shared: dict[str, Content] = {}
        self._unused = itertools.count()

    # before the first check

    async def look(self) -> None:
        """
        Find out what server this is, and that none of the ids is taken.

        @raise Refused: One is, or that cannot be seen.
        @raise Trouble: The archive does not answer.
        """
        answer = await greeted(self.wire)
        self.server = answer.field("Server") or UNNAMED
        if answer.status in (401, 403):
            raise Refused(f"The archive wants to know who asks ({answer}): give a token with --token-file.")
        if self.server.startswith("CherryPy") or self.options.predecessor:
            # The predecessor mixes up requests that come at the same time, whosever they are.
            self.wire.connections = 1
        if await self._keeps():
            self.wire.keep()
        self.strict = (await self.wire.ask("HEAD", self.ids[0])).status != 500
        done = 0

        async def free(file_id: int) -> None:
            nonlocal done
            await self.see_free(file_id)
            done += 1
            self.progress("looking whether the ids are free", done, len(self.ids))

        await all_of(self.wire.connections, self.ids, free)

    async def _keeps(self) -> bool:
        """Whether the server keeps connections that it does not say it will close."""
        try:
            async with self.wire.talk() as talk:
                for _ in range(2):
                    talk.send("GET", "/")
                    answer = await talk.answer()
                    if answer is None or answer.closes:
                        return False
        except (Trouble, Malformed):
            return False
        return True

    async def see_free(self, file_id: int) -> None:
        """
        @raise Refused: An id is taken, or that cannot be seen.
        """
        found = await self.wire.ask("HEAD", file_id)
        if found.status == (404 if self.strict else 500):
            return
        if found.status // 100 != 2:
            raise Refused(f"Whether id {file_id} is free cannot be told: HEAD is answered with {found}.")
        if await whose(self.wire, file_id, found):
            raise Refused(
                f"Id {file_id} is taken, by a file that an earlier check has left. Add --clean-up to have such files"
                " removed. Nothing was touched."
            )
        raise Refused(
            f"Id {file_id} is taken, by a file that is not a check's. Nothing was touched. Have other ids used, such as"
            f" --first-id {following(self.options.first_id)}."
        )

    # files

    def see_that_many_may_come(self) -> None:
        """
        @raise NotApplicable: Requests must come one after the other.
        """
        if self.wire.connections == 1:
            raise NotApplicable("This server writes one file into another where requests come at the same time.")

    def status(self, strict: int) -> int:
        """The status with which the archive's mode answers what is C{strict} in HTTP's words."""
        return 500 if not self.strict and strict in _AS_500 else strict

    async def take(self) -> int:
        """An id that is free."""
        file_id = self.ids[next(self._unused)]
        try:
            await self.see_free(file_id)
        except Refused as error:
            raise NotApplicable(str(error)) from error
        return file_id

    async def put(
        self,
        content: Content,
        fields: Mapping[str, str] | None = None,
        *,
        body: bytes | Content | None = None,
        **more: Any,
    ) -> Answer:
        """
        Put a test file to an id that this run has taken.

        @param body: What is sent in its place.
        """
        first = self.ledger.attempt(content.file_id, empty=not content.size)
        if body is None:
            body = content.whole if content.size <= SMALL else content
        answer = await self.wire.ask("PUT", content.file_id, fields, body, **more)
        self.ledger.note(content.file_id, answer)
        if first and answer.status == 412:
            self.ledger.gone(content.file_id)  # it is somebody else's, who came first
        return answer

    async def new(
        self, size: int = 5003, fields: Mapping[str, str] | None = None, *, kind: str = "binary", **more: Any
    ) -> tuple[Content, Answer]:
        """Put a test file where there is none."""
        content = Content(await self.take(), size, kind)
        fields = dict(fields or {})
        if not size:
            fields.setdefault("Last-Modified", http_date(empty_mtime(content.file_id)))
        return content, await self.put(content, {"If-None-Match": "*", **fields}, **more)

    async def stored(self, size: int = 5003, fields: Mapping[str, str] | None = None, **more: Any) -> Content:
        """A new test file, for a check that is about something else."""
        content, answer = await self.new(size, fields, **more)
        if answer.status != 201:
            raise NotApplicable(f"No test file could be put: {answer}")
        return content

    async def file(self, name: str) -> Content:
        """The test file of a name, which is put if it is not there yet."""
        if name not in self.shared:
            size = self.options.large if name == "large" else SIZES[name]
            self.shared[name] = await self.stored(size, kind="text" if name == "text" else "binary")
        return self.shared[name]

    async def remove(self, content: Content) -> Answer:
        """Delete a test file, in the version that this run has put."""
        answer = await delete(self.wire, content.file_id, self.ledger.etag(content.file_id))
        if answer.status // 100 == 2:
            self.ledger.gone(content.file_id)
            self.shared = {name: each for name, each in self.shared.items() if each.file_id != content.file_id}
        return answer

    async def get(
        self,
        content: Content,
        fields: Mapping[str, str] | None = None,
        *,
        query: str = "",
        part: tuple[int, int] | None = None,
        status: int = 200,
        moved: Callable[[int], None] = nothing,
    ) -> Answer:
        """
        Read a test file, or a part of it, and compare every byte.

        @raise Failed: It is not right.
        """
        start, end = part or (0, content.size)
        # Where errors are the predecessor's, a file on tape is waited for.
        patience = PATIENCE if self.strict else max(PATIENCE, self.options.stage_timeout)

        async def ask() -> tuple[Answer, Comparison]:
            comparison = Comparison(content, start, end)
            path = f"/{content.file_id}{query}"
            return await self.wire.ask(
                "GET", path, fields, sink=comparison.feed, moved=moved, patience=patience
            ), comparison

        answer, comparison = await ask()
        if answer.status == 503 and answer.field("Retry-After") is not None:
            await self.wait_for_disk(content.file_id)
            answer, comparison = await ask()
        require(answer.status == status, f"{status}", answer, "a file that was stored must come back")
        require(
            comparison.trouble is None,
            "the bytes that were stored",
            comparison.trouble,
            "what comes back is not the file",
        )
        length = answer.field("Content-Length")
        require(
            length in (None, str(min(end, content.size) - start)), f"Content-Length: {end - start}", length,
            "clients go by it to know that they have all",
        )  # fmt: skip
        return answer

    async def see_absent(self, file_id: int, why: str) -> None:
        """
        See that there is no file.

        @raise Failed: There is.
        """
        for method in ("HEAD", "GET"):
            answer = await self.wire.ask(method, file_id)
            require(answer.status == self.status(404), f"{self.status(404)} for {method}", answer, why)

    async def wait_for_disk(self, file_id: int) -> None:
        """
        Have a file staged, and wait for it.

        @raise Failed: It does not come in time.
        """
        asked = await self.wire.ask("POST", file_id, body=b"")
        require(asked.status in (200, 202), "200 or 202 for POST", asked, "a file on tape must be recalled on demand")
        began = self.reactor.seconds()
        limit = self.options.stage_timeout
        while True:
            found = await self.wire.ask("HEAD", file_id)
            require(found.status in (200, 204), "204 for HEAD", found, "a file that was stored must be known")
            if found.field("X-Pacifica-File-Storage-Media") == "disk":
                return
            waited = self.reactor.seconds() - began
            require(
                waited < limit, f"the file on disk within {limit:g} s (--stage-timeout)",
                found.field("X-Pacifica-File-Storage-Media"), "readers of files on tape would wait as long",
            )  # fmt: skip
            self.progress("waiting for tape", int(waited), int(limit))
            await deferLater(self.reactor, _POLL)

    async def all_of(self, what: Iterable[T], call: Callable[[T], Awaitable[R]], words: str, total: int) -> list[R]:
        """Call it for all, over all connections, and report the progress."""
        done = 0

        async def one(each: T) -> R:
            nonlocal done
            result = await call(each)
            done += 1
            self.progress(words, done, total)
            return result

        return await all_of(self.wire.connections, what, one)
