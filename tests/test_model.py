"""L{pacarchive.model}."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from pacarchive import errors
from pacarchive.digests import PRIMARY
from pacarchive.model import FileStatus, Locality, Overwrite, WriteConditions

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
