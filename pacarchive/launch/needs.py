"""What a server with these settings need not import: half of the way to its first answer is imports."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

from pacarchive.runtime.imports import do_without_http2, do_without_tls
from pacarchive.settings.providers import BackendProvider
from pacarchive.settings.reading import find_provider

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pacarchive.settings.sections import Settings

PLAIN = ("tcp:", "tcp6:", "unix:", "systemd:")
"""How endpoint strings begin which have no TLS for sure."""


def leave_out(settings: Settings, twistd: Mapping[str, Any]) -> None:
    """
    See that nothing is imported that is not needed.  The code of others, a backend or a log observer, may need whatever
    there is.

    @param twistd: twistd's own options.
    """
    do_without_http2()
    backend = find_provider(settings.server.type)
    if (
        isinstance(backend, BackendProvider)
        and backend.make_name.startswith("pacarchive.")
        and not twistd.get("logger")
        and all(each.startswith(PLAIN) for each in settings.server.endpoints)
    ):
        do_without_tls()
    # What is imported is no garbage: to look through it for some, again and again, takes a tenth of the start.
    gc.freeze()
    gc.set_threshold(50_000)
