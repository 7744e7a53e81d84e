"""L{pacarchive.access.passwords}: which files are taken, whose passwords are right, and how many may wait."""

from __future__ import annotations

import builtins
import threading
from itertools import count
from typing import TYPE_CHECKING, Any

import bcrypt
import pytest
from argon2 import PasswordHasher
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from access.minting import done
from pacarchive.access.identity import BadCredentials, How
from pacarchive.access.passwords import LONGEST, MOST_OF_ONE, MOST_WAITING, PasswordFile, Passwords, is_password, load
from pacarchive.backends.contract.handling import in_reactor
from pacarchive.errors import Overloaded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE = 30.0


def bcrypted(password: str, kind: str = "2y") -> str:
    """As C{htpasswd -B} has it, as cheap as can be."""
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode().replace("$2b$", f"${kind}$")


def argoned(password: str) -> str:
    """As cheap as can be."""
    return PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(password)


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a file of users."""

    def write(text: str) -> Path:
        path = tmp_path / "htpasswd"
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
        return path

    return write


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    """What verifies them, in a real thread."""
    passwords = Passwords(reactor)
    done(passwords.start())
    yield passwords
    done(passwords.stop())


# the file


def test_a_file(written: Callable[[str], Path]) -> None:
    """Both kinds, each as tools write it; comments and empty lines are none of it."""
    lines = {"alice": bcrypted("a", "2a"), "bob": bcrypted("b", "2b"), "carol": bcrypted("c"), "dan \xe4": argoned("d")}
    text = "# users\n\n" + "\r\n".join(f"{user}:{hashed}" for user, hashed in lines.items()) + "\n  # end\n \n"
    assert load(written(text)).users == lines


def test_what_htpasswd_writes(written: Callable[[str], Path]) -> None:
    """The example of its manual, for bcrypt."""
    file = load(written("myName:$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC\n"))
    assert is_password(file.users["myName"], b"myPassword")
    assert not is_password(file.users["myName"], b"mypassword")


def test_no_users(written: Callable[[str], Path]) -> None:
    """A file may be empty."""
    assert load(written("# none yet\n")) == PasswordFile({}, None)


def test_hashes_are_not_shown(written: Callable[[str], Path]) -> None:
    """Not even where somebody logs the whole thing."""
    hashed = bcrypted("a")
    assert hashed not in repr(load(written(f"alice:{hashed}\n")))


GOOD = bcrypted("x")
WEAK = "is neither a bcrypt nor an argon2id one"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("alice:$apr1$qHDFfhPC$nITSVHgYbDAK1Y0acGRnY0", f"the password of alice {WEAK}"),
        ("alice:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", f"the password of alice {WEAK}"),
        ("alice:rqXexS6ZhobKA", f"the password of alice {WEAK}"),
        ("alice:$6$salt$IxDD3jeSOb5eB1CX5LBsqZFVkJdido3OUILO5Ifz5iwMuTS4XMS130MT", f"the password of alice {WEAK}"),
        ("alice:$argon2i$v=19$m=8,t=1,p=1$c29tZXNhbHQ$aaaaaaaaaaaaaaaaaaaaaaaa", f"the password of alice {WEAK}"),
        ("alice:plain text", f"the password of alice {WEAK}"),
        ("alice:", f"the password of alice {WEAK}"),
        (f"alice:{GOOD[:-1]}", "the password of alice is damaged"),
        (f"alice:{GOOD}:more", "the password of alice is damaged"),
        ("alice:$argon2id$v=19$m=8,t=1,p=1$short", "the password of alice is damaged"),
        (f"alice:{GOOD.replace('$04$', '$31$')}", "the password of alice is a bcrypt one of cost 31"),
        (f"alice:{GOOD.replace('$04$', '$03$')}", "the password of alice is a bcrypt one of cost 03"),
        ("secret", "it is not USER:HASH"),
        (f":{GOOD}", "it is not USER:HASH"),
        (f"al\x1bice:{GOOD}", "it is not USER:HASH"),
        (f"bob:{GOOD}", "there is a user bob already"),
    ],
    ids=count(),
)
def test_lines_that_are_refused(written: Callable[[str], Path], line: str, words: str) -> None:
    """File, line and user are named; what stands for the password is not."""
    path = written(f"bob:{bcrypted('b')}\n\n{line}\n")
    with pytest.raises(ValueError, match="line 3") as raised:
        load(path)
    assert str(raised.value).startswith(f"{path}, line 3: {words}")
    assert line.partition(":")[2] == "" or line.partition(":")[2] not in str(raised.value)
    assert "secret" not in str(raised.value)


def test_files_that_are_no_text(written: Callable[[str], Path], tmp_path: Path) -> None:
    """And such as are not there."""
    with pytest.raises(ValueError, match=r"htpasswd line 2 is not UTF-8"):
        load(written("# x\nalice\udcff:x\n"))
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nothing")


def test_a_package_that_is_missing(written: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named with the user who needs it, at the start and not when he comes."""
    path = written(f"bob:{bcrypted('b')}\nalice:{argoned('a')}\n")
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("argon2"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match="line 2: the password of alice needs the package argon2-cffi"):
        load(path)


# passwords


@pytest.mark.parametrize("hashing", [bcrypted, argoned])
@in_reactor
async def test_a_password(hashing: Callable[[str], str], passwords: Passwords) -> None:
    """Who has it is somebody; who has another one, or an unknown name, is not told which it was."""
    file = _file(alice=hashing("s\xe4cret"), bob=hashing("b"))
    who = await passwords.identify(file, "alice", "s\xe4cret", "192.0.2.1")
    assert (who.name, who.how, set(who.labels)) == ("user:alice", How.PASSWORD, {"user:alice"})
    assert (who.grants, who.expires) == ((), None)
    told = set()
    for user, password in (("alice", "b"), ("alice", ""), ("carol", "s\xe4cret"), ("ALICE", "s\xe4cret"), ("", "")):
        with pytest.raises(BadCredentials) as raised:
            await passwords.identify(file, user, password, "192.0.2.1")
        told.add(str(raised.value))
        assert user in raised.value.detail
        assert not password or password == "b" or password not in raised.value.detail
    assert told == {"The user or the password is not valid."}


@in_reactor
async def test_no_password_is_right_where_there_are_no_users(passwords: Passwords) -> None:
    """Nor one that is empty."""
    with pytest.raises(BadCredentials):
        await passwords.identify(PasswordFile({}, None), "", "", "192.0.2.1")


@pytest.mark.parametrize("hashing", [bcrypted, argoned])
def test_an_unknown_user_takes_as_long(hashing: Callable[[str], str], written: Callable[[str], Path]) -> None:
    """What his password is compared with has the kind and the cost of the first user's, and is nobody's."""
    hashed = hashing("a")
    file = load(written(f"alice:{hashed}\nbob:{bcrypted('b')}\n"))
    assert file.dummy is not None
    assert file.dummy != hashed
    assert file.dummy.split("$")[:4] == hashed.split("$")[:4] or file.dummy[:29] == hashed[:29]
    assert len(file.dummy) == len(hashed)
    assert not is_password(file.dummy, b"a")


@in_reactor
async def test_the_dummy_lets_nobody_in(written: Callable[[str], Path]) -> None:
    """Even if somebody found what fits it."""
    seen: list[str] = []

    def always(hashed: str, _password: bytes) -> bool:
        seen.append(hashed)
        return True

    file = load(written(f"alice:{bcrypted('a')}\n"))
    passwords = Passwords(reactor, always)
    await passwords.start()
    with pytest.raises(BadCredentials):
        await passwords.identify(file, "carol", "a", "192.0.2.1")
    await passwords.stop()
    assert seen == [file.dummy]


@in_reactor
async def test_what_no_password_is() -> None:
    """Control characters, which one implementation ends at and another does not; and what is far too long."""
    asked: list[bytes] = []
    passwords = Passwords(reactor, lambda _hashed, secret: not asked.append(secret))  # type: ignore[func-returns-value]
    await passwords.start()
    long = "a" * (LONGEST + 1)
    for user, password in (("alice", "abc\0def"), ("alice", "abc\n"), ("al\0ice", "abc"), ("alice", long)):
        with pytest.raises(BadCredentials, match="not valid"):
            await passwords.identify(_file(**{"alice": GOOD, "al\0ice": GOOD}), user, password, "192.0.2.1")
    assert (await passwords.identify(_file(alice=GOOD), "alice", long[1:], "192.0.2.1")).name == "user:alice"
    await passwords.stop()
    assert asked == [long[1:].encode()]


@in_reactor
async def test_more_than_bcrypt_can_take(passwords: Passwords) -> None:
    """It is not cut: two long passwords would be one."""
    file = _file(alice=bcrypted("a" * 72), bob=argoned("a" * 200))
    assert (await passwords.identify(file, "alice", "a" * 72, "192.0.2.1")).name == "user:alice"
    assert (await passwords.identify(file, "bob", "a" * 200, "192.0.2.1")).name == "user:bob"
    with pytest.raises(BadCredentials):
        await passwords.identify(file, "alice", "a" * 73, "192.0.2.1")


# the queue


class Slow:
    """Verifies when it is told to; whatever was asked is right."""

    def __init__(self) -> None:
        self.may_go_on = threading.Semaphore(0)
        self.threads: set[str] = set()
        self.secrets: list[bytes] = []

    def __call__(self, hashed: str, password: bytes) -> bool:
        self.threads.add(threading.current_thread().name)
        self.secrets.append(password)
        assert self.may_go_on.acquire(timeout=PATIENCE)
        return True


class Queue:
    """Passwords that wait for L{Slow}."""

    def __init__(self) -> None:
        self.slow = Slow()
        self.passwords = Passwords(reactor, self.slow)
        done(self.passwords.start())
        self.file = _file(alice=GOOD)

    def ask(self, secret: str, client: str) -> Deferred[Any]:
        return Deferred.fromCoroutine(self.passwords.identify(self.file, "alice", secret, client))

    async def end(self, work: list[Deferred[Any]]) -> None:
        self.slow.may_go_on.release(len(work))
        for each in work:
            assert (await each).name == "user:alice"
        await self.passwords.stop()


@in_reactor
async def test_one_at_a_time_in_order() -> None:
    """In a thread of its own; no more wait than there is room for, and later there is room again."""
    queue = Queue()
    work = [queue.ask(f"{each}", f"192.0.2.{each}") for each in range(1 + MOST_WAITING)]
    assert queue.passwords.waiting == MOST_WAITING
    with pytest.raises(Overloaded) as raised:
        await queue.ask("one more", "192.0.2.200")
    assert raised.value.retry_after == 5
    queue.slow.may_go_on.release()
    await work[0]
    work.append(queue.ask("later", "192.0.2.201"))
    await queue.end(work[1:])
    assert queue.slow.secrets == [f"{each}".encode() for each in range(1 + MOST_WAITING)] + [b"later"]
    assert len(queue.slow.threads) == 1


@in_reactor
async def test_one_client_does_not_take_all_the_room() -> None:
    """Another one gets its turn; what has ended does not count."""
    queue = Queue()
    work = [queue.ask(f"{each}", "192.0.2.1") for each in range(MOST_OF_ONE)]
    for _ in range(3):
        with pytest.raises(Overloaded):
            await queue.ask("one more", "192.0.2.1")
    work.append(queue.ask("other", "192.0.2.2"))
    queue.slow.may_go_on.release()
    await work.pop(0)
    work.append(queue.ask("now", "192.0.2.1"))
    await queue.end(work)


@in_reactor
async def test_who_has_left_is_not_looked_at() -> None:
    """What waits is dropped, and gives its place to others; what is under way ends."""
    queue = Queue()
    first, second, third = (queue.ask(each, "192.0.2.1") for each in ("first", "second", "third"))
    second.cancel()
    with pytest.raises(CancelledError):
        await second
    assert queue.passwords.waiting == 1
    ended: list[object] = []
    first.addBoth(ended.append)
    first.cancel()
    assert not ended, "its thread is in it"
    fourth, fifth = queue.ask("fourth", "192.0.2.1"), queue.ask("fifth", "192.0.2.1")
    queue.slow.may_go_on.release()
    await queue.end([third, fourth, fifth])
    assert [each.type for each in ended if isinstance(each, Failure)] == [CancelledError]
    assert queue.slow.secrets == [b"first", b"third", b"fourth", b"fifth"]


def _file(**users: str) -> PasswordFile:
    return PasswordFile(users, next(iter(users.values())))
