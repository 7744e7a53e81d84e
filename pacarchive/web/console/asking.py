"""What a screen is made from, and what it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from pacarchive import errors
from pacarchive.access.rights import Right

if TYPE_CHECKING:
    from twisted.web.template import Flattenable

    from pacarchive.web.console.viewing import Viewer
    from pacarchive.web.context import RouteContext

T = TypeVar("T")

ROWS = 50
"""The rows of a page of a list: what is written in one go, some milliseconds, and read without effort."""


@attrs.frozen(kw_only=True)
class Question:
    """
    What is to be shown, and to whom.

    @ivar app: What there is.
    @ivar viewer: Who looks.
    @ivar names: What the URL names: C{job}, C{file_id}.
    @ivar query: The parameters of the URL.
    """

    app: RouteContext
    viewer: Viewer
    names: Mapping[str, Any]
    query: Mapping[str, str]

    @property
    def now(self) -> float:
        """The time."""
        return self.app.clock.seconds()


Part = "Flattenable"

Make = Callable[[Question], Coroutine[Any, Any, Sequence["Flattenable"]]]
"""Makes the parts of a screen; each is written in one go."""


@attrs.frozen(kw_only=True)
class Screen:
    """
    A screen.

    @ivar path: Its URL pattern, below the console.
    @ivar needs: The right that it needs.
    @ivar title: Its title, made of what the URL names.
    @ivar make: Makes it.
    @ivar section: What it belongs to in the navigation.
    @ivar query: The parameters that it knows.
    @ivar live: Whether it is kept up to date.
    """

    path: str
    title: Callable[[Mapping[str, Any]], str]
    make: Make
    section: str | None
    needs: Right = Right.POLL
    query: frozenset[str] = frozenset()
    live: bool = True


async def or_words(work: Awaitable[T]) -> T | str:
    """What can be had; else the words for why it cannot: one part of a screen that fails leaves the others."""
    try:
        return await work
    except errors.Unavailable as error:
        return str(error)
