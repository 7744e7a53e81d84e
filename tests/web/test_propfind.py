"""The bodies of 207 answers, as a WebDAV client reads them."""

from __future__ import annotations

import email.utils
from datetime import datetime
from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from pacarchive.model import FileStatus, Locality
from pacarchive.times import SECOND
from pacarchive.web.propfind import CONTENT_TYPE, collection_multistatus, multistatus


def make_status(*, size: int = 36, mtime_ns: int = 784111777_750000000, generation: str = "g1") -> FileStatus:
    return FileStatus(
        file_id=102,
        path="/srv/archive/102",
        size=size,
        mtime_ns=mtime_ns,
        ctime_ns=1795367928_615095900,
        bytes_per_level=(size,),
        media=("disk",),
        locality=Locality.DISK,
        digests={},
        generation=generation,
    )


def read_response(body: bytes) -> tuple[str, ET.Element]:
    """The href and the properties of the one response, checked for what every answer has."""
    root = ET.fromstring(body)
    assert root.tag == "{DAV:}multistatus"
    (response,) = root
    assert response.tag == "{DAV:}response"
    assert response.findtext("{DAV:}propstat/{DAV:}status") == "HTTP/1.1 200 OK"
    properties = response.find("{DAV:}propstat/{DAV:}prop")
    assert properties is not None
    return response.findtext("{DAV:}href") or "", properties


def test_file() -> None:
    """A file has the properties that gfal2, davix and rclone name, and is no collection."""
    href, properties = read_response(multistatus("/102", make_status()))
    assert href == "/102"
    assert {each.tag: each.text for each in properties} == {
        "{DAV:}getcontentlength": "36",
        "{DAV:}getlastmodified": "Sun, 06 Nov 1994 08:49:37 GMT",
        "{DAV:}getetag": '"g1"',
        "{DAV:}resourcetype": None,
        "{DAV:}creationdate": "2026-11-22T17:18:48Z",
    }
    assert properties.find("{DAV:}resourcetype/{DAV:}collection") is None


def test_collection() -> None:
    """The archive itself is a collection, and nothing in it is listed."""
    href, properties = read_response(collection_multistatus("/"))
    assert href == "/"
    assert properties.find("{DAV:}resourcetype/{DAV:}collection") is not None


def test_server_path_is_not_told() -> None:
    """The answer does not say where the file lies."""
    assert b"/srv" not in multistatus("/102", make_status())


def test_prefix_and_encoding() -> None:
    """The usual prefix is used, for clients that look at it, and the content type says the encoding."""
    body = multistatus("/102", make_status())
    assert body.startswith(b'<?xml version="1.0" encoding="utf-8"?>')
    assert b"<D:getcontentlength>36</D:getcontentlength>" in body
    assert CONTENT_TYPE == b'application/xml; charset="utf-8"'


XML_TEXT = st.text(
    st.characters(min_codepoint=0x20, exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")
)


@given(XML_TEXT, XML_TEXT, st.integers(0, 2**63), st.integers(0, 4102444800 * SECOND))
def test_values_are_read_back(href: str, generation: str, size: int, mtime_ns: int) -> None:
    """Markup in a value stays text, and sizes and times come out as they went in."""
    status = make_status(size=size, mtime_ns=mtime_ns, generation=generation)
    read_href, properties = read_response(multistatus(href, status))
    assert read_href == href
    assert properties.findtext("{DAV:}getetag") == status.etag
    assert int(properties.findtext("{DAV:}getcontentlength") or "") == size
    modified = email.utils.parsedate_to_datetime(properties.findtext("{DAV:}getlastmodified") or "")
    assert modified.timestamp() == mtime_ns // SECOND
    created = datetime.fromisoformat(properties.findtext("{DAV:}creationdate") or "")
    assert created.timestamp() == int(status.ctime)
    assert read_response(collection_multistatus(href))[0] == href
