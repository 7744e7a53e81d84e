"""Metrics for those who may know everything; without credentials they are on an endpoint of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pacarchive.access.rights import Right
from pacarchive.runtime.threads import in_passing
from pacarchive.telemetry import rendering
from pacarchive.web.description import SERVER, Answer, Operation
from pacarchive.web.description import field as header
from pacarchive.web.http.schemas import text

if TYPE_CHECKING:
    from pacarchive.web.context import RouteContext
    from pacarchive.web.http.request import ArchiveRequest
    from pacarchive.web.routing import Router

_METRICS = Operation(
    SERVER,
    "Tell how the whole service is, in the formats that Prometheus reads",
    (
        Answer(
            200,
            "All metrics, of all processes together.",
            {"text/plain": text(), "application/openmetrics-text": text()},
        ),
    ),
    takes=(header("Accept", text("Whether OpenMetrics is wanted, and not plain text.")),),
    refuses={503: "The numbers of other processes cannot be had now."},
)


def declare(router: Router) -> None:
    """Declare the route."""
    router.answers("GET", "/metrics", needs=Right.ADMIN, described=_METRICS)(metrics)


async def metrics(app: RouteContext, request: ArchiveRequest) -> bytes:
    """Tell how the whole service is, all its processes together."""
    totals = await app.whole.totals()
    if not rendering.is_prepared():
        await in_passing(app.clock, rendering.prepare)
    body, media_type = rendering.render(totals, ",".join(request.field("accept")))
    request.set(b"Content-Type", media_type)
    request.set(b"Content-Length", b"%d" % len(body))
    return body
