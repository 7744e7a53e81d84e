"""The issuers' keys: found, kept through outages of an issuer and restarts, and refreshed in the background."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from pacarchive.access.discovery import NotHad, authorities, find_key_set, get_document, https_agent
from pacarchive.access.keysets import KeySet, keep, kept, parse_key_set
from pacarchive.errors import BackendUnavailable, Overloaded
from pacarchive.runtime import measuring
from pacarchive.runtime.files import read_file
from pacarchive.runtime.shared import Shared
from pacarchive.times import SECOND, format_iso

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from joserfc.jwk import Key
    from twisted.python.failure import Failure
    from twisted.web.iweb import IAgent

    from pacarchive.access.settings import IssuerSettings

T = TypeVar("T")

FOLDER = "issuer-keys"
"""Where keys are kept, in the directory of the service's state."""

REFRESH = 6 * 3600
"""After how many seconds keys are fetched anew."""

RETRY = 300
"""After how many they are if it failed."""

USABLE = 2 * 86400
"""For how many seconds after they were fetched keys are used, if the issuer does not answer any more."""

ONE_FETCH = 60
"""No token has keys fetched when that was begun within so many seconds: anybody can send tokens with new key ids."""

MOST_WAITING = 64
"""How many may wait for one fetch."""

_LOOK = 60
_NEVER = float("-inf")

_log = Logger()


class RunInThread(Protocol):
    """As L{pacarchive.runtime.threads.BlockingPool.run}."""

    def __call__(self, call: Callable[..., T], /, *args: Any) -> Awaitable[T]:
        """Call in a thread."""


class _Source:
    """
    Where the keys of one issuer come from, and what it has given.

    @ivar kept: The file that its keys are kept in; C{None} for nowhere.
    @ivar keys: What was read last.
    @ivar fetched: When; seconds since the epoch.
    @ivar begun: When keys were asked for last.
    @ivar trouble: Why they cannot be had; else empty.
    @ivar work: What asks for them at present, or did.
    @ivar waiting: How many wait for its end.
    """

    def __init__(self, name: str, settings: IssuerSettings, directory: str | None) -> None:
        self.name = name
        self.settings = settings
        self.kept = None
        if directory and settings.keys is None:
            self.kept = os.path.join(directory, FOLDER, f"{name}.json")
        self.agent: IAgent | None = None
        self.keys: KeySet | None = None
        self.fetched = self.begun = _NEVER
        self.trouble = ""
        self.work: Deferred[None] | None = None
        self.fetch: Shared[None] | None = None
        self.waiting = 0

    def usable(self, now: float) -> Mapping[str, Key]:
        """The keys, by their ids, unless they are too old; those of a file are as good as the file."""
        if self.keys is None or (self.settings.keys is None and now - self.fetched > USABLE):
            return {}
        return self.keys.keys

    def is_due(self, now: float) -> bool:
        """Whether the keys are to be fetched, whoever asks; also where the clock was set back."""
        return not 0 <= now - self.begun < (RETRY if self.trouble else REFRESH)


class KeyStore:
    """
    The public keys of issuers.

    @param reactor: Keeps the time, and makes connections.
    @param issuers: By the names of their sections.
    @param directory: The service's own, C{$STATE_DIRECTORY}; C{None} or empty: keys are kept in memory only.
    @param run: Calls in a thread, as a pool's C{run}.
    @param make_agent: Makes what asks an issuer, of the reactor and what L{authorities} gives.
    @param changed: Called with the name of an issuer when its keys are other ones than before: what was verified with
        those that it had does not count any more.
    """

    def __init__(
        self,
        reactor: Any,
        issuers: Mapping[str, IssuerSettings],
        directory: str | None,
        run: RunInThread,
        *,
        make_agent: Callable[[Any, Any], IAgent] = https_agent,
        changed: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._reactor = reactor
        self._sources = {name: _Source(name, settings, directory) for name, settings in issuers.items()}
        self._run = run
        self._make_agent = make_agent
        self._changed = changed
        self._running = False
        self._loop = LoopingCall(self._look)
        self._loop.clock = reactor

    async def start(self) -> None:
        """
        Read what is kept, and begin to fetch what is not; that goes on in the background.

        @raise ValueError: A file that the settings name cannot be used; C{str()} names the section.
        """
        for source in self._sources.values():
            try:
                await self._prepare(source)
            except (ValueError, OSError) as error:
                raise ValueError(f"[issuer {source.name}]: {error}") from error
        for name in self._sources:
            measuring.count("jwks_fetch_failures_total", name, amount=0)  # a rate needs the zero before the first
        self._running = True
        self._loop.start(_LOOK)

    async def stop(self) -> None:
        """Fetch nothing any more, and wait until that is so."""
        self._running = False
        if self._loop.running:
            self._loop.stop()
        for source in self._sources.values():
            if source.work is not None:
                source.work.cancel()
        for source in self._sources.values():
            if source.fetch is not None:
                await source.fetch.result()

    def find(self, name: str, kid: str) -> Key | None:
        """
        Look for a key among those that are there.

        @param name: The issuer's.
        """
        return self._sources[name].usable(self._reactor.seconds()).get(kid)

    async def ask(self, name: str, kid: str) -> Key | None:
        """
        Look for a key that is not there (L{find}): issuers change their keys.  They are asked at most once in
        L{ONE_FETCH} seconds, whatever it is that is looked for.

        @return: C{None}: the issuer has no such key.
        @raise BackendUnavailable: There are no keys of the issuer at all.
        @raise Overloaded: Too many wait for them already.
        """
        source = self._sources[name]
        if not 0 <= self._reactor.seconds() - source.begun < ONE_FETCH:
            self._begin(source)
        if source.fetch is not None and not source.fetch.ended:
            if source.waiting >= MOST_WAITING:
                raise Overloaded(f"Too many requests wait for the keys of the issuer {name}.")
            source.waiting += 1
            try:
                await source.fetch.result()
            finally:
                source.waiting -= 1
        now = self._reactor.seconds()
        found = source.usable(now)
        if not found:
            wait = min(max(1, round(source.begun + ONE_FETCH - now)), ONE_FETCH) if source.begun > _NEVER else ONE_FETCH
            raise BackendUnavailable(f"The keys of the issuer {name} cannot be had at present.", retry_after=wait)
        return found.get(kid)

    def ages(self) -> dict[str, float | None]:
        """How old the keys of each issuer are, in seconds; C{None} where there are none."""
        now = self._reactor.seconds()
        return {name: None if each.keys is None else now - each.fetched for name, each in self._sources.items()}

    async def _prepare(self, source: _Source) -> None:
        if source.settings.keys is not None:
            self._have(source, await self._run(_read, source.settings.keys), self._reactor.seconds())
            return
        source.agent = self._make_agent(self._reactor, await self._run(authorities, source.settings.ca))
        if source.kept is None:
            return
        try:
            found = await self._run(kept, source.kept, source.settings.url)
        except (ValueError, OSError) as error:
            _log.warn("issuer {name}: what was kept of its keys is of no use: {error}", name=source.name, error=error)
            return
        if found is not None:
            # A clock that was wrong then must not have them used for ever.
            self._have(source, found[1], min(found[0], self._reactor.seconds()))

    def _have(self, source: _Source, keys: KeySet, fetched: float) -> None:
        former, source.keys = source.keys, keys
        source.fetched = source.begun = fetched
        if former is not None and former.public != keys.public:
            self._changed(source.name)

    def _look(self) -> None:
        now = self._reactor.seconds()
        for source in self._sources.values():
            if source.keys is not None and not source.usable(now):
                source.keys = None
                _log.error("issuer {name}: its keys are too old now; its tokens are refused", name=source.name)
            if source.is_due(now):
                self._begin(source)

    def _begin(self, source: _Source) -> None:
        """Fetch the keys, unless that is under way."""
        if not self._running or (source.fetch is not None and not source.fetch.ended):
            return
        source.begun = self._reactor.seconds()
        source.work = Deferred.fromCoroutine(self._renew(source))
        source.work.addErrback(partial(_unforeseen, source.name))
        source.fetch = Shared(_end_of(source.work))

    async def _renew(self, source: _Source) -> None:
        try:
            keys = await self._fetched(source)
        except (NotHad, ValueError, OSError) as error:
            if not source.trouble:
                _log.warn(
                    "issuer {name}: its keys cannot be had: {error}; {until}",
                    name=source.name, error=error, until=self._until(source),
                )  # fmt: skip
            source.trouble = str(error) or type(error).__name__
            measuring.count("jwks_fetch_failures_total", source.name)
            return
        if source.trouble:
            _log.info("issuer {name}: its keys can be had again", name=source.name)
            source.trouble = ""
        begun = source.begun
        self._have(source, keys, self._reactor.seconds())
        source.begun = begun
        if source.kept is not None:
            try:
                await self._run(keep, source.kept, source.settings.url, source.fetched, keys)
            except OSError as error:
                _log.warn("issuer {name}: its keys cannot be kept on disk: {error}", name=source.name, error=error)

    async def _fetched(self, source: _Source) -> KeySet:
        if source.settings.keys is not None:
            return await self._run(_read, source.settings.keys)
        assert source.agent is not None, "it was made at the start"
        get = partial(get_document, self._reactor, source.agent)
        return await self._run(parse_key_set, await find_key_set(get, source.settings.url))

    def _until(self, source: _Source) -> str:
        if not source.usable(self._reactor.seconds()):
            return "its tokens are refused"
        if source.settings.keys is not None:
            return "those that were there are used"
        return f"those that are there are used until {format_iso(round(source.fetched + USABLE) * SECOND)[:19]}Z"


def check(settings: IssuerSettings) -> None:
    """
    Read the files that a section names.  It blocks.

    @raise ValueError: One cannot be used.
    @raise OSError: One cannot be read.
    """
    if settings.keys is not None:
        _read(settings.keys)
    elif settings.ca is not None:
        authorities(settings.ca)


def _unforeseen(name: str, failure: Failure) -> None:
    if failure.check(CancelledError) is None:
        _log.failure("issuer {name}: its keys cannot be had, unexpectedly", failure, name=name)


async def _end_of(work: Deferred[None]) -> None:
    await work


def _read(path: Path) -> KeySet:
    try:
        return parse_key_set(read_file(path))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
