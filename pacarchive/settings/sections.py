"""The sections of the settings file, and all that is in force.

Each section is a frozen attrs class, and each key a field of it (L{pacarchive.settings.fields}).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pkgutil import resolve_name
from typing import Any, Protocol, Self, TypeVar, runtime_checkable

import attrs

from pacarchive.interfaces import BackendSettings
from pacarchive.settings.server import ServerSettings

SECTIONS: Mapping[str, str] = {
    "server": "pacarchive.settings.server:ServerSettings",
    "limits": "pacarchive.web.http.settings:LimitSettings",
    "pools": "pacarchive.settings.server:PoolSettings",
    "recall": "pacarchive.recall.settings:RecallSettings",
}
"""The sections that are there whatever the backend is, and where the class of each is: with what it sets up."""

T = TypeVar("T")


def section_class(section: str) -> type[Any]:
    """The class of one of L{SECTIONS}."""
    return resolve_name(SECTIONS[section])  # type: ignore[no-any-return]


@attrs.frozen
class Surroundings:
    """
    What a section completes itself from, when all have been read.

    @ivar server: What is served.
    @ivar local_prefix: Whether its prefix is a directory of this machine.
    @ivar given: The keys of the section that somebody has given.
    @ivar environ: As C{os.environ}.
    """

    server: ServerSettings
    local_prefix: bool
    given: Collection[str]
    environ: Mapping[str, str]


@runtime_checkable
class Completing(Protocol):
    """A section some of whose defaults depend on others."""

    def completed(self, surroundings: Surroundings) -> Self:
        """The same with all defaults filled in."""


@attrs.frozen(kw_only=True)
class Settings:
    """
    Everything that is in force.  Can be pickled: worker processes get it through a pipe.

    @ivar sections: The L{SECTIONS}, by name.
    @ivar backend: What the backend is made from.
    @ivar source: The path of the file that was read, if any.
    """

    sections: Mapping[str, Any]
    backend: BackendSettings
    source: str | None

    @property
    def server(self) -> ServerSettings:
        """What is served, where and how."""
        return self.of(ServerSettings)

    def of(self, section: type[T]) -> T:
        """
        One section.

        @param section: Its class.
        """
        return next(each for each in self.sections.values() if isinstance(each, section))
