"""The login: renewed once for all callers, and open files that outlive it.  On the simulator."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import hpss_build
import pytest

hpss_build.use_extension()

from hpss_simulator import Archive  # noqa: E402  (found only now)

from pacarchive import errors  # noqa: E402
from pacarchive.backends.hpss.loading import load  # noqa: E402

load(False)

from pacarchive.backends.hpss import client  # noqa: E402  (it needs the library)
from pacarchive.backends.hpss.client import HpssError  # noqa: E402
from pacarchive.backends.hpss.openfile import OpenFile  # noqa: E402
from pacarchive.backends.hpss.session import Session, session_of  # noqa: E402

PATIENCE = 30.0
DATA = bytes(range(256)) * 16


@pytest.fixture(autouse=True)
def _no_call_without_a_login_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the library would have it."""
    monkeypatch.setenv("HPSS_SIMULATOR_LOGIN_TIMEOUT", "3")


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    """A simulated HPSS with one file."""
    with Archive.create(tmp_path / "hpss") as archive:
        archive.write("/archive/1", DATA)
        yield archive


class Time:
    """A clock for limits, which goes only when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def session(archive: Archive, clock: Time) -> Iterator[Session]:
    """A login there."""
    session = Session(archive.principal, str(archive.keytab), clock)
    session.open()
    yield session
    session.close()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """Threads; each is of the library's from its first call on."""
    with ThreadPoolExecutor(10, initializer=client.thread_start) as threads:
        yield threads
        together = threading.Barrier(10, timeout=PATIENCE)

        def end() -> None:
            together.wait()
            client.thread_end()

        wait([threads.submit(end) for _ in range(10)])


def logins(archive: Archive) -> int:
    """How often anybody has logged in."""
    return archive.calls("hpss_SetLoginCred")


def until(true: Callable[[], bool]) -> None:
    """Wait for something that happens in a thread."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def failure(future: Future[Any]) -> HpssError:
    """The error that a call in a thread ends with."""
    error = future.exception(PATIENCE)
    assert isinstance(error, HpssError)
    return error


# logging in and out


def test_who_opens_it_twice_logs_in_once(archive: Archive) -> None:
    """Several archives of one process share the login; the last one logs out."""
    session = session_of(archive.principal, str(archive.keytab))
    assert session_of(archive.principal, str(archive.keytab)) is session
    session.open()
    session.open()
    assert (logins(archive), session.generation) == (1, 1)
    session.close()
    assert session.call(client.stat, "/archive/1").size == len(DATA)
    assert archive.calls("hpss_PurgeLoginCred") == 0
    session.close()
    assert archive.calls("hpss_PurgeLoginCred") == 1
    session.open()
    assert (logins(archive), session.generation) == (2, 2)
    session.close()


def test_one_process_is_one_principal(archive: Archive, session: Session) -> None:
    """The library knows no more, and would serve one under the other's name."""
    other = Session("somebody", str(archive.keytab))
    with pytest.raises(errors.BackendUnavailable, match="logged in as another user"):
        other.open()
    assert session.call(client.stat, "/archive/1").size == len(DATA)


def test_a_first_login_that_is_refused(archive: Archive, tmp_path: Path) -> None:
    """Is told to the operator, and can be tried again."""
    keytab = tmp_path / "keytab"
    session = Session(archive.principal, str(keytab))
    with pytest.raises(
        errors.BackendUnavailable, match=f"^HPSS: {archive.principal} cannot log in with .*: hpss_SetLoginCred"
    ):
        session.open()
    keytab.write_bytes(archive.keytab.read_bytes())
    session.open()
    session.close()


# calls


def test_an_error_that_has_nothing_to_do_with_the_login(archive: Archive, session: Session) -> None:
    """Goes to the caller as it is; nothing else is asked for."""
    with pytest.raises(HpssError) as caught:
        session.call(client.stat, "/archive/2")
    assert caught.value.errno == errno.ENOENT
    assert (archive.calls("hpss_Stat"), logins(archive)) == (1, 1)


def test_a_forbidden_file_is_no_expired_login(archive: Archive, session: Session) -> None:
    """Both have the same number; the root of the name space tells them apart."""
    before = logins(archive)
    fault = archive.fault("hpss_Open", path="/archive/1", count=0, value=-13)
    for _ in range(3):
        with pytest.raises(HpssError) as caught:
            session.call(client.open_read, "/archive/1")
        assert (caught.value.errno, caught.value.call) == (errno.EACCES, "hpss_Open")
    assert archive.fault_hits(fault) == 3, "a forbidden call is not repeated"
    assert (logins(archive), session.generation) == (before, 1)


def test_an_error_that_is_none_of_the_librarys_leaves_the_session_usable(archive: Archive, session: Session) -> None:
    """A call that is counted for ever would hold up every later login."""
    with pytest.raises(ZeroDivisionError):
        session.call(lambda: 1 // 0)
    archive.expire_credentials()
    began = time.monotonic()
    session.call(client.stat, "/archive/1")
    assert time.monotonic() - began < PATIENCE / 2


# expiry


def test_an_expired_login_is_renewed_unseen(archive: Archive, session: Session) -> None:
    """The call is made again."""
    for generation in (2, 3):
        archive.expire_credentials()
        assert session.call(client.stat, "/archive/1").size == len(DATA)
        assert (session.generation, logins(archive)) == (generation, generation)


def test_many_who_meet_an_expired_login_renew_it_once(
    archive: Archive, session: Session, threads: ThreadPoolExecutor
) -> None:
    """However many there are; all of them get what they asked for."""
    together = threading.Barrier(10, timeout=PATIENCE)

    def look() -> int:
        together.wait()
        return session.call(client.stat, "/archive/1").size

    for generation in range(2, 7):
        archive.expire_credentials()
        assert {future.result(PATIENCE) for future in [threads.submit(look) for _ in range(10)]} == {len(DATA)}
        assert (session.generation, logins(archive)) == (generation, generation)


def test_who_comes_while_it_is_renewed_waits(archive: Archive, session: Session, threads: ThreadPoolExecutor) -> None:
    """Nobody's call is broken off by another's login, and nobody logs in on his own."""
    archive.expire_credentials()
    slow = archive.fault("hpss_SetLoginCred", action="delay", value=300)
    first = threads.submit(session.call, client.stat, "/archive/1")
    until(lambda: archive.fault_hits(slow) == 1)
    others = [threads.submit(session.call, client.stat, "/archive/1") for _ in range(5)]
    for future in (first, *others):
        assert future.result(PATIENCE).size == len(DATA)
    assert logins(archive) == 2


def test_calls_under_way_end_before_the_login(archive: Archive, session: Session, threads: ThreadPoolExecutor) -> None:
    """It would break them off: the library drops the connections of all threads."""
    slow = archive.fault("hpss_Lstat", action="delay", value=300)
    before = threads.submit(session.call, client.lstat, "/archive/1")
    until(lambda: archive.fault_hits(slow) == 1)
    expired = archive.fault("hpss_Stat", count=2, value=-13)
    assert session.call(client.stat, "/archive/1").size == len(DATA)
    assert archive.fault_hits(expired) == 2
    assert before.done()
    assert before.result().size == len(DATA)
    assert logins(archive) == 2


def test_a_stuck_call_does_not_hold_up_the_login_for_ever(
    archive: Archive, session: Session, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the limit it is broken off; the others go on."""
    times = count(0.0, 29.99)
    monkeypatch.setattr(session, "_monotonic", lambda: next(times))
    hanging = archive.fault("hpss_Lstat", action="hang", count=0)
    stuck = threads.submit(session.call, client.lstat, "/archive/1")
    until(lambda: archive.fault_hits(hanging) == 1)
    archive.expire_credentials()
    began = time.monotonic()
    assert session.call(client.stat, "/archive/1").size == len(DATA)
    assert time.monotonic() - began < PATIENCE / 2
    assert session.generation == 2
    assert failure(stuck).errno == errno.ENOTCONN
    archive.clear_faults()
    archive.expire_credentials()
    assert session.call(client.stat, "/archive/1").size == len(DATA), "the call that was broken off is not counted on"
    assert session.generation == 3


def test_a_refused_login_is_not_repeated_at_once(
    archive: Archive, session: Session, clock: Time, threads: ThreadPoolExecutor
) -> None:
    """Accounts are locked for that.  Nobody waits for it either: without a login, the library would wait for ever."""
    refused = archive.fault("hpss_SetLoginCred", count=0, value=-11002)
    archive.expire_credentials()
    for moment, attempts in ((0.0, 1), (4.9, 1), (5.1, 2), (9.9, 2), (10.2, 3)):
        clock.now = 1000.0 + moment
        for future in [threads.submit(session.call, client.stat, "/archive/1") for _ in range(5)]:
            error = failure(future)
            assert (error.call, error.code) == ("hpss_SetLoginCred", -11002)
        assert archive.fault_hits(refused) == attempts
    archive.clear_faults()
    clock.now += 4.9
    with pytest.raises(HpssError):
        session.call(client.stat, "/archive/1")
    clock.now += 0.2
    assert session.call(client.stat, "/archive/1").size == len(DATA)
    assert session.generation == 2


def test_a_server_that_is_down_when_the_login_expires(
    archive: Archive, session: Session, clock: Time, threads: ThreadPoolExecutor
) -> None:
    """It is logged in to when it is back."""
    archive.set("retry_delay_ms", 1)
    archive.expire_credentials()
    down = archive.fault("hpss_SetLoginCred", count=0, value=-50)
    assert failure(threads.submit(session.call, client.stat, "/archive/1")).errno == errno.ENOTCONN
    assert failure(threads.submit(session.call, client.ping, archive.site)).errno == errno.ENOTCONN
    assert archive.fault_hits(down) == 1
    archive.clear_faults()
    clock.now += 6
    session.call(client.ping, archive.site)


def test_a_session_that_was_refused_can_be_opened_again(archive: Archive, clock: Time) -> None:
    """What it was refused is of the past then."""
    session = Session(archive.principal, str(archive.keytab), clock)
    session.open()
    archive.fault("hpss_SetLoginCred", value=-11002)
    archive.expire_credentials()
    with pytest.raises(HpssError):
        session.call(client.stat, "/archive/1")
    session.close()
    session.open()
    assert session.call(client.stat, "/archive/1").size == len(DATA)
    session.close()


# open files


def read(file: OpenFile, offset: int, length: int) -> bytes:
    """Some of a file's bytes."""
    buffer = bytearray(length)
    file.read_into(offset, memoryview(buffer))
    return bytes(buffer)


def opened(session: Session, path: str) -> OpenFile:
    """An open file."""
    return OpenFile.read_only(session, path, session.call(client.attributes, path).file_id)


def test_an_open_file_outlives_the_login(archive: Archive, session: Session) -> None:
    """It goes on where it was, and anywhere else, without a descriptor being left behind."""
    file = opened(session, "/archive/1")
    assert read(file, 0, 100) == DATA[:100]
    for offset in (100, 2000, 300):
        archive.expire_credentials()
        assert read(file, offset, 100) == DATA[offset : offset + 100]
        assert read(file, offset + 100, 50) == DATA[offset + 100 : offset + 150]
        assert archive.descriptors() == 1
    assert session.generation == 4
    file.close()
    assert archive.descriptors() == 0


def test_all_open_files_outlive_a_login_that_one_renews(archive: Archive, session: Session) -> None:
    """Their descriptors are closed before it; a number that is given out again is another file's."""
    for number in range(2, 6):
        archive.write(f"/archive/{number}", DATA[number:])
    files = {number: opened(session, f"/archive/{number}") for number in (2, 3, 4, 5)}
    for number, file in files.items():
        assert read(file, 0, 8) == DATA[number : number + 8]
    archive.expire_credentials()
    first = opened(session, "/archive/1")
    for number, file in reversed(files.items()):
        assert read(file, 8, 8) == DATA[number + 8 : number + 16]
    assert read(first, 0, 8) == DATA[:8]
    assert session.generation == 2
    assert archive.descriptors() == 5
    for file in (first, *files.values()):
        file.close()
    assert archive.descriptors() == 0


def test_a_file_that_was_replaced_is_not_read_on(archive: Archive, session: Session) -> None:
    """The reader has half of another version already."""
    file = opened(session, "/archive/1")
    assert read(file, 0, 100) == DATA[:100]
    archive.write("/archive/new", DATA[::-1])
    session.call(client.rename, "/archive/new", "/archive/1")
    assert read(file, 100, 100) == DATA[100:200], "without a new login it is still the old version"
    archive.expire_credentials()
    for _ in range(2):
        with pytest.raises(HpssError, match="replaced while it was being read"):
            read(file, 200, 100)
    assert archive.descriptors() == 0
    file.close()


def test_a_file_that_was_removed_is_not_read_on(archive: Archive, session: Session) -> None:
    """There is nothing to go on with."""
    file = opened(session, "/archive/1")
    session.call(client.unlink, "/archive/1")
    assert read(file, 0, 100) == DATA[:100]
    archive.expire_credentials()
    with pytest.raises(HpssError) as caught:
        read(file, 100, 100)
    assert caught.value.errno == errno.ENOENT
    file.close()
    assert archive.descriptors() == 0


@pytest.mark.parametrize("when", ["between", "at the end"])
def test_a_file_that_is_being_written_outlives_the_login(archive: Archive, session: Session, when: str) -> None:
    """It goes on behind what is written."""
    file = OpenFile.create(session, "/archive/2", len(DATA), None, None)
    file.write(memoryview(DATA[:1000]))
    if when == "between":
        archive.expire_credentials()
    file.write(memoryview(DATA[1000:]))
    if when == "at the end":
        archive.expire_credentials()
    file.finish()
    file.close()
    assert session.generation == 2
    assert archive.read("/archive/2") == DATA
    assert archive.descriptors() == 0


def test_a_file_is_closed_under_an_expired_login(archive: Archive, session: Session) -> None:
    """Without a word, and without leaving anything."""
    file = opened(session, "/archive/1")
    archive.expire_credentials()
    file.close()
    assert archive.descriptors() == 0
    assert session.call(client.stat, "/archive/1").size == len(DATA)


def test_a_file_whose_call_is_stuck_is_closed_when_that_ends(
    archive: Archive, session: Session, threads: ThreadPoolExecutor
) -> None:
    """To close the descriptor under it would be to read from whatever gets its number next."""
    file = opened(session, "/archive/1")
    hanging = archive.fault("hpss_Read", action="hang")
    stuck = threads.submit(read, file, 0, 100)
    until(lambda: archive.fault_hits(hanging) == 1)
    file.close()
    assert archive.descriptors() == 1
    archive.clear_faults()
    assert stuck.result(PATIENCE) == DATA[:100]
    until(lambda: archive.descriptors() == 0)


def test_a_stuck_read_that_a_new_login_breaks_off(
    archive: Archive, session: Session, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails, and takes no other file with it when its own is closed."""
    times = count(0.0, 29.99)
    monkeypatch.setattr(session, "_monotonic", lambda: next(times))
    archive.write("/archive/2", DATA[::-1])
    file = opened(session, "/archive/1")
    hanging = archive.fault("hpss_Read", action="hang", count=0)
    stuck = threads.submit(read, file, 0, 100)
    until(lambda: archive.fault_hits(hanging) == 1)
    archive.expire_credentials()
    other = opened(session, "/archive/2")
    assert archive.calls("hpss_Close") == 0, "a descriptor is closed while a call uses it"
    assert failure(stuck).errno == errno.ENOTCONN
    archive.clear_faults()
    closed = archive.calls("hpss_Close")
    file.close()
    assert archive.calls("hpss_Close") == closed, "the number may be another file's since the login"
    assert read(other, 0, 100) == DATA[::-1][:100]
    other.close()
    with suppress(HpssError):  # the simulator keeps it for us, and other tests count
        client.close(0)
    assert archive.descriptors() == 0


def test_a_file_goes_on_after_its_stuck_read_was_broken_off(
    archive: Archive, session: Session, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a descriptor of the new login: the old number is not used any more."""
    times = count(0.0, 29.99)
    monkeypatch.setattr(session, "_monotonic", lambda: next(times))
    file = opened(session, "/archive/1")
    hanging = archive.fault("hpss_Read", action="hang", count=0)
    stuck = threads.submit(read, file, 0, 100)
    until(lambda: archive.fault_hits(hanging) == 1)
    archive.expire_credentials()
    session.call(client.stat, "/archive/1")
    assert failure(stuck).errno == errno.ENOTCONN
    archive.clear_faults()
    assert read(file, 50, 100) == DATA[50:150]
    file.close()
    with suppress(HpssError):  # the simulator keeps it for us, and other tests count
        client.close(0)
    assert archive.descriptors() == 0


@pytest.mark.parametrize("kind", ["read", "write"])
def test_short_transfers_are_completed(archive: Archive, session: Session, kind: str) -> None:
    """The library takes and gives what it likes."""
    short = archive.fault(f"hpss_{kind.capitalize()}", action="short", count=3, value=7)
    if kind == "read":
        file = opened(session, "/archive/1")
        assert read(file, 0, len(DATA)) == DATA
    else:
        file = OpenFile.create(session, "/archive/2", len(DATA), None, None)
        file.write(memoryview(DATA))
        file.finish()
        assert archive.read("/archive/2") == DATA
    file.close()
    assert archive.fault_hits(short) == 3


def test_a_read_after_one_that_failed_elsewhere(archive: Archive, session: Session) -> None:
    """Gets its own bytes: where the library is after a failure, nobody knows."""
    file = opened(session, "/archive/1")
    assert read(file, 0, 100) == DATA[:100]
    archive.fault("hpss_Read")
    with pytest.raises(HpssError):
        read(file, 2001, 100)
    assert read(file, 100, 100) == DATA[100:200]
    file.close()


def test_a_file_that_ends_too_early_is_an_error(archive: Archive, session: Session) -> None:
    """Never a read of fewer bytes."""
    file = opened(session, "/archive/1")
    with pytest.raises(HpssError, match=f"the file ends after {len(DATA)} bytes"):
        read(file, len(DATA) - 10, 11)
    file.close()
