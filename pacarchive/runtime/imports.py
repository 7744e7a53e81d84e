"""What Twisted would import and this process has no use for: a fifth of its start, and some 10 MiB of its memory.

Twisted runs without the packages that these are made of, too; so it is told that they are missing, before it looks.
Where it has looked already, that changes nothing.
"""

from __future__ import annotations

import sys


def do_without_http2() -> None:
    """Have Twisted's web server know of HTTP/1.1 only, as it does where C{h2} is not installed."""
    _miss("twisted.web._http2")


def do_without_tls() -> None:
    """Have Twisted know nothing of TLS, as where pyOpenSSL is not installed: what asks for it is refused."""
    _miss("OpenSSL", "twisted.internet.ssl", "twisted.protocols.tls")


def _miss(*names: str) -> None:
    missing: dict[str, object] = dict.fromkeys(names)
    for name, nothing in missing.items():
        sys.modules.setdefault(name, nothing)  # type: ignore[arg-type]
