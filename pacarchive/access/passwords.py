"""The file of users and their passwords, as C{htpasswd} writes it, and what verifies a password."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import DeferredLock

from pacarchive.access.identity import BadCredentials, How, Identity
from pacarchive.errors import Overloaded
from pacarchive.runtime.files import read_file
from pacarchive.runtime.threads import BlockingPool
from pacarchive.texts import NotText, decoded, printable

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

MOST_WAITING = 32
"""How many passwords may wait to be verified: each takes tens or hundreds of milliseconds."""

MOST_OF_ONE = 4
"""How many of them may be from one address."""

LONGEST = 1024
"""The most bytes of a password."""

DEAREST = 16
"""The most that C{htpasswd -C} may have said: a bcrypt that costs more holds up everybody for many seconds."""

_BCRYPT = re.compile(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}", re.ASCII)
_ARGON2ID = re.compile(
    r"\$argon2id\$v=19\$m=[1-9][0-9]{0,6},t=[1-9][0-9]{0,2},p=[1-9][0-9]?\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{16,86}",
    re.ASCII,
)
_CONTROL = re.compile(r"[\0-\x1f\x7f]")
_BCRYPT_BYTES = 72


@attrs.frozen
class PasswordFile:
    """
    Users, and what proves their passwords.

    @ivar users: By name, the hash of each password.
    @ivar dummy: A hash of no password at all, which takes as long as that of the first user; C{None} where there are
        none.
    """

    users: Mapping[str, str] = attrs.field(repr=False)
    dummy: str | None = attrs.field(repr=False)


def load(path: str | os.PathLike[str]) -> PasswordFile:
    """
    Read a file of lines C{USER:HASH}; those that are empty or begin with C{#} do not count.  It blocks.

    @raise ValueError: A line is none, or its hash is too weak; C{str()} names file, line and user, and no hash.
    @raise OSError: It cannot be read.
    """
    try:
        text = decoded(read_file(path))
    except NotText as error:
        raise ValueError(f"{path} {error}") from None
    users: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        user, colon, hashed = line.partition(":")
        where = f"{path}, line {number}"
        if not colon or not user or _CONTROL.search(user):
            raise ValueError(f"{where}: it is not USER:HASH, as htpasswd -B writes it")
        if user in users:
            raise ValueError(f"{where}: there is a user {printable(user)} already")
        hashed = hashed.rstrip()
        if (weakness := _weakness(hashed)) is not None:
            raise ValueError(f"{where}: the password of {printable(user)} {weakness}")
        users[user] = hashed
    return PasswordFile(users, _dummy(next(iter(users.values()))) if users else None)


def is_password(hashed: str, password: bytes) -> bool:
    """Verify a password.  It blocks, for as long as the hash was made to take."""
    if not hashed.startswith("$argon2id$"):
        import bcrypt  # only now, as the other: a server without passwords has no use for it

        # htpasswd cuts what is longer, so that there is none to compare it with.
        return len(password) <= _BCRYPT_BYTES and bcrypt.checkpw(password, hashed.encode("ascii"))
    from argon2.exceptions import Argon2Error
    from argon2.low_level import Type, verify_secret

    try:
        return verify_secret(hashed.encode("ascii"), password, Type.ID)
    except Argon2Error:  # that is how it says no
        return False


class Passwords:
    """
    Verifies passwords, one at a time in a thread of its own, so that nothing else waits for them.

    @param reactor: Where results are delivered.
    @param verify: As L{is_password}.
    """

    def __init__(self, reactor: Any, verify: Callable[[str, bytes], bool] = is_password) -> None:
        self._pool = BlockingPool(reactor, "passwords", 1)
        self._verify = verify
        self._turn = DeferredLock()
        self._of: Counter[str] = Counter()

    async def start(self) -> None:
        """Accept work."""
        self._pool.start()

    async def stop(self) -> None:
        """End the thread; call it when nobody waits any more."""
        self._pool.stop()

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return len(self._turn.waiting)

    async def identify(self, file: PasswordFile, user: str, password: str, client: str) -> Identity:
        """
        Verify a password.  Whoever is not in the file takes as long as whoever is first in it.

        @param client: The address that it came from.
        @raise BadCredentials: There is no such user, or it is not his password.
        @raise Overloaded: Too many wait already.
        @raise CancelledError: The caller was cancelled; what had not begun will not.
        """
        secret = password.encode("utf-8", "surrogatepass")
        shown = printable(user[:80])
        if _CONTROL.search(user) or _CONTROL.search(password) or len(secret) > LONGEST:
            raise BadCredentials(f"the user {shown} or the password has what none can have")
        if self.waiting >= MOST_WAITING or self._of[client] >= MOST_OF_ONE:
            raise Overloaded("Too many passwords wait to be verified.", retry_after=5)
        self._of[client] += 1
        try:
            await self._turn.acquire()
            try:
                is_right = await self._matches(file.users.get(user), file.dummy, secret)
            finally:
                self._turn.release()
        finally:
            self._of[client] -= 1
            if not self._of[client]:
                del self._of[client]
        if not is_right:
            known = "the password is not that of the user" if user in file.users else "there is no user"
            raise BadCredentials(f"{known} {shown}", "The user or the password is not valid.")
        return Identity(name=f"user:{user}", how=How.PASSWORD, labels=frozenset((f"user:{user}",)))

    async def _matches(self, hashed: str | None, dummy: str | None, secret: bytes) -> bool:
        against = dummy if hashed is None else hashed
        if against is None:
            return False
        return await self._pool.run(self._verify, against, secret) and hashed is not None


def _weakness(hashed: str) -> str | None:
    """Why a hash is not taken, in words that follow "the password of"; C{None} if it is."""
    if match := _BCRYPT.fullmatch(hashed):
        if not 4 <= int(match[1]) <= DEAREST:
            return f"is a bcrypt one of cost {match[1]}; take one of 10 to {DEAREST}"
        return _lacking("bcrypt", "bcrypt")
    if _ARGON2ID.fullmatch(hashed):
        return _lacking("argon2", "argon2-cffi")
    if hashed.startswith(("$2a$", "$2b$", "$2y$", "$argon2id$")):
        return "is damaged"
    return "is neither a bcrypt nor an argon2id one, and can be guessed too fast; make it anew with htpasswd -B"


def _lacking(module: str, package: str) -> str | None:
    try:
        __import__(module)
    except ImportError:
        return f"needs the package {package}, which is not installed here"
    return None


def _dummy(hashed: str) -> str:
    """A hash of the same kind and cost that no password has: nobody can find one for a value that is made up."""
    if hashed.startswith("$argon2id$"):
        head, _, value = hashed.rpartition("$")
        return f"{head}${'A' * len(value)}"
    return f"{hashed[:29]}{'.' * 31}"
