"""L{pacarchive.launch.renewal}: certificates that change while the server runs, in the time of a clock."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from certificates import Pair
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.logger import formatEvent, globalLogPublisher

from pacarchive.launch import renewal as module
from pacarchive.launch.reloading import reload_all
from pacarchive.launch.renewal import INTERVAL, Renewal
from pacarchive.web.http.credentials import Credentials, CredentialsFiles
from pacarchive.web.http.settings import TlsSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DAY = 86400.0
OLD = Pair("old", names=("old.example.org",))
NEW = Pair("new", names=("new.example.org",))


class Kept:
    """
    A certificate in a file, and what keeps it.

    @ivar used: The names of all that was put in force.
    """

    def __init__(self, directory: Path, pair: Pair = OLD) -> None:
        self.clock = Clock()
        self.clock.advance(time.time())
        self.path = directory / "server.pem"
        pair.write(self.path)
        self.used: list[tuple[str, ...]] = []
        self.words: list[str] = []
        files = CredentialsFiles(TlsSettings(certificate=str(self.path)), "site.ini")
        self.renewal = Renewal(self.clock, files, files.read(self.clock.seconds()), files.stamp())
        self.renewal.uses(self._use)

    def _use(self, credentials: Credentials) -> None:
        self.used.append(credentials.names)

    def replace(self, content: bytes) -> None:
        """As certbot and others do."""
        new = self.path.with_name("new.pem")
        new.touch(0o600)
        new.write_bytes(content)
        os.replace(new, self.path)

    def log(self) -> list[str]:
        """What was said since the last call."""
        words, self.words[:] = list(self.words), []
        return words


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kept]:
    """One that runs, without threads."""
    monkeypatch.setattr(module, "in_passing", lambda reactor, call, *arguments: execute(call, *arguments))
    kept = Kept(tmp_path)
    observer: Callable[[Any], None] = lambda event: kept.words.append(formatEvent(event))  # noqa: E731
    globalLogPublisher.addObserver(observer)  # type: ignore[arg-type]
    kept.renewal.startService()
    try:
        yield kept
    finally:
        kept.renewal.stopService()
        globalLogPublisher.removeObserver(observer)  # type: ignore[arg-type]
    assert not kept.clock.getDelayedCalls()


def test_a_file_that_changes(kept: Kept) -> None:
    """It is in force within a minute, and said once; one that does not change is not read again."""
    (started,) = kept.log()
    assert started.startswith("TLS: certificate of old.example.org, valid until 20")
    kept.clock.pump([INTERVAL] * 3)
    assert (kept.used, kept.log()) == ([], [])
    kept.replace(NEW.key + NEW.pem)
    kept.clock.advance(INTERVAL - 1)
    assert kept.used == []
    kept.clock.advance(1)
    kept.clock.pump([INTERVAL] * 3)
    assert kept.used == [("new.example.org",)]
    assert kept.renewal.not_after == NEW.certificate.not_valid_after_utc.timestamp()
    (words,) = kept.log()
    assert words.startswith("TLS: new connections have another certificate of new.example.org, valid until 20")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "has no certificate in PEM"),
        (NEW.pem + OLD.key, "[tls] key: the key in "),
        ((late := Pair("late", names=("late",), days=(-9, -1))).key + late.pem, "has expired on"),
    ],
    ids=["empty", "foreign key", "expired"],
)
def test_a_bad_one_leaves_the_old_in_force(kept: Kept, content: bytes, words: str) -> None:
    """It is said once, in one line, until it is another; by SIGHUP each time."""
    kept.log()
    kept.replace(content)
    kept.clock.pump([INTERVAL] * 5)
    assert kept.used == []
    (said,) = kept.log()
    assert said.startswith("TLS: the old certificate stays in force: site.ini: [tls] ")
    assert words in said
    assert "\n" not in said
    assert reload_all(kept.renewal.reload) == []
    (said,) = kept.log()
    assert said.startswith("cannot reload: site.ini: [tls] ")
    assert said.endswith("; what was in force still is")
    assert kept.renewal.credentials.names == ("old.example.org",)
    kept.replace(NEW.key + NEW.pem)
    kept.clock.advance(INTERVAL)
    assert kept.used == [("new.example.org",)]


def test_a_file_that_is_gone_for_a_while(kept: Kept) -> None:
    """That is a bad one, too; what comes back is what there was."""
    kept.log()
    kept.path.unlink()
    kept.clock.pump([INTERVAL] * 2)
    (said,) = kept.log()
    assert said.endswith("server.pem: No such file or directory")
    OLD.write(kept.path)
    kept.clock.pump([INTERVAL] * 2)
    assert (kept.used, kept.log()) == ([], [])


def test_on_request(kept: Kept) -> None:
    """Files are read at once, and what is new is in force; what is not changes nothing."""
    assert kept.renewal.reload() == ["the certificate"]
    assert kept.used == []
    kept.replace(NEW.key + NEW.pem)
    assert kept.renewal.reload() == ["the certificate"]
    kept.clock.pump([INTERVAL] * 2)
    assert kept.used == [("new.example.org",)]


def test_the_end_is_announced(kept: Kept) -> None:
    """From two weeks before on, once a day; when it has come, as an error; and a new one ends that."""
    kept.log()
    end = kept.renewal.not_after

    def pass_to(when: float) -> list[str]:
        kept.clock.advance(when - kept.clock.seconds())
        kept.clock.pump([INTERVAL] * 3)
        return kept.log()

    assert pass_to(end - 15 * DAY) == []
    (first,) = pass_to(end - 14 * DAY + INTERVAL)
    assert "expires in 14 days" in first
    assert pass_to(end - 13.5 * DAY) == []
    (second,) = pass_to(end - 12.9 * DAY)
    assert "expires in 13 days" in second
    (last,) = pass_to(end - 0.5 * DAY)
    assert "expires in 12 hours" in last
    (over,) = pass_to(end + DAY)
    assert "has expired: clients refuse it" in over


def test_one_look_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file system hangs, threads do not pile up; when it goes on, the service does."""
    looks: list[Deferred[Any]] = []

    def hang(*_: object) -> Deferred[Any]:
        looks.append(Deferred())
        return looks[-1]

    monkeypatch.setattr(module, "in_passing", hang)
    kept = Kept(tmp_path)
    kept.renewal.startService()
    kept.clock.pump([INTERVAL] * 5)
    assert len(looks) == 1
    looks[0].callback((None, None))
    kept.clock.advance(INTERVAL)
    assert len(looks) == 2
    kept.renewal.stopService()
    looks[1].callback((None, kept.renewal._files.read(time.time())))
    assert kept.used == []


def test_no_thread_stays() -> None:
    """A process that is to fork has no other."""
    from pacarchive.runtime.threads import in_passing

    delivered = threading.Event()
    calls: list[Any] = []

    class Reactor:
        def callFromThread(self, *call: Any) -> None:
            calls.append(call)
            delivered.set()

    before = threading.active_count()
    found: list[Any] = []
    in_passing(Reactor(), threading.current_thread).addCallback(found.append)
    assert delivered.wait(30)
    function, result = calls[0]
    function(result)
    (thread,) = found
    assert thread is not threading.current_thread()
    thread.join(30)
    assert threading.active_count() == before
