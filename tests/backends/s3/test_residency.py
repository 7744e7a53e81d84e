"""What stores say of storage classes and restores is understood, in all vendors' variants."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacarchive.backends.s3.documents import listing
from pacarchive.backends.s3.residency import (
    Residency,
    Restore,
    Seen,
    date_in,
    restore_in,
    usual_wait,
    with_residency,
)
from pacarchive.backends.s3.settings import S3Settings, Tier
from pacarchive.model import FileStatus, Locality

COLD = frozenset({"GLACIER", "DEEP_ARCHIVE"})
NOW = 1_800_000_000.0
EXPIRY = 1_356_048_000.0  # Fri, 21 Dec 2012 00:00:00 UTC


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", None),
        ("nonsense", None),
        ('ongoing-request="true"', Restore(ongoing=True)),
        ("ongoing-request=true", Restore(ongoing=True)),
        ('Ongoing-Request = "TRUE"', Restore(ongoing=True)),
        ('ongoing-request="false", expiry-date="Fri, 21 Dec 2012 00:00:00 GMT"', Restore(ongoing=False, expiry=EXPIRY)),
        ('ongoing-request="false", expiry-date="Fri, 21 Dec 2012 00:00:00 UTC"', Restore(ongoing=False, expiry=EXPIRY)),
        ('ongoing-request="false",expiry-date="2012-12-21T00:00:00.000Z"', Restore(ongoing=False, expiry=EXPIRY)),
        ('ongoing-request="false", expiry-date="Fri, 21 Dec 2012 00:00:00 -0000"', Restore(False, EXPIRY)),
        ('ongoing-request="false", expiry-date=2012-12-21T00:00:00', Restore(ongoing=False, expiry=EXPIRY)),
        ('ongoing-request="false"', Restore(ongoing=False)),
        ('ongoing-request="false", expiry-date="some day"', Restore(ongoing=False)),
        ("true", Restore(ongoing=True)),
        ("false", None),
    ],
)
def test_the_header(header: str, expected: Restore | None) -> None:
    """AWS's, Scaleway's, Ceph's for good, and the bare words of a gateway to tapes."""
    assert restore_in(header) == expected


@given(st.text())
def test_any_header_is_read_without_an_error(header: str) -> None:
    """It comes from outside."""
    found = restore_in(header)
    assert found is None or isinstance(found.ongoing, bool)
    date = date_in(header)
    assert date is None or isinstance(date, float)


@given(st.integers(0, 7_000_000_000), st.booleans())
def test_dates_are_what_was_written(seconds: int, is_header: bool) -> None:
    """In either form, and whatever the zone of this machine is."""
    when = datetime.fromtimestamp(seconds, UTC)
    text = format_datetime(when, usegmt=True) if is_header else when.isoformat()
    assert restore_in(f'ongoing-request="false", expiry-date="{text}"') == Restore(False, when.timestamp())


RESTORES = st.none() | st.builds(Restore, st.booleans(), st.none() | st.floats(0, 2 * NOW))
CLASSES = st.sampled_from(["", "STANDARD", "GLACIER", "Glacier", "DEEP_ARCHIVE", "GLACIER_IR", "INTELLIGENT_TIERING"])


@given(CLASSES, RESTORES)
def test_what_is_readable(storage_class: str, restore: Restore | None) -> None:
    """What is not cold, and a copy until its time is over; nothing else."""
    seen = Seen(storage_class=storage_class, restore=restore)
    found = seen.residency(COLD, NOW)
    if storage_class.upper() not in COLD:
        assert found is Residency.ONLINE
    elif restore is None or restore.ongoing:
        assert found is (Residency.OFFLINE if restore is None else Residency.RESTORING)
    else:
        assert (found is Residency.RESTORED) == (restore.expiry is None or restore.expiry > NOW)
        assert (found is Residency.RESTORED) == (seen.lasts(NOW) > 0)


@given(RESTORES.filter(lambda each: each is not None and not each.ongoing and each.expiry is not None))
def test_a_copy_ends_at_its_expiry(restore: Restore) -> None:
    """At that very moment, and not before."""
    seen = Seen(storage_class="GLACIER", restore=restore)
    assert restore.expiry is not None
    assert seen.residency(COLD, restore.expiry) is Residency.OFFLINE
    assert seen.residency(COLD, restore.expiry - 1) is Residency.RESTORED


def test_what_the_store_itself_has_moved() -> None:
    """Such an object is cold by another header, and readable for good once it is restored."""
    seen = Seen(storage_class="INTELLIGENT_TIERING", archive="ARCHIVE_ACCESS")
    assert seen.residency(COLD, NOW) is Residency.OFFLINE
    assert not seen.has_days
    back = Seen(storage_class="INTELLIGENT_TIERING")
    assert back.residency(COLD | {"INTELLIGENT_TIERING"}, NOW) is Residency.ONLINE


STATUS = FileStatus(
    file_id=1,
    path="/archive/i/1",
    size=7,
    mtime_ns=0,
    ctime_ns=0,
    bytes_per_level=(7,),
    media=("disk",),
    locality=Locality.DISK,
    digests={},
    generation="1",
)


@pytest.mark.parametrize(
    ("residency", "locality", "levels"),
    [
        (Residency.ONLINE, Locality.DISK, (7,)),
        (Residency.RESTORED, Locality.DISK_AND_TAPE, (7, 7)),
        (Residency.RESTORING, Locality.TAPE, (0, 7)),
        (Residency.OFFLINE, Locality.TAPE, (0, 7)),
        (Residency.LOST, Locality.LOST, (0, 0)),
        (Residency.UNKNOWN, Locality.UNAVAILABLE, (0, 7)),
    ],
)
def test_what_clients_are_told(residency: Residency, locality: Locality, levels: tuple[int, ...]) -> None:
    """In the words of the Tape REST API."""
    status = with_residency(STATUS, residency)
    assert (status.locality, status.bytes_per_level) == (locality, levels)
    assert len(status.media) == len(levels)


def test_how_long_it_takes() -> None:
    """By class and tier, as AWS has it; of others nothing is said."""
    assert usual_wait("GLACIER", "Standard") == usual_wait("glacier", "") == "3 to 5 hours"
    assert usual_wait("GLACIER", "Expedited") == "1 to 5 minutes"
    assert usual_wait("DEEP_ARCHIVE", "Bulk") == "12 to 48 hours"
    assert usual_wait("DEEP_ARCHIVE", "Expedited") == usual_wait("glacier-sc", "Standard") == ""


def test_lists() -> None:
    """What they tell of restores, and of classes."""

    def entry(key: str, more: str) -> str:
        size = "<Size>7</Size><LastModified>2027-01-15T08:00:00.000Z</LastModified>"
        return f"<Contents><Key>{key}</Key>{size}{more}</Contents>"

    cold = "<StorageClass>GLACIER</StorageClass>"
    under_way = "<RestoreStatus><IsRestoreInProgress>true</IsRestoreInProgress></RestoreStatus>"
    date = "<RestoreExpiryDate>2012-12-21T00:00:00.000Z</RestoreExpiryDate>"
    done = f"<RestoreStatus><IsRestoreInProgress>false</IsRestoreInProgress>{date}</RestoreStatus>"
    text = entry("a", "") + entry("b", cold) + entry("c", cold + under_way) + entry("d", cold + done)
    page = listing(f"<ListBucketResult>{text}</ListBucketResult>".encode())
    assert [(each.seen.storage_class, each.seen.restore) for each in page.objects] == [
        ("", None),
        ("GLACIER", None),
        ("GLACIER", Restore(ongoing=True)),
        ("GLACIER", Restore(ongoing=False, expiry=EXPIRY)),
    ]


def test_settings() -> None:
    """Names of classes, and the words of tiers."""
    own = S3Settings(cold_classes="Glacier, deep_archive ,glacier-sc", restore_tier="none", storage_class=" GLACIER ")  # type: ignore[arg-type]
    assert own.cold_classes == ("GLACIER", "DEEP_ARCHIVE", "GLACIER-SC")
    assert (own.restore_tier.word, Tier.BULK.word, own.storage_class) == ("", "Bulk", "GLACIER")
    with pytest.raises(ValueError, match="not the name"):
        S3Settings(storage_class="GLACIER\r\nx: y")
