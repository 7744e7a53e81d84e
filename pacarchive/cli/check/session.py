"""What the checks share: the archive that is checked, what has been found out about it, and the test files."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.task import deferLater

from pacarchive.cli.check.contents import Comparison, Content, http_date
from pacarchive.cli.check.ids import block, following
from pacarchive.cli.check.raw import Malformed
from pacarchive.cli.check.testfiles import TestFiles, all_of, delete, empty_mtime, is_test_file
from pacarchive.cli.check.wire import TIMEOUT, Answer, NoAnswer, nothing
from pacarchive.cli.check.words import NotApplicable, Refused, Speed, require
from pacarchive.client.words import UNNAMED, UP

if TYPE_CHECKING:
    from pacarchive.cli.check.wire import Wire
    from pacarchive.cli.check.words import Options

T = TypeVar("T")
R = TypeVar("R")

SPARE = 100
"""The number of ids besides those of the many files; more than the checks use."""

SMALL = 200_003
"""The size in bytes of the file that most checks use; not a round number."""

SIZES = {"text": 20_011, "binary": 3_000_017, "empty": 0, "sample": SMALL}
"""The sizes in bytes of the test files that several checks share, by name."""

_POLL = 1.0

OnProgress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and of how much."""

_AS_500 = (400, 403, 404, 409, 413, 507)
"""The statuses that C{compatibility = pacifica} replaces by 500."""


async def require_archive(wire: Wire) -> Answer:
    """
    Require that an archive answers, of any version and in any state.

    @return: Its answer to C{GET /}.
    @raise NoAnswer: Nothing answers, or something else.
    """
    answer = await wire.ask("GET", "/")
    # Whether the message is exactly right is for the check of the greeting.
    said = answer.document.get("message") if isinstance(answer.document, dict) else None
    if answer.status in (401, 403) or (isinstance(said, str) and (answer.status != 200 or UP in said)):
        return answer
    kind = answer.field("Content-Type") or "no type"
    server = answer.field("Server") or UNNAMED
    raise NoAnswer(
        f"no archive answers at {wire.place.whole_url}: GET / was answered with {answer} ({kind}), from {server}; check"
        " the address and the path in it"
    )


def _require_access(answer: Answer) -> None:
    """
    Require that the caller may do what was requested.

    @raise Refused: The archive requires authentication, or refuses the caller.
    """
    if answer.status == 401:
        raise Refused(f"The archive requires authentication ({answer}): give --token-file, --user or --cert.")
    if answer.status == 403:
        raise Refused(
            f"The archive does not allow the checks ({answer}): they need the rights to read, modify and stage."
        )


class Session:
    """
    What the checks of one run share.

    @param reactor: The reactor.
    @param wire: Makes the requests.
    @param options: The options of the command.
    @param progress: Called with the progress of a check.
    @ivar ids: All ids of this run.
    @ivar strict: Whether errors have the statuses of HTTP; else many are 500, as the predecessor's are.
    @ivar server: The server's name and version, as it reports them.
    @ivar overwrite: What a PUT to an id that is taken does, as text; empty until that was found out.
    @ivar speeds: The speeds that were measured.
    @ivar many: The many small files, once they have been put.
    @ivar shared: The test files that several checks share, by name.
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
        self.test_files = TestFiles(reactor, wire)
        self.speeds: list[Speed] = []
        self.many: list[Content] = []
        self.shared: dict[str, Content] = {}
        self._unused = itertools.count()

    # before the first check

    async def prepare(self) -> None:
        """
        Find out what server this is, and require that all ids are free.

        @raise Refused: One is taken, or that cannot be found out.
        @raise NoAnswer: The archive does not answer.
        """
        answer = await require_archive(self.wire)
        self.server = answer.field("Server") or UNNAMED
        _require_access(answer)
        if self.server.startswith("CherryPy") or self.options.predecessor:
            # The predecessor mixes up concurrent requests, even those of different clients.
            self.wire.connections = 1
        if await self._keeps_connections():
            self.wire.keep()
        found = await self.wire.ask("HEAD", self.ids[0])
        _require_access(found)  # an archive may greet everyone, and show its files to a few
        self.strict = found.status != 500
        done = 0

        async def free(file_id: int) -> None:
            nonlocal done
            await self.require_free(file_id)
            done += 1
            self.progress("checking that the ids are free", done, len(self.ids))

        await all_of(self.wire.connections, self.ids, free)

    async def _keeps_connections(self) -> bool:
        """Return whether the server keeps connections open unless it says that it closes them."""
        try:
            async with self.wire.connect() as connection:
                for _ in range(2):
                    connection.send("GET", "/")
                    answer = await connection.answer()
                    if answer is None or answer.closes:
                        return False
        except (NoAnswer, Malformed):
            return False
        return True

    async def require_free(self, file_id: int) -> None:
        """
        Require that an id is free.

        @raise Refused: It is taken, or that cannot be found out.
        """
        found = await self.wire.ask("HEAD", file_id)
        if found.status == (404 if self.strict else 500):
            return
        if found.status // 100 != 2:
            raise Refused(f"Whether id {file_id} is free is not known: HEAD was answered with {found}.")
        if await is_test_file(self.wire, file_id, found):
            raise Refused(
                f"Id {file_id} is taken, by a file that an earlier check has left. Add --clean-up to remove such files."
                " Nothing was changed."
            )
        raise Refused(
            f"Id {file_id} is taken, by a file that is not a test file. Nothing was changed. Use other ids, such as"
            f" --first-id {following(self.options.first_id)}."
        )

    # files

    def require_concurrency(self) -> None:
        """
        Require that the archive can be sent several requests at a time.

        @raise NotApplicable: Requests must be sent one after the other.
        """
        if self.wire.connections == 1:
            raise NotApplicable("This server mixes up files of requests that come at the same time.")

    def status(self, strict: int) -> int:
        """Return the status that the archive uses for a status of HTTP, by its C{compatibility}."""
        return 500 if not self.strict and strict in _AS_500 else strict

    async def new_id(self) -> int:
        """
        Return a new id, after checking again that it is free.

        @raise NotApplicable: It is not.
        """
        file_id = self.ids[next(self._unused)]
        try:
            await self.require_free(file_id)
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
        Put a test file to an id of this run.

        @param fields: Header fields to add.
        @param body: What to send instead of its bytes.
        """
        first = self.test_files.attempt(content.file_id, empty=not content.size)
        if body is None:
            body = content.whole if content.size <= SMALL else content
        answer = await self.wire.ask("PUT", content.file_id, fields, body, **more)
        self.test_files.note(content.file_id, answer)
        if first and answer.status == 412:
            self.test_files.gone(content.file_id)  # another client has stored a file meanwhile
        return answer

    async def put_new(
        self, size: int = 5003, fields: Mapping[str, str] | None = None, *, kind: str = "binary", **more: Any
    ) -> tuple[Content, Answer]:
        """Put a new test file, under an id that is free."""
        content = Content(await self.new_id(), size, kind)
        fields = dict(fields or {})
        if not size:
            fields.setdefault("Last-Modified", http_date(empty_mtime(content.file_id)))
        return content, await self.put(content, {"If-None-Match": "*", **fields}, **more)

    async def stored(self, size: int = 5003, fields: Mapping[str, str] | None = None, **more: Any) -> Content:
        """
        Return a new test file, for a check of something else.

        @raise NotApplicable: It cannot be put.
        """
        content, answer = await self.put_new(size, fields, **more)
        if answer.status != 201:
            raise NotApplicable(f"No test file could be put: {answer}")
        return content

    async def file(self, name: str) -> Content:
        """Return the shared test file of a name, which is put if that has not been done yet."""
        if name not in self.shared:
            size = self.options.large if name == "large" else SIZES[name]
            self.shared[name] = await self.stored(size, kind="text" if name == "text" else "binary")
        return self.shared[name]

    async def remove(self, content: Content) -> Answer:
        """Delete a test file, in the version that this run has put."""
        answer = await delete(self.wire, content.file_id, self.test_files.etag(content.file_id))
        if answer.status // 100 == 2:
            self.test_files.gone(content.file_id)
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

        @param fields: Header fields to add.
        @param query: The query string, with its question mark.
        @param part: The offsets of the part, the end exclusive.
        @param status: The status that is expected.
        @param moved: Called with the count of bytes so far.
        @raise Failed: The answer is not right.
        """
        start, end = part or (0, content.size)
        # The predecessor does not answer before a file on tape is on disk.
        silence_limit = TIMEOUT if self.strict else max(TIMEOUT, self.options.stage_timeout)

        async def ask() -> tuple[Answer, Comparison]:
            comparison = Comparison(content, start, end)
            path = f"/{content.file_id}{query}"
            return await self.wire.ask(
                "GET", path, fields, sink=comparison.feed, moved=moved, silence_limit=silence_limit
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
            "clients know by it that they have all bytes",
        )  # fmt: skip
        return answer

    async def require_absent(self, file_id: int, why: str) -> None:
        """
        Require that an id has no file.

        @param why: Why it matters.
        @raise Failed: There is one.
        """
        for method in ("HEAD", "GET"):
            answer = await self.wire.ask(method, file_id)
            require(answer.status == self.status(404), f"{self.status(404)} for {method}", answer, why)

    async def wait_for_disk(self, file_id: int) -> None:
        """
        Stage a file, and wait until it is on disk.

        @raise Failed: It is not in time.
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

    async def all_of(self, what: Iterable[T], call: Callable[[T], Awaitable[R]], activity: str, total: int) -> list[R]:
        """Call a function for each item, over all connections, and report the progress as that of C{activity}."""
        done = 0

        async def one(each: T) -> R:
            nonlocal done
            result = await call(each)
            done += 1
            self.progress(activity, done, total)
            return result

        return await all_of(self.wire.connections, what, one)
