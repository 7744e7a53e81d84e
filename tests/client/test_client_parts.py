"""The small parts of the client, each by itself."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from pacarchive.client import RetryPolicy, client, jobs
from pacarchive.client.connection import Connection
from pacarchive.client.documents import file_lists, halves, ranges
from pacarchive.client.errors import CertificateRefused, ConnectionFailed, NotFound, ProtocolError, ServerUnavailable
from pacarchive.client.events import Event, EventParser
from pacarchive.client.fields import (
    ContentRange,
    announced,
    digest_fields,
    parse_content_range,
    parse_monitor,
    parse_repr_digest,
    parse_retry_after,
)
from pacarchive.client.landing import Landing
from pacarchive.client.retry import Tries
from pacarchive.client.testing import result_of
from pacarchive.digests import ALGORITHMS, Hasher
from pacarchive.web.http.digest_fields import announced_fields, expected_digests, trailer_algorithms

IDS = st.sets(st.integers(0, 300) | st.integers(0, 2**64 - 1), min_size=1)


def test_the_client_needs_nothing_of_the_server() -> None:
    """It imports what both sides have words for, and no more."""
    code = "import sys, pacarchive.client, pacarchive.client.aio, pacarchive.client.testing; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    ours = {name for name in modules if name.startswith("pacarchive.") and not name.startswith("pacarchive.client")}
    assert ours <= {
        "pacarchive.digests",
        "pacarchive.errors",
        "pacarchive.ids",
        "pacarchive.model",
        "pacarchive.texts",
        "pacarchive.times",
    }
    assert not {name for name in modules if name.split(".")[0] in ("sqlalchemy", "sqlite3", "cffi_backend")}


def test_the_client_leaves_the_choice_of_the_reactor_to_the_program() -> None:
    """To import it, and to make a client with a reactor, does not install one."""
    code = (
        "import sys, pacarchive.client, pacarchive.client.aio, pacarchive.client.testing\n"
        "pacarchive.client.ArchiveClient(pacarchive.client.testing.Clock(), 'https://archive.example.org')\n"
        "print('twisted.internet.reactor' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ended.stdout == "False\n"


# header fields


@given(st.binary(), st.sets(st.sampled_from(sorted(ALGORITHMS)), min_size=1))
def test_digests_are_written_as_the_archive_reads_them(data: bytes, algorithms: set[str]) -> None:
    """Whether before the body or after it."""
    hasher = Hasher(algorithms)
    hasher.update(data)
    digests = hasher.digests()
    fields = digest_fields(digests)
    assert expected_digests(lambda name: [fields[name]] if name in fields else []) == digests
    assert trailer_algorithms(announced_fields([announced(algorithms)])) >= algorithms
    known = {name: raw for name, raw in digests.items() if name in ("sha256", "sha512")}
    assert parse_repr_digest(fields.get("Repr-Digest", "")) == known


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("bytes 0-9/10", ContentRange(0, 10, 10)),
        ("bytes */0", ContentRange(None, None, 0)),
        ("bytes 5-4/10", None),
        ("bytes 5-10/10", None),
        ("bytes 0-9/*", None),
        ("", None),
    ],
)
def test_a_content_range_is_believed_where_it_makes_sense(text: str, found: ContentRange | None) -> None:
    """And only there."""
    assert parse_content_range(text) == found


def test_of_a_link_nothing_but_the_job_is_used() -> None:
    """The URL may name any host."""
    job = "0123456789abcdef" * 2
    assert parse_monitor(f'<https://elsewhere.example.org/jobs/{job}>; rel="monitor"') == job
    assert parse_monitor(f"</jobs/{job}>; rel=next") is None
    assert parse_monitor("</jobs/..%2f>; rel=monitor") is None


def test_retry_after_is_seconds() -> None:
    """A date, or nonsense, counts for nothing."""
    assert [parse_retry_after(text, 7) for text in ("0", "30", "", "-1", "Fri, 31 Dec 1999 23:59:59 GMT")] == [
        0,
        30,
        7,
        7,
        7,
    ]


# ids


@given(IDS)
def test_ids_become_ranges_and_back(ids: set[int]) -> None:
    """None is lost, none is new."""
    found = [file_id for first, last in ranges(ids) for file_id in range(first, last + 1)]
    assert found == sorted(ids)


@given(IDS)
def test_a_list_is_cut_in_two_halves(ids: set[int]) -> None:
    """Which together are what it was."""
    (entries,) = file_lists(ids)
    two = halves(entries)
    if len(ids) == 1:
        assert two is None
        return
    assert two is not None
    parts = [[file_id for entry in half for file_id in _expand(str(entry))] for half in two]
    assert sorted(parts[0] + parts[1]) == sorted(ids)
    assert len(parts[0]) == len(ids) // 2


def _expand(entry: str) -> range:
    first, _, last = entry.partition("-")
    return range(int(first), int(last or first) + 1)


def test_a_list_that_is_too_long_for_one_document_is_several() -> None:
    """Each well below what the archive reads."""
    lists = file_lists(range(0, 200_000, 2))
    assert sum(map(len, lists)) == 100_000
    assert len(lists) > 1


# events


@given(st.lists(st.integers(1, 60), max_size=40))
def test_events_are_the_same_wherever_they_are_cut(cuts: list[int]) -> None:
    """Comments are none, and neither is one without data."""
    text = (
        b': hello\n\nid: 5\nevent: progress\ndata: {"a": 1}\n\n:\n\ndata: one\r\ndata:two\r\n\r\nevent: x\n\ndata: cut'
    )
    parser, found, position = EventParser(), list[Event](), 0
    for cut in [*cuts, len(text)]:
        found += parser.feed(text[position : position + cut])
        position += cut
    assert found == [Event("progress", '{"a": 1}', "5"), Event("message", "one\ntwo", "5")]


# tries


def pauses(policy: RetryPolicy, count: int) -> list[float]:
    """How long each of some tries in vain is waited for."""
    clock, found = Clock(), list[float]()
    tries = Tries(clock, policy)
    for _ in range(count):
        begun = clock.seconds()
        waiting = Deferred.fromCoroutine(tries.after(ConnectionFailed("lost")))
        while not waiting.called:
            clock.advance(0.5)
        found.append(clock.seconds() - begun)
    return found


def test_pauses_grow_to_a_limit() -> None:
    """Twice as long each time."""
    assert pauses(RetryPolicy(attempts=9, first=1, longest=10, jitter=0), 6) == [2, 4, 8, 10, 10, 10]


def test_there_may_be_any_number_of_tries() -> None:
    """Pauses stay what they are."""
    assert set(pauses(RetryPolicy(attempts=2000, first=1.5, longest=1, jitter=0), 1100)) == {1}


def test_pauses_of_two_clients_differ() -> None:
    """So that they do not come back at the same moment."""
    policy = RetryPolicy(attempts=99, first=8, longest=64, jitter=0.5)
    assert len({tuple(pauses(policy, 5)) for _ in range(10)}) > 1


def test_what_makes_no_sense_to_repeat_is_not_repeated() -> None:
    """A refusal, a certificate, and what may have been done already where that is not safe."""
    safe, unsafe = Tries(Clock(), RetryPolicy()), Tries(Clock(), RetryPolicy(), safe=False)
    for tries, error in (
        (safe, NotFound("none")),
        (safe, CertificateRefused("not trusted")),
        (unsafe, ConnectionFailed("lost", uncertain=True)),
        (unsafe, ServerUnavailable("later", retry_after=1)),
    ):
        with pytest.raises(type(error)):
            result_of(tries.after(error))


# landing


@pytest.fixture(params=[True, False])
def unnamed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the file system has unnamed files."""
    if not request.param:
        real = os.open

        def refuse(path: str, flags: int, mode: int = 0o777, **more: int) -> int:
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(errno.EOPNOTSUPP, "no unnamed files")
            return real(path, flags, mode, **more)

        monkeypatch.setattr(os, "open", refuse)
    return bool(request.param)


def test_a_file_lands_whole_or_not_at_all(tmp_path: Path, unnamed: bool) -> None:
    """Nothing is left of one that was not published."""
    target = tmp_path / "target"
    landing = Landing(str(target))
    landing.write([b"ab", b"", b"cd"], 3)
    landing.write([b"xyz"], 0)
    assert len(os.listdir(tmp_path)) == (0 if unnamed else 1)
    hasher = Hasher(["sha256"])
    landing.hash(hasher, 0, 7)
    landing.publish()
    landing.close()
    assert target.read_bytes() == b"xyzabcd"
    assert os.listdir(tmp_path) == ["target"]
    other = Landing(str(target))
    other.write([b"other"], 0)
    other.close()
    assert target.read_bytes() == b"xyzabcd"
    assert os.listdir(tmp_path) == ["target"]


def test_a_file_has_the_mode_that_any_new_file_has(tmp_path: Path, unnamed: bool) -> None:
    """By the umask of the process."""
    old = os.umask(0o027)
    try:
        landing = Landing(str(tmp_path / "target"))
        landing.publish()
        landing.close()
    finally:
        os.umask(old)
    assert (tmp_path / "target").stat().st_mode & 0o777 == 0o640


def test_what_another_process_left_is_removed_and_what_it_uses_is_not(tmp_path: Path, unnamed: bool) -> None:
    """The lock tells which is which; files of other destinations are left alone."""
    target = str(tmp_path / "target")
    first = Landing(target)
    name = first._new_name()
    (tmp_path / name).write_bytes(b"left")
    (tmp_path / ".pacarchive-get-0123456789abcdef-0123456789abcdef").write_bytes(b"another's")
    with open(tmp_path / first._new_name(), "wb") as used:
        fcntl.flock(used, fcntl.LOCK_EX)
        Landing(target).close()
        assert not (tmp_path / name).exists()
        assert len(os.listdir(tmp_path)) == (2 if unnamed else 3)
    first.publish()
    first.close()


def test_thousands_of_files_in_one_directory_are_listed_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for each of them; what was left there is removed all the same."""
    for number in range(1000):
        (tmp_path / str(number)).touch()
    target, lists, real, now = str(tmp_path / "target"), 0, os.listdir, [1e6]

    def count(path: int) -> list[str]:
        nonlocal lists
        lists += 1
        return real(path)

    monkeypatch.setattr(os, "listdir", count)
    monkeypatch.setattr("pacarchive.client.landing.time.monotonic", lambda: now[0])
    landing = Landing(target)
    left = tmp_path / landing._new_name()
    landing.close()
    for _ in range(2):
        left.touch()
        for number in range(20):
            Landing(str(tmp_path / f"other-{number}")).close()
        now[0] += 10
        Landing(target).close()
        assert not left.exists()
    assert lists == 3


def test_a_name_as_long_as_names_can_be_is_no_trouble(tmp_path: Path, unnamed: bool) -> None:
    """The hidden one is not made of it."""
    landing = Landing(str(tmp_path / ("n" * 255)))
    landing.publish()
    landing.close()
    assert os.listdir(tmp_path) == ["n" * 255]


def test_a_connection_without_a_socket_has_nothing_to_tell() -> None:
    """In tests, and where a socket is no TCP."""
    connection = Connection(None, None)  # type: ignore[arg-type]
    connection.transport = None
    assert connection.acknowledged == 0


def test_documents_that_are_nested_too_deeply() -> None:
    """They are no documents, as others that cannot be read."""
    text = "[" * 60_000
    assert client._health(text.encode()) is None
    with pytest.raises(ProtocolError):
        jobs._Watcher._event(None, text)  # type: ignore[arg-type]
