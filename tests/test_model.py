"""L{pacarchive.model}."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacarchive import errors
from pacarchive.digests import PRIMARY
from pacarchive.model import (
    INVENTORY_FIELDS,
    FileStatus,
    Locality,
    Overwrite,
    WriteConditions,
    inventory_entry,
    inventory_line,
)

STATUS = FileStatus(
    file_id=1,
    path="/archive/1",
    size=5,
    mtime_ns=1000_500000000,
    ctime_ns=2000_500000000,
    bytes_per_level=(5,),
    media=("disk",),
    locality=Locality.DISK,
    digests={PRIMARY: b"\x01\xab"},
    generation="2a-3",
)


def test_the_tag_is_the_digest() -> None:
    """Equal bytes have equal tags, wherever and whenever they were stored."""
    assert STATUS.etag == '"01ab"'
    assert attrs.evolve(STATUS, generation="other", mtime_ns=1).etag == STATUS.etag


def test_without_the_digest_the_tag_is_the_generation() -> None:
    """Also where there are digests of other kinds."""
    for digests in ({}, {"md5": b"\x01\xab"}):
        assert attrs.evolve(STATUS, digests=digests).etag == '"2a-3"'


@pytest.mark.parametrize(
    ("locality", "word"),
    [
        (Locality.DISK, "disk"),
        (Locality.DISK_AND_TAPE, "disk"),
        (Locality.NONE, "disk"),
        (Locality.TAPE, "tape"),
        (Locality.LOST, "error"),
        (Locality.UNAVAILABLE, "error"),
    ],
)
def test_the_predecessors_word_for_the_medium(locality: Locality, word: str) -> None:
    """Where the file is read from; a tool of its family polls until that is the disk."""
    assert attrs.evolve(STATUS, locality=locality).storage_media == word


def test_a_file_with_holes_is_on_disk() -> None:
    """Although no level has as many bytes as it has."""
    assert attrs.evolve(STATUS, size=100, bytes_per_level=(5, 5), media=("disk", "tape")).storage_media == "disk"


@pytest.mark.parametrize(
    ("conditions", "when_free", "when_taken"),
    [
        ({}, None, None),
        ({"overwrite": Overwrite.IDENTICAL}, None, None),
        ({"overwrite": Overwrite.DENY}, None, errors.AlreadyExists),
        ({"if_absent": True}, None, errors.PreconditionFailed),
        ({"if_absent": True, "overwrite": Overwrite.DENY}, None, errors.PreconditionFailed),
        ({"if_match": frozenset({"*"})}, errors.PreconditionFailed, None),
        ({"if_match": frozenset({'"01ab"'})}, errors.PreconditionFailed, None),
        ({"if_match": frozenset({'"2"', '"01ab"'})}, errors.PreconditionFailed, None),
        ({"if_match": frozenset({'"2"'})}, errors.PreconditionFailed, errors.PreconditionFailed),
        ({"if_match": frozenset({"01ab"})}, errors.PreconditionFailed, errors.PreconditionFailed),
        ({"if_match": frozenset()}, errors.PreconditionFailed, errors.PreconditionFailed),
        ({"if_match": frozenset({"*"}), "overwrite": Overwrite.DENY}, errors.PreconditionFailed, errors.AlreadyExists),
    ],
)
def test_conditions(
    conditions: dict[str, Any], when_free: type[Exception] | None, when_taken: type[Exception] | None
) -> None:
    """What each makes of a free and of a taken id."""
    for current, error in ((None, when_free), (STATUS, when_taken)):
        if error is None:
            WriteConditions(**conditions).require(current)
        else:
            with pytest.raises(error):
                WriteConditions(**conditions).require(current)


def test_only_the_default_is_unconditional() -> None:
    """Each condition makes a look at the id necessary."""
    assert WriteConditions().unconditional
    for conditions in (
        WriteConditions(overwrite=Overwrite.DENY),
        WriteConditions(overwrite=Overwrite.IDENTICAL),
        WriteConditions(if_absent=True),
        WriteConditions(if_match=frozenset()),
    ):
        assert not conditions.unconditional


def test_values_do_not_change() -> None:
    """A status can be handed to anybody."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        STATUS.size = 6  # type: ignore[misc]


@given(
    file_id=st.integers(0, 2**64 - 1),
    size=st.integers(0, 2**63),
    times=st.tuples(*[st.integers(-(2**63), 2**63) | st.integers(-(10**20), 10**21)] * 2),
    locality=st.sampled_from(Locality),
    digests=st.dictionaries(st.sampled_from(["sha256", "md5"]), st.binary(max_size=32)),
    fields=st.sampled_from([INVENTORY_FIELDS, ("bytes",), ("digests", "mtime")]),
)
def test_a_line_of_the_inventory_is_its_entry(
    file_id: int,
    size: int,
    times: tuple[int, int],
    locality: Locality,
    digests: dict[str, bytes],
    fields: tuple[str, ...],
) -> None:
    """Whatever it says, it is what JSON makes of the entry."""
    mtime, ctime = times
    status = FileStatus(
        file_id=file_id,
        path="/",
        size=size,
        mtime_ns=mtime,
        ctime_ns=ctime,
        bytes_per_level=(size,),
        media=("disk",),
        locality=locality,
        digests=digests,
        generation="1",
    )
    for each in (status, errors.BackendUnavailable('It "failed".'), OSError("a path")):
        line = inventory_line(file_id, each, fields)
        assert line == f"{json.dumps(inventory_entry(file_id, each, fields))}\n"
        assert "a path" not in line
