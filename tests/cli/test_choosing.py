"""Which files a command line means."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path
from typing import TextIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacarchive.cli.remote.ids import MOST, ids_of_directory, numbered, parse_ids
from pacarchive.cli.remote.maps import SavedMap, read_map
from pacarchive.cli.words import Misunderstood
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
    with pytest.raises(Misunderstood, match="ids, line 3: 'three' is not a valid id"):
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


NAMES = st.binary(min_size=1, max_size=12).filter(lambda each: not {0, 47} & set(each))


@given(st.dictionaries(IDS, NAMES, min_size=1, max_size=5))
def test_a_saved_map_is_read_as_it_was_meant(files: dict[int, bytes]) -> None:
    """Names are bytes; those that cannot stand in a map are refused, and no other is read in their place."""
    meant = [(file_id, os.fsdecode(name)) for file_id, name in files.items()]
    with tempfile.TemporaryDirectory() as directory:
        try:
            saved = SavedMap(f"{directory}/map", meant)
        except Misunderstood:
            assert any(each.strip() != each or {"\n", "\r"} & set(each) for _, each in meant)
            return
        saved.write(files)
        saved.close()
        if all(name == "-" for _, name in meant):
            return
        found = read_map(f"{directory}/map", NOTHING)
    assert [(each, os.path.normpath(name)) for each, name in found] == [
        (each, os.path.normpath(name)) for each, name in meant if name != "-"
    ]


def test_a_saved_map_has_what_was_stored_and_replaces_only_its_like(tmp_path: Path) -> None:
    """That of the same command, which was cut short."""
    place, files = f"{tmp_path}/map", [(1, "a"), (2, " b"), (3, "c")]

    def save(*stored: int) -> list[tuple[int, str]]:
        saved = SavedMap(place, files)
        saved.write(stored)
        saved.close()
        return read_map(place, NOTHING) if os.path.exists(place) else []

    assert save() == []
    assert save(2) == [(2, "./ b")]
    assert save(1) == [(1, "a"), (2, "./ b")]
    for other in ("", "notes of mine", "1 x\n", "4 a\n"):
        Path(place).write_text(other)
        with pytest.raises(Misunderstood, match="exists and is not a map"):
            SavedMap(place, files)
        assert Path(place).read_text() == other
    assert os.listdir(tmp_path) == ["map"]


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
