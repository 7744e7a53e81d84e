"""The three ways to have SAM stage files, in order of preference: a command, its library, or reading them.

Each is asked in the background, with few at a time, and in threads or processes that serve nothing else.
"""

from __future__ import annotations

import errno
import os
import shlex
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

import attrs
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall, IProcessTransport
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from pacarchive.backends.local.syscalls import READ_FLAGS, open_beneath, release
from pacarchive.backends.local.tree import FileTree
from pacarchive.backends.sideband.libsam import LibSam
from pacarchive.backends.sideband.mount import Mount
from pacarchive.model import RecallProgress, RecallState
from pacarchive.runtime.threads import BlockingPool

PATH, SAM_PATH = "{path}", "{sam_path}"
"""What stands for a file in the command: its path on this host, and that below SAM's mount point."""

_COMMAND_MAY_TAKE = 120.0
"""Seconds; it is to return once the requests are queued."""

_LAST_WORDS = 1.0
"""Seconds that are waited for what a command that has ended has said."""

_COMMANDS_AT_ONCE = 2
_COMMAND_BATCH = 100
_MOST_WORDS = 2000
_BLOCK = 4 << 20

_log = Logger()

_BEGUN = RecallProgress(RecallState.ACTIVE)


@attrs.frozen
class Wanted:
    """
    A file to be staged.

    @ivar path: On this host.
    @ivar sam_path: Below SAM's mount point.
    """

    file_id: int
    path: str
    sam_path: str


class Way(Protocol):
    """
    A way to have files staged.

    @ivar words: For the operator.
    @ivar batch: The most files of one L{ask}.
    @ivar at_once: How many L{ask}s may be under way.
    """

    words: str
    batch: int
    at_once: int

    def start(self) -> None:
        """Begin."""

    async def stop(self) -> None:
        """End what can be ended; what hangs in the kernel is left behind."""

    async def ask(self, files: Sequence[Wanted]) -> Mapping[int, RecallProgress]:
        """Ask for files.  C{RESIDENT}: the whole file has been read."""

    async def inspect(self, file: Wanted) -> RecallProgress | None:
        """What SAM says of a file that has been asked for; C{None} where it cannot be asked."""

    async def cancel(self, file: Wanted) -> bool:
        """Give a recall up that has been asked for.  @return: Whether it was given up."""


class CommandWay:
    """
    Runs the site's command, without a shell.

    @param reactor: The reactor.
    @param command: With quotes as for a shell.  An argument with L{PATH} or L{SAM_PATH} in it is repeated for each
        file; where there is none, the paths come last.
    """

    batch = _COMMAND_BATCH
    at_once = _COMMANDS_AT_ONCE

    def __init__(self, reactor: Any, command: str) -> None:
        self._reactor = reactor
        self._command = shlex.split(command)
        if not any(PATH in argument or SAM_PATH in argument for argument in self._command):
            self._command.append(PATH)
        self._running: set[_Command] = set()
        self._stopping = False
        self.words = f"the command {os.path.basename(self._command[0])}"

    def start(self) -> None:
        """Nothing has to be there."""

    async def stop(self) -> None:
        self._stopping = True
        for each in self._running:
            each.kill()
        await gatherResults([each.over for each in self._running])

    async def ask(self, files: Sequence[Wanted]) -> Mapping[int, RecallProgress]:
        trouble = await self._run(files)
        if not trouble:
            return {file.file_id: _BEGUN for file in files}
        if len(files) == 1:
            return {files[0].file_id: RecallProgress(RecallState.UNKNOWN, trouble)}
        # One of them may be the reason, and the others need not suffer for it.
        answers: dict[int, RecallProgress] = {}
        for file in files:
            answers |= await self.ask([file])
        return answers

    async def inspect(self, file: Wanted) -> RecallProgress | None:
        return None

    async def cancel(self, file: Wanted) -> bool:
        return False

    async def _run(self, files: Sequence[Wanted]) -> str:
        """@return: What went wrong; empty where nothing did."""
        if self._stopping:
            return "The service is stopping."
        command = _Command(self._reactor, _COMMAND_MAY_TAKE)
        self._running.add(command)
        try:
            return await command.run(self._arguments(files))
        finally:
            self._running.discard(command)

    def _arguments(self, files: Sequence[Wanted]) -> list[str]:
        arguments = []
        for argument in self._command:
            if PATH in argument or SAM_PATH in argument:
                arguments += [argument.replace(PATH, file.path).replace(SAM_PATH, file.sam_path) for file in files]
            else:
                arguments.append(argument)
        return arguments


class _Command(ProcessProtocol):
    """
    A run of a command, with a time limit.

    @ivar over: Fires when it has ended.
    """

    def __init__(self, reactor: Any, limit: float) -> None:
        self._reactor = reactor
        self._limit = limit
        self._said = b""
        self._ended: Deferred[str] = Deferred()
        self._late: IDelayedCall | None = None
        self._too_long = False
        self.over: Deferred[None] = Deferred()

    async def run(self, arguments: Sequence[str]) -> str:
        """@return: What went wrong; empty where nothing did."""
        words = [os.fsencode(argument) for argument in arguments]
        self._late = self._reactor.callLater(self._limit, self._take_too_long)  # first: it may exit at once
        try:
            self._reactor.spawnProcess(self, words[0], words, env=None, childFDs={0: "w", 1: "r", 2: "r"})
        except OSError as error:
            self._late.cancel()
            self.over.callback(None)
            return f"The stage command cannot be run: {error.strerror}."
        return await self._ended

    def kill(self) -> None:
        """End it."""
        transport = self.transport
        if IProcessTransport.providedBy(transport):
            with suppress(ProcessExitedAlready):
                transport.signalProcess("KILL")
            transport.loseConnection()  # a child of its may hold the other ends

    def connectionMade(self) -> None:
        assert self.transport is not None, "it has just been made"
        self.transport.closeStdin()

    def outReceived(self, data: bytes) -> None:
        self._hear(data)

    def errReceived(self, data: bytes) -> None:
        self._hear(data)

    def processExited(self, reason: Failure) -> None:
        """A child of its that goes on, such as a shared connection of ssh, may hold its output."""
        if self._late is not None and self._late.active():
            self._late.cancel()
        self._late = self._reactor.callLater(_LAST_WORDS, self.kill)

    def processEnded(self, reason: Failure) -> None:
        if self._late is not None and self._late.active():
            self._late.cancel()
        self.over.callback(None)
        if isinstance(reason.value, ProcessDone):
            self._ended.callback("")
            return
        if self._too_long:
            self._ended.callback(f"The stage command did not end within {self._limit:g} s.")
            return
        status = getattr(reason.value, "exitCode", None)
        words = f"The stage command ended {f'with {status}' if status is not None else 'by a signal'}."
        # Not for clients: it may name paths and hosts.
        _log.warn("{words} It said: {said}", words=words, said=" ".join(self._said.decode("utf-8", "replace").split()))
        self._ended.callback(words)

    def _hear(self, data: bytes) -> None:
        self._said = (self._said + data)[:_MOST_WORDS]

    def _take_too_long(self) -> None:
        self._too_long = True
        self.kill()


class LibraryWay:
    """
    Calls SAM's library in threads.

    @param reactor: The reactor.
    @param library: It.
    @param threads: How many.
    """

    words = "libsam"
    batch = 1

    def __init__(self, reactor: Any, library: LibSam, threads: int) -> None:
        self._library = library
        self._pool = BlockingPool(reactor, "sideband-stage", threads)
        self._inspecting = BlockingPool(reactor, "sideband-inspect", threads)  # for when all others hang
        self.at_once = threads

    def start(self) -> None:
        self._pool.start()
        self._inspecting.start()

    async def stop(self) -> None:
        self._pool.stop(1.0)
        self._inspecting.stop(1.0)

    async def ask(self, files: Sequence[Wanted]) -> Mapping[int, RecallProgress]:
        return {file.file_id: await self._pool.run(self._stage, file.path) for file in files}

    async def inspect(self, file: Wanted) -> RecallProgress | None:
        return await self._inspecting.run(self._inspect, file.path)

    async def cancel(self, file: Wanted) -> bool:
        return await self._inspecting.run(self._cancel, file.path)

    def _stage(self, path: str) -> RecallProgress:
        try:
            self._library.stage(path)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return RecallProgress(RecallState.FAILED, "SAM has no copy of the file that could be used.")
            return RecallProgress(RecallState.UNKNOWN, f"SAM did not take the request: {error.strerror}.")
        return _BEGUN

    def _inspect(self, path: str) -> RecallProgress | None:
        try:
            flags = self._library.inspect(path)
        except OSError:
            return None
        if not flags.offline and not flags.damaged:
            return RecallProgress(RecallState.RESIDENT)
        if flags.damaged:
            return RecallProgress(RecallState.FAILED, "The file is damaged: SAM has no good copy of it.")
        if flags.never_staged:
            return RecallProgress(RecallState.FAILED, "The file is marked never to be staged (stage -n).")
        if flags.staging:
            words = "The beginning of the file has never left the disk." if flags.partial else ""
            return RecallProgress(RecallState.ACTIVE, words)
        if flags.stage_failed:
            return RecallProgress(RecallState.UNKNOWN, "The last attempt to stage the file has failed.")
        return None

    def _cancel(self, path: str) -> bool:
        try:
            self._library.cancel(path)
        except OSError:
            return False
        return True


class ReadingWay:
    """
    Reads files from beginning to end, which has SAM stage them: for mounts without SAM's commands, such as NFS.

    A read that hangs in the kernel keeps its thread; so their number is the most that can be under way.

    @param reactor: The reactor.
    @param tree: The files.
    @param mount: Reads.
    @param threads: How many.
    """

    batch = 1

    def __init__(self, reactor: Any, tree: FileTree, mount: Mount, threads: int) -> None:
        self._tree = tree
        self._mount = mount
        self._pool = BlockingPool(reactor, "sideband-read", threads)
        self._under_way: dict[int, threading.Event] = {}
        self.at_once = threads
        self.words = f"reading, at most {threads} files at a time per process"

    def start(self) -> None:
        self._pool.start()

    async def stop(self) -> None:
        for given_up in self._under_way.values():
            given_up.set()
        self._pool.stop(1.0)

    async def ask(self, files: Sequence[Wanted]) -> Mapping[int, RecallProgress]:
        answers = {}
        for file in files:
            given_up = self._under_way[file.file_id] = threading.Event()
            try:
                answers[file.file_id] = await self._pool.call(self._read, file.file_id, given_up)
            finally:
                self._under_way.pop(file.file_id, None)  # a lost one may have been asked for again
        return answers

    async def inspect(self, file: Wanted) -> RecallProgress | None:
        return None

    async def cancel(self, file: Wanted) -> bool:
        """What has begun hangs in the kernel, and comes to its next block first, if ever."""
        if given_up := self._under_way.get(file.file_id):
            given_up.set()
        return False

    def _read(self, file_id: int, given_up: threading.Event) -> RecallProgress:
        try:
            descriptor = open_beneath(self._tree.root, self._tree.name_of(file_id), READ_FLAGS)
            try:
                offset = 0
                while block := self._mount.read(descriptor, offset, _BLOCK):
                    # It was read for the disk's sake; memory is for those that are asked for.
                    os.posix_fadvise(descriptor, offset, len(block), os.POSIX_FADV_DONTNEED)
                    offset += len(block)
                    if given_up.is_set():
                        return RecallProgress(RecallState.UNKNOWN, "The recall was given up.")
            finally:
                release(descriptor)
        except OSError as error:
            return RecallProgress(RecallState.UNKNOWN, f"The file could not be read back: {error.strerror}.")
        return RecallProgress(RecallState.RESIDENT)
