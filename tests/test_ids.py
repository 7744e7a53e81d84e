"""L{pacarchive.ids}: from the text in a URL to a path, and back."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacarchive.backends.local.hidden import HIDDEN
from pacarchive.ids import MAX_FILE_ID, id_to_path, parse_file_id, path_to_id

file_ids = st.integers(0, MAX_FILE_ID) | st.integers(0, 2**17) | st.integers(0, 63).map(lambda bit: 2**bit)
odd_paths = st.text(alphabet="/.0123456789abcdefgABCDEF" + "file\n", max_size=12)


@pytest.mark.parametrize(
    ("file_id", "path"),
    [
        (0, "/file.0"),
        (1, "/file.1"),
        (0xFF, "/file.ff"),
        (0x100, "/00/100"),
        (1234, "/d2/4d2"),
        (12345, "/39/3039"),
        (0x12345, "/45/23/12345"),
        (0x1000000, "/00/00/00/1000000"),
        (MAX_FILE_ID, "/ff/ff/ff/ff/ff/ff/ff/ffffffffffffffff"),
    ],
)
def test_paths_of_the_predecessor(file_id: int, path: str) -> None:
    """The paths of its C{id2filename}, so that its trees can be served."""
    assert id_to_path(file_id) == path
    assert path_to_id(path) == file_id


@given(file_ids)
def test_every_id_has_its_own_path(file_id: int) -> None:
    """From which it can be told again, and which leads nowhere else."""
    path = id_to_path(file_id)
    assert path_to_id(path) == file_id
    assert re.fullmatch(r"(/[0-9a-f]{2})*/(file\.)?[0-9a-f]+", path)
    assert HIDDEN not in path


@given(file_ids, file_ids)
def test_no_file_lies_where_another_needs_a_directory(one: int, two: int) -> None:
    """No path is the beginning of another."""
    assert one == two or not id_to_path(one).startswith(f"{id_to_path(two)}/")
    assert (one == two) == (id_to_path(one) == id_to_path(two))


@given(
    odd_paths | file_ids.map(lambda file_id: f"{id_to_path(file_id)}\n") | file_ids.map(lambda i: f"/00{id_to_path(i)}")
)
def test_a_path_that_no_id_has(path: str) -> None:
    """Is refused, unless it is just the one that the id would be given."""
    try:
        file_id = path_to_id(path)
    except ValueError:
        return
    assert id_to_path(file_id) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/file.",
        "/file.00",
        "/file.01",
        "/file.100",
        "/file.G",
        "/FILE.1",
        "file.1",
        "/d2/4D2",
        "/d2/04d2",
        "/d2/d2",
        "/39/4d2",
        "/10/10/1010",
        "/10/10/1111010",
        "/4d2",
        "d2/4d2",
        "/d2/4d2/",
        "/d2//4d2",
        "/d2/4d2\n",
        "/d2/4d2 ",
        "/../d2/4d2",
        "/\u0663\u0669/3039",
    ],
)
def test_paths_that_are_nearly_right(path: str) -> None:
    """Are none."""
    with pytest.raises(ValueError, match="no file id"):
        path_to_id(path)


def test_there_is_no_negative_id() -> None:
    """And no path for one."""
    with pytest.raises(ValueError, match="negative"):
        id_to_path(-1)


@given(file_ids)
def test_the_canonical_text_is_an_id(file_id: int) -> None:
    """Decimal digits, as Python writes them."""
    assert parse_file_id(str(file_id)) == file_id


@given(st.text(alphabet="0123456789+-_ .eExX\n\t\r\0\u0660\u0661\u00b2\u00bd", max_size=24) | st.text(max_size=8))
def test_one_text_for_one_id(text: str) -> None:
    """Whatever is accepted is the only spelling of its id."""
    try:
        file_id = parse_file_id(text)
    except ValueError:
        return
    assert str(file_id) == text
    assert 0 <= file_id <= MAX_FILE_ID


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00",
        "01",
        "007",
        "+1",
        "-1",
        "-0",
        " 1",
        "1 ",
        "1\n",
        "\n1",
        "1_000",
        "1.0",
        "1e3",
        "0x10",
        "\u0667",
        "7\u0667",
        "\u2077",
        "\u00bd",
        "one",
        "1/2",
        "1%32",
        "18446744073709551616",
        "99999999999999999999",
        "100000000000000000000",
        "9" * 5000,
    ],
)
def test_other_texts_are_no_ids(text: str) -> None:
    """The predecessor served some of them as aliases."""
    with pytest.raises(ValueError, match="file id"):
        parse_file_id(text)


def test_the_largest_id() -> None:
    """All of 64 bits."""
    assert parse_file_id("18446744073709551615") == MAX_FILE_ID == 2**64 - 1
