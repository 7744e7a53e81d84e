"""Names that are more than ASCII: in the header of an answer, and in the log."""

from __future__ import annotations

import json
import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import DATA, disk_server, serving

from pacarchive import errors
from pacarchive.client.fields import parse_path
from pacarchive.web.http.answers import field_value

if TYPE_CHECKING:
    from pathlib import Path

    from pacarchive.web.http.request import ArchiveRequest

NAMES = st.binary().map(os.fsdecode)


@pytest.mark.parametrize(
    ("directory", "told"),
    [
        ("plain name, 50%+", "plain name, 50%+"),
        ("Größe", "Gr%C3%B6%C3%9Fe"),
        ("大きさ 50%", "%E5%A4%A7%E3%81%8D%E3%81%95 50%25"),
        ("two\r\nX-Lines: 1", "two%0D%0AX-Lines: 1"),
        ("\x1b[31mred", "%1B[31mred"),
        (os.fsdecode(b"latin-\xe9"), "latin-%E9"),
    ],
)
def test_a_prefix_of_any_name(tmp_path: Path, directory: str, told: str) -> None:
    """HEAD tells the path in ASCII, and the client library makes the name of it again."""
    prefix = tmp_path / directory
    prefix.mkdir()
    with serving(disk_server(prefix)) as server:
        assert server.ask("PUT", "/12", body=DATA).status == 201
        answer = server.ask("HEAD", "/12")
        assert (answer.status, answer.field("X-Lines")) == (204, None)
        assert answer.field("X-Pacifica-File") == f"{tmp_path}/{told}/12"
        assert parse_path(f"{tmp_path}/{told}/12") == f"{prefix}/12"
        assert server.ask("GET", "/12").body == DATA


@given(st.one_of(st.text(), NAMES, st.text(st.characters(categories=["Cs", "Cc"]))))
def test_any_text_can_be_a_value(text: str) -> None:
    """It is one line of visible ASCII; and what is that already stays."""
    value = field_value(text)
    assert value.decode("ascii").isprintable()
    if text.isascii() and text.isprintable():
        assert value == text.encode()


@given(NAMES.filter(lambda name: "%" not in name))
def test_names_come_back(name: str) -> None:
    """As the file system has them, odd bytes too."""
    assert parse_path(field_value(name).decode("ascii")) == name


def test_no_name_gets_into_the_log_as_it_is(tmp_path: Path) -> None:
    """
    Whoever's it is, it does nothing to the terminal of the one who reads the log, makes no second line in it, and can
    be written.
    """
    with serving(disk_server(tmp_path)) as server:
        body = json.dumps({"path": "/\x1b[2J\n\ud800"}).encode()
        server.ask("PATCH", "/12", "Content-Type: application/json", body=body)
        server.ask("GET", "/\x1b[2J")
        words = "file \x1b[2J\nof \udce9"
        server.site.refused("odd", None, words)
        try:
            raise errors.BackendUnavailable(words) from OSError(words)
        except errors.BackendUnavailable as error:
            request = cast(
                "ArchiveRequest",
                SimpleNamespace(client=None, line="GET /12", principal=None, identifier="1", trace=None),
            )
            server.site.failed("odd", request, error)
        assert len(server.words()) == 4
        for line in server.words():
            assert line.isprintable(), line
