"""Look-ups in the sideband database that hold nobody up.

Look-ups that arrive while one is under way go together in the next: one round trip and one thread for up to
L{MOST_PLACES} files.  Each has a time limit of its own, wherever it is stuck.  Once the database has failed or exceeded
the limit it is not asked any more, so that nobody else waits for it, until a check of it, tried every second, succeeds.
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
"""Seconds between checks of a database that is well: a look-up does not notice that it has come to be another one."""

_RETRY = 1.0
"""Seconds from a failed check to the next."""

_log = Logger()


class CatalogueUnavailable(Exception):
    """Nothing is known at present.  C{str()} says why, for the operator."""


class SidebandCatalogue:
    """
    Finds what the database has under a name.

    @param reactor: The reactor; also the clock.
    @param settings: How to connect, and the time limit.
    @param home: The archive's own directory, by which the database is recognised.
    @ivar trouble: What is wrong with the database, for the operator; empty when nothing is.
    @ivar sees_inodes: Whether the mount shows the inode numbers that the database has.
    @ivar counts: How often what happened that is out of the ordinary.
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
        self._hashes_hold = False
        self._remembered: dict[Place, tuple[float, list[Entry]]] = {}
        self._next_check: IDelayedCall | None = None
        self._checking: Deferred[None] | None = None
        self._curious: list[Deferred[None]] = []
        self._told = False
        self.trouble = "it has not been asked yet"
        self.sees_inodes = False
        self.counts: Counter[str] = Counter()

    async def start(self, home_ino: int) -> None:
        """
        Begin; ends after the first check, however that goes: the database is not needed to store and read.

        @param home_ino: The inode number of the archive's directory, as the mount shows it.
        """
        self._home_ino = home_ino
        self._pool = SidebandPool(self._clock, self._settings)
        self._pool.start()
        await self.check()

    async def stop(self) -> None:
        """End; what still waits is answered that nothing is known."""
        if self._pool is None:
            return
        self.trouble = "the service is stopping"
        self._dismiss()
        self._check_no_more()
        pool, self._pool = self._pool, None
        if self._checking is not None:
            self._checking.cancel()
        pool.close()

    async def find(self, place: Place) -> list[Entry]:
        """
        What is under a name: nothing, one, or several where events were lost.

        @raise CatalogueUnavailable: The database does not answer, or not within the limit.
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
            words = f"it has not answered within {self._limit:g} s"
            if failures == self._failures:  # else this look-up hung already when the last failure was noticed
                self._fail(words)
            raise CatalogueUnavailable(words) from None

    async def check(self) -> str:
        """
        Look at the database as a whole, now: whether it answers, is one of SAM's, and knows the archive.

        @return: L{trouble} as it is now.
        """
        if self._pool is None:
            return self.trouble
        done: Deferred[None] = Deferred()
        self._curious.append(done)
        if self._checking is None:
            self._check_no_more()
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
        await pool.ask(queries.look_up([self._home], by_hash=True))  # for the tables and columns of no directory
        self.sees_inodes = self._home_ino in numbers

    def _checked(self, result: Failure | None) -> None:
        self._checking = None
        if self._pool is not None:
            self._take_to_heart(result)
        curious, self._curious = self._curious, []
        for each in curious:
            if not each.called:
                each.callback(None)

    def _take_to_heart(self, result: Failure | None) -> None:
        if isinstance(result, Failure):
            self._fail(*self._words_of(result))
            return
        if self.trouble:
            _log.info("sideband database: well; inode numbers are {seen}", seen=self._seen())
            self.trouble = ""
            self._told = False
        self._check_in(_CHECK_EVERY)

    def _words_of(self, failure: Failure) -> tuple[str, str]:
        """What went wrong, for people; and in detail, for the log."""
        if isinstance(error := failure.value, DatabaseError):
            return str(error), error.detail
        if failure.check(defer.TimeoutError):
            return f"it has not answered within {self._limit:g} s", ""
        _log.failure("sideband database: unexpected", failure)
        return "it could not be asked", ""

    def _seen(self) -> str:
        return "those of the mount" if self.sees_inodes else "not those of the mount"

    def _fail(self, words: str, detail: str = "") -> None:
        """Ask no more until a check succeeds.  Said once, however often the checks fail."""
        if not self._told:
            self._told = True
            _log.error(
                "sideband database: {words}; where the bytes of files are is not known {detail}",
                words=words,
                detail=detail,
            )
        self.trouble = words
        self._failures += 1
        self._under_way = 0  # what still hangs from before says nothing of what comes after
        self._dismiss()
        if self._checking is None and self._pool is not None:
            self._check_in(_RETRY)

    def _check_in(self, seconds: float) -> None:
        self._check_no_more()
        self._next_check = self._clock.callLater(seconds, self._check_again)

    def _check_no_more(self) -> None:
        if self._next_check is not None:
            self._next_check.cancel()
            self._next_check = None

    def _dismiss(self) -> None:
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
        Send in the next turn of the reactor: together with what else comes in this one, which costs little more than
        one look-up alone.
        """
        if self._sending is None and self._waiting:
            self._sending = self._clock.callLater(0, self._send)

    def _send(self) -> None:
        """Send what waits, if nothing is under way; else when it fills a round trip, or its turn comes."""
        self._sending = None
        self._waiting = [each for each in self._waiting if not each[1].called]  # some may have left meanwhile
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
        self._hashes_hold = self._hashes_hold or any(entries)
        # One hit proves that this machine's hashes are SAM's: names are hexadecimal, so that no other can differ.
        # Until then what is missing is looked for without, which has the server read whole directories.
        if not self._hashes_hold:
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
        """@param failures: How many there had been when it was sent."""
        current = failures == self._failures
        if current:
            self._under_way -= 1
        if isinstance(result, Failure):
            words, detail = self._words_of(result)
            if current:
                self._fail(words, detail)
            for _, found in batch:
                if not found.called:
                    found.errback(CatalogueUnavailable(words))
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
