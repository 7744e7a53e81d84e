"""The extension and its Python face, against the simulator.

All of it runs on the variant that C{PACARCHIVE_TEST_HPSS} names; one test runs the others, each in its own process.
"""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import hpss_build
import pytest

VARIANT = hpss_build.use_extension()

import _hpss  # noqa: E402
from hpss_simulator import Archive  # noqa: E402

from pacarchive.backends.hpss import client, library  # noqa: E402
from pacarchive.backends.hpss.client import HpssError, Kind, StageStatus  # noqa: E402

ONE, OTHER = UUID("12345678-1234-5678-1234-567812345678"), UUID("12345678-1234-5678-1234-567812345679")


BEFORE_LOGIN = 3
"""How many seconds a call waits for a login, instead of for ever."""


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Archive]:
    """A new archive, logged in to, with a clock that stands still."""
    monkeypatch.setenv("HPSS_SIMULATOR_LOGIN_TIMEOUT", str(BEFORE_LOGIN))
    made = Archive.create(tmp_path / "archive")
    made.clock.freeze()
    client.configure(retries=0, busy_retries=0, busy_delay=1, total_delay=1)
    client.login(made.principal, str(made.keytab))
    client.thread_start()
    yield made
    client.thread_end()
    client.logout()


@pytest.fixture
def libhpss(archive: Archive) -> ctypes.CDLL:
    """The library that the extension has loaded, for calls that the extension does not make."""
    return ctypes.CDLL(str(hpss_build.simulator(VARIANT) / "lib" / "libhpss.so"))


def put(path: str, content: bytes, **hints: int) -> None:
    """Make a file."""
    descriptor = client.create(path, **hints)
    assert client.write(descriptor, content) == len(content)
    client.close(descriptor)


def put_on_tape(path: str, content: bytes) -> None:
    """Make a file that is on tape only."""
    put(path, content)
    client.migrate(path)
    client.purge(path)


def failure(call: Callable[[], object]) -> HpssError:
    """How a call fails."""
    with pytest.raises(HpssError) as caught:
        call()
    return caught.value


def eventually(holds: Callable[[], bool]) -> None:
    """Wait for what another thread brings about."""
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def in_thread(call: Callable[[], object]) -> threading.Thread:
    """Begin a call in a thread of its own."""
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread


def on_disk(path: str) -> bool:
    """Whether the first level has data."""
    return client.attributes(path).levels[0].has_data


@pytest.mark.skipif("PACARCHIVE_TEST_HPSS" in os.environ, reason="this is one of the others")
@pytest.mark.parametrize("variant", [each for each in hpss_build.VARIANTS if each != VARIANT])
def test_the_other_variants(variant: str) -> None:
    """The same tests pass on the other shapes of the client API."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__],
        env={**os.environ, "PACARCHIVE_TEST_HPSS": variant},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


# ---- What was built ----


def test_probes_found_what_the_variant_has() -> None:
    """The probes tell the shapes of the API apart."""
    expected = {
        "7.4": {"fsync", "last_error"},
        "7.5": {"fsync", "last_error", "thread_cleanup"},
        "8.3": {"fsync", "last_error", "thread_cleanup", "uuid_request", "batch_stage"},
    }
    assert expected[VARIANT] == client.FEATURES
    assert client.MAX_LEVELS == 5
    assert client.BUILT_FOR.replace("0", "") == VARIANT
    assert VARIANT in client.build_level()


# ---- Session ----


def test_a_wrong_key_table_is_a_security_error(archive: Archive, tmp_path: Path) -> None:
    """Not an error number that could be a file's; and no detail is asked for, which would wait for a login."""
    client.logout()
    begun = time.monotonic()
    error = failure(lambda: client.login(archive.principal, str(tmp_path / "nothing")))
    assert time.monotonic() - begun < BEFORE_LOGIN
    assert error.security
    assert error.errno == 0
    assert error.call == "hpss_SetLoginCred"
    assert failure(lambda: client.login(archive.principal, str(archive.keytab), "carrier pigeon")).errno == errno.EINVAL


def test_a_session_can_be_left_and_another_archive_entered(archive: Archive, tmp_path: Path) -> None:
    """The login decides which archive the process talks to."""
    put("/here", b"x")
    other = Archive.create(tmp_path / "other")
    client.logout()
    client.login(other.principal, str(other.keytab))
    assert client.listdir("/") == []
    client.logout()
    client.login(archive.principal, str(archive.keytab))
    assert client.listdir("/") == ["here"]


def test_a_reset_session_goes_on(archive: Archive) -> None:
    """Connections are made again at need."""
    client.ping(archive.site)
    client.reset()
    client.ping(archive.site)


def test_ping_looks_the_core_server_up_once(archive: Archive) -> None:
    """One call to the server a ping; a failed one has it looked up again."""
    for _ in range(3):
        client.ping(archive.site)
    assert (archive.calls("hpss_LookupRootCS"), archive.calls("hpss_PingCore")) == (1, 3)
    archive.fault("hpss_PingCore", value=-50)
    assert failure(lambda: client.ping(archive.site)).name == "HPSS_ECONN"
    client.ping(archive.site)
    assert archive.calls("hpss_LookupRootCS") == 2
    assert failure(lambda: client.ping("nowhere")).call == "hpss_LookupRootCS"


def test_a_child_process_logs_in_anew(archive: Archive) -> None:
    """After fork nothing of the parent's session is used, and asking for details does not hang."""
    client.ping(archive.site)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            refused = failure(lambda: client.stat("/"))
            client.login(archive.principal, str(archive.keytab))
            client.ping(archive.site)
            put("/by-the-child", b"child")
            code = 0 if not refused.detail else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert client.stat("/by-the-child").size == 5


def test_thread_contexts_are_given_back(archive: Archive) -> None:
    """By an explicit call where there is one, at the end of the thread at the latest."""
    before = archive.contexts()

    def work() -> None:
        client.thread_start()
        client.stat("/")
        client.thread_end()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    eventually(lambda: archive.contexts() == before)


# ---- Errors ----


def test_the_return_code_is_the_error(archive: Archive) -> None:
    """It has a call, a name and a local number."""
    error = failure(lambda: client.stat("/nothing"))
    assert (error.call, error.code, error.name, error.errno) == ("hpss_Stat", -2, "HPSS_ENOENT", errno.ENOENT)
    assert str(error).startswith("hpss_Stat: HPSS_ENOENT (-2)")


def test_what_the_library_remembers_is_a_detail(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's code behind a general one is told, and is not taken for the error."""

    class Remembering:
        def __getattr__(self, name: str) -> object:
            return getattr(_hpss.lib, name)

        def shim_take_last_error(self, error: Any) -> None:
            error.code, error.function = -1406, b"core_StageFile"

    put("/file", b"content")
    monkeypatch.setattr(library, "lib", Remembering())
    archive.fault("hpss_Open", value=-5)
    error = failure(lambda: client.open_read("/file"))
    assert (error.errno, error.detail) == (errno.EIO, "core_StageFile: HPSS_ENOTALLMOVED (-1406)")


def test_what_the_library_remembers_is_of_the_last_failure(archive: Archive) -> None:
    """It is fetched once a failure, and forgotten then."""
    failure(lambda: client.stat("/nothing"))
    assert (archive.calls("hpss_GetLastHPSSErrno"), archive.calls("hpss_ClearLastHPSSErrno")) == (1, 1)
    client.stat("/")
    assert archive.calls("hpss_GetLastHPSSErrno") == 1


@pytest.mark.parametrize(("style", "code"), [("aix", -87), ("linux", -39)])
def test_errors_above_34_mean_the_same_in_both_styles(archive: Archive, style: str, code: int) -> None:
    """A directory that is not empty, and a name that is too long."""
    archive.set("errno_style", style)
    client.mkdir("/full", 0o755)
    put("/full/file", b"")
    error = failure(lambda: client.rmdir("/full"))
    assert (error.code, error.errno) == (code, errno.ENOTEMPTY)
    assert failure(lambda: client.stat("/" + "n" * 300)).errno == errno.ENAMETOOLONG


@pytest.mark.parametrize("path", ["/a\0b", "/\ud800"])
def test_what_is_no_path_is_refused_before_the_library_sees_it(archive: Archive, path: str) -> None:
    """It would read up to the NUL."""
    put("/a", b"")
    before = archive.calls("hpss_Unlink")
    assert failure(lambda: client.unlink(path)).errno == errno.EINVAL
    assert archive.calls("hpss_Unlink") == before


# ---- Names ----


def test_names_are_bytes(archive: Archive) -> None:
    """What is no UTF-8 comes back as it went in."""
    names = ["plain", "gr\u00fc\u00df", os.fsdecode(b"\xff\xfe")]
    for name in names:
        put(f"/{name}", b"")
    assert sorted(client.listdir("/")) == sorted(names)


def test_a_listing_of_any_length_is_complete(archive: Archive) -> None:
    """Longer than the buffer that it is read through."""
    client.mkdir("/many", 0o755)
    names = {f"{number:0200}" for number in range(500)}
    for name in names:
        put(f"/many/{name}", b"")
    listed = client.listdir("/many")
    assert (set(listed), len(listed)) == (names, len(names))
    assert archive.descriptors() == 0


def test_a_failed_listing_closes_its_directory(archive: Archive) -> None:
    """Directories share the table of open files."""
    archive.fault("hpss_Readdir")
    assert failure(lambda: client.listdir("/")).call == "hpss_Readdir"
    assert archive.descriptors() == 0


def test_rename_replaces_and_link_does_not(archive: Archive) -> None:
    """As in POSIX."""
    put("/old", b"old")
    put("/new", b"newer")
    assert failure(lambda: client.link("/old", "/new")).errno == errno.EEXIST
    client.rename("/old", "/new")
    assert client.stat("/new").size == 3
    client.link("/new", "/second")
    assert client.stat("/second").links == 2
    client.unlink("/new")
    assert sorted(client.listdir("/")) == ["second"]


def test_symbolic_links_are_told_from_what_they_lead_to(archive: Archive, libhpss: ctypes.CDLL) -> None:
    """One call follows them, one does not."""
    put("/file", b"content")
    assert libhpss.hpss_Symlink(b"/file", b"/link") == 0
    assert client.readlink("/link") == "/file"
    assert (client.stat("/link").kind, client.lstat("/link").kind) == (Kind.FILE, Kind.SYMLINK)
    client.mkdir("/directory", 0o750)
    assert (client.stat("/directory").kind, client.stat("/directory").mode) == (Kind.DIRECTORY, 0o750)


def test_modes_are_not_masked(archive: Archive) -> None:
    """The umask of a thread that began is 0."""
    client.mkdir("/open", 0o777)
    assert client.stat("/open").mode == 0o777
    client.chmod("/open", 0o444)
    assert client.attributes("/open").mode == 0o444


@pytest.mark.parametrize("mtime", [0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_times_have_all_their_bits(archive: Archive, mtime: int) -> None:
    """Beyond 2038."""
    put("/file", b"")
    client.utime("/file", 1, mtime)
    assert (client.stat("/file").atime, client.stat("/file").mtime) == (1, mtime)
    assert client.attributes("/file").mtime == mtime


@pytest.mark.parametrize("mtime", [2**32, -1, 2**70])
def test_a_time_that_does_not_fit_is_refused(archive: Archive, mtime: int) -> None:
    """The archive would cut it off in silence."""
    put("/file", b"")
    before = client.stat("/file").mtime
    assert failure(lambda: client.utime("/file", 1, mtime)).errno == errno.ERANGE
    assert client.stat("/file").mtime == before


# ---- Data ----


def test_the_first_descriptor_is_0(archive: Archive) -> None:
    """And as good as any."""
    descriptor = client.create("/file")
    assert descriptor == 0
    client.write(descriptor, b"content")
    client.fsync(descriptor)
    assert client.fstat(descriptor).size == 7
    client.close(descriptor)
    assert failure(lambda: client.close(descriptor)).errno == errno.EBADF


def test_bytes_are_read_where_they_are_asked_for(archive: Archive) -> None:
    """Range reads, also beyond 4 GiB."""
    far = 2**32 + 5
    descriptor = client.create("/file")
    client.write(descriptor, b"0123456789")
    client.seek(descriptor, far)
    client.write(descriptor, memoryview(b"beyond")[2:])
    client.close(descriptor)
    assert client.stat("/file").size == far + 4
    descriptor = client.open_read("/file")
    buffer = bytearray(10)
    assert client.read_into(descriptor, 4, memoryview(buffer)[:3]) == 3
    assert client.read_into(descriptor, None, memoryview(buffer)[3:5]) == 2
    assert buffer[:5] == b"45678"
    assert client.read_into(descriptor, far, buffer) == 4
    assert buffer[:4] == b"yond"
    assert client.read_into(descriptor, None, buffer) == 0
    with pytest.raises((BufferError, TypeError)):
        client.read_into(descriptor, 0, b"read only")
    client.close(descriptor)


def test_a_failed_read_is_no_end_of_file(archive: Archive) -> None:
    """It raises."""
    put("/file", b"content")
    archive.fault("hpss_Read", value=-5)
    descriptor = client.open_read("/file")
    assert failure(lambda: client.read_into(descriptor, None, bytearray(7))).name == "HPSS_EIO"
    client.close(descriptor)


def test_create_takes_no_name_that_is_taken(archive: Archive) -> None:
    """And leaves the file that has it alone."""
    put("/file", b"content")
    assert failure(lambda: client.create("/file")).errno == errno.EEXIST
    assert client.stat("/file").size == 7
    assert client.attributes("/file").mode == 0o600


def test_opening_for_writing_keeps_the_content(archive: Archive) -> None:
    """To go on after a new login."""
    put("/file", b"content")
    descriptor = client.open_write("/file")
    client.seek(descriptor, 4)
    client.write(descriptor, b"rast")
    client.close(descriptor)
    assert archive.read("/file") == b"contrast"


def test_the_class_of_service_follows_the_size(archive: Archive) -> None:
    """Hints at creation; an explicit class comes first."""
    put("/small", b"x", size=1)
    client.close(client.create("/large", size=2**40))
    client.close(client.create("/chosen", size=1, cos=3, family=7))
    assert client.attributes("/small").cos == 1
    assert client.attributes("/large").cos == 2
    assert client.attributes("/chosen").cos == 3
    with pytest.raises(HpssError):
        client.create("/refused", cos=4711)


# ---- User-defined attributes ----


def test_user_attributes_come_back_as_they_were(archive: Archive) -> None:
    """Without the line of XML that the library wraps them in."""
    put("/file", b"")
    values = {"/hpss/user/cksum/algorithm": "md5", "/hpss/user/cksum/app": "a <b> & \u00fc"}
    client.set_user_attributes("/file", values)
    assert client.get_user_attributes("/file", list(values)) == values
    client.set_user_attributes("/file", {"/hpss/user/cksum/app": "other"})
    assert client.get_user_attributes("/file", ["/hpss/user/cksum/app"]) == {"/hpss/user/cksum/app": "other"}
    client.delete_user_attributes("/file", ["/hpss/user/cksum/app"])
    error = failure(lambda: client.get_user_attributes("/file", list(values)))
    assert (error.call, error.errno) == ("hpss_UserAttrGetAttrs", errno.ENOENT)


def test_no_attributes_are_no_call(archive: Archive) -> None:
    """An empty list is answered here."""
    assert client.get_user_attributes("/nothing", []) == {}
    client.set_user_attributes("/nothing", {})
    client.delete_user_attributes("/nothing", [])


# ---- Between the levels ----


def test_attributes_tell_where_the_bytes_are(archive: Archive) -> None:
    """On disk, on both, on tape only."""
    put("/file", b"content", size=7)
    fresh = client.attributes("/file")
    assert (fresh.kind, fresh.size, len(fresh.levels)) == (Kind.FILE, 7, client.MAX_LEVELS)
    assert [level.medium for level in fresh.levels] == ["disk", "tape", "", "", ""]
    assert [(level.has_data, level.bytes) for level in fresh.levels[:2]] == [(True, 7), (False, 0)]
    client.migrate("/file")
    both = client.attributes("/file")
    assert [(level.has_data, level.bytes) for level in both.levels[:2]] == [(True, 7), (True, 7)]
    client.purge("/file")
    tape = client.attributes("/file")
    assert [(level.has_data, level.bytes) for level in tape.levels[:2]] == [(False, 0), (True, 7)]
    (volume,) = tape.levels[1].volumes
    assert volume.name
    assert volume.bytes == 7
    assert fresh.file_id == tape.file_id == client.stat("/file").ino
    assert fresh.bitfile == tape.bitfile


def test_attributes_tell_of_a_purge_lock(archive: Archive) -> None:
    """And a purge is refused then."""
    put("/file", b"content")
    client.migrate("/file")
    archive.lock("/file")
    assert client.attributes("/file").purge_locked
    with pytest.raises(HpssError):
        client.purge("/file")
    assert archive.descriptors() == 0
    archive.unlock("/file")
    assert not client.attributes("/file").purge_locked


def test_a_directory_has_no_levels(archive: Archive) -> None:
    """Nor has it bytes."""
    found = client.attributes("/")
    assert found.kind is Kind.DIRECTORY
    assert {level.medium for level in found.levels} == {""}


def test_a_submitted_stage_can_be_asked_for(archive: Archive) -> None:
    """Under the caller's own id, which no other request answers to; when it is over, the archive has forgotten it."""
    put_on_tape("/file", b"content")
    bitfile = client.submit_stage("/file", ONE)
    # The bytes differ where the library's structure has gaps; what counts is that both name the file.
    for named in (bitfile, client.attributes("/file").bitfile):
        assert client.stage_status(ONE, named) in (StageStatus.QUEUED, StageStatus.ACTIVE)
    assert client.stage_status(OTHER, bitfile) is StageStatus.UNKNOWN
    archive.clock.advance(3600)
    assert client.stage_status(ONE, bitfile) is StageStatus.UNKNOWN
    assert on_disk("/file")
    assert failure(lambda: client.stage_status(ONE, b"no bitfile")).errno == errno.EINVAL


def test_requests_wait_for_a_drive(archive: Archive) -> None:
    """More requests than drives: some are active, some queued."""
    paths = [f"/{number}" for number in range(12)]
    for path in paths:
        put_on_tape(path, b"content")
    bitfiles = [client.submit_stage(path, ONE) for path in paths]
    archive.clock.advance(1)
    states = {client.stage_status(ONE, bitfile) for bitfile in bitfiles}
    assert states == {StageStatus.QUEUED, StageStatus.ACTIVE}


@pytest.mark.skipif("batch_stage" not in client.FEATURES, reason="this library has no batches")
def test_a_batch_is_one_request(archive: Archive) -> None:
    """For many files, each with a state of its own."""
    paths = [f"/{number}" for number in range(5)]
    for path in paths:
        put_on_tape(path, b"content")
    bitfiles = [client.attributes(path).bitfile for path in paths]
    batch = client.submit_batch(bitfiles, ONE)
    states = client.batch_status(batch, bitfiles)
    assert len(states) == len(paths)
    assert StageStatus.UNKNOWN not in states
    archive.clock.advance(3600)
    assert set(client.batch_status(batch, bitfiles)) == {StageStatus.UNKNOWN}
    assert all(on_disk(path) for path in paths)
    assert failure(lambda: client.submit_batch([], ONE)).errno == errno.EINVAL


@pytest.mark.skipif("batch_stage" in client.FEATURES, reason="this library has batches")
def test_a_batch_is_refused_where_there_are_none(archive: Archive) -> None:
    """With words, and not with a missing symbol."""
    assert failure(lambda: client.submit_batch([b"bitfile"], ONE)).errno == errno.EOPNOTSUPP


def test_nothing_else_waits_while_a_stage_blocks(archive: Archive) -> None:
    """The interpreter lock is released, and the status of the very file that is being staged is told at once."""
    put_on_tape("/slow", b"content")
    put("/quick", b"content")
    staging = in_thread(lambda: client.stage("/slow"))
    try:
        eventually(lambda: archive.calls("hpss_Stage") == 1)
        for _ in range(100):
            assert client.attributes("/quick").size == 7
        asking = in_thread(lambda: client.attributes("/slow"))
        asking.join(10)
        assert not asking.is_alive()
        assert staging.is_alive()
    finally:
        archive.clock.advance(3600)
    staging.join(10)
    assert not staging.is_alive()
    assert on_disk("/slow")
