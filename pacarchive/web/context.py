"""What routes work with."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

import attrs
from twisted.internet.interfaces import IReactorTime

from pacarchive.access.gate import Gate
from pacarchive.interfaces import IArchiveBackend
from pacarchive.recall.settings import RecallSettings
from pacarchive.settings.server import Compatibility, ServerSettings
from pacarchive.telemetry.audit import AuditLog
from pacarchive.telemetry.parts import IWhole
from pacarchive.telemetry.process import Telemetry
from pacarchive.web.download import Sender
from pacarchive.web.health import HealthProbe
from pacarchive.web.sessions import Sessions
from pacarchive.web.settings import ConsoleSettings

if TYPE_CHECKING:
    from pacarchive.recall.engine import RecallEngine

T = TypeVar("T")


@attrs.frozen
class RouteContext:
    """
    What every route gets as its first argument.

    @ivar backend: Where the files are.
    @ivar sender: Sends them.
    @ivar settings: The server's settings.
    @ivar body_limit: The largest body of a PUT, in bytes.
    @ivar clock: The time.
    @ivar recall: Sees to files that are on tape.
    @ivar recall_settings: Its settings.
    @ivar audit: Writes down who changed what; C{None} where nobody wants to know.
    @ivar telemetry: What this process counts.
    @ivar gate: Knows who asks, and what that caller may.
    @ivar console: The settings of the pages for people.
    @ivar sessions: Knows those of people in a browser; C{None} where there is no console.
    @ivar health_probe: Asks how the storage is.
    """

    backend: IArchiveBackend
    sender: Sender
    settings: ServerSettings
    body_limit: int
    clock: IReactorTime
    recall: RecallEngine
    recall_settings: RecallSettings
    gate: Gate
    audit: AuditLog | None = None
    telemetry: Telemetry = attrs.field()
    console: ConsoleSettings = attrs.field(factory=ConsoleSettings)
    sessions: Sessions | None = attrs.field(init=False)
    health_probe: HealthProbe = attrs.field(init=False)

    @telemetry.default
    def _telemetry_default(self) -> Telemetry:
        return Telemetry(self.clock)

    @sessions.default
    def _sessions_default(self) -> Sessions | None:
        console = self.console
        return Sessions(console.key, self.clock, self.settings.public_url) if console.enabled else None

    @health_probe.default
    def _health_probe_default(self) -> HealthProbe:
        return HealthProbe(self.backend, self.clock)

    _kept: dict[type[Any], Any] = attrs.field(init=False, factory=dict)

    def kept(self, kind: type[T], make: Callable[[], T]) -> T:
        """What some routes keep for as long as the server runs: one of a kind, made when it is first needed."""
        if kind not in self._kept:
            self._kept[kind] = make()
        return cast("T", self._kept[kind])

    @property
    def whole(self) -> IWhole:
        """Knows how the whole service is, all processes together."""
        return self.telemetry.whole

    @property
    def compatibility(self) -> Compatibility:
        """The mode."""
        return self.settings.compatibility
