"""Avoid imports that a server with these settings does not need: imports are half of the time to its first answer."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

from pacarchive.access.settings import IssuerSettings
from pacarchive.runtime.imports import do_without_http2, do_without_tls
from pacarchive.settings.providers import BackendProvider
from pacarchive.settings.reading import find_provider
from pacarchive.telemetry.settings import MetricsSettings
from pacarchive.web.http.settings import TlsSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pacarchive.settings.sections import Settings

PLAIN = ("tcp:", "tcp6:", "unix:", "systemd:")
"""The prefixes of endpoint strings that never need Twisted's TLS.  Those of C{[tls]} do not need it either."""


def leave_out(settings: Settings, twistd: Mapping[str, Any]) -> None:
    """
    Keep HTTP/2, and TLS where it is not used, from being imported; also tune the garbage collector for the start.
    TLS stays where a backend or log observer of others may need it.

    @param settings: The settings in force.
    @param twistd: twistd's own options.
    """
    do_without_http2()
    archives = [settings] if settings.fallback is None else [settings, settings.fallback]
    backends = [find_provider(each.server.type) for each in archives]
    sections = (settings.server, settings.of(TlsSettings), settings.of(MetricsSettings))
    if (
        all(
            isinstance(each, BackendProvider) and each.make_name.startswith("pacarchive.") and not each.needs_tls
            for each in backends
        )
        and not twistd.get("logger")
        and all(each.keys is not None for each in settings.all_of(IssuerSettings).values())  # else they are fetched
        and all(each.startswith(PLAIN) for section in sections for each in section.endpoints)
    ):
        do_without_tls()
    # What is imported is no garbage: to look at it, even once, takes a twentieth of the start or more.
    gc.freeze()
    gc.set_threshold(1_000_000)
