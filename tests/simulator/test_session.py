"""Login, threads, the server's state, the fault plan: what stands before every call.  (Items 1, 2, 11 and 12.)"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from hpss_simulator import Archive

from .clients import Client, elsewhere, eventually

ECONN, EACCES, ENOENT, EBUSY, ETIMEDOUT = -50, -13, -2, -16, -78
SECURITY = -11000


def test_a_call_before_the_login_waits_for_it(client: Client, empty: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPSS_SIMULATOR_LOGIN_TIMEOUT", "20")
    with elsewhere(lambda: client.stat("/")) as results:
        time.sleep(0.1)
        assert not results
        assert client.login(empty) == 0
    assert not isinstance(results[0], int)


def test_a_call_without_any_login_ends_by_the_time_limit_alone(client: Client) -> None:
    assert client.stat("/") == ETIMEDOUT


def test_the_configuration_can_be_read_and_set_before_the_login(client: Client) -> None:
    client.configure(NumRetries=7)
    configuration = client.sdk.new("api_config_t")
    assert client.sdk.GetConfiguration(configuration) == 0
    assert configuration.NumRetries == 7
    configuration.NumRetries = 8
    configuration.Flags = 0
    assert client.sdk.SetConfiguration(configuration) == 0
    assert client.sdk.GetConfiguration(configuration) == 0
    assert configuration.NumRetries == 7  # without API_USE_CONFIG nothing changes


def test_a_wrong_principal_or_key_is_refused(client: Client, empty: Archive, tmp_path: Path) -> None:
    assert client.login(empty, principal="nobody") <= SECURITY
    assert client.login(empty, keytab=tmp_path / "none") <= SECURITY
    forged = tmp_path / "forged"
    forged.write_text(empty.keytab.read_text().replace("secret=", "secret=not"))
    assert client.login(empty, keytab=forged) <= SECURITY
    assert client.login(empty) == 0


def test_credentials_expire_after_a_time_and_a_new_login_helps(client: Client, archive: Archive) -> None:
    archive.set("credential_lifetime", 0.05)
    eventually(lambda: client.stat("/") == EACCES)
    archive.set("credential_lifetime", 0)
    archive.expire_credentials()
    assert client.stat("/") == EACCES
    assert client.login(archive) == 0
    assert not isinstance(client.stat("/"), int)


def test_credentials_expire_after_a_number_of_calls(client: Client, archive: Archive) -> None:
    archive.set("credential_calls", 3)
    assert client.login(archive) == 0
    assert [isinstance(client.stat("/"), int) for _ in range(4)] == [False, False, False, True]


def test_a_reset_breaks_calls_in_flight_and_open_descriptors(client: Client, archive: Archive) -> None:
    client.put_on_tape("/f", b"content")
    descriptor = client.open("/f", os.O_RDONLY | os.O_NONBLOCK)
    with elsewhere(lambda: client.read(descriptor, 10)) as results:
        eventually(lambda: archive.calls_in_flight() == 1)
        client.sdk.ClientAPIReset()
    assert results == [ECONN]
    assert client.sdk.Lseek(descriptor, 0, os.SEEK_SET) == ECONN
    assert client.sdk.Close(descriptor) == ECONN
    assert archive.descriptors() == 0


def test_a_thread_has_its_own_umask_and_its_context_goes_with_it(client: Client, archive: Archive) -> None:
    assert client.sdk.Mkdir(b"/before", 0o777) == 0
    before = archive.contexts()

    def other() -> tuple[int, int]:
        client.sdk.Umask(0)
        client.sdk.Mkdir(b"/other", 0o777)
        return archive.contexts(), client.stat("/other").st_mode & 0o777

    with elsewhere(other) as results:
        pass
    assert results == [(before + 1, 0o777)]
    assert client.stat("/before").st_mode & 0o777 == 0o755
    eventually(lambda: archive.contexts() == before)


def test_contexts_that_threads_keep_are_counted(client: Client, archive: Archive) -> None:
    assert not isinstance(client.stat("/"), int)
    before = archive.contexts()
    leave = threading.Event()

    def work() -> None:
        client.stat("/")
        leave.wait(10)

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    eventually(lambda: archive.contexts() == before + 5)
    leave.set()
    for thread in threads:
        thread.join()
    eventually(lambda: archive.contexts() == before)


def test_a_context_can_be_given_up_early_where_there_is_a_call_for_it(client: Client, archive: Archive) -> None:
    client.stat("/")
    before = archive.contexts()
    if not client.sdk.has_newer_shape:
        assert not hasattr(client.sdk, "ThreadCleanUp")
        return
    client.sdk.ThreadCleanUp()
    assert archive.contexts() == before - 1
    assert not isinstance(client.stat("/"), int)


def test_a_thread_may_assume_another_user(client: Client, archive: Archive) -> None:
    def as_user() -> tuple[int, int]:
        client.sdk.LoadDefaultThreadState(1000, 0, client.ffi.NULL)
        return client.sdk.Mkdir(b"/refused", 0o777), client.open("/mine/f", os.O_WRONLY | os.O_CREAT)

    client.sdk.Umask(0)
    assert client.sdk.Mkdir(b"/mine", 0o777) == 0
    with elsewhere(as_user) as results:
        pass
    assert results[0][0] == EACCES
    assert client.stat("/mine/f").st_uid == 1000


def test_the_last_error_is_kept_for_each_thread(client: Client, archive: Archive) -> None:
    client.stat("/missing")
    state = client.sdk.GetLastHPSSErrno()
    assert (state.hpss_errno, client.ffi.string(state.func)) == (ENOENT, b"hpss_Stat")
    with elsewhere(lambda: client.sdk.GetLastHPSSErrno().hpss_errno) as results:
        pass
    assert results == [0]
    client.stat("/")  # success does not clear it
    assert client.sdk.GetLastHPSSErrno().hpss_errno == ENOENT
    client.sdk.ClearLastHPSSErrno()
    assert client.sdk.GetLastHPSSErrno().hpss_errno == 0


@pytest.mark.parametrize(("state", "code"), [("down", ECONN), ("busy", EBUSY)])
def test_a_server_that_does_not_answer_fails_after_the_librarys_own_retries(
    client: Client, archive: Archive, state: str, code: int
) -> None:
    archive.set("retry_delay_ms", 50)
    archive.set("server_state", state)
    assert client.stat("/") == code
    client.configure(NumRetries=3, BusyRetries=1, BusyDelay=1, TotalDelay=0)
    start = time.monotonic()
    assert client.stat("/") == code
    assert time.monotonic() - start >= 0.14
    client.configure(NumRetries=-1, BusyRetries=-1)
    with elsewhere(lambda: client.stat("/")) as results:
        eventually(lambda: archive.calls_in_flight() == 1)
        archive.set("server_state", "up")
    assert not isinstance(results[0], int)


def test_ping_tells_the_servers_clock(client: Client, archive: Archive) -> None:
    server = client.ffi.new("hpss_srvr_id_t *" if client.sdk.has_newer_shape else "hpss_uuid_t *")
    seconds, micros = client.ffi.new("unsigned32 *"), client.ffi.new("unsigned32 *")
    assert client.sdk.LookupRootCS(b"elsewhere", server) == ENOENT
    assert client.sdk.LookupRootCS(archive.site.encode(), server) == 0
    assert client.sdk.PingCore(server, seconds, micros) == 0
    assert seconds[0] == int(archive.clock.now())
    archive.set("ping_skew", -3600)
    archive.set("ping_delay_ms", 100)
    start = time.monotonic()
    assert client.sdk.PingCore(server, seconds, micros) == 0
    assert time.monotonic() - start >= 0.1
    assert seconds[0] == int(archive.clock.now() - 3600)
    archive.fault("hpss_PingCore", value=ECONN)
    assert client.sdk.PingCore(server, seconds, micros) == ECONN


def test_a_fault_strikes_by_function_path_and_number(client: Client, archive: Archive) -> None:
    fault = archive.fault("hpss_Stat", path="/d/*", first=2, count=2, value=-28)
    assert client.sdk.Mkdir(b"/d", 0o700) == 0
    for name in ("a", "b"):
        client.put(f"/d/{name}", b"")
    asked = ["/d/a", "/", "/d/b", "/d/a", "/d/a"]
    assert [isinstance(client.stat(path), int) for path in asked] == [False, False, True, True, False]
    assert archive.fault_hits(fault) == 2
    archive.clear_faults()
    archive.fault("*", path="/d/b", count=0, value=-5)
    assert [client.stat("/d/b"), client.get("/d/b"), client.levels("/d/b")] == [-5, -5, -5]
    archive.clear_faults()
    assert client.get("/d/b") == b""


def test_a_delay_takes_real_time_and_a_hang_lasts_until_it_is_lifted(client: Client, archive: Archive) -> None:
    archive.fault("hpss_Stat", action="delay", value=80)
    start = time.monotonic()
    client.stat("/")
    assert time.monotonic() - start >= 0.08
    archive.fault("hpss_Mkdir", action="hang", count=0)
    with elsewhere(lambda: client.sdk.Mkdir(b"/d", 0o700)) as results:
        eventually(lambda: archive.calls_in_flight() == 1)
        assert not isinstance(client.stat("/"), int)  # nobody else is held up
        archive.clear_faults()
    assert results == [0]
    archive.fault("hpss_Mkdir", action="hang", count=0)
    with elsewhere(lambda: client.sdk.Mkdir(b"/e", 0o700)) as results:
        eventually(lambda: archive.calls_in_flight() == 1)
        client.sdk.ClientAPIReset()
    assert results == [ECONN]


def test_reads_and_writes_can_be_cut_short(client: Client, archive: Archive) -> None:
    archive.fault("hpss_Write", action="short", value=3)
    descriptor = client.open("/f", os.O_RDWR | os.O_CREAT)
    assert client.sdk.Write(descriptor, b"content", 7) == 3
    assert client.sdk.Write(descriptor, b"tent", 4) == 4
    client.sdk.Lseek(descriptor, 0, os.SEEK_SET)
    archive.fault("hpss_Read", action="short", value=2)
    assert [client.read(descriptor, 7), client.read(descriptor, 7)] == [b"co", b"ntent"]
    client.sdk.Close(descriptor)


def test_a_broken_connection_loses_the_answer_and_not_the_work(client: Client, archive: Archive) -> None:
    archive.fault("hpss_Mkdir", action="disconnect")
    assert client.sdk.Mkdir(b"/d", 0o700) == ECONN
    assert client.sdk.Mkdir(b"/d", 0o700) == -17
    archive.fault("hpss_Open", action="disconnect")
    assert client.open("/f", os.O_WRONLY | os.O_CREAT) == ECONN
    assert archive.descriptors() == 0
    descriptor = client.open("/f", os.O_WRONLY)
    archive.fault("hpss_Write", action="disconnect")
    assert client.sdk.Write(descriptor, b"x", 1) == ECONN
    assert client.sdk.Write(descriptor, b"x", 1) == ECONN  # its connection is gone
    assert client.sdk.Close(descriptor) == ECONN
    assert client.get("/f") == b"x"
