"""One worker process, as its parent sees it: its pipes, its signs of life, its end."""

from __future__ import annotations

import signal
from contextlib import suppress
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import LoopingCall

from pacarchive.launch.lines import Lines
from pacarchive.launch.messages import ALIVE, CONTROL, FAILED, READY
from pacarchive.launch.notify import StartError

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IProcessTransport, IReactorTime
    from twisted.python.failure import Failure

    from pacarchive.telemetry.memory import CountingMemory

SILENCE = 60.0
"""Seconds after which a worker that has sent no heartbeat counts as hanging, and is killed."""

_CHECKS = 4  # within SILENCE
_LINGER = 2.0  # seconds in which what is left in a dead worker's pipes is read


class SupervisedWorker(ProcessProtocol):
    """
    One worker process, as the parent sees it.

    @param clock: The source of time.
    @param index: Its number.
    @param first: Whether it belongs to the start-up, rather than replacing a dead one.
    @param assignment: The pickled L{Assignment} to send it; nothing where it has it.
    @param log: Called with each line that it writes.
    @param memory: What it counts in.
    @param hear: Called with this worker, and with the word and the rest of a line that is for others than this class.

    @ivar ready: Fires when it serves; fails with L{StartError} when it ends before.
    @ivar ended: Fires with the reason when it has exited and all that it wrote has been read.
    @ivar served: Whether C{ready} has fired without an error.
    @ivar ending: How it has ended, as the metrics say it.
    """

    transport: IProcessTransport

    def __init__(
        self,
        clock: IReactorTime,
        index: int,
        first: bool,
        assignment: bytes,
        log: Callable[[str], None],
        memory: CountingMemory,
        hear: Callable[[SupervisedWorker, str, str], None],
    ) -> None:
        self.index = index
        self.first = first
        self.served = False
        self.ready: Deferred[None] = Deferred()
        self.ended: Deferred[str] = Deferred()
        self.memory = memory
        self.ending = "exit"
        self._hear = hear
        self._clock = clock
        self._assignment = assignment
        self._reason: str | None = None
        self._later: dict[str, str] = {}
        self._silent_checks = 0
        self._watch = LoopingCall(self._check)
        self._watch.clock = clock
        self._lines = {1: Lines(log), 2: Lines(log), CONTROL: Lines(self._control_line)}

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it still lives."""
        with suppress(ProcessExitedAlready):  # processEnded is about to be called
            self.transport.signalProcess(number.name.removeprefix("SIG"))

    def send(self, word: str, argument: str = "") -> None:
        """Send it a line; where it is still starting, the last line of each word as soon as it serves."""
        if self.served:
            self.transport.write(f"{word} {argument}".rstrip().encode() + b"\n")
        else:
            self._later[word] = argument

    def end(self, reason: str) -> None:
        """
        Record that it has exited, or never started.

        @param reason: Why, for the log.
        """
        if not self.served:
            self.ready.addErrback(self._ignored_when_replacing)
            self.ready.errback(StartError(f"worker {self.index}: {reason}"))
        self.ended.callback(reason)

    def connectionMade(self) -> None:
        if self._assignment:  # Twisted watches a pipe into which nothing was written no more for its other end
            self.transport.write(self._assignment)
        self._watch.start(SILENCE / _CHECKS, now=False)

    def childDataReceived(self, childFD: int, data: bytes) -> None:  # noqa: N803
        self._lines[childFD].feed(data)

    def processExited(self, reason: Failure) -> None:
        if self._watch.running:
            self._watch.stop()
        # A child of the worker may keep the pipes open for ever, and processEnded would wait for that.
        self._linger = self._clock.callLater(_LINGER, self._close_pipes)

    def processEnded(self, reason: Failure) -> None:
        if self._linger.active():
            self._linger.cancel()
        for lines in self._lines.values():
            lines.end()
        if self.ending == "exit" and isinstance(reason.value, ProcessTerminated) and reason.value.signal is not None:
            self.ending = "signal"
        self.end(self._reason or _ending(reason))

    def _close_pipes(self) -> None:
        for descriptor in (0, *self._lines):
            self.transport.closeChildFD(descriptor)

    def _control_line(self, line: str) -> None:
        self._silent_checks = 0
        word, _, rest = line.partition(" ")
        if word == READY:
            self.served = True
            self.ready.callback(None)
            for each in self._later.items():
                self.send(*each)
        elif word == FAILED:
            self._reason = rest
        elif word != ALIVE:
            self._hear(self, word, rest)

    def _check(self) -> None:
        # Checks are counted, not seconds: if this process itself was halted (SIGSTOP), only one of them follows.
        self._silent_checks += 1
        if self._silent_checks >= _CHECKS:
            self.ending = "silent"
            self._reason = f"gave no sign of life for {SILENCE:g} s, killed"
            self.signal(signal.SIGKILL)

    def _ignored_when_replacing(self, failure: Failure) -> Failure | None:
        return failure if self.first else None


def _ending(reason: Failure) -> str:
    """Return how a process ended, for the log."""
    if not isinstance(reason.value, ProcessTerminated):
        return "ended"
    if reason.value.signal is not None:
        return f"killed by {signal.Signals(reason.value.signal).name}"
    return f"ended with exit status {reason.value.exitCode}"
