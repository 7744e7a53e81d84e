"""Holding up the C{posix} backend between two of its system calls, while somebody else does something."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest

PATIENCE = 30.0

_really_lock = fcntl.flock


class _Hooked:
    """The module L{os} with something before each call of one function."""

    def __init__(self, name: str, before: Callable[..., None]) -> None:
        self._name = name
        self._before = before

    def __getattr__(self, name: str) -> Any:
        value = getattr(os, name)
        if name != self._name:
            return value

        def call(*args: Any, **kwargs: Any) -> Any:
            self._before(*args, **kwargs)
            return value(*args, **kwargs)

        return call


@contextmanager
def before(module: ModuleType, name: str, act: Callable[..., None]) -> Iterator[None]:
    """
    Do something before each call of a function of L{os} in one module.

    @param act: Gets the arguments of the call.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "os", _Hooked(name, act))
        yield


class Other:
    """
    Somebody who does one thing, in a thread; a context manager.

    @ivar outcome: What came of it, once L{done} was called.
    """

    def __init__(self, work: Callable[[], object]) -> None:
        self._work = work
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._ends_or_waits = threading.Event()
        self._patch = pytest.MonkeyPatch()
        self.outcome: object = None

    def __enter__(self) -> Other:
        self._patch.setattr(fcntl, "flock", self._flock)
        return self

    def __exit__(self, *_: object) -> None:
        self._patch.undo()

    def _run(self) -> None:
        try:
            self.outcome = self._work()
        except Exception as error:  # noqa: BLE001  (the test looks at it)
            self.outcome = error
        finally:
            self._ends_or_waits.set()

    def _flock(self, descriptor: int, how: int) -> None:
        try:
            _really_lock(descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if threading.current_thread() is self._thread:
                self._ends_or_waits.set()
            _really_lock(descriptor, how)

    def go_on(self) -> None:
        """Let him begin, unless he has, and come to his end or to where he waits for a lock."""
        if threading.current_thread() is self._thread:
            return
        if self._thread.ident is None:
            self._thread.start()
        assert self._ends_or_waits.wait(PATIENCE), "he neither ends nor waits"

    def done(self) -> None:
        """Wait for his end."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "he never comes to an end"
