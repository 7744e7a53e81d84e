"""Open files of HPSS that outlive a login.

A descriptor of the client library becomes invalid with a new login, and a call that uses it may not return for hours.
An L{OpenFile} is reopened after a new login, and is closed when no call uses it any more.

Everything here blocks and is called in pool threads.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from twisted.logger import Logger

from pacarchive.backends.hpss import client
from pacarchive.backends.hpss.client import HpssError
from pacarchive.backends.hpss.session import Session
from pacarchive.runtime.measuring import measured
from pacarchive.texts import printable

_log = Logger()
_CLOSED = -1
_ANYWHERE = -1


class OpenFile:
    """
    A file that is open for reading or for writing.  One thread at a time may use it; any may close it.

    @param session: The login.
    @param path: The file's path in HPSS.
    @param reopen: Opens it again after a new login, with the offset 0, and returns the descriptor.
    @ivar offset: The offset of the next read or write, in bytes; negative where it is not known.
    """

    def __init__(self, session: Session, path: str, reopen: Callable[[str], int]) -> None:
        self._session = session
        self._path = path
        self._reopen = reopen
        self._descriptor = _CLOSED
        self._login = 0
        self._in_use = threading.Lock()
        self._in_call = False
        self._close_requested = False
        self.offset = 0

    @classmethod
    def create(cls, session: Session, path: str, size: int | None, cos: int | None, family: int | None) -> OpenFile:
        """
        Create a file and open it for writing.

        @param size: The expected size in bytes, by which HPSS chooses a class of service.
        @param cos: The class of service; C{None} lets HPSS choose.
        @param family: The file family; C{None} for none.
        @raise HpssError: It cannot be created.
        """
        file = cls(session, path, client.open_write)
        file._open(lambda: client.create(path, size=size, cos=cos, family=family))
        return file

    @classmethod
    def read_only(cls, session: Session, path: str, identity: int) -> OpenFile:
        """
        Open a file for reading, without staging it.

        @param identity: HPSS's number of the file (C{FileId}); after a new login no other file is read.
        @raise HpssError: It cannot be opened.
        """

        def reopen(path: str) -> int:
            descriptor = client.open_read(path)
            try:
                if client.attributes(path).file_id != identity:
                    raise HpssError("hpss_Open", -errno.ENXIO, "the file was replaced while it was being read")
            except BaseException:
                client.close(descriptor)
                raise
            return descriptor

        file = cls(session, path, reopen)
        file._open(lambda: client.open_read(path))
        return file

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """
        Fill a buffer with the bytes from an offset on.

        @raise HpssError: The file cannot be read, or ends before.
        """

        def read(done: int) -> int:
            with self._calling() as descriptor:
                position = offset + done
                going = None if position == self.offset else position
                self.offset = _ANYWHERE  # in case it fails
                count = client.read_into(descriptor, going, buffer[done:])
                self.offset = position + count
                return count

        with self._using():
            done = 0
            while done < len(buffer):
                if not (count := self._session.call(read, done)):
                    raise HpssError("hpss_Read", -errno.EIO, f"the file ends after {offset + done} bytes")
                done += count

    def write(self, data: memoryview) -> None:
        """
        Append data; a short write of the library is continued.

        @raise HpssError: It failed; some of the bytes may be written.
        """

        def write(rest: memoryview) -> int:
            with self._calling() as descriptor:
                count = client.write(descriptor, rest)
                self.offset += count
                return count

        with self._using():
            while data:
                if not (count := self._session.call(write, data)):
                    raise HpssError("hpss_Write", -errno.EIO, "no byte was written")
                data = data[count:]

    def finish(self) -> None:
        """
        Make what was written durable, and close the file.

        @raise HpssError: It may not be durable.
        """

        def sync_and_close() -> None:
            with self._calling() as descriptor:
                if "fsync" in client.FEATURES:
                    with measured("sync_duration_seconds"):
                        client.fsync(descriptor)
                self._descriptor = _CLOSED
                client.close(descriptor)

        with self._using():
            self._session.call(sync_and_close)

    def close(self) -> None:
        """Close the file; where a call still uses it, when that call ends.  Failures are logged, not raised."""
        self._close_requested = True
        if not self._in_use.acquire(blocking=False):
            return
        try:
            self._session.call(self.drop_descriptor)
        except HpssError as error:
            _log.warn("HPSS: {path} could not be closed: {error}", path=printable(self._path), error=error)
        finally:
            self._session.unregister(self)
            self._in_use.release()

    def drop_descriptor(self) -> None:
        """
        Close the descriptor, unless a stuck call uses it; the next use reopens the file.  To be called within
        L{Session.call}, or by the session before it logs in again.

        @raise HpssError: It could not be closed.
        """
        if not self._in_call:
            descriptor, self._descriptor = self._descriptor, _CLOSED
            # A descriptor of an earlier login may belong to another file by now (see _calling).
            if descriptor != _CLOSED and self._login == self._session.generation:
                client.close(descriptor)

    def _open(self, opening: Callable[[], int]) -> None:
        def adopt() -> None:
            self._descriptor = opening()
            self._login = self._session.generation

        self._session.register(self)
        try:
            self._session.call(adopt)
        except BaseException:
            self._session.unregister(self)
            raise

    @contextmanager
    def _using(self) -> Iterator[None]:
        try:
            with self._in_use:
                yield
        finally:
            if self._close_requested:
                self.close()

    @contextmanager
    def _calling(self) -> Iterator[int]:
        """Provide the descriptor during a call of the session, in which there is no new login."""
        self._in_call = True
        try:
            # A descriptor that outlived its login, because a call was stuck on it, may be another file's by now.
            if self._descriptor == _CLOSED or self._login != self._session.generation:
                self._descriptor = self._reopen(self._path)
                self._login = self._session.generation
                if self.offset > 0:
                    client.seek(self._descriptor, self.offset)
            yield self._descriptor
        finally:
            self._in_call = False
