"""A client program of a simulated archive, written against the installed headers."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hpss_simulator import Archive

from .header import Sdk

KEYTAB = 2
UNIX = 2
CLIENT = 2

_LIBC = ctypes.CDLL(None)


class Client:
    """
    Calls of one loaded variant, with Python's bytes in place of buffers.  Answers are the library's codes.

    @param sdk: The variant.
    """

    def __init__(self, sdk: Sdk) -> None:
        self.sdk = sdk
        self.ffi = sdk.ffi
        self._opened: set[int] = set()
        self.all_levels = sdk.API_GET_STATS_FOR_ALL_LEVELS | sdk.API_GET_XATTRS_NO_BLOCK

    def login(self, archive: Archive, *, keytab: Path | None = None, principal: str | None = None) -> int:
        """Log in."""
        authenticator = self.ffi.new("char[]", bytes(keytab or archive.keytab))
        name = (principal or archive.principal).encode()
        return int(self.sdk.SetLoginCred(name, UNIX, CLIENT, KEYTAB, authenticator))

    def configure(self, **fields: int) -> None:
        """Change the library's configuration."""
        configuration = self.sdk.new("api_config_t")
        assert self.sdk.GetConfiguration(configuration) == 0
        for name, value in fields.items():
            setattr(configuration, name, value)
        configuration.Flags |= self.sdk.API_USE_CONFIG
        assert self.sdk.SetConfiguration(configuration) == 0

    def open(self, path: str, flags: int, mode: int = 0o600, hints: Any = None, priorities: Any = None) -> int:
        """C{hpss_Open}."""
        null = self.ffi.NULL
        descriptor = int(self.sdk.Open(path.encode(), flags, mode, hints or null, priorities or null, null))
        self._opened.add(descriptor)
        return descriptor

    def end(self) -> None:
        """Close what a test has left open, and log out."""
        for descriptor in self._opened:
            self.sdk.Close(descriptor)
        self.sdk.ClientAPIReset()
        self.sdk.PurgeLoginCred()

    def put(self, path: str, data: bytes) -> None:
        """Make a file."""
        descriptor = self.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        assert descriptor >= 0, descriptor
        assert self.sdk.Write(descriptor, data, len(data)) == len(data)
        assert self.sdk.Close(descriptor) == 0

    def put_on_tape(self, path: str, data: bytes) -> None:
        """Make a file that is on tape only."""
        self.put(path, data)
        descriptor = self.open(path, os.O_RDWR | os.O_NONBLOCK)
        assert self.sdk.Migrate(descriptor, 0, self.sdk.HPSS_MIGRATE_FORCE, self.ffi.NULL) == 0
        assert self.sdk.Purge(descriptor, 0, 0, 0, self.sdk.BFS_PURGE_ALL, self.ffi.NULL) == 0
        assert self.sdk.Close(descriptor) == 0

    def read(self, descriptor: int, size: int) -> bytes | int:
        """C{hpss_Read}: what was read, or the code."""
        buffer = self.ffi.new("char[]", size)
        count = self.sdk.Read(descriptor, buffer, size)
        return bytes(self.ffi.buffer(buffer, count)) if count >= 0 else int(count)

    def get(self, path: str, flags: int = os.O_RDONLY) -> bytes | int:
        """Open, read and close: the content, or the code of what failed."""
        descriptor = self.open(path, flags)
        if descriptor < 0:
            return descriptor
        content = self.read(descriptor, 1 << 20)
        closed = int(self.sdk.Close(descriptor))
        return content if closed == 0 else closed

    def stat(self, path: str) -> Any:
        """The status, or the code."""
        status = self.sdk.new("hpss_stat_t")
        code = int(self.sdk.Stat(path.encode(), status))
        return status if code == 0 else code

    def levels(self, path: str, flags: int | None = None, level: int = 0) -> list[tuple[int, int, list[str]]] | int:
        """Flags, bytes and cartridges of each level, every list of volumes freed; or the code."""
        attributes = self.sdk.new("hpss_xfileattr_t")
        wanted = self.all_levels if flags is None else flags
        code = int(self.sdk.FileGetXAttributes(path.encode(), wanted, level, attributes))
        if code:
            return code
        found = []
        for each in attributes.SCAttrib:
            names = []
            for volume in each.VVAttrib[0 : each.NumberOfVVs]:
                names += [self.ffi.string(one.Name).decode() for one in volume.PVList.List.List_val[0:1]]
                self.free(volume.PVList)
            found.append((each.Flags, each.BytesAtLevel, names))
        return found

    def bytes_at_levels(self, path: str) -> list[int]:
        """How much is at each level."""
        levels = self.levels(path)
        assert not isinstance(levels, int), levels
        return [size for _, size, _ in levels]

    def free(self, pointer: Any) -> None:
        """Give back memory that the library has allocated."""
        _LIBC.free(ctypes.c_void_p(int(self.ffi.cast("uintptr_t", pointer))))

    def names(self, path: str) -> list[str]:
        """A listing, without C{.} and C{..}."""
        descriptor = self.sdk.Opendir(path.encode())
        assert descriptor >= 0, descriptor
        entry = self.sdk.new("hpss_dirent_t")
        found = []
        while self.sdk.Readdir(descriptor, entry) == 0 and entry.d_namelen:
            found.append(self.ffi.string(entry.d_name).decode())
        assert self.sdk.Closedir(descriptor) == 0
        return found[2:]

    def bitfile(self, path: str) -> Any:
        """What identifies the file in a stage request."""
        attributes = self.sdk.new("hpss_fileattr_t")
        assert self.sdk.FileGetAttributes(path.encode(), attributes) == 0
        return attributes.Attrs.BitfileObj if self.sdk.has_newer_shape else attributes.Attrs.BitfileId

    def callback(self, number: int = 0) -> Any:
        """A callback address of zeros, with a request id made of that number."""
        address = self.sdk.new("bfs_callback_addr_t")
        if self.sdk.variant == "8.3":
            address.id.time_low = number
        else:
            address.id = number
        return address

    def submit(self, path: str, callback: Any) -> int:
        """C{hpss_StageCallBack}."""
        request = self.ffi.new("hpss_reqid_t *")
        name = "bfs_bitfile_obj_handle_t *" if self.sdk.has_newer_shape else "hpssoid_t *"
        flags = self.sdk.BFS_STAGE_ALL
        return int(self.sdk.StageCallBack(path.encode(), 0, 0, 0, callback, flags, request, self.ffi.new(name)))

    def stage_status(self, callback: Any, bitfile: Any) -> int:
        """One of C{HPSS_STAGE_STATUS_*}."""
        status = self.ffi.new("int32_t *", -1)
        ask = self.sdk.GetAsyncStatus if self.sdk.has_newer_shape else self.sdk.GetAsynchStatus
        bitfile_copy = self.ffi.new(f"{self.ffi.typeof(bitfile).cname.removesuffix(' &')} *", bitfile)
        assert ask(callback.id, bitfile_copy, status) == 0
        return int(status[0])

    def set_attributes(self, path: str, **values: str) -> int:
        """Set user-defined attributes below C{/hpss/user}."""
        pairs, _keep = self._pairs({f"/hpss/user/{name}": value for name, value in values.items()})
        return int(self.sdk.UserAttrSetAttrs(path.encode(), pairs, self.ffi.NULL))

    def get_attribute(self, path: str, key: str) -> str | int:
        """One user-defined attribute as it comes, or the code."""
        size = self.sdk.HPSS_XML_SIZE
        pairs, keep = self._pairs({key: " " * (size - 1)})
        length = [size - 1] if self.sdk.has_newer_shape else []
        code = int(self.sdk.UserAttrGetAttrs(path.encode(), pairs, self.sdk.UDA_API_VALUE, *length))
        return code or self.ffi.string(keep[2]).decode()

    def _pairs(self, values: dict[str, str]) -> tuple[Any, list[Any]]:
        pairs = self.ffi.new("hpss_userattr_t[]", len(values))
        held = [pairs]
        for index, (key, value) in enumerate(values.items()):
            text = [self.ffi.new("char[]", key.encode()), self.ffi.new("char[]", value.encode())]
            pairs[index].Key, pairs[index].Value = text
            held += text
        return self.sdk.new("hpss_userattr_list_t", len=len(values), Pair=pairs), held


def eventually(condition: Callable[[], bool], limit: float = 10) -> None:
    """Wait until something comes true elsewhere."""
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.002)


@contextmanager
def elsewhere(call: Callable[[], Any]) -> Iterator[list[Any]]:
    """Run a call in another thread; at the end of the block its result is in the list, or the test fails."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(call()), daemon=True)
    thread.start()
    yield results
    thread.join(10)
    assert results, "the call never returned"
