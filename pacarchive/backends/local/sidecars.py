"""Digests of files on file systems without user attributes: one small JSON document for each version of a file.

It is named for the inode, and its digests are valid only with the size and mtime that it states, so that they are never
taken for another version's.  A document is never changed: a new one is written among the temporaries, synced, and
renamed over it.  It is removed when the version that it belongs to is durably gone.  What a crash leaves between the
two is found by the ids that it names (L{Sidecars.sweep}).
"""

from __future__ import annotations

import errno
import json
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

import attrs

from pacarchive.backends.local.hidden import make_temporary, sweep_one, trouble_of_its_own
from pacarchive.backends.local.syscalls import READ_FLAGS, release
from pacarchive.digests import ALGORITHMS, Digests
from pacarchive.ids import MAX_FILE_ID

_SUFFIX = ".json"
_NO_DOCUMENT = frozenset({errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.ENODEV})
"""What an open says where there is nothing; or a symbolic link, a socket, or a device that is not there."""

_MOST = 65536
_SETTLED = 86400.0
"""Seconds after which a document's file has its name, or never gets it: no sync takes so long."""


@attrs.frozen
class Document:
    """
    What is known of a version.

    @ivar file_ids: Under which ids it was, or was about to be, published.
    @ivar unsynced: Whether a sync of it has failed.
    """

    digests: Digests = attrs.field(factory=dict)
    file_ids: frozenset[int] = frozenset()
    unsynced: bool = False


class Sidecars:
    """
    The documents of one archive.  All methods block.

    @param directory: A descriptor of their directory.
    @param temporaries: Of the one for temporaries, which every start sweeps; -1 for who only reads.
    @param sync: Puts a file or directory on stable storage.
    @param locked: Excludes others who change names in the directory.
    """

    def __init__(
        self,
        directory: int,
        temporaries: int,
        sync: Callable[[int], None],
        locked: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._directory = directory
        self._temporaries = temporaries
        self._sync = sync
        self._locked = locked

    def load(self, descriptor: int) -> Document:
        """
        What is known of an open file; of a version with another size or mtime no digest counts.  Cut short or edited,
        a document says nothing; nor does what is in its place and is no file.
        """
        state = os.fstat(descriptor)
        try:
            sidecar = os.open(_name_of(state), READ_FLAGS, dir_fd=self._directory)
        except OSError as error:
            if error.errno not in _NO_DOCUMENT:
                raise
            return Document()
        try:
            return _parse(_text_in(sidecar), state)
        finally:
            release(sidecar)

    def store(self, descriptor: int, document: Document, *, durable: bool = True) -> None:
        """
        Put a document in the place of that of an open file.

        @raise OSError: It could not be stored; then the old one is still there.
        """
        state = os.fstat(descriptor)
        text = _text_of(document, state)
        sidecar, temporary = make_temporary(self._temporaries)
        try:
            try:
                if os.write(sidecar, text) < len(text):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                if durable:
                    self._sync(sidecar)
                with self._locked(), trouble_of_its_own():
                    os.rename(temporary, _name_of(state), src_dir_fd=self._temporaries, dst_dir_fd=self._directory)
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary, dir_fd=self._temporaries)
                raise
        finally:
            release(sidecar)
        if durable:
            self._sync(self._directory)

    def forget(self, descriptor: int) -> None:
        """
        Remove the document of an open file.  Raises nothing but for a bug: the file has gone durably, and what is left
        of it is for the sweep.
        """
        with suppress(OSError):
            os.unlink(_name_of(os.fstat(descriptor)), dir_fd=self._directory)

    def sweep(
        self,
        has_inode: Callable[[int, int], bool],
        *,
        dry_run: bool = False,
        now: Callable[[], float] = time.time,
    ) -> Iterator[tuple[str, os.stat_result]]:
        """
        Remove what belongs to no file any more: half a document that an earlier release left here, and documents that
        have been here for a day and whose inode has none of the ids that they name.

        @param has_inode: Whether the file of an id has an inode number.
        @param dry_run: Only find them.
        @return: Their names, and what the file system reported about them.
        """
        with os.scandir(self._directory) as entries:
            for entry in entries:
                if not entry.name.endswith(_SUFFIX):
                    state = sweep_one(self._directory, entry.name, dry_run=dry_run)
                else:
                    state = self._sweep_document(entry.name, has_inode, now() - _SETTLED, dry_run=dry_run)
                if state is not None:
                    yield entry.name, state

    def _sweep_document(
        self, name: str, has_inode: Callable[[int, int], bool], before: float, *, dry_run: bool
    ) -> os.stat_result | None:
        try:
            sidecar = os.open(name, READ_FLAGS, dir_fd=self._directory)
        except OSError as error:
            if error.errno not in (*_NO_DOCUMENT, errno.EACCES):
                raise
            return None
        try:
            state = os.fstat(sidecar)
            number = name.removesuffix(_SUFFIX)
            if state.st_mtime > before or not number.isdecimal():
                return None
            file_ids = _file_ids_of(_content_of(_text_in(sidecar)))
            if not file_ids or any(has_inode(file_id, int(number)) for file_id in file_ids):
                return None  # one that names no id is of an earlier release
            with self._locked():
                if not os.fstat(sidecar).st_nlink:
                    return None  # there is a new one for the inode
                if not dry_run:
                    os.unlink(name, dir_fd=self._directory)
            return state
        finally:
            release(sidecar)


def _name_of(state: os.stat_result) -> str:
    return f"{state.st_ino}{_SUFFIX}"


def _text_of(document: Document, state: os.stat_result) -> bytes:
    content: dict[str, Any] = {
        "size": state.st_size,
        "mtime_ns": state.st_mtime_ns,
        "digests": {name: digest.hex() for name, digest in document.digests.items()},
        "files": sorted(document.file_ids),
    }
    if document.unsynced:
        content["unsynced"] = True
    return json.dumps(content).encode("ascii")


def _text_in(sidecar: int) -> bytes:
    """What an open document says: nothing where it is no file, of which a read would fail, or wait."""
    return os.read(sidecar, _MOST) if stat.S_ISREG(os.fstat(sidecar).st_mode) else b""


def _parse(text: bytes, state: os.stat_result) -> Document:
    content = _content_of(text)
    unsynced = content.get("unsynced") is True
    try:
        if (content["size"], content["mtime_ns"]) != (state.st_size, state.st_mtime_ns):
            return Document(unsynced=unsynced)
        digests = {name: bytes.fromhex(value) for name, value in content["digests"].items() if name in ALGORITHMS}
    except (ValueError, KeyError, TypeError, AttributeError):
        return Document()
    return Document(digests, _file_ids_of(content), unsynced)


def _content_of(text: bytes) -> dict[str, Any]:
    """@return: Empty where it makes no sense."""
    with suppress(ValueError, RecursionError):
        content = json.loads(text)
        if isinstance(content, dict):
            return content
    return {}


def _file_ids_of(content: dict[str, Any]) -> frozenset[int]:
    found = content.get("files")
    if not isinstance(found, list):
        return frozenset()
    return frozenset(each for each in found if type(each) is int and 0 <= each <= MAX_FILE_ID)
