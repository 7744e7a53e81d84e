"""Whether the call that a thread is in has been abandoned.

A call into HPSS that does not return in time is abandoned: its caller gets an error, and may take it that nothing was
done.  If it returns after all, perhaps an hour later, it must not change anything, because other requests may have
changed the same files meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pacarchive import errors


class _Thread(threading.local):
    abandoned: threading.Event | None = None


_thread = _Thread()


@contextmanager
def abandoned_by(abandoned: threading.Event) -> Iterator[None]:
    """Let L{require_not_abandoned}, in this thread, look at an event that is set when the call is abandoned."""
    _thread.abandoned = abandoned
    try:
        yield
    finally:
        _thread.abandoned = None


def require_not_abandoned() -> None:
    """
    Check that the call that this thread is in has not been abandoned.

    @raise errors.BackendUnavailable: It has.
    """
    if _thread.abandoned is not None and _thread.abandoned.is_set():
        raise errors.BackendUnavailable("HPSS has answered too late.")
