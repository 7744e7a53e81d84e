"""Descriptors, reading and writing, streams, classes of service.  (Items 3, 4, 5 and, of 8, what open does.)"""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Any

import pytest
from hpss_simulator import Archive

from .clients import Client, elsewhere, eventually

EIO, EBADF, EMFILE, EINVAL, EFBIG, ENOSPACE = -5, -9, -24, -22, -27, -28
GIB = 1 << 30


def test_descriptors_start_at_0_and_the_lowest_free_one_is_next(client: Client, archive: Archive) -> None:
    opened = [client.open(f"/{name}", os.O_RDWR | os.O_CREAT) for name in "abc"]
    assert opened == [0, 1, 2]
    assert client.sdk.Close(1) == 0
    assert client.sdk.Opendir(b"/") == 1  # files and directories share the table
    assert client.sdk.Close(1) == EBADF
    assert client.sdk.Closedir(1) == 0
    assert client.sdk.Closedir(1) == EBADF
    assert archive.descriptors() == 2


def test_a_full_table_refuses_files_and_directories_and_creates_nothing(client: Client, archive: Archive) -> None:
    archive.set("max_open_files", 2)
    client.open("/a", os.O_RDWR | os.O_CREAT)
    assert client.sdk.Opendir(b"/") == 1
    assert client.open("/b", os.O_RDWR | os.O_CREAT) == EMFILE
    assert client.sdk.Opendir(b"/") == EMFILE
    assert client.stat("/b") == -2
    assert client.sdk.Closedir(1) == 0


def test_offsets(client: Client, archive: Archive) -> None:
    descriptor = client.open("/f", os.O_RDWR | os.O_CREAT)
    assert client.sdk.Write(descriptor, b"0123456789", 10) == 10
    assert client.sdk.Lseek(descriptor, -4, os.SEEK_END) == 6
    assert client.read(descriptor, 100) == b"6789"
    assert client.read(descriptor, 100) == b""
    assert client.sdk.Lseek(descriptor, -11, os.SEEK_END) == EINVAL
    assert client.sdk.Lseek(descriptor, 1 << 40, os.SEEK_SET) == 1 << 40
    result = client.ffi.new("u_signed64 *")
    backward = client.sdk.HPSS_SET_OFFSET_BACKWARD
    assert client.sdk.SetFileOffset(descriptor, 7, os.SEEK_END, backward, result) == 0
    assert (result[0], client.read(descriptor, 2)) == (3, b"34")


def test_the_way_of_opening_is_kept_to(client: Client, archive: Archive) -> None:
    client.put("/f", b"content")
    reading, writing = client.open("/f", os.O_RDONLY), client.open("/f", os.O_WRONLY | os.O_APPEND)
    assert client.sdk.Write(reading, b"x", 1) == EBADF
    assert client.read(writing, 1) == EBADF
    assert client.sdk.Write(writing, b"+", 1) == 1
    assert client.get("/f") == b"content+"
    assert client.get("/f", os.O_RDWR | os.O_TRUNC) == b""


def test_holes_are_not_counted_as_bytes(client: Client, archive: Archive) -> None:
    descriptor = client.open("/f", os.O_RDWR | os.O_CREAT)
    assert client.sdk.Lseek(descriptor, 1 << 20, os.SEEK_SET) == 1 << 20
    assert client.sdk.Write(descriptor, b"x" * 4096, 4096) == 4096
    assert client.stat("/f").st_size == (1 << 20) + 4096
    assert client.bytes_at_levels("/f")[0] == 4096
    assert client.sdk.Lseek(descriptor, 0, os.SEEK_SET) == 0
    assert client.sdk.Write(descriptor, b"y" * 4096, 4096) == 4096
    assert client.bytes_at_levels("/f")[0] == 8192
    assert client.sdk.Lseek(descriptor, 4095, os.SEEK_SET) == 4095
    assert client.read(descriptor, 3) == b"y\0\0"
    assert client.sdk.Ftruncate(descriptor, 4096) == 0
    assert client.bytes_at_levels("/f")[0] == 4096
    assert client.sdk.Truncate(b"/f", 1 << 30) == 0
    assert (client.stat("/f").st_size, client.bytes_at_levels("/f")[0]) == (1 << 30, 4096)


def test_a_full_disk_level_refuses_data(client: Client, archive: Archive) -> None:
    archive.set("disk_capacity", 10)
    descriptor = client.open("/f", os.O_WRONLY | os.O_CREAT)
    assert client.sdk.Write(descriptor, b"x" * 8, 8) == 8
    assert client.sdk.Write(descriptor, b"x" * 8, 8) == ENOSPACE
    assert client.sdk.Fpreallocate(descriptor, 100) == ENOSPACE
    assert client.sdk.Write(descriptor, b"x" * 2, 2) == 2


def test_a_file_is_copied_and_a_file_system_described(client: Client, archive: Archive) -> None:
    client.put("/f", b"content")
    source, target = client.open("/f", os.O_RDONLY), client.open("/g", os.O_WRONLY | os.O_CREAT)
    assert client.sdk.CopyFile(source, target) == 0
    assert client.sdk.Fsync(target) == 0
    assert client.get("/g") == b"content"
    status = client.sdk.new("hpss_statfs_t")
    assert client.sdk.Statfs(0, status) == 0
    assert 0 < status.f_bfree < status.f_blocks or status.f_bfree == status.f_blocks - 1


# Streams


class Stream:
    """A stream and the C{errno} of each call on it."""

    def __init__(self, client: Client, path: str, mode: str) -> None:
        self.client = client
        client.ffi.errno = 0
        self.file = client.sdk.Fopen(path.encode(), mode.encode())

    def read(self, size: int) -> tuple[bytes, int]:
        buffer = self.client.ffi.new("char[]", size)
        self.client.ffi.errno = 0
        count = self.client.sdk.Fread(buffer, 1, size, self.file)
        return bytes(self.client.ffi.buffer(buffer, count)), self.client.ffi.errno

    def write(self, data: bytes) -> tuple[int, int]:
        self.client.ffi.errno = 0
        return self.client.sdk.Fwrite(data, 1, len(data), self.file), self.client.ffi.errno

    def close(self) -> int:
        return int(self.client.sdk.Fclose(self.file))


def test_streams_tell_errors_by_errno(client: Client, archive: Archive) -> None:
    missing = Stream(client, "/missing", "r")
    assert (missing.file, client.ffi.errno) == (client.ffi.NULL, errno.ENOENT)
    stream = Stream(client, "/f", "w")
    assert stream.write(b"0123456789") == (10, 0)
    assert stream.close() == 0
    stream = Stream(client, "/f", "r")
    assert stream.read(4) == (b"0123", 0)
    assert client.sdk.Fseek(stream.file, 2, os.SEEK_SET) == 0
    assert client.sdk.Ftell(stream.file) == 2
    assert stream.read(100) == (b"23456789", 0)
    assert stream.read(100) == (b"", 0)  # the end is no error
    assert client.sdk.Fseek(stream.file, -99, os.SEEK_SET) == EINVAL
    assert stream.close() == 0


def test_a_stream_read_that_fails_gives_what_came_before_and_an_errno(client: Client, archive: Archive) -> None:
    client.put("/f", b"0123456789")
    stream = Stream(client, "/f", "r")
    archive.fault("hpss_Fread", action="short", value=4)
    assert stream.read(10) == (b"0123", errno.EIO)
    archive.fault("hpss_Fread", value=EIO)
    assert stream.read(10) == (b"", errno.EIO)
    assert stream.close() == 0


def test_streams_read_and_write_in_turns(client: Client, archive: Archive) -> None:
    client.put("/f", b"one\ntwo\n")
    stream = Stream(client, "/f", "r+")
    line = client.ffi.new("char[]", 100)
    assert client.ffi.string(client.sdk.Fgets(line, 100, stream.file)) == b"one\n"
    assert client.sdk.Fgetc(stream.file) == ord("t")
    assert stream.write(b"WO") == (2, 0)
    assert client.sdk.Ftell(stream.file) == 7
    assert client.sdk.Fflush(stream.file) == 0
    assert client.get("/f") == b"one\ntWO\n"
    assert stream.close() == 0
    stream = Stream(client, "/f", "a")
    stream.write(b"three\n")
    assert stream.close() == 0
    assert client.get("/f") == b"one\ntWO\nthree\n"


def test_data_that_a_stream_could_not_write_shows_at_the_close(client: Client, archive: Archive) -> None:
    stream = Stream(client, "/f", "w")
    assert stream.write(b"x" * 100) == (100, 0)  # in the buffer
    archive.set("disk_capacity", 10)
    assert stream.close() == ENOSPACE
    assert archive.descriptors() == 0


# Classes of service


def class_of(client: Client, path: str) -> int:
    attributes = client.sdk.new("hpss_fileattr_t")
    assert client.sdk.FileGetAttributes(path.encode(), attributes) == 0
    return int(attributes.Attrs.COSId)


def by_size(client: Client, size: int, *, max_priority: str = "HIGHLY_DESIRED_PRIORITY") -> tuple[Any, Any]:
    hints = client.sdk.new("hpss_cos_hints_t", MinFileSize=size, MaxFileSize=size)
    priorities = client.sdk.new(
        "hpss_cos_priorities_t",
        MinFileSizePriority=client.sdk.REQUIRED_PRIORITY,
        MaxFileSizePriority=getattr(client.sdk, max_priority),
    )
    return hints, priorities


@pytest.mark.parametrize(("size", "expected"), [(0, 1), (GIB, 1), (GIB + 1, 2), (1 << 50, 1)])
def test_the_class_of_service_follows_the_expected_size(
    client: Client, archive: Archive, size: int, expected: int
) -> None:
    assert client.open("/f", os.O_WRONLY | os.O_CREAT, 0o600, *by_size(client, size)) == 0
    assert class_of(client, "/f") == expected


def test_a_required_maximum_that_no_class_has_fails(client: Client, archive: Archive) -> None:
    hints = by_size(client, 1 << 50, max_priority="REQUIRED_PRIORITY")
    assert client.open("/f", os.O_WRONLY | os.O_CREAT, 0o600, *hints) == EINVAL
    assert client.stat("/f") == -2


def test_a_class_can_be_asked_for_by_number_and_changed_while_the_file_is_empty(
    client: Client, archive: Archive
) -> None:
    hints = client.sdk.new("hpss_cos_hints_t", COSId=3, FamilyId=9)
    required = client.sdk.REQUIRED_PRIORITY
    priorities = client.sdk.new("hpss_cos_priorities_t", COSIdPriority=required, FamilyIdPriority=required)
    given = client.sdk.new("hpss_cos_hints_t")
    descriptor = client.sdk.Open(b"/f", os.O_WRONLY | os.O_CREAT, 0o600, hints, priorities, given)
    assert descriptor == 0
    assert (given.COSId, client.ffi.string(given.COSName), given.FamilyId, given.StripeWidth) == (3, b"dual", 9, 1)
    chosen = client.sdk.new("hpss_cos_md_t")
    assert client.sdk.SetCOSByHints(descriptor, 0, *by_size(client, 2 * GIB), chosen) == 0
    assert (chosen.COSId, class_of(client, "/f")) == (2, 2)
    assert client.sdk.FileSetCOS(b"/f", 4, 0) == 0
    assert client.sdk.Write(descriptor, b"x", 1) == 1
    assert client.sdk.SetCOSByHints(descriptor, 0, *by_size(client, 1), chosen) == EINVAL
    hints.COSId = 77
    assert client.open("/g", os.O_WRONLY | os.O_CREAT, 0o600, hints, priorities) == EINVAL
    assert client.sdk.Close(descriptor) == 0


def test_an_enforced_maximum_stops_the_writer(client: Client, archive: Archive) -> None:
    archive.set_class(1, max_size=10, enforce_max=1)
    descriptor = client.open("/f", os.O_WRONLY | os.O_CREAT)
    assert client.sdk.Write(descriptor, b"x" * 8, 8) == 8
    assert client.sdk.Write(descriptor, b"x" * 8, 8) == EFBIG


# Opening what is on tape


@pytest.mark.parametrize("stage_code", ["open", "open_background"])
def test_opening_a_purged_file_waits_for_it(client: Client, archive: Archive, stage_code: str) -> None:
    archive.set_class(1, stage_code=stage_code)
    client.put_on_tape("/f", b"content")
    with elsewhere(lambda: client.open("/f", os.O_RDONLY)) as results:
        eventually(lambda: bool(archive.requests()))
        assert not results
        archive.clock.advance(600)
    assert results == [0]
    assert client.read(0, 10) == b"content"


def test_a_background_stage_may_be_told_at_once(client: Client, archive: Archive) -> None:
    archive.set_class(1, stage_code="open_background")
    client.put_on_tape("/f", b"content")
    client.configure(RetryStageInp=1)
    assert client.open("/f", os.O_RDONLY) == -55
    archive.clock.advance(600)
    assert client.get("/f") == b"content"


@pytest.mark.parametrize(("stage_code", "requests"), [("none", 0), ("open_asynch", 1)])
def test_other_stage_codes_open_at_once_and_the_read_waits(
    client: Client, archive: Archive, stage_code: str, requests: int
) -> None:
    archive.set_class(1, stage_code=stage_code)
    client.put_on_tape("/f", b"content")
    descriptor = client.open("/f", os.O_RDONLY)
    assert (descriptor, len(archive.requests())) == (0, requests)
    with elsewhere(lambda: client.read(descriptor, 10)) as results:
        eventually(lambda: bool(archive.requests()))
        assert not results
        archive.clock.advance(600)
    assert results == [b"content"]


def test_nonblocking_opens_stage_nothing(client: Client, archive: Archive) -> None:
    client.put_on_tape("/f", b"content")
    descriptor = client.open("/f", os.O_RDONLY | os.O_NONBLOCK)
    assert descriptor == 0
    assert client.stat("/f").st_size == 7
    assert client.sdk.Close(descriptor) == 0
    assert archive.requests() == []


def test_a_read_that_cannot_be_staged_fails(client: Client, archive: Archive) -> None:
    client.put_on_tape("/f", b"content")
    (cartridge,) = archive.cartridges()
    archive.lose_cartridge(cartridge.name)
    archive.clock.set_scale(1000)
    code = client.get("/f")
    assert isinstance(code, int)
    assert code < 0


def test_overwriting_a_purged_file_drops_its_copies(client: Client, archive: Archive) -> None:
    client.put_on_tape("/f", b"content")
    client.put("/f", b"new")
    assert client.bytes_at_levels("/f") == [3, 0, 0, 0, 0]
    assert client.get("/f") == b"new"
    assert archive.requests() == []


def test_writing_into_a_purged_file_brings_it_first(client: Client, archive: Archive) -> None:
    client.put_on_tape("/f", b"content")
    archive.clock.set_scale(1000)
    descriptor = client.open("/f", os.O_WRONLY | os.O_NONBLOCK)
    assert client.sdk.Write(descriptor, b"CON", 3) == 3
    assert client.bytes_at_levels("/f")[:2] == [7, 0]
    assert client.get("/f") == b"CONtent"


def test_the_library_is_one_plain_shared_object(client: Client) -> None:
    library = ctypes.CDLL(str(client.sdk.root / "lib" / "libhpss.so"))
    assert library.hpss_sim_advance(b"/nowhere") < 0
    text = client.sdk.BuildLevelString()
    assert client.ffi.string(text).startswith(client.sdk.variant.encode())
    client.free(text)
