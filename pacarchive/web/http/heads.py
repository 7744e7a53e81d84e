"""What a request says before its body, and what its answer is to say."""

from __future__ import annotations

import re
import uuid
from functools import cached_property
from typing import TYPE_CHECKING

from twisted.web import server

from pacarchive.texts import printable
from pacarchive.web.http.answers import field_value

if TYPE_CHECKING:
    from pacarchive.web.http.credentials import PeerCertificate

_IDENTIFIER = re.compile(r"[A-Za-z0-9._:-]{1,64}", re.ASCII)


class RequestHead(server.Request):
    """A request, as far as its head goes, and the fields of the answer."""

    @property
    def line(self) -> str:
        """
        Method and target as they came, made safe for a log and short; without the query, in which some clients put
        what is secret.
        """
        target, query, _ = self.uri.partition(b"?")
        line = printable((self.method + b" " + target)[:200].decode("ascii", "backslashreplace"))
        return f"{line}?..." if query else line

    @cached_property
    def identifier(self) -> str:
        """What this request is called in logs: as the client, or a proxy, has called it, if that is a name."""
        given = self.field("x-request-id")
        return given[0] if given and _IDENTIFIER.fullmatch(given[0]) else uuid.uuid4().hex

    def parseCookies(self) -> None:
        """This server has none."""

    def field(self, name: str) -> list[str]:
        """All values of a header field, in order; none where it is absent."""
        values = self.requestHeaders.getRawHeaders(name.encode("ascii"))
        return [value.decode("latin-1") for value in values] if values else []

    def set(self, name: bytes, value: str | bytes) -> None:
        """Set a header field of the answer; text goes as L{field_value} writes it."""
        self.responseHeaders.setRawHeaders(name, [value if isinstance(value, bytes) else field_value(value)])

    @property
    def peer_certificate(self) -> PeerCertificate | None:
        """The certificate that the client has proved to have, where C{[tls] client} asks for one and it has one."""
        return getattr(self.transport, "peer_certificate", None)
