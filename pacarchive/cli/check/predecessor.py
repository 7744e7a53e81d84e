"""The checks that pacifica-archiveinterface 0.4.2 is known to fail, with its own HTTP server (CherryPy), and why.

C{docs/check.md} has the same list; one test compares both, and another compares the list with the predecessor itself.
"""

from __future__ import annotations

from collections.abc import Mapping

_NO_RANGES = "it ignores Range, and sends all of the file"
_NO_TAGS = "it has no entity tags, and ignores conditions"
_NO_DIGESTS = "it has no digests"
_NO_TIMES = "it ignores Last-Modified: the time of a file is that of its PUT"
_ANY_NAME = "it takes any name for an id, and looks whether there is such a file"

EXPECTED: Mapping[str, str] = {
    "health": "it does not report on its storage",
    "error-words": "it answers with a traceback",
    "methods": "it has no OPTIONS",
    "malformed": "of two lengths it uses the first",
    "mtime": _NO_TIMES,
    "mtime-fraction": _NO_TIMES,
    "mtime-old": _NO_TIMES,
    "mtime-future": _NO_TIMES,
    "put-if-none-match": _NO_TAGS,
    "put-if-match": _NO_TAGS,
    "digest-put": _NO_DIGESTS,
    "digest-wrong": _NO_DIGESTS,
    "digest-wrong-behind": "it takes no bodies in chunks, and leaves an empty file",
    "digest-get": _NO_DIGESTS,
    "etag": _NO_TAGS,
    "range": _NO_RANGES,
    "range-beyond": _NO_RANGES,
    "range-if": _NO_RANGES,
    "range-large": _NO_RANGES,
    "get-if-changed": _NO_TAGS,
    "get-if-match": _NO_TAGS,
    "cut": "it acknowledges a body that ends early, and keeps what came",
    "cut-chunks": "it takes no bodies in chunks, and leaves an empty file",
    "chunks": "it takes no bodies in chunks",
    "id-forms": _ANY_NAME,
    "id-alias": _ANY_NAME,
    "id-traversal": "an encoded slash leads out of the archive, to any file that it can read",
    "slashes": "it takes //ID for the greeting",
    "propfind": "it has no WebDAV",
    "stage-job": "it has no jobs",
    "client": "the library sends in chunks what it can read only once",
    "archiveinfo": "it has no WLCG Tape REST API",
}
"""The reason why it fails, by the name of the check."""
