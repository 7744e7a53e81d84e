"""Which files a command line means."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TextIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacarchive.cli.remote.ids import MOST, Misunderstood, ids_of_directory, numbered, parse_ids, read_map
from pacarchive.ids import MAX_FILE_ID


def _stdin(text: str) -> TextIO:
    """Standard input of a terminal whose language has fewer characters than UTF-8."""
    return io.TextIOWrapper(io.BytesIO(text.encode()), encoding="ascii")


NOTHING = _stdin("")
IDS = st.integers(0, MAX_FILE_ID)
SPANS = st.tuples(IDS, st.integers(0, 50)).map(lambda each: (each[0], min(MAX_FILE_ID, each[0] + each[1])))


@given(st.lists(SPANS, min_size=1, max_size=8))
def test_ranges_are_what_they_say(spans: list[tuple[int, int]]) -> None:
    """All ids between their ends, in the order in which they were given, each once."""
    texts = [f"{first}-{last}" if first != last else str(first) for first, last in spans]
    wanted = [file_id for first, last in spans for file_id in range(first, last + 1)]
    assert parse_ids(texts, NOTHING) == list(dict.fromkeys(wanted))


def test_files_and_stdin_have_lists(tmp_path: Path) -> None:
    """With commas, blanks, ends of lines, and comments."""
    (tmp_path / "ids").write_text("1, 2\n# none\n10-12 # some\n\n2\n")
    assert parse_ids([f"@{tmp_path}/ids", "-", "7"], _stdin("5 6\n")) == [1, 2, 10, 11, 12, 5, 6, 7]


@pytest.mark.parametrize(
    "text", ["", "x", "-1", "1-", "-", "007", "1.5", "5-3", "1-2-3", "٣", str(MAX_FILE_ID + 1), f"0-{MOST}", "@/none"]
)
def test_what_is_no_id_is_said(text: str) -> None:
    """In one line, and nothing is done."""
    with pytest.raises(Misunderstood) as caught:
        parse_ids([text], NOTHING)
    assert "\n" not in str(caught.value)


def test_lines_are_named(tmp_path: Path) -> None:
    """Where in a file it stands."""
    (tmp_path / "ids").write_text("1\n2\nthree\n")
    with pytest.raises(Misunderstood, match="ids, line 3: 'three' is no id"):
        parse_ids([f"@{tmp_path}/ids"], NOTHING)


@given(st.dictionaries(IDS, st.text(st.characters(blacklist_categories=["C", "Z"]), min_size=1), min_size=1))
def test_a_map_has_paths_by_ids(files: dict[int, str]) -> None:
    """Whatever is printable can be in a path."""
    text = "".join(f"{file_id} {path}\n" for file_id, path in files.items())
    assert dict(read_map("-", _stdin(text))) == files


def test_a_path_in_a_map_may_have_blanks() -> None:
    """It goes on to the end of the line."""
    assert read_map("-", _stdin("5\ta file of mine.dat \n6  other file\n")) == [
        (5, "a file of mine.dat"),
        (6, "other file"),
    ]


@pytest.mark.parametrize("text", ["", "# nothing\n", "x y\n", "5\n", "5 a\n5 b\n"])
def test_what_is_no_map_is_said(text: str) -> None:
    """Nothing is put then."""
    with pytest.raises(Misunderstood):
        read_map("-", _stdin(text))


def test_files_have_consecutive_ids() -> None:
    """From the one that is given."""
    assert numbered(["a", "b"], "7") == [(7, "a"), (8, "b")]
    with pytest.raises(Misunderstood):
        numbered(["a", "b"], str(MAX_FILE_ID))
    with pytest.raises(Misunderstood):
        numbered(["a"], "7-8")


def test_files_of_a_directory(tmp_path: Path) -> None:
    """Those whose names are ids, and no others."""
    for name in ("10", "9", "x", "007"):
        (tmp_path / name).touch()
    (tmp_path / "5").mkdir()
    assert ids_of_directory(str(tmp_path)) == [(9, f"{tmp_path}/9"), (10, f"{tmp_path}/10")]
    with pytest.raises(Misunderstood):
        ids_of_directory(f"{tmp_path}/5")
