"""The settings of the C{s3} backend alone: the section C{[s3]}."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

import attrs

from pacarchive.settings.converters import (
    BoundedSize,
    count,
    flag,
    line,
    number,
    optional_line,
    optional_path,
    seconds,
    size,
    timeout,
)
from pacarchive.settings.fields import setting

_PART_SIZE = BoundedSize("a part has 5 MiB to 5 GiB, in steps of 4 KiB", 5 << 20, 5 << 30, 4096)  # the first by S3
_SMALL_SIZE = BoundedSize("a small file has 1 MiB at the most", 1, 1 << 20)  # it is read with its metadata


class Addressing(enum.Enum):
    """Where a request names its bucket."""

    PATH = "path"
    """In the path: C{https://store.example.org/bucket/key}."""
    VIRTUAL = "virtual"
    """In the name of the host: C{https://bucket.store.example.org/key}."""


class Tier(enum.Enum):
    """How fast restores are."""

    EXPEDITED = "Expedited"
    STANDARD = "Standard"
    BULK = "Bulk"
    NONE = "none"

    @property
    def word(self) -> str:
        """What the store is told; empty for nothing."""
        return "" if self is Tier.NONE else self.value


def storage_class(value: str) -> str:
    """Check the name of a storage class, or none."""
    text = value.strip()
    if not re.fullmatch(r"[A-Za-z0-9_.-]{0,64}", text):
        raise ValueError(f"{value!r} is not the name of a storage class")
    return text


def storage_classes(value: str | Iterable[str]) -> tuple[str, ...]:
    """Check names of storage classes, with commas between; case does not matter."""
    items = value.split(",") if isinstance(value, str) else value
    return tuple(storage_class(each).upper() for each in items if each.strip())


def endpoint(value: str) -> str:
    """Check the URL of an object store: a host with or without a port, and nothing behind."""
    text = line(value).rstrip("/")
    try:
        url = urlsplit(text)
        valid = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        valid = False
    if not valid or "@" in text or url.path or url.query or url.fragment or not re.fullmatch(r"[!-~]+", text):
        raise ValueError(f"{value!r} is not a valid endpoint; write for example https://s3.example.org:9000")
    return text


@attrs.frozen(kw_only=True)
class S3Settings:
    """Settings of the C{s3} backend alone: C{[s3]}."""

    endpoint: str = setting(
        "https://s3.amazonaws.com", endpoint, "The URL of the object store, without a bucket and without a path."
    )
    region: str = setting("us-east-1", line, "The region that requests are signed for.")
    addressing: Addressing = setting(
        Addressing.PATH,
        Addressing,
        "Whether the bucket is named in the path or in the name of the host: path, virtual.",
    )
    access_key: str = setting(
        "",
        optional_line,
        "The access key. Without one, it and the secret key are looked for as the AWS tools do: in the environment, "
        "in the files of [s3] profile, from a web identity, from the service of the machine.",
    )
    secret_key: str = setting("", optional_line, "The secret key that belongs to the access key.", secret=True)
    profile: str = setting(
        "", optional_line, "The profile of the AWS configuration files that has the credentials; empty for the default."
    )
    ca_file: Path | None = setting(
        None,
        optional_path,
        "A file of certificates in PEM form: the store's must be signed by one of these, instead of one that this "
        "machine trusts.",
    )
    part_size: int = setting(
        16 << 20,
        _PART_SIZE,
        "The size of the parts that large files are sent in, in bytes: 5 MiB to 5 GiB. There are 10,000 parts at the "
        "most, so it grows with the file, unless [s3] equal_parts is set.",
    )
    equal_parts: bool = setting(
        False, flag, "Keep all parts of a file at [s3] part_size, for stores that demand it; files are limited by that."
    )
    parts_in_flight: int = setting(3, count, "How many parts of one file are sent at a time.")
    upload_memory: int = setting(
        512 << 20,
        size,
        "The memory for parts that are being filled and sent, for all files together, in bytes, per worker process. "
        "When it is used up, senders wait.",
    )
    small_file: int = setting(
        64 << 10,
        _SMALL_SIZE,
        "Up to this size the bytes of a file are stored in the same object as what is known of it, so that one request "
        "stores or fetches both. In bytes, up to 1 MiB.",
    )
    connections: int = setting(
        64, count, "How many requests for files' metadata and for small files are sent at a time, per worker process."
    )
    idle_connections: int = setting(
        32,
        number,
        "How many connections are kept for further requests, per worker process; 0 closes each after its request.",
    )
    connect_timeout: float = setting(10, timeout, "The timeout of a connection attempt, in seconds.")
    answer_timeout: float = setting(
        30, timeout, "The timeout of an answer, and of each pause in the sending of a request or answer, in seconds."
    )
    retry_for: float = setting(
        60, seconds, "How long a request that fails for a reason that may pass is retried, in seconds."
    )
    sweep_after: float = setting(
        7 * 86400,
        timeout,
        "For how long data that nothing needs any more, and uploads that nobody goes on with, are kept from "
        "pacarchive admin sweep, in seconds: longer than any upload or download takes.",
    )
    storage_class: str = setting(
        "",
        storage_class,
        "The storage class that data is stored in, except for small files; empty for the bucket's usual one. Records "
        "are always in that.",
    )
    cold_classes: tuple[str, ...] = setting(
        (),
        storage_classes,
        "The storage classes whose files have to be restored before they can be read, and are recalled as from tape: "
        "for example GLACIER, DEEP_ARCHIVE. Empty: there are none, and it is not looked where data is.",
    )
    restore_days: int = setting(
        7,
        count,
        "For how many days the store keeps a restored copy: longer than [recall] pin. One that has less than half of "
        "them left is asked for again when it is requested.",
    )
    restore_tier: Tier = setting(
        Tier.STANDARD,
        Tier,
        "How fast, and how dear, restores are: Expedited, Standard, Bulk; none leaves that to the store.",
    )
    single_node: bool = setting(
        False,
        flag,
        "Assert that one process alone writes to the bucket; then a store that ignores conditions can be written to.",
    )
