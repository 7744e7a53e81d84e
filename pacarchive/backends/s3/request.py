"""What is asked of an object store, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote

import attrs
from twisted.web.http_headers import Headers

UNSIGNED = "UNSIGNED-PAYLOAD"
"""What is signed instead of the digest of a body."""

EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@attrs.frozen(kw_only=True)
class Request:
    """
    A request, which can be sent more than once.

    @ivar method: The method of HTTP.
    @ivar key: The key of the object; empty for the bucket.
    @ivar bucket: The bucket, where it is not that of the archive.
    @ivar query: Parameters.
    @ivar headers: Headers, by their names.
    @ivar body: The body in pieces, which are not changed any more.
    @ivar sha256: The SHA-256 of the body in hexadecimal digits, or L{UNSIGNED}.
    @ivar most: The most bytes of an answer's body; with more it has failed.
    @ivar is_long: Whether it takes long: an answer with a status of success may be an error by its body.
    @ivar retry_for: How long it is repeated in seconds; C{None} for the common time.
    @ivar patience: The timeout of the answer in seconds; C{None} for the common one.
    """

    method: str
    key: str = ""
    bucket: str | None = None
    query: Mapping[str, str] = attrs.field(factory=dict)
    headers: Mapping[str, str] = attrs.field(factory=dict)
    body: Sequence[bytes] = ()
    sha256: str = EMPTY_SHA256
    most: int = 1 << 20
    is_long: bool = False
    retry_for: float | None = None
    patience: float | None = None

    @property
    def size(self) -> int:
        """The size of the body."""
        return sum(map(len, self.body))


@attrs.frozen
class Answer:
    """
    An answer.

    @ivar status: The status of HTTP.
    @ivar headers: Its headers.
    @ivar body: Its body.
    @ivar repeated: Whether the request was sent before, and may have been carried out then.
    """

    status: int
    headers: Headers
    body: bytes
    repeated: bool = False

    def header(self, name: str) -> str:
        """The value of a header; empty where there is none."""
        return header_of(self.headers, name)


def header_of(headers: Headers, name: str) -> str:
    """The value of a header as text; empty where there is none."""
    values = headers.getRawHeaders(name)
    return values[0] if values else ""


@attrs.frozen
class Addresses:
    """
    The URLs of one store.

    @ivar scheme: C{http} or C{https}.
    @ivar host: The host, with the port where that is not the scheme's own.
    @ivar bucket: The bucket where a request names none.
    @ivar virtual: Whether the bucket is named in the host.
    """

    scheme: str
    host: str
    bucket: str
    virtual: bool

    def url(self, request: Request) -> str:
        """The URL of a request, all of it quoted in the one way that is signed."""
        bucket = self.bucket if request.bucket is None else request.bucket
        key = quote(request.key, safe="/-_.~")
        query = "&".join(f"{_quoted(name)}={_quoted(value)}" for name, value in sorted(request.query.items()))
        if self.virtual:
            base = f"{self.scheme}://{bucket}.{self.host}/{key}"
        else:
            base = f"{self.scheme}://{self.host}/{bucket}/{key}" if key else f"{self.scheme}://{self.host}/{bucket}"
        return f"{base}?{query}" if query else base


def _quoted(text: str) -> str:
    return quote(text, safe="-_.~")
