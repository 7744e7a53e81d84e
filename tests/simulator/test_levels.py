"""Where the bytes of a file are, and how they get from one level to another.  (Items 5, 6 and 7.)"""

from __future__ import annotations

import os
import socket
import time
from typing import Any

import pytest
from hpss_simulator import Archive

from .clients import Client, elsewhere, eventually

ENOENT, EPERM, EBADF, EBUSY, EFAULT, EISDIR, EINVAL, ENOSPACE = -2, -1, -9, -16, -14, -21, -22, -28
UNKNOWN, QUEUED, ACTIVE = 0, 1, 2
UNUSED_SLOTS, NOT_ALL_MOVED = -95, -1406
IS_DISK, IS_TAPE, HAS_DATA = 1, 2, 4


def descriptor_for(client: Client, path: str) -> int:
    return client.open(path, os.O_RDWR | os.O_NONBLOCK)


def migrate(client: Client, path: str, flags: int = 0) -> int:
    moved = client.ffi.new("u_signed64 *")
    code = int(client.sdk.Migrate(descriptor_for(client, path), 0, client.sdk.HPSS_MIGRATE_FORCE | flags, moved))
    return code or int(moved[0])


def purge(client: Client, path: str) -> int:
    moved = client.ffi.new("u_signed64 *")
    code = int(client.sdk.Purge(descriptor_for(client, path), 0, 0, 0, client.sdk.BFS_PURGE_ALL, moved))
    return code or int(moved[0])


# What is said of levels


def test_a_file_is_on_disk_then_on_both_then_on_tape(client: Client, archive: Archive) -> None:
    client.put("/f", b"content")
    disk, tape = ("DSK00002",), ("A0000100",)
    assert client.levels("/f") == [(IS_DISK | HAS_DATA, 7, [*disk]), (IS_TAPE, 0, []), *[(0, 0, [])] * 3]
    assert migrate(client, "/f") == 7
    assert client.levels("/f") == [
        (IS_DISK | HAS_DATA, 7, [*disk]),
        (IS_TAPE | HAS_DATA, 7, [*tape]),
        *[(0, 0, [])] * 3,
    ]
    assert purge(client, "/f") == 7
    assert client.levels("/f") == [(IS_DISK, 0, []), (IS_TAPE | HAS_DATA, 7, [*tape]), *[(0, 0, [])] * 3]


def test_migration_comes_by_itself_after_its_delay(client: Client, archive: Archive) -> None:
    archive.set("migration_delay", 100)
    client.put("/f", b"content")
    archive.clock.advance(99)
    assert client.bytes_at_levels("/f")[:2] == [7, 0]
    archive.clock.advance(2)
    assert client.bytes_at_levels("/f")[:2] == [7, 7]


def test_a_class_of_service_may_have_two_tape_levels_or_no_disk(client: Client, archive: Archive) -> None:
    for number, path in ((3, "/dual"), (4, "/tape")):
        client.put(path, b"")
        assert client.sdk.FileSetCOS(path.encode(), number, 0) == 0
        client.put(path, b"content")
    migrate(client, "/dual")
    assert client.bytes_at_levels("/dual") == [7, 7, 7, 0, 0]
    levels = client.levels("/tape")
    assert levels == [(IS_TAPE | HAS_DATA, 7, ["A0000100"]), *[(0, 0, [])] * 4]
    assert client.get("/tape") == b"content"
    assert client.sdk.Stage(descriptor_for(client, "/tape"), 0, 0, 0, client.sdk.BFS_STAGE_ALL) == EINVAL


def test_empty_files_and_directories_have_nothing_at_any_level(client: Client, archive: Archive) -> None:
    client.put("/f", b"")
    assert client.levels("/f") == [(IS_DISK, 0, []), (IS_TAPE, 0, []), *[(0, 0, [])] * 3]
    assert client.levels("/") == [(0, 0, [])] * 5


def test_one_question_at_a_time(client: Client, archive: Archive) -> None:
    client.put_on_tape("/f", b"content")
    one, first, every = (
        client.sdk.API_GET_STATS_FOR_LEVEL,
        client.sdk.API_GET_STATS_FOR_1STLEVEL,
        client.sdk.API_GET_STATS_FOR_ALL_LEVELS,
    )
    assert client.levels("/f", 0) == EINVAL
    assert client.levels("/f", first | every) == EINVAL
    assert client.levels("/f", one, 5) == EINVAL
    assert client.levels("/missing", every) == ENOENT
    assert client.sdk.FileGetXAttributes(b"/f", every, 0, client.ffi.NULL) == EFAULT
    only = client.levels("/f", one, 1)
    assert not isinstance(only, int)
    assert [size for _, size, _ in only] == [0, 7, 0, 0, 0]
    assert client.levels("/f", first) == [(IS_DISK, 0, []), only[1], *[(0, 0, [])] * 3]


def test_positions_on_tape_are_told(client: Client, archive: Archive) -> None:
    for number in range(3):
        client.put_on_tape(f"/f{number}", b"x" * 10)
    attributes = client.sdk.new("hpss_xfileattr_t")
    places = []
    for number in range(3):
        client.sdk.FileGetXAttributes(f"/f{number}".encode(), client.all_levels, 0, attributes)
        volume = attributes.SCAttrib[1].VVAttrib[0]
        places.append((volume.RelPosition, volume.RelPositionOffset, volume.BytesOnVV))
        client.free(volume.PVList)
    assert places == [(0, 0, 10), (1, 10, 10), (2, 20, 10)]


def test_a_question_waits_while_the_file_moves_unless_told_not_to(client: Client, archive: Archive) -> None:
    client.put_on_tape("/f", b"content")
    assert client.submit("/f", client.callback(1)) == 0
    blocking = client.sdk.API_GET_STATS_FOR_ALL_LEVELS
    assert client.bytes_at_levels("/f")[:2] == [0, 7]
    with elsewhere(lambda: client.levels("/f", blocking)) as results:
        eventually(lambda: archive.calls_in_flight() == 1)
        time.sleep(0.05)
        assert not results
        archive.clock.advance(600)
    assert [size for _, size, _ in results[0]][:2] == [7, 7]


# Purge and its lock


def test_purging_needs_a_copy_on_tape_and_a_way_to_write(client: Client, archive: Archive) -> None:
    client.put("/f", b"content")
    assert purge(client, "/f") == EPERM
    migrate(client, "/f")
    reading = client.open("/f", os.O_RDONLY)
    assert client.sdk.Purge(reading, 0, 0, 0, client.sdk.BFS_PURGE_ALL, client.ffi.NULL) == EBADF
    assert client.sdk.Purge(descriptor_for(client, "/f"), 1, 2, 0, 0, client.ffi.NULL) == EINVAL
    assert purge(client, "/f") == 7
    assert purge(client, "/f") == 0


def test_migration_may_purge(client: Client, archive: Archive) -> None:
    client.put("/f", b"content")
    assert migrate(client, "/f", client.sdk.HPSS_MIGRATE_PURGE_DATA) == 7
    assert client.bytes_at_levels("/f")[:2] == [0, 7]


def test_a_purge_lock_keeps_a_file_on_disk(client: Client, archive: Archive) -> None:
    client.put("/f", b"content")
    migrate(client, "/f")
    descriptor = descriptor_for(client, "/f")
    attributes = client.sdk.new("hpss_fileattr_t")
    assert client.sdk.PurgeLock(descriptor, client.sdk.PURGE_LOCK) == 0
    client.sdk.FileGetAttributes(b"/f", attributes)
    assert attributes.Attrs.OptionFlags & client.sdk.CORE_OPTION_FLAG_DONT_PURGE
    assert purge(client, "/f") == EBUSY
    assert client.sdk.PurgeLock(descriptor, client.sdk.PURGE_UNLOCK) == 0
    assert purge(client, "/f") == 7
    assert client.sdk.PurgeLock(descriptor, client.sdk.PURGE_LOCK) == EINVAL  # nothing on disk to keep


# Stage


def test_a_stage_blocks_until_the_file_is_on_disk(client: Client, archive: Archive) -> None:
    client.put_on_tape("/f", b"content")
    descriptor = client.open("/f", os.O_RDONLY | os.O_NONBLOCK)
    with elsewhere(lambda: client.sdk.Stage(descriptor, 0, 0, 0, client.sdk.BFS_STAGE_ALL)) as results:
        eventually(lambda: archive.calls_in_flight() == 1)
        assert client.bytes_at_levels("/f")[0] == 0
        archive.clock.advance(600)
    assert results == [0]
    assert client.bytes_at_levels("/f")[:2] == [7, 7]


def test_after_an_asynchronous_stage_the_close_blocks(client: Client, archive: Archive) -> None:
    client.put_on_tape("/f", b"content")
    descriptor = client.open("/f", os.O_RDONLY | os.O_NONBLOCK)
    flags = client.sdk.BFS_STAGE_ALL | client.sdk.BFS_ASYNCH_CALL
    assert client.sdk.Stage(descriptor, 0, 0, 0, flags) == 0
    with elsewhere(lambda: client.sdk.Close(descriptor)) as results:
        eventually(lambda: archive.calls_in_flight() == 1)
        time.sleep(0.05)
        assert not results
        archive.clock.advance(600)
    assert results == [0]
    assert client.bytes_at_levels("/f")[0] == 7


def test_requests_by_path_can_be_followed(client: Client, archive: Archive) -> None:
    paths = [f"/f{number}" for number in range(3)]  # one cartridge: one drive
    for path in paths:
        client.put_on_tape(path, b"content")
    requests = [client.callback(number + 1) for number in range(3)]
    assert client.stage_status(requests[0], client.bitfile("/f0")) == UNKNOWN
    for path, request in zip(paths, requests, strict=True):
        assert client.submit(path, request) == 0

    def states() -> list[int]:
        return [client.stage_status(each, client.bitfile(path)) for path, each in zip(paths, requests, strict=True)]

    assert states() == [QUEUED] * 3
    archive.clock.advance(1)
    assert states() == [ACTIVE, QUEUED, QUEUED]
    assert client.stage_status(requests[0], client.bitfile("/f1")) == UNKNOWN  # the pair counts
    archive.clock.advance(600)
    assert states() == [UNKNOWN] * 3
    assert client.bytes_at_levels("/f2")[0] == 7


def test_every_submission_is_counted_also_a_repeated_one(client: Client, archive: Archive) -> None:
    client.put_on_tape("/f", b"content")
    for number in (1, 1, 2):
        assert client.submit("/f", client.callback(number)) == 0
    assert archive.calls("hpss_StageCallBack") == 3
    assert archive.sums().duplicates == 2
    assert len(archive.requests()) == 3


def test_submitting_what_cannot_be_staged(client: Client, archive: Archive) -> None:
    assert client.submit("/missing", client.callback(1)) == ENOENT
    assert client.submit("/", client.callback(1)) == EISDIR
    assert client.submit("/missing", client.ffi.NULL) == EFAULT


def test_a_failed_stage_is_unknown_again_and_the_file_is_not_there(client: Client, archive: Archive) -> None:
    client.put_on_tape("/f", b"content")
    archive.lose_cartridge(archive.cartridges()[0].name)
    assert client.submit("/f", client.callback(1)) == 0
    archive.clock.advance(600)
    assert client.stage_status(client.callback(1), client.bitfile("/f")) == UNKNOWN
    assert client.bytes_at_levels("/f")[:2] == [0, 7]


def test_a_stage_to_a_full_disk_level_fails(client: Client, archive: Archive) -> None:
    client.put_on_tape("/f", b"content")
    archive.set("disk_capacity", 3)
    archive.clock.set_scale(1000)
    descriptor = client.open("/f", os.O_RDONLY | os.O_NONBLOCK)
    assert client.sdk.Stage(descriptor, 0, 0, 0, client.sdk.BFS_STAGE_ALL) == ENOSPACE
    assert client.bytes_at_levels("/f")[0] == 0


def test_the_order_of_requests_decides_how_long_they_take(client: Client, archive: Archive) -> None:
    archive.set("cartridge_capacity", 10)
    paths = [f"/f{number}" for number in range(6)]
    for path in paths:
        client.put_on_tape(path, b"x" * 5)  # two on each cartridge
    archive.fail_drive(1)

    def time_for(order: list[int]) -> float:
        for path in paths:
            purge(client, path)
        start = archive.clock.now()
        for number in order:
            assert client.submit(paths[number], client.callback(number + 1)) == 0
        while any(client.bytes_at_levels(path)[0] == 0 for path in paths):
            archive.clock.advance(10)
        return archive.clock.now() - start

    assert time_for([0, 2, 4, 1, 3, 5]) > 1.5 * time_for([0, 1, 2, 3, 4, 5])


# Callbacks


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_who_gave_an_address_is_called_back(client: Client, archive: Archive, family: socket.AddressFamily) -> None:
    client.put_on_tape("/f", b"content")
    with socket.create_server(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0), family=family) as server:
        server.settimeout(5)
        callback = client.callback(0x1234)
        fill_address(client, callback.sockaddr, family, server.getsockname()[1])
        assert client.submit("/f", callback) == 0
        archive.clock.advance(600)
        client.stat("/f")  # asks nothing about levels: the library is not played
        assert archive.callbacks() == (0, 0)
        client.bytes_at_levels("/f")
        connection, _ = server.accept()
        with connection:
            identifier, code = connection.makefile().read().split()
    assert (int(identifier[:8], 16), int(code)) == (0x1234, 0)
    assert archive.callbacks() == (1, 0)


def fill_address(client: Client, address: Any, family: socket.AddressFamily, port: int) -> None:
    """A socket address for the loopback."""
    if family == socket.AF_INET:
        raw = port.to_bytes(2, "big") + socket.inet_pton(family, "127.0.0.1")
    else:
        raw = port.to_bytes(2, "big") + bytes(4) + socket.inet_pton(family, "::1")
    address.ss_family = family
    client.ffi.memmove(client.ffi.cast("char *", client.ffi.addressof(address)) + 2, raw, len(raw))


def test_an_address_of_zeros_lights_an_alarm(client: Client, archive: Archive) -> None:
    client.put_on_tape("/f", b"content")
    assert client.submit("/f", client.callback(1)) == 0
    archive.clock.advance(600)
    assert client.bytes_at_levels("/f")[0] == 7
    assert archive.callbacks() == (0, 1)


# Batches


def batch_of(client: Client, paths: list[str]) -> Any:
    batch = client.sdk.new("hpss_stage_batch_t")
    assert client.sdk.API_StageBatchInit(batch, len(paths)) == 0
    for index, path in enumerate(paths):
        bitfile = client.ffi.new("bfs_bitfile_obj_handle_t *", client.bitfile(path))
        assert client.sdk.API_StageBatchInsertBFObj(batch, index, bitfile, 1, 0, 0, 0, client.sdk.BFS_STAGE_ALL) == 0
    return batch


def test_a_batch_is_one_call_and_read_in_the_order_of_the_tape(client: Client, archive: Archive) -> None:
    if client.sdk.variant != "8.3":
        assert not hasattr(client.sdk, "StageBatchCallBack")
        return
    paths = ["/f0", "/f1", "/f2"]
    for path in paths:
        client.put_on_tape(path, b"content")
    batch = batch_of(client, paths[::-1])
    request = client.ffi.new("hpss_reqid_t *")
    files, status = client.sdk.new("hpss_stage_bitfile_list_t"), client.sdk.new("hpss_stage_batch_status_t")
    assert client.sdk.StageBatchCallBack(batch, client.callback(5), request, files, status) == 0
    client.sdk.API_StageBatchFree(batch)

    def states() -> list[int]:
        found = status.StatusList
        answer = [each.StageStatus for each in found.StatusList_val[0 : found.StatusList_len]]
        client.sdk.API_StageStatusFree(status)
        return answer

    def ask() -> list[int]:
        kind = client.sdk.HPSS_STAGE_STATUS_BFS_SS
        assert client.sdk.GetBatchAsynchStatus(request[0], files, kind, status) == 0
        return states()

    assert states() == [NOT_ALL_MOVED] * 3
    archive.clock.advance(1)
    assert ask() == [QUEUED, QUEUED, ACTIVE]  # /f0 is the first on the tape
    archive.clock.advance(600)
    assert ask() == [UNKNOWN] * 3
    client.free(files.BFList.BFList_val)


@pytest.mark.parametrize("client", ["8.3"], indirect=True)
def test_a_batch_with_unused_slots_is_refused(client: Client, archive: Archive) -> None:
    batch = client.sdk.new("hpss_stage_batch_t")
    assert client.sdk.API_StageBatchInit(batch, 0) == EINVAL
    assert client.sdk.API_StageBatchInit(batch, 2) == 0
    request = client.ffi.new("hpss_reqid_t *")
    files, status = client.sdk.new("hpss_stage_bitfile_list_t"), client.sdk.new("hpss_stage_batch_status_t")
    code = client.sdk.StageBatchCallBack(batch, client.callback(5), request, files, status)
    assert code == UNUSED_SLOTS
    client.sdk.API_StageBatchFree(batch)
