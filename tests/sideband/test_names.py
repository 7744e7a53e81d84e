"""Names, as the database has them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pacarchive.backends.sideband.names import Place, name_hash, place_of
from sideband import writer


@given(st.binary(max_size=40))
def test_two_who_read_the_same_description_agree(name: bytes) -> None:
    """The writer's function was written by somebody else."""
    assert name_hash(name) == writer.name_hash(name)


def test_known_hashes() -> None:
    """As SAM's own routine gives them."""
    known = {b"39": 0, b"abc": 56766, b"Foo": 24495, b"foo": 62975, b"file.1": 65323, b"3039": 56191, b"ffff": 62718}
    known |= {b"75bcd15": 61363, b"archive_copy_0001.bin": 65419, "Übung.txt".encode(): 38141}
    assert {name: name_hash(name) for name in known} == known


def test_places() -> None:
    """The root's path is a slash; every other ends with one, unless a repair has forgotten it."""
    assert place_of("/", "/file.1") == Place(b"", b"file.1")
    assert place_of("/archive", "/39/3039") == Place(b"/archive/39", b"3039")
    assert place_of("/archive", "/39/3039").directory_spellings == (b"/archive/39/", b"/archive/39")
    assert place_of("/", "/").directory_spellings == (b"/", b"")
