"""The gate of one process, made from the settings; keeps the files of tokens and users as they are on disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs
from twisted.application.service import Service
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from pacarchive.access import tokens
from pacarchive.access.gate import Gate
from pacarchive.access.policy import Policy
from pacarchive.access.rights import EVERYTHING, NOTHING, Right
from pacarchive.access.settings import AllowSettings, AuthSettings, IssuerSettings
from pacarchive.runtime.shared import OwnedWork
from pacarchive.runtime.threads import BlockingPool
from pacarchive.settings.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from pacarchive.access.identity import Identity
    from pacarchive.settings.sections import Settings

T = TypeVar("T")

_log = Logger()


def is_said(settings: Settings) -> bool:
    """Whether the settings say anything of who may do what."""
    auth = settings.of(AuthSettings)
    given = (auth.tokens, auth.htpasswd, auth.proxy_user)
    return auth.anonymous is not None or any(given) or bool(settings.named)


def anonymous_rights(settings: Settings) -> Right:
    """What everyone may: where nothing at all is said, everything, as only this machine can connect then."""
    auth = settings.of(AuthSettings)
    if auth.anonymous is not None:
        return auth.anonymous
    return NOTHING if is_said(settings) else EVERYTHING


def policy_of(settings: Settings) -> Policy:
    """The rules of the settings."""
    return Policy(anonymous_rights(settings), settings.all_of(AllowSettings))


def check(settings: Settings) -> None:
    """
    Read what the settings name, so that what is wrong is said once, and before anything serves.  Blocks.

    @raise ConfigError: Something is.
    """
    auth = settings.of(AuthSettings)
    for key, path, load in _files(auth):
        try:
            load(path)
        except (OSError, ValueError) as error:
            raise ConfigError("settings", _words(path, error), "auth", key) from error
    sections = settings.all_of(IssuerSettings)
    _check_rules(settings, sections)
    if sections:
        from pacarchive.access import issuers, keys  # only now, likewise

        try:
            issuers.check(sections)
        except ValueError as error:
            raise ConfigError("settings", str(error)) from error
        for name, section in sections.items():
            try:
                keys.check(section)
            except (OSError, ValueError) as error:
                raise ConfigError("settings", str(error), f"issuer {name}") from error


def _check_rules(settings: Settings, issuers: Mapping[str, IssuerSettings]) -> None:
    """Whether there is what rules and issuers need."""
    for name, rule in settings.all_of(AllowSettings).items():
        for label in rule.who:
            kind, issuer = label.split(":")[:2] if ":" in label else (label, "")
            if kind in ("issuer", "sub", "group") and issuer not in issuers:
                raise ConfigError("settings", f"{label!r}: there is no [issuer {issuer}]", f"allow {name}", "who")
    if not audiences_of(settings) and not all(each.accept_any_audience for each in issuers.values()):
        words = "must be set, here or by [server] public_url: no token of an issuer could be for this server"
        raise ConfigError("settings", words, "auth", "audience")


def _files(auth: AuthSettings) -> list[tuple[str, Path, Callable[[Path], Any]]]:
    found: list[tuple[str, Path, Callable[[Path], Any]]] = []
    if auth.tokens is not None:
        found.append(("tokens", auth.tokens, tokens.load))
    if auth.htpasswd is not None:
        from pacarchive.access import passwords  # only now: most servers have none

        found.append(("htpasswd", auth.htpasswd, passwords.load))
    return found


def _words(path: Path, error: OSError | ValueError) -> str:
    words = str(error.strerror if isinstance(error, OSError) else error)
    return f"{path}: {words.removeprefix(str(path)).lstrip(',: ')}"


@attrs.define
class _Watched(Generic[T]):
    """
    A file that is read again when it is another.

    @ivar use: Takes what it holds.
    @ivar seen: What the one that was read last was known by.
    @ivar trouble: Why it cannot be used, as the log has it already.
    """

    path: Path
    load: Callable[[Path], T]
    use: Callable[[T], None]
    seen: tuple[int, ...] | None = None
    trouble: str = ""


class AccessService(Service):
    """
    Owns the gate.

    @param reactor: The reactor.
    @param settings: The settings in force.
    @ivar gate: It.
    @ivar key_ages: Tells how old the keys of each issuer are, in seconds; C{None} where there are none.
    """

    def __init__(self, reactor: Any, settings: Settings) -> None:
        auth = settings.of(AuthSettings)
        self._pool = BlockingPool(reactor, "access", 1)
        self._work = OwnedWork("reading the files of tokens and users")
        self._watched: list[_Watched[Any]] = []
        self._parts: list[Any] = []
        self.key_ages: Callable[[], dict[str, float | None]] = dict
        issuers = self._issuers(reactor, settings)
        self.gate = Gate(
            reactor,
            policy_of(settings),
            issuers,
            self._passwords(reactor, auth),
            realm=auth.realm,
            proxy_user=auth.proxy_user,
        )
        if auth.tokens is not None:
            self._watched.append(_Watched(auth.tokens, tokens.load, self.gate.use_tokens))
        self._looking = LoopingCall(self._look_again)
        self._looking.clock = reactor
        self._refresh = auth.refresh

    def _issuers(self, reactor: Any, settings: Settings) -> Any:
        if not (sections := settings.all_of(IssuerSettings)):
            return None
        from pacarchive.access.issuers import Issuers
        from pacarchive.access.keys import KeyStore

        # systemd names the directories of StateDirectory= with colons between them.
        home = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
        keys = KeyStore(reactor, sections, home, self._pool.run, changed=lambda _: self.gate.forget())
        self._parts.append(keys)
        self.key_ages = keys.ages
        return Issuers(reactor, sections, audiences_of(settings), keys)

    def _passwords(self, reactor: Any, auth: AuthSettings) -> _Passwords | None:
        if auth.htpasswd is None:
            return None
        from pacarchive.access import passwords

        checking = _Passwords(passwords.Passwords(reactor))
        self._parts.append(checking.passwords)
        self._watched.append(_Watched(auth.htpasswd, passwords.load, self._use_passwords(checking)))
        return checking

    def _use_passwords(self, checking: _Passwords) -> Callable[[Any], None]:
        def use(file: Any) -> None:
            checking.file = file
            self.gate.forget()

        return use

    async def start(self) -> None:
        """
        Read the files, and begin to look at them.

        @raise ConfigError: One cannot be read, or is not well formed.
        """
        super().startService()  # type: ignore[no-untyped-call]
        self._pool.start()
        for part in self._parts:
            try:
                await part.start()
            except ValueError as error:
                raise ConfigError("settings", str(error)) from error
        for each in self._watched:
            try:
                await self._read(each)
            except (OSError, ValueError) as error:
                raise ConfigError("settings", _words(each.path, error), "auth") from error
        if self._watched:
            self._looking.start(self._refresh, now=False)

    async def stop(self) -> None:
        """Release all that it has."""
        if not self.running:
            return
        super().stopService()  # type: ignore[no-untyped-call]
        if self._looking.running:
            self._looking.stop()
        await self._work.ended()
        for each in self._parts:
            await each.stop()
        self._pool.stop()

    def reload(self) -> bool:
        """
        Read the files again, whether or not they have changed; those that cannot be read change nothing.

        @return: Whether there are any.
        """
        if self.running:
            for each in self._watched:
                each.seen = None
            self._look_again()
        return bool(self.running and self._watched)

    def _look_again(self) -> None:
        for each in self._watched:
            self._work.keep(self._refreshed(each))

    async def _refreshed(self, file: _Watched[Any]) -> None:
        try:
            if await self._read(file):
                _log.info("{path} was read again", path=file.path)
                file.trouble = ""
        except (OSError, ValueError) as error:
            words = _words(file.path, error)
            if words != file.trouble:
                _log.error("{words}; what was in force stays in force", words=words)
            file.trouble = words

    async def _read(self, file: _Watched[Any]) -> bool:
        """@return: Whether it was another."""

        def load() -> tuple[Any] | None:
            # Before: one that is written meanwhile is read again.
            status = os.stat(file.path)
            found = status.st_mtime_ns, status.st_ino, status.st_size, status.st_ctime_ns
            if found == file.seen:
                return None
            try:
                loaded = file.load(file.path)
            except ValueError:
                file.seen = found  # it stays so until it is changed
                raise
            file.seen = found  # and not of one that could not be read just now
            return (loaded,)

        if (read := await self._pool.run(load)) is None:
            return False
        (loaded,) = read
        file.use(loaded)
        return True


@attrs.define
class _Passwords:
    """Verifies by the file that was read last."""

    passwords: Any
    file: Any = None

    async def identify(self, user: str, password: str, client: str) -> Identity:
        identity: Identity = await self.passwords.identify(self.file, user, password, client)
        return identity


def audiences_of(settings: Settings) -> tuple[str, ...]:
    """What issuers call this server."""
    if given := settings.of(AuthSettings).audience:
        return given
    url = settings.server.public_url
    return (url,) if url else ()
