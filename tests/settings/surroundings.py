"""What the tests of the settings share."""

from __future__ import annotations

from typing import Any

import pytest

from pacarchive.access.settings import AllowSettings, AuthSettings, IssuerSettings
from pacarchive.backends.hpss.settings import HpssSettings
from pacarchive.backends.local.settings import PosixSettings
from pacarchive.backends.memory import MemorySettings
from pacarchive.backends.s3.settings import S3Settings
from pacarchive.backends.sideband.settings import SidebandSettings
from pacarchive.recall.settings import RecallSettings
from pacarchive.settings.reading import ConfigError, load
from pacarchive.settings.server import PoolSettings, ServerSettings
from pacarchive.telemetry.settings import AccessLogSettings, AuditSettings, MetricsSettings, TracingSettings
from pacarchive.web.http.settings import LimitSettings, TlsSettings

SECTIONS: dict[str, type[Any]] = {
    "server": ServerSettings,
    "limits": LimitSettings,
    "tls": TlsSettings,
    "pools": PoolSettings,
    "recall": RecallSettings,
    "auth": AuthSettings,
    "audit": AuditSettings,
    "access_log": AccessLogSettings,
    "metrics": MetricsSettings,
    "tracing": TracingSettings,
    "allow NAME": AllowSettings,
    "issuer NAME": IssuerSettings,
    "posix": PosixSettings,
    "memory": MemorySettings,
    "hpss": HpssSettings,
    "s3": S3Settings,
    "hsm_sideband": SidebandSettings,
}


def complaint(path: str | None, environ: dict[str, str] | None = None, **server: object) -> str:
    """The words of the error that loading ends in; always one line."""
    with pytest.raises(ConfigError) as caught:
        load(path, environ or {}, {("server", key): value for key, value in server.items()})
    assert "\n" not in str(caught.value)
    return str(caught.value)
