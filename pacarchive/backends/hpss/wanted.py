"""Whether what a thread is doing is still wanted.

A call into HPSS that does not come back is given up: its client is told that nothing was done.  When it comes back
after all, perhaps an hour later, nothing may be done any more, because others have changed the same files meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pacarchive import errors


class _Thread(threading.local):
    given_up: threading.Event | None = None


_thread = _Thread()


@contextmanager
def working_for(given_up: threading.Event) -> Iterator[None]:
    """Say what is set when that which this thread does is wanted no more."""
    _thread.given_up = given_up
    try:
        yield
    finally:
        _thread.given_up = None


def require_wanted() -> None:
    """
    See that somebody still waits for what this thread does.

    @raise errors.BackendUnavailable: It was given up.
    """
    if _thread.given_up is not None and _thread.given_up.is_set():
        raise errors.BackendUnavailable("HPSS has answered too late.")
