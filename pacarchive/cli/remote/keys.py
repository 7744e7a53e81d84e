"""Single keys that are pressed at the terminal while a command runs."""

from __future__ import annotations

import os
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from twisted.internet import main as endings
from twisted.internet.interfaces import IReadDescriptor
from zope.interface import implementer

if TYPE_CHECKING:
    from twisted.python.failure import Failure


@contextmanager
def pressed(reactor: Any, act: Callable[[str], object]) -> Iterator[None]:
    """
    Hear keys to the end of the block, if standard input is a terminal; they are not printed there meanwhile.

    @param act: Called with each character.
    """
    if not sys.stdin.isatty():
        yield
        return
    number = sys.stdin.fileno()
    before = termios.tcgetattr(number)
    keyboard = _Keyboard(number, act)
    tty.setcbreak(number, termios.TCSADRAIN)  # what was typed before counts, too
    reactor.addReader(keyboard)
    try:
        yield
    finally:
        reactor.removeReader(keyboard)
        termios.tcsetattr(number, termios.TCSADRAIN, before)


@implementer(IReadDescriptor)
class _Keyboard:
    def __init__(self, number: int, act: Callable[[str], object]) -> None:
        self._number = number
        self._act = act

    def fileno(self) -> int:
        return self._number

    def logPrefix(self) -> str:
        return "keyboard"

    def doRead(self) -> Any:
        if not (data := os.read(self._number, 64)):
            return endings.CONNECTION_DONE
        for each in data.decode(errors="replace"):
            self._act(each)
        return None

    def connectionLost(self, reason: Failure) -> None:
        """The terminal is gone, of which a signal tells."""
