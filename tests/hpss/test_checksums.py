"""Digests as attributes: our own, and those of other writers of the common form."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacarchive.backends.hpss.checksums import OTHERS_KEY, STANDARD_KEYS, added, from_attributes, to_attributes
from pacarchive.digests import ALGORITHMS, PRIMARY

CKSUM = "/hpss/user/cksum/"
DATA = b"0123456789"
SHA256 = hashlib.sha256(DATA).hexdigest()
SHA1 = hashlib.sha1(DATA).hexdigest()
MD5 = hashlib.md5(DATA).hexdigest()

any_digests = st.fixed_dictionaries(
    {PRIMARY: st.binary(min_size=32, max_size=32)},
    optional={
        name: st.binary(min_size=length, max_size=length)
        for name, length in ((name, len(make().digest())) for name, make in ALGORITHMS.items())
        if name != PRIMARY
    },
)


def foreign(**changes: str | None) -> dict[str, str]:
    """What hpsssum writes, with changes; C{None} leaves a key out."""
    values: dict[str, str | None] = {
        "algorithm": "md5",
        "checksum": MD5,
        "lastupdate": "1700000000",
        "errors": "0",
        "state": "Valid",
        "app": "hpsssum",
        "filesize": "10",
        **changes,
    }
    return {CKSUM + key: value for key, value in values.items() if value is not None}


@given(any_digests, st.integers(0, 2**64 - 1), st.integers(0, 2**32))
def test_what_is_written_is_read(digests: dict[str, bytes], size: int, now: int) -> None:
    """All of it, from the keys that are asked for."""
    values = to_attributes(digests, size, now)
    assert from_attributes({key: values[key] for key in (*STANDARD_KEYS, OTHERS_KEY)}, size) == digests
    assert from_attributes(values, size + 1) == {}


def test_the_form_is_the_common_one() -> None:
    """Lower-case words and digits, as hpsssum, HSI and Globus read them; and no value is empty."""
    values = to_attributes({"sha256": bytes.fromhex(SHA256)}, 10, 1700000000)
    assert values == {
        "/hpss/user/cksum/algorithm": "sha256",
        "/hpss/user/cksum/checksum": SHA256,
        "/hpss/user/cksum/lastupdate": "1700000000",
        "/hpss/user/cksum/errors": "0",
        "/hpss/user/cksum/state": "Valid",
        "/hpss/user/cksum/app": "pacarchive",
        "/hpss/user/cksum/filesize": "10",
        "/hpss/user/pacarchive/digests": f"beside={SHA256}",
    }


def test_a_reader_asks_for_what_every_writer_sets() -> None:
    """A missing key fails the whole look-up."""
    assert set(STANDARD_KEYS) <= foreign().keys()


@pytest.mark.parametrize(
    ("changes", "digests"),
    [
        ({}, {"md5": MD5}),
        ({"state": "valid"}, {"md5": MD5}),
        ({"checksum": MD5.upper()}, {"md5": MD5}),
        ({"algorithm": "MD5"}, {"md5": MD5}),
        ({"algorithm": "SHA1", "checksum": SHA1}, {"sha1": SHA1}),
        ({"algorithm": "sha-1", "checksum": SHA1}, {"sha1": SHA1}),
        ({"algorithm": "SHA-256", "checksum": SHA256}, {"sha256": SHA256}),
        ({"app": None, "errors": None, "lastupdate": None}, {"md5": MD5}),
    ],
)
def test_other_writers(changes: dict[str, str | None], digests: dict[str, str]) -> None:
    """Their names of algorithms and their digits come in any case."""
    assert from_attributes(foreign(**changes), 10) == {name: bytes.fromhex(text) for name, text in digests.items()}


@pytest.mark.parametrize(
    "changes",
    [
        {"state": "Invalid"},
        {"state": ""},
        {"state": None},
        {"filesize": "11"},
        {"filesize": ""},
        {"filesize": None},
        {"filesize": "many"},
        {"checksum": None},
        {"checksum": ""},
        {"checksum": "nonsense"},
        {"checksum": MD5[:-1]},
        {"checksum": MD5[:-2]},
        {"checksum": SHA1},
        {"algorithm": None},
        {"algorithm": ""},
        {"algorithm": "sha224"},
        {"algorithm": "crc32", "checksum": "01020304"},
    ],
)
def test_what_cannot_be_believed_or_understood_is_none(changes: dict[str, str | None]) -> None:
    """Better no digest than a wrong one: the next whole read computes it."""
    assert from_attributes(foreign(**changes), 10) == {}


@pytest.mark.parametrize("others", ["", "-", "md5", "md5=", "=00", "md5=zz", "crc32=00", "md5=00 - sha1"])
def test_nonsense_among_the_others_hides_nothing(others: str) -> None:
    """The primary one is still there."""
    values = to_attributes({"sha256": bytes.fromhex(SHA256)}, 10, 0) | {OTHERS_KEY: others}
    assert from_attributes(values, 10) == {"sha256": bytes.fromhex(SHA256)}


def test_digests_of_an_earlier_content_are_none() -> None:
    """Another writer has replaced the bytes by as many, and knows nothing of our own attribute."""
    values = to_attributes({"sha256": bytes(32), "sha1": bytes(20), "md5": bytes(16)}, 10, 0) | foreign()
    assert from_attributes(values, 10) == {"md5": bytes.fromhex(MD5)}


def test_an_invalid_state_holds_for_all() -> None:
    """A writer sets it before it changes the bytes."""
    values = to_attributes({"sha256": bytes(32), "md5": bytes(16)}, 10, 0) | {CKSUM + "state": "Invalid"}
    assert from_attributes(values, 10) == {}


@given(st.dictionaries(st.sampled_from([*STANDARD_KEYS, OTHERS_KEY]), st.text() | st.sampled_from(["Valid", "10"])))
def test_no_attribute_breaks_a_reader(values: dict[str, str]) -> None:
    """Anybody may set them."""
    from_attributes(values, 10)


@given(any_digests)
def test_digests_are_added_beside_a_foreign_checksum(digests: dict[str, bytes]) -> None:
    """Which stays; and all are read again, the foreign one before ours of the same kind."""
    values = foreign()
    more = added(values, digests, 10, 1700000000)
    assert set(more) == {OTHERS_KEY}
    assert from_attributes({**values, **more}, 10) == {**digests, "md5": bytes.fromhex(MD5)}


def test_added_digests_go_with_the_checksum_that_they_were_added_to() -> None:
    """Who writes the file anew stores another checksum, and may know nothing of ours."""
    values = {**foreign(), **added(foreign(), {PRIMARY: bytes.fromhex(SHA256)}, 10, 0)}
    values[CKSUM + "checksum"] = hashlib.md5(b"9876543210").hexdigest()
    assert set(from_attributes(values, 10)) == {"md5"}


@pytest.mark.parametrize("changes", [{"state": "Invalid"}, {"filesize": "11"}, {"checksum": ""}, {"state": None}])
def test_a_foreign_checksum_that_is_not_valid_is_replaced(changes: dict[str, str | None]) -> None:
    """It says nothing of these bytes."""
    digests = {PRIMARY: bytes.fromhex(SHA256)}
    assert added(foreign(**changes), digests, 10, 7) == to_attributes(digests, 10, 7)


def test_a_foreign_checksum_of_an_unknown_kind_stays() -> None:
    """We cannot read it, but others can."""
    values = foreign(algorithm="crc32", checksum="cbf43926")
    more = added(values, {PRIMARY: bytes.fromhex(SHA256)}, 10, 7)
    assert set(more) == {OTHERS_KEY}
    assert from_attributes({**values, **more}, 10) == {PRIMARY: bytes.fromhex(SHA256)}


@given(
    st.sampled_from(["md5", "SHA-256", "crc32", ""]) | st.text(max_size=8),
    st.sampled_from([MD5, SHA256.upper(), MD5[1:], "nonsense", "aa bb", " ", ""]) | st.text(max_size=8),
    any_digests,
)
def test_what_is_added_is_found(algorithm: str, checksum: str, digests: dict[str, bytes]) -> None:
    """Whatever was there; or it would be computed anew, and stored, with each read."""
    values = foreign(algorithm=algorithm, checksum=checksum)
    before = from_attributes(values, 10)
    assert from_attributes({**values, **added(values, digests, 10, 0)}, 10) == {**digests, **before}
