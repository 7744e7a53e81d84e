"""How a request names the server that it is for (RFC 9112, section 3.2)."""

from __future__ import annotations

import re

AUTHORITY = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?\Z")
"""Host and port, as a URL and the field C{Host} have them, without a user; the host may be empty."""

ABSOLUTE = re.compile(rb"https?://([^/?#]*)", re.IGNORECASE)
"""The beginning of a target in absolute form, which names an authority of its own."""
