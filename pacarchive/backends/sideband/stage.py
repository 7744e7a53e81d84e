"""The three ways to have SAM stage files, in order of preference: a command, its library, or reading them.

Each works in the background, on few files at a time, and in threads or processes of its own.
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
"""Placeholders in the command, for a file's path on this host and below SAM's mount point."""

_COMMAND_TIMEOUT = 120.0
"""Seconds that the command may take; it should return once the requests are queued."""

_OUTPUT_TIMEOUT = 1.0
"""Seconds to wait for the rest of the output of a command that has exited."""

_COMMANDS_AT_ONCE = 2
_COMMAND_BATCH = 100
_MOST_OUTPUT = 2000
_BLOCK = 4 << 20

_log = Logger()

_QUEUED_BY_SAM = RecallProgress(RecallState.ACTIVE)


@attrs.frozen
class FileToStage:
    """
    A file to be staged.

    @ivar path: Its path on this host.
    @ivar sam_path: Its path below SAM's mount point.
    """

    file_id: int
    path: str
    sam_path: str


class Stager(Protocol):
    """
    A way to have files staged.

    @ivar description: What it is, for the operator.
    @ivar batch_size: The most files of one call of L{stage}.
    @ivar concurrency: How many calls of L{stage} may be under way.
    """

    description: str
    batch_size: int
    concurrency: int

    def start(self) -> None:
        """Start."""

    async def stop(self) -> None:
        """Stop, except for what hangs in the kernel."""

    async def stage(self, files: Sequence[FileToStage]) -> Mapping[int, RecallProgress]:
        """
        Have files staged.

        @return: The progress of each, by id; C{RESIDENT} means that the whole file has been read.
        """

    async def inspect(self, file: FileToStage) -> RecallProgress | None:
        """Return the progress that SAM reports of a file; C{None} where it cannot be asked, or does not say."""

    async def cancel(self, file: FileToStage) -> bool:
        """
        Cancel the staging of a file.

        @return: Whether it was cancelled.
        """


class CommandStager:
    """
    Stages files by the site's command, run without a shell.

    @param reactor: The reactor.
    @param command: The command, with quotes as for a shell.  An argument with L{PATH} or L{SAM_PATH} in it is repeated
        for each file; where there is none, the paths are appended.
    """

    batch_size = _COMMAND_BATCH
    concurrency = _COMMANDS_AT_ONCE

    def __init__(self, reactor: Any, command: str) -> None:
        self._reactor = reactor
        self._command = shlex.split(command)
        if not any(PATH in argument or SAM_PATH in argument for argument in self._command):
            self._command.append(PATH)
        self._running: set[_Command] = set()
        self._stopping = False
        self.description = f"the command {os.path.basename(self._command[0])}"

    def start(self) -> None:
        """Do nothing."""

    async def stop(self) -> None:
        self._stopping = True
        for each in self._running:
            each.kill()
        await gatherResults([each.over for each in self._running])

    async def stage(self, files: Sequence[FileToStage]) -> Mapping[int, RecallProgress]:
        trouble = await self._run(files)
        if not trouble:
            return {file.file_id: _QUEUED_BY_SAM for file in files}
        if len(files) == 1:
            return {files[0].file_id: RecallProgress(RecallState.UNKNOWN, trouble)}
        # One of them may be the reason: run the command for each alone, so that the others are staged.
        answers: dict[int, RecallProgress] = {}
        for file in files:
            answers |= await self.stage([file])
        return answers

    async def inspect(self, file: FileToStage) -> RecallProgress | None:
        return None

    async def cancel(self, file: FileToStage) -> bool:
        return False

    async def _run(self, files: Sequence[FileToStage]) -> str:
        """Run the command for some files.  @return: What went wrong; empty where nothing did."""
        if self._stopping:
            return "The service is stopping."
        command = _Command(self._reactor, _COMMAND_TIMEOUT)
        self._running.add(command)
        try:
            return await command.run(self._arguments(files))
        finally:
            self._running.discard(command)

    def _arguments(self, files: Sequence[FileToStage]) -> list[str]:
        arguments = []
        for argument in self._command:
            if PATH in argument or SAM_PATH in argument:
                arguments += [argument.replace(PATH, file.path).replace(SAM_PATH, file.sam_path) for file in files]
            else:
                arguments.append(argument)
        return arguments


class _Command(ProcessProtocol):
    """
    A run of a command, with a timeout.

    @param reactor: The reactor.
    @param timeout: Seconds after which it is killed.
    @ivar over: Fires when it has ended.
    """

    def __init__(self, reactor: Any, timeout: float) -> None:
        self._reactor = reactor
        self._timeout = timeout
        self._output = b""
        self._ended: Deferred[str] = Deferred()
        self._timer: IDelayedCall | None = None
        self._timed_out = False
        self.over: Deferred[None] = Deferred()

    async def run(self, arguments: Sequence[str]) -> str:
        """Run it to its end.  @return: What went wrong; empty where nothing did."""
        argv = [os.fsencode(argument) for argument in arguments]
        self._timer = self._reactor.callLater(self._timeout, self._time_out)  # first: it may exit at once
        try:
            self._reactor.spawnProcess(self, argv[0], argv, env=None, childFDs={0: "w", 1: "r", 2: "r"})
        except OSError as error:
            self._timer.cancel()
            self.over.callback(None)
            return f"The stage command cannot be run: {error.strerror}."
        return await self._ended

    def kill(self) -> None:
        """Kill it, and close its pipes."""
        transport = self.transport
        if IProcessTransport.providedBy(transport):
            with suppress(ProcessExitedAlready):
                transport.signalProcess("KILL")
            transport.loseConnection()  # a child of the command may keep the other ends open

    def connectionMade(self) -> None:
        assert self.transport is not None, "it has just been made"
        self.transport.closeStdin()

    def outReceived(self, data: bytes) -> None:
        self._add_output(data)

    def errReceived(self, data: bytes) -> None:
        self._add_output(data)

    def processExited(self, reason: Failure) -> None:
        """
        Wait a moment for the rest of the output.  It may never end: a child of the command, such as a shared connection
        of ssh, may keep the pipes open.
        """
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = self._reactor.callLater(_OUTPUT_TIMEOUT, self.kill)

    def processEnded(self, reason: Failure) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self.over.callback(None)
        if isinstance(reason.value, ProcessDone):
            self._ended.callback("")
            return
        if self._timed_out:
            self._ended.callback(f"The stage command did not end within {self._timeout:g} s.")
            return
        status = getattr(reason.value, "exitCode", None)
        message = f"The stage command ended {f'with {status}' if status is not None else 'by a signal'}."
        # Not for clients: it may name paths and hosts.
        output = " ".join(self._output.decode("utf-8", "replace").split())
        _log.warn("{message} Its output: {output}", message=message, output=output)
        self._ended.callback(message)

    def _add_output(self, data: bytes) -> None:
        self._output = (self._output + data)[:_MOST_OUTPUT]

    def _time_out(self) -> None:
        self._timed_out = True
        self.kill()


class LibraryStager:
    """
    Stages files by SAM's library, in threads.

    @param reactor: The reactor.
    @param library: The library.
    @param threads: The number of threads that stage; as many again inspect.
    """

    description = "libsam"
    batch_size = 1

    def __init__(self, reactor: Any, library: LibSam, threads: int) -> None:
        self._library = library
        self._pool = BlockingPool(reactor, "sideband-stage", threads)
        self._inspecting = BlockingPool(reactor, "sideband-inspect", threads)  # usable while all that stage hang
        self.concurrency = threads

    def start(self) -> None:
        self._pool.start()
        self._inspecting.start()

    async def stop(self) -> None:
        self._pool.stop(1.0)
        self._inspecting.stop(1.0)

    async def stage(self, files: Sequence[FileToStage]) -> Mapping[int, RecallProgress]:
        return {file.file_id: await self._pool.run(self._stage, file.path) for file in files}

    async def inspect(self, file: FileToStage) -> RecallProgress | None:
        return await self._inspecting.run(self._inspect, file.path)

    async def cancel(self, file: FileToStage) -> bool:
        return await self._inspecting.run(self._cancel, file.path)

    def _stage(self, path: str) -> RecallProgress:
        try:
            self._library.stage(path)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return RecallProgress(RecallState.FAILED, "SAM has no copy of the file that could be used.")
            return RecallProgress(RecallState.UNKNOWN, f"SAM did not take the request: {error.strerror}.")
        return _QUEUED_BY_SAM

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
            message = "The beginning of the file has never left the disk." if flags.partial else ""
            return RecallProgress(RecallState.ACTIVE, message)
        if flags.stage_failed:
            return RecallProgress(RecallState.UNKNOWN, "The last attempt to stage the file has failed.")
        return None

    def _cancel(self, path: str) -> bool:
        try:
            self._library.cancel(path)
        except OSError:
            return False
        return True


class ReadingStager:
    """
    Stages files by reading them from beginning to end: for mounts without SAM's commands, such as NFS.

    A read that hangs in the kernel occupies its thread, so no more files than threads can be staged at a time.

    @param reactor: The reactor.
    @param tree: The files.
    @param mount: How to read them.
    @param threads: The number of threads.
    """

    batch_size = 1

    def __init__(self, reactor: Any, tree: FileTree, mount: Mount, threads: int) -> None:
        self._tree = tree
        self._mount = mount
        self._pool = BlockingPool(reactor, "sideband-read", threads)
        self._under_way: dict[int, threading.Event] = {}
        self.concurrency = threads
        self.description = f"reading, at most {threads} files at a time per process"

    def start(self) -> None:
        self._pool.start()

    async def stop(self) -> None:
        for cancelled in self._under_way.values():
            cancelled.set()
        self._pool.stop(1.0)

    async def stage(self, files: Sequence[FileToStage]) -> Mapping[int, RecallProgress]:
        answers = {}
        for file in files:
            cancelled = self._under_way[file.file_id] = threading.Event()
            try:
                answers[file.file_id] = await self._pool.call(self._read, file.file_id, cancelled)
            finally:
                self._under_way.pop(file.file_id, None)  # a lost recall may have been requested again
        return answers

    async def inspect(self, file: FileToStage) -> RecallProgress | None:
        return None

    async def cancel(self, file: FileToStage) -> bool:
        """Stop reading after the block that is being read now; that may hang in the kernel, so nothing is certain."""
        if cancelled := self._under_way.get(file.file_id):
            cancelled.set()
        return False

    def _read(self, file_id: int, cancelled: threading.Event) -> RecallProgress:
        try:
            descriptor = open_beneath(self._tree.root, self._tree.name_of(file_id), READ_FLAGS)
            try:
                offset = 0
                while block := self._mount.read(descriptor, offset, _BLOCK):
                    # It was read to have it on disk; the page cache is for files that clients read.
                    os.posix_fadvise(descriptor, offset, len(block), os.POSIX_FADV_DONTNEED)
                    offset += len(block)
                    if cancelled.is_set():
                        return RecallProgress(RecallState.UNKNOWN, "The recall was cancelled.")
            finally:
                release(descriptor)
        except OSError as error:
            return RecallProgress(RecallState.UNKNOWN, f"The file could not be read back: {error.strerror}.")
        return RecallProgress(RecallState.RESIDENT)
