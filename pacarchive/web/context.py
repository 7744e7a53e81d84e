"""What routes work with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from twisted.internet.interfaces import IReactorTime

from pacarchive.interfaces import IArchiveBackend
from pacarchive.recall.settings import RecallSettings
from pacarchive.settings.server import Compatibility, ServerSettings
from pacarchive.web.download import Sender
from pacarchive.web.health import HealthProbe
from pacarchive.web.http.hosts import require_known_host

if TYPE_CHECKING:
    from pacarchive.recall.engine import RecallEngine
    from pacarchive.web.http.request import ArchiveRequest

OWNER_LENGTH = 200
"""The longest name of an owner."""


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
    @ivar health_probe: Asks how the storage is.
    """

    backend: IArchiveBackend
    sender: Sender
    settings: ServerSettings
    body_limit: int
    clock: IReactorTime
    recall: RecallEngine
    recall_settings: RecallSettings
    health_probe: HealthProbe = attrs.field(init=False)

    @health_probe.default
    def _health_probe_default(self) -> HealthProbe:
        return HealthProbe(self.backend, self.clock)

    @property
    def compatibility(self) -> Compatibility:
        """The mode."""
        return self.settings.compatibility

    def authorise(self, request: ArchiveRequest) -> None:
        """
        Whether the caller may do this at all; called for every request before anything else.

        Everyone who can connect may, which is why the default address is the loopback interface; but not every page
        that a browser on this machine shows.

        @raise HTTPRefusal: The request is for another host.
        """
        require_known_host(request, self.settings)

    def owner_of(self, request: ArchiveRequest) -> str:
        """The owner of what a caller asks for: the user that a trusted proxy names, else the address of the caller."""
        if (field := self.recall_settings.owner_header) and (names := request.field(field)):
            name = names[-1].strip()  # a proxy that adds the field, instead of setting it, adds it behind the client's
            if name and name.isascii() and name.isprintable():
                return name[:OWNER_LENGTH]
        return getattr(request.client, "host", None) or "local"
