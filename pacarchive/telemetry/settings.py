"""What is written down of requests, and where metrics are: the sections C{[audit]}, C{[access_log]}, C{[metrics]}."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from pathlib import Path

import attrs

from pacarchive.settings.converters import endpoint_strings, optional_path
from pacarchive.settings.fields import setting


@attrs.frozen(kw_only=True)
class AuditSettings:
    """Who changed what: C{[audit]}."""

    file: Path | None = setting(
        None,
        optional_path,
        "Where a line of JSON is appended for each change of the archive, before it is acknowledged, and for each "
        "request that is refused for want of a right. SIGHUP opens it again.",
    )


class AccessFormat(enum.Enum):
    """How lines of the access log are written."""

    JSON = "json"
    COMMON = "common"


@attrs.frozen(kw_only=True)
class AccessLogSettings:
    """A line for each request: C{[access_log]}."""

    file: Path | None = setting(
        None,
        optional_path,
        "Where a line is appended for each request that is over; none where it is not set. SIGHUP opens it again.",
    )
    form: AccessFormat = setting(
        AccessFormat.JSON,
        AccessFormat,
        "json: one object a line. common: the Common Log Format, which has neither times nor names of requests.",
        key="format",
    )


def local_endpoints(value: str | Iterable[str]) -> tuple[str, ...]:
    """Endpoint strings, or numbers of ports; one of TCP that names no interface listens on the loopback one only."""
    given = value.split() if isinstance(value, str) and value.replace(" ", "").isdigit() else value
    numbered = [f"tcp:{each}" for each in given] if isinstance(given, list) else given
    return tuple(
        f"{each}:interface=127.0.0.1" if re.match("tcp:", each) and ":interface=" not in each else each
        for each in endpoint_strings(numbered)
    )


@attrs.frozen(kw_only=True)
class MetricsSettings:
    """Where Prometheus reads how the service is: C{[metrics]}."""

    endpoints: tuple[str, ...] = setting(
        (),
        local_endpoints,
        "Where GET /metrics is answered to everyone, beside the same for admins on every endpoint of the archive: "
        "Twisted endpoint strings, or a port. One of TCP that names no interface listens on 127.0.0.1 only.",
        key="endpoint",
    )
