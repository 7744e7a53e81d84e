"""What takes the time of a request, for its span."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from twisted.internet.defer import CancelledError

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_PHASES = 16
"""What is noted of one request; the rest is not."""


@attrs.define
class Phase:
    """
    Some of it, which lasts as long as this context.

    @param seconds: The time.
    @ivar began: Seconds since the epoch.
    @ivar ended: Likewise; 0 as long as it has not.
    @ivar error: The kind of error that it has ended in, if it has.
    """

    name: str
    _seconds: Callable[[], float]
    began: float = 0.0
    ended: float = 0.0
    error: str | None = None

    def __enter__(self) -> None:
        self.began = self._seconds()

    def __exit__(self, kind: type[BaseException] | None, *more: object) -> None:
        self.ended = self._seconds()
        if kind is not None and not issubclass(kind, CancelledError):
            self.error = kind.__name__
