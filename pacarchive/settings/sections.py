"""The sections of the settings file, and the settings in force.

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
    "tls": "pacarchive.web.http.settings:TlsSettings",
    "pools": "pacarchive.settings.server:PoolSettings",
    "recall": "pacarchive.recall.settings:RecallSettings",
    "auth": "pacarchive.access.settings:AuthSettings",
    "audit": "pacarchive.telemetry.settings:AuditSettings",
    "console": "pacarchive.web.settings:ConsoleSettings",
    "access_log": "pacarchive.telemetry.settings:AccessLogSettings",
    "metrics": "pacarchive.telemetry.settings:MetricsSettings",
    "tracing": "pacarchive.telemetry.settings:TracingSettings",
}
"""The class of each section that exists for every backend, as C{"package.module:ClassName"}."""

NAMED: Mapping[str, str] = {
    "allow": "pacarchive.access.settings:AllowSettings",
    "issuer": "pacarchive.access.settings:IssuerSettings",
}
"""The kinds of section of which there can be several, each with a name, as C{[allow robots]}; likewise."""

T = TypeVar("T")


def section_class(section: str) -> type[Any]:
    """The class of one of L{SECTIONS}, or of L{NAMED} where the section has a name."""
    return resolve_name(SECTIONS.get(section) or NAMED[section.partition(" ")[0]])  # type: ignore[no-any-return]


@attrs.frozen
class Surroundings:
    """
    What defaults of a section can depend on, once all sections have been read.

    @ivar server: The section C{[server]}.
    @ivar local_prefix: Whether its prefix is a directory of this machine.
    @ivar given: The keys of the section that have been set.
    @ivar environ: The environment variables.
    """

    server: ServerSettings
    local_prefix: bool
    given: Collection[str]
    environ: Mapping[str, str]


@runtime_checkable
class Completing(Protocol):
    """A section with defaults that depend on other sections."""

    def completed(self, surroundings: Surroundings) -> Self:
        """Return the section with all defaults filled in."""


@attrs.frozen(kw_only=True)
class Settings:
    """
    The settings in force.  Can be pickled: worker processes receive them through a pipe.

    @ivar sections: The sections of L{SECTIONS}, by name.
    @ivar named: The sections of L{NAMED} that there are, by kind and name, as C{allow robots}.
    @ivar backend: The settings for the backend.
    @ivar source: The path of the file that was read; C{None} where there was none.
    @ivar fallback: The settings of the archive that files are read from which this one does not have.
    """

    sections: Mapping[str, Any]
    named: Mapping[str, Any] = attrs.field(factory=dict)
    backend: BackendSettings
    source: str | None
    fallback: Settings | None = None

    @property
    def place(self) -> tuple[object, ...]:
        """What makes it another archive than others."""
        return self.server.type, self.backend.prefix, self.backend.own

    @property
    def server(self) -> ServerSettings:
        """The section C{[server]}."""
        return self.of(ServerSettings)

    def of(self, section: type[T]) -> T:
        """
        Return a section.

        @param section: Its class.
        """
        return next(each for each in self.sections.values() if isinstance(each, section))

    def all_of(self, section: type[T]) -> dict[str, T]:
        """
        All sections of a kind, by their names.

        @param section: Its class.
        """
        return {name.partition(" ")[2]: each for name, each in self.named.items() if isinstance(each, section)}
