"""Look files up in the sideband database, with a timeout.

Look-ups that arrive while one is under way are sent together in the next batch: one round trip and one thread for up
to L{MOST_PLACES} files.  Each has a timeout of its own.  Once the database has failed or timed out, look-ups fail at
once, so that no request waits for it, until a check of the database succeeds; that is retried every second.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from pacarchive.backends.sideband import queries
from pacarchive.backends.sideband.database import DatabaseError, SidebandPool
from pacarchive.backends.sideband.names import Place
from pacarchive.backends.sideband.queries import MOST_PLACES
from pacarchive.backends.sideband.residency import Entry
from pacarchive.backends.sideband.settings import SidebandSettings

_MOST_REMEMBERED = 16384

_CHECK_EVERY = 60.0
"""Seconds between checks of a database that answers: a look-up would not notice that it has been replaced."""

_RETRY = 1.0
"""Seconds from a failed check to the next."""

_log = Logger()


class CatalogueUnavailable(Exception):
    """The database cannot be asked at present.  C{str()} says why, for the operator."""


class SidebandCatalogue:
    """
    Finds the entries that the database has under a name.

    @param reactor: The reactor, also the source of time.
    @param settings: How to connect, and the timeout.
    @param home: The archive's own directory, by which the database is recognised.
    @ivar trouble: What is wrong with the database, for the operator; empty when it answers.
    @ivar sees_inodes: Whether the mount shows the inode numbers that the database has.
    @ivar counts: How often each unusual event has happened.
    """

    def __init__(self, reactor: Any, settings: SidebandSettings, home: Place) -> None:
        self._clock = reactor
        self._settings = settings
        self._home = home
        self._limit = settings.database_timeout
        self._pool: SidebandPool | None = None
        self._home_ino = 0
        self._waiting: list[tuple[Place, Deferred[list[Entry]]]] = []
        self._sending: IDelayedCall | None = None
        self._under_way = 0
        self._failures = 0
        self._hash_confirmed = False
        self._remembered: dict[Place, tuple[float, list[Entry]]] = {}
        self._next_check: IDelayedCall | None = None
        self._checking: Deferred[None] | None = None
        self._check_callers: list[Deferred[None]] = []
        self._reported = False
        self.trouble = "it has not been asked yet"
        self.sees_inodes = False
        self.counts: Counter[str] = Counter()

    async def start(self, home_ino: int) -> None:
        """
        Connect and check the database.  Returns normally if the check fails too: storing and reading do not need it.

        @param home_ino: The inode number of the archive's directory, as the mount shows it.
        """
        self._home_ino = home_ino
        self._pool = SidebandPool(self._clock, self._settings)
        self._pool.start()
        await self.check()

    async def stop(self) -> None:
        """Disconnect; look-ups that still wait fail with L{CatalogueUnavailable}."""
        if self._pool is None:
            return
        self.trouble = "the service is stopping"
        self._fail_waiting()
        self._cancel_next_check()
        pool, self._pool = self._pool, None
        if self._checking is not None:
            self._checking.cancel()
        pool.close()

    async def find(self, place: Place) -> list[Entry]:
        """
        Return the entries under a name: usually at most one, but several where SAM has lost events.

        @raise CatalogueUnavailable: The database does not answer, or not within the timeout.
        """
        if self.trouble:
            self.counts["not asked"] += 1
            raise CatalogueUnavailable(self.trouble)
        if (remembered := self._remembered.get(place)) is not None and self._clock.seconds() < remembered[0]:
            return remembered[1]
        failures = self._failures
        found: Deferred[list[Entry]] = Deferred()
        found.addTimeout(self._limit, self._clock)
        self._waiting.append((place, found))
        self._send_soon()
        try:
            return await found
        except defer.TimeoutError:
            message = f"it has not answered within {self._limit:g} s"
            if failures == self._failures:  # else it was sent before the last failure, and says nothing new
                self._suspend(message)
            raise CatalogueUnavailable(message) from None

    async def check(self) -> str:
        """
        Check now whether the database answers, is a sideband database, and knows the archive's directory.

        @return: L{trouble} after the check.
        """
        if self._pool is None:
            return self.trouble
        done: Deferred[None] = Deferred()
        self._check_callers.append(done)
        if self._checking is None:
            self._cancel_next_check()
            self._checking = Deferred.fromCoroutine(self._check(self._pool))
            self._checking.addTimeout(self._limit, self._clock).addBoth(self._checked)
        await done
        return self.trouble

    async def _check(self, pool: SidebandPool) -> None:
        if not await pool.ask(queries.VERSION):
            raise DatabaseError("it has no version: SAM has not made it")
        rows = await pool.ask(queries.directory(self._home))
        numbers = queries.directories_found(self._home, rows)
        if not numbers:
            raise DatabaseError("it does not know the archive's directory: is sam_qfs_prefix right?")
        await pool.ask(queries.look_up([self._home], by_hash=True))  # fails where a table or column is missing
        self.sees_inodes = self._home_ino in numbers

    def _checked(self, result: Failure | None) -> None:
        self._checking = None
        if self._pool is not None:
            self._apply_check(result)
        callers, self._check_callers = self._check_callers, []
        for each in callers:
            if not each.called:
                each.callback(None)

    def _apply_check(self, result: Failure | None) -> None:
        if isinstance(result, Failure):
            self._suspend(*self._messages_of(result))
            return
        if self.trouble:
            _log.info("sideband database: well; inode numbers are {seen}", seen=self._seen())
            self.trouble = ""
            self._reported = False
        self._check_in(_CHECK_EVERY)

    def _messages_of(self, failure: Failure) -> tuple[str, str]:
        """Return what went wrong: a message for people, and details for the log."""
        if isinstance(error := failure.value, DatabaseError):
            return str(error), error.detail
        if failure.check(defer.TimeoutError):
            return f"it has not answered within {self._limit:g} s", ""
        _log.failure("sideband database: unexpected", failure)
        return "it could not be asked", ""

    def _seen(self) -> str:
        return "those of the mount" if self.sees_inodes else "not those of the mount"

    def _suspend(self, message: str, detail: str = "") -> None:
        """Stop look-ups until a check succeeds.  It is logged once, however often the checks fail."""
        if not self._reported:
            self._reported = True
            _log.error(
                "sideband database: {message}; where the bytes of files are is not known {detail}",
                message=message,
                detail=detail,
            )
        self.trouble = message
        self._failures += 1
        self._under_way = 0  # queries that still hang do not count against those that follow
        self._fail_waiting()
        if self._checking is None and self._pool is not None:
            self._check_in(_RETRY)

    def _check_in(self, seconds: float) -> None:
        self._cancel_next_check()
        self._next_check = self._clock.callLater(seconds, self._check_again)

    def _cancel_next_check(self) -> None:
        if self._next_check is not None:
            self._next_check.cancel()
            self._next_check = None

    def _fail_waiting(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None
        waiting, self._waiting = self._waiting, []
        for _, found in waiting:
            if not found.called:
                found.errback(CatalogueUnavailable(self.trouble))

    def _check_again(self) -> None:
        self._next_check = None
        Deferred.fromCoroutine(self.check()).addErrback(
            lambda failure: _log.failure("sideband database: the checks have ended", failure)
        )

    def _send_soon(self) -> None:
        """
        Send in the reactor's next iteration, together with the look-ups that arrive in this one: a batch costs little
        more than one look-up.
        """
        if self._sending is None and self._waiting:
            self._sending = self._clock.callLater(0, self._send)

    def _send(self) -> None:
        """Send the look-ups that wait: at once if no query is under way, else in full batches only."""
        self._sending = None
        self._waiting = [each for each in self._waiting if not each[1].called]  # some may have timed out meanwhile
        while self._waiting and (
            self._under_way == 0 or (self._under_way < self._settings.connections and len(self._waiting) >= MOST_PLACES)
        ):
            batch, self._waiting = self._waiting[:MOST_PLACES], self._waiting[MOST_PLACES:]
            assert self._pool is not None, "there is trouble when it has not started or has ended"
            self._under_way += 1
            places = [place for place, _ in batch]
            work = Deferred.fromCoroutine(self._look_up(self._pool, places))
            work.addBoth(self._looked_up, batch, self._failures)

    async def _look_up(self, pool: SidebandPool, places: Sequence[Place]) -> list[list[Entry]]:
        entries = queries.entries_found(places, await pool.ask(queries.look_up(places, by_hash=True)))
        self._hash_confirmed = self._hash_confirmed or any(entries)
        # One hit proves that name_hash is computed as SAM does it: names are hexadecimal, and so all go the same way.
        # Until then, names that are not found are looked up without it, which makes the server read whole directories.
        if not self._hash_confirmed:
            missing = [number for number, found in enumerate(entries) if not found]
            some = [places[number] for number in missing]
            by_name = queries.entries_found(some, await pool.ask(queries.look_up(some, by_hash=False)))
            for number, found in zip(missing, by_name, strict=True):
                entries[number] = found
                self.counts["found only without name_hash"] += bool(found)
        return entries

    def _looked_up(
        self,
        result: list[list[Entry]] | Failure,
        batch: Sequence[tuple[Place, Deferred[list[Entry]]]],
        failures: int,
    ) -> None:
        """
        Answer the callers of a batch.

        @param failures: The count of failures when it was sent.
        """
        current = failures == self._failures
        if current:
            self._under_way -= 1
        if isinstance(result, Failure):
            message, detail = self._messages_of(result)
            if current:
                self._suspend(message, detail)
            for _, found in batch:
                if not found.called:
                    found.errback(CatalogueUnavailable(message))
            return
        if current:
            self._send_soon()
        for (place, found), entries in zip(batch, result, strict=True):
            self._remember(place, entries)
            if not found.called:
                found.callback(entries)

    def _remember(self, place: Place, entries: list[Entry]) -> None:
        if self._settings.remember:
            self._remembered.pop(place, None)  # so that the order is that of age
            while len(self._remembered) >= _MOST_REMEMBERED:
                del self._remembered[next(iter(self._remembered))]
            self._remembered[place] = self._clock.seconds() + self._settings.remember, entries
