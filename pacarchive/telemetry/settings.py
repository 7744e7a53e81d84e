"""What is written down of requests, and where metrics are: C{[audit]}, C{[access_log]}, C{[metrics]}, C{[tracing]}."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from pathlib import Path

import attrs

from pacarchive.settings.converters import endpoint_strings, line, number, optional_path, optional_url
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


TRACES_PATH = "/v1/traces"
"""Where a collector takes spans, below its URL."""


def ratio(value: str | float) -> float:
    """Convert a share: 0 to 1, or a percentage."""
    if isinstance(value, str):
        share = re.fullmatch(r"([0-9]*\.?[0-9]+)\s*(%?)", value.strip(), re.ASCII)
        if share is None:
            raise ValueError(f"{value!r} is not a share; write for example 0.01, or 1 %")
        value = float(share[1]) / (100 if share[2] else 1)
    if not 0 <= value <= 1:
        raise ValueError("a share is 0 to 1, or 0 % to 100 %")
    return float(value)


@attrs.frozen(kw_only=True)
class TracingSettings:
    """Spans of requests, by OpenTelemetry: C{[tracing]}."""

    endpoint: str = setting(
        "",
        optional_url,
        "The URL of a collector that takes spans by OTLP over HTTP, without /v1/traces, as http://127.0.0.1:4318; none "
        "are made where it is not set. Needs pip install 'pacarchive[otel]'.",
    )
    ratio: float = setting(
        0.01, ratio, "The share of requests that there are spans of, where the client does not say: 0 to 1, or 1 %."
    )
    callers: int = setting(
        100,
        number,
        "Spans that are made each second because the client's traceparent says that it keeps its own, per worker "
        "process; beyond, there are none, and they are counted. 0: no client has a say.",
    )
    service_name: str = setting("pacarchive", line, "What the service is called in spans.")
