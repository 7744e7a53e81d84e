"""Where a file's bytes are: the rule of section 5 of what is known of HPSS, and what follows from it."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacarchive.backends.hpss.residency import (
    DISK,
    TAPE,
    Level,
    Residency,
    locality_of,
    location_of,
    residency_of,
)
from pacarchive.model import Locality, TapeLocation


@attrs.frozen
class OnVolume:
    """What L{pacarchive.backends.hpss.client} says of a volume."""

    name: str
    position: int


@attrs.frozen
class OnLevel:
    """What it says of a level."""

    medium: str
    bytes: int
    volumes: tuple[OnVolume, ...] = ()


def disk(size: int) -> OnLevel:
    return OnLevel(DISK, size)


def tape(size: int, *volumes: OnVolume) -> OnLevel:
    return OnLevel(TAPE, size, volumes or ((OnVolume("A00001", 7),) if size else ()))


UNDEFINED = OnLevel("", 0)

sizes = st.sampled_from([0, 1, 2, 100, 2**32, 2**63]) | st.integers(0, 2**64 - 1)
volumes = st.lists(st.builds(OnVolume, st.sampled_from(["A00001", "B00002", "C00003"]), st.integers(1, 5)), max_size=3)
any_level = st.builds(OnLevel, st.sampled_from([DISK, TAPE]), sizes, volumes.map(tuple))
any_levels = st.lists(any_level, max_size=5)
"""Anything that a core server could say, sensible or not."""


def by_the_rule(size: int, levels: Sequence[Level]) -> Residency:
    """The rule as the reference puts it, said the other way round."""
    if levels and levels[0].medium == TAPE:
        return Residency.TAPE_ONLY
    if size == 0:
        return Residency.RESIDENT
    for number, level in enumerate(levels):
        above = [each.bytes for each in levels[:number] if each.medium == DISK]
        if level.medium == TAPE and all(level.bytes > each for each in above) and level.bytes:
            return Residency.ARCHIVED
    return Residency.RESIDENT


@given(sizes, any_levels)
def test_the_rule(size: int, levels: list[OnLevel]) -> None:
    """Whatever the levels are."""
    assert residency_of(size, levels) is by_the_rule(size, levels)


@given(sizes, sizes, any_levels)
def test_the_size_counts_only_when_there_is_nothing(one: int, other: int, levels: list[OnLevel]) -> None:
    """A file may have holes: how many bytes a level should have cannot be told from the size."""
    if one and other:
        assert residency_of(one, levels) is residency_of(other, levels)
        assert locality_of(one, levels) is locality_of(other, levels)
        assert location_of(one, levels) == location_of(other, levels)


@given(sizes, any_levels, st.integers(0, 4))
def test_undefined_levels_behind_the_others_change_nothing(size: int, levels: list[OnLevel], more: int) -> None:
    """HPSS has always five places for levels."""
    padded = levels + [UNDEFINED] * more
    assert residency_of(size, padded) is residency_of(size, levels)
    assert locality_of(size, padded) is locality_of(size, levels)
    assert location_of(size, padded) == location_of(size, levels)


@given(sizes, any_levels)
def test_locality_says_the_same(size: int, levels: list[OnLevel]) -> None:
    """Disk, if and only if a reader finds the bytes there; and nothing else is ever said."""
    resident = residency_of(size, levels) is Residency.RESIDENT
    locality = locality_of(size, levels)
    assert locality in ((Locality.DISK, Locality.DISK_AND_TAPE) if resident else (Locality.TAPE,))
    if locality is Locality.DISK_AND_TAPE:
        on_disk = max((level.bytes for level in levels if level.medium == DISK), default=0)
        assert max(level.bytes for level in levels if level.medium == TAPE) >= max(on_disk, 1)


@given(sizes, any_levels)
def test_a_location_is_of_something_to_recall(size: int, levels: list[OnLevel]) -> None:
    """On a tape that the file is on, with more bytes than the disk has; and only a file to recall has one."""
    location = location_of(size, levels)
    if residency_of(size, levels) is not Residency.ARCHIVED:
        assert location is None
    elif location is not None:
        holders = [
            level
            for level in levels
            if level.medium == TAPE
            and level.bytes == location.size
            and OnVolume(location.medium, location.position) in level.volumes
        ]
        assert holders
        assert location.size
    else:
        assert not any(level.volumes for level in levels if level.medium == TAPE and level.bytes)


@pytest.mark.parametrize(
    ("levels", "residency", "locality"),
    [
        pytest.param([disk(100)], Residency.RESIDENT, Locality.DISK, id="new"),
        pytest.param([disk(100), tape(0)], Residency.RESIDENT, Locality.DISK, id="not-migrated-yet"),
        pytest.param([disk(100), tape(60)], Residency.RESIDENT, Locality.DISK, id="half-migrated"),
        pytest.param([disk(100), tape(100)], Residency.RESIDENT, Locality.DISK_AND_TAPE, id="migrated"),
        pytest.param(
            [disk(100), tape(100), tape(40)], Residency.RESIDENT, Locality.DISK_AND_TAPE, id="second-copy-late"
        ),
        pytest.param(
            [disk(100), tape(0), tape(100)], Residency.RESIDENT, Locality.DISK_AND_TAPE, id="second-copy-only"
        ),
        pytest.param([disk(0), tape(100)], Residency.ARCHIVED, Locality.TAPE, id="purged"),
        pytest.param([disk(60), tape(100)], Residency.ARCHIVED, Locality.TAPE, id="half-staged"),
        pytest.param([disk(0), tape(0), tape(100)], Residency.ARCHIVED, Locality.TAPE, id="purged-first-copy-gone"),
        pytest.param([disk(30), tape(30)], Residency.RESIDENT, Locality.DISK_AND_TAPE, id="holes"),
        pytest.param([disk(0), tape(30)], Residency.ARCHIVED, Locality.TAPE, id="holes-purged"),
        pytest.param([disk(0), tape(0)], Residency.RESIDENT, Locality.DISK, id="one-hole"),
        pytest.param([disk(0), disk(100), tape(100)], Residency.RESIDENT, Locality.DISK_AND_TAPE, id="slower-disk"),
        pytest.param([tape(100)], Residency.TAPE_ONLY, Locality.TAPE, id="tape-only"),
        pytest.param([tape(100), tape(100)], Residency.TAPE_ONLY, Locality.TAPE, id="tape-only-two-copies"),
        pytest.param([], Residency.RESIDENT, Locality.DISK, id="nothing-is-told"),
    ],
)
def test_the_life_of_a_file_of_100_bytes(levels: list[OnLevel], residency: Residency, locality: Locality) -> None:
    """From its arrival on."""
    assert residency_of(100, levels) is residency
    assert locality_of(100, levels) is locality


@pytest.mark.parametrize("levels", [[disk(0)], [disk(0), tape(0)], []])
def test_an_empty_file_is_on_disk(levels: list[OnLevel]) -> None:
    """There is nothing that could be on tape."""
    assert residency_of(0, levels) is Residency.RESIDENT
    assert locality_of(0, levels) is Locality.DISK
    assert location_of(0, levels) is None


def test_a_file_on_several_tapes_begins_on_the_first() -> None:
    """Volumes come in any order; the lowest position is where a drive would begin."""
    levels = [disk(0), tape(100, OnVolume("B00002", 9), OnVolume("A00001", 4))]
    assert location_of(100, levels) == TapeLocation(medium="A00001", position=4, size=100)


@pytest.mark.parametrize(
    ("levels", "location"),
    [
        ([disk(0), tape(100), tape(100, OnVolume("B00002", 1))], TapeLocation(medium="A00001", position=7, size=100)),
        ([disk(0), tape(0), tape(100, OnVolume("B00002", 1))], TapeLocation(medium="B00002", position=1, size=100)),
        ([disk(60), tape(40), tape(100, OnVolume("B00002", 1))], TapeLocation(medium="B00002", position=1, size=100)),
        ([disk(0), OnLevel(TAPE, 100)], None),
    ],
)
def test_the_first_whole_copy_is_recalled(levels: list[OnLevel], location: TapeLocation | None) -> None:
    """Of several; one that is still being made is none yet, nor is one on no volume that is known."""
    assert location_of(100, levels) == location


def test_a_tape_only_file_is_nowhere_to_recall_from() -> None:
    """It has no disk to come to."""
    assert location_of(100, [tape(100)]) is None
