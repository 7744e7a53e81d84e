"""What routes work with."""

from __future__ import annotations

from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from pacarchive.recall.engine import RecallEngine


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
    health_probe: HealthProbe = attrs.field(init=False)

    @telemetry.default
    def _telemetry_default(self) -> Telemetry:
        return Telemetry(self.clock)

    @health_probe.default
    def _health_probe_default(self) -> HealthProbe:
        return HealthProbe(self.backend, self.clock)

    @property
    def whole(self) -> IWhole:
        """Knows how the whole service is, all processes together."""
        return self.telemetry.whole

    @property
    def compatibility(self) -> Compatibility:
        """The mode."""
        return self.settings.compatibility
