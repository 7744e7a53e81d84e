"""Keep Twisted from importing what this process does not use: a fifth of its start, and some 10 MiB of its memory.

Twisted also runs without these packages, so they are marked as missing before it imports them.  Where it has imported
them already, that has no effect.
"""

from __future__ import annotations

import sys


def do_without_http2() -> None:
    """Make Twisted's web server speak HTTP/1.1 only, as it does where C{h2} is not installed."""
    _miss("twisted.web._http2")


def do_without_tls() -> None:
    """Make Twisted work without TLS, as it does where pyOpenSSL is not installed: endpoints with TLS are refused."""
    _miss("OpenSSL", "twisted.internet.ssl", "twisted.protocols.tls")


def _miss(*names: str) -> None:
    missing: dict[str, object] = dict.fromkeys(names)
    for name, nothing in missing.items():
        sys.modules.setdefault(name, nothing)  # type: ignore[arg-type]
