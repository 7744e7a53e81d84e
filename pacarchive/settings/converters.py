"""Convert the text of a settings file to values: the converters of the settings classes, for third-party backends too.

Each also accepts values of its own type, as defaults and the command line may have them, and raises C{ValueError} with
a message for the operator.
"""

from __future__ import annotations

import configparser
import enum
import ipaddress
import math
import os
import re
import shlex
from contextlib import suppress
from datetime import UTC, tzinfo
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import attrs

from pacarchive.digests import ALGORITHMS, PRIMARY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_SIZE_UNITS = {"": 1, "b": 1, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40, "pib": 2**50}
_TIME_UNITS = {"": 1, "s": 1, "min": 60, "h": 3600, "d": 86400}
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?(?:e[-+]?[0-9]+)?)\s*([a-z]*)", re.ASCII | re.IGNORECASE)


def size(value: str | int) -> int:
    """Convert a size to bytes: C{"64 KiB"}, or a plain number."""
    if isinstance(value, str):
        match = _QUANTITY.fullmatch(value.strip())
        if match is None or not match[1].isdigit() or match[2].lower() not in _SIZE_UNITS:
            raise ValueError(f"{value!r} is not a valid size; write bytes, or for example 64 KiB, 10 MiB, 1 GiB")
        value = int(match[1]) * _SIZE_UNITS[match[2].lower()]
    if value < 1:
        raise ValueError("a size is at least one byte")
    return value


def optional_size(value: str | int) -> int:
    """Convert a size as L{size} does; 0 stands for none."""
    return 0 if value in (0, "0") else size(value)


def percent(value: str | int) -> int:
    """Convert a percentage of 1 to 100, with or without a percent sign."""
    if isinstance(value, str):
        value = value.removesuffix("%").strip()
    if not 1 <= (result := number(value)) <= 100:
        raise ValueError("a share is 1 to 100 percent")
    return result


def store_address(value: str) -> str:
    """Check the address of the job store: a path, or the URL of a MariaDB database, without a password."""
    text = line(value)
    if not text.startswith("mariadb:"):
        return str(place(text))
    url = urlsplit(text)
    if url.password is not None:
        raise ValueError("a password does not belong here; there is store_password for it")
    query = parse_qs(url.query)
    if not url.username or not url.path.strip("/") or query.keys() - {"socket"} or not (url.hostname or query):
        raise ValueError("write mariadb://user@host:3306/database or mariadb://user@/database?socket=/path")
    return text


@attrs.frozen
class BoundedSize:
    """
    Converts a size as L{size} does, where not every size will do.

    @ivar words: What is said of others, to the operator.
    @ivar least: The least one, in bytes.
    @ivar most: The largest one.
    @ivar step: What it is a multiple of.
    """

    words: str
    least: int
    most: int
    step: int = 1

    def __call__(self, value: str | int) -> int:
        if not self.least <= (result := size(value)) <= self.most or result % self.step:
            raise ValueError(self.words)
        return result


def format_size(value: int) -> str:
    """Return the shortest text that L{size} converts to this number."""
    for unit in ("PiB", "TiB", "GiB", "MiB", "KiB"):
        whole, rest = divmod(value, _SIZE_UNITS[unit.lower()])
        if whole and not rest:
            return f"{whole} {unit}"
    return str(value)


def seconds(value: str | float) -> float:
    """Convert a duration to seconds, from C{"60"}, C{"0.5 s"}, C{"2 min"}, C{"1 h"} or a number; 0 is allowed."""
    if isinstance(value, str):
        match = _QUANTITY.fullmatch(value.strip())
        if match is None or match[2].lower() not in _TIME_UNITS:
            raise ValueError(f"{value!r} is not a valid duration; write seconds, or for example 60 s, 2 min, 1 h")
        value = float(match[1]) * _TIME_UNITS[match[2].lower()]
    if not 0 <= value < math.inf:
        raise ValueError("a duration is finite and not negative")
    return float(value)


def format_seconds(value: float) -> str:
    """Return text that L{seconds} converts to this number."""
    return f"{int(value) if value.is_integer() else value!r} s"


def timeout(value: str | float) -> float:
    """Convert a duration as L{seconds} does; 0 is not allowed, as every request would time out."""
    if (result := seconds(value)) == 0:
        raise ValueError("a time-out is more than zero")
    return result


def number(value: str | int) -> int:
    """Convert a whole number that is not negative."""
    if isinstance(value, str):
        if not re.fullmatch(r"[0-9]{1,18}", value, re.ASCII):
            raise ValueError(f"{value!r} is not a whole number")
        value = int(value)
    if value < 0:
        raise ValueError(f"{value} is less than 0")
    return value


def count(value: str | int) -> int:
    """Convert a whole number of at least 1."""
    if (result := number(value)) < 1:
        raise ValueError(f"{result} is less than 1")
    return result


def worker_count(value: str | int) -> int:
    """Convert a number of processes; 0 stands for one per core that this process may use."""
    if value in (0, "0"):
        return len(os.sched_getaffinity(0))
    return count(value)


def port_number(value: str | int) -> int:
    """Convert the number of a TCP port that can be connected to."""
    if (number := count(value)) > 65535:
        raise ValueError("a port is at most 65535")
    return number


def flag(value: str | bool) -> bool:
    """Convert a truth value, written in any of the ways that L{configparser} knows."""
    if isinstance(value, bool):
        return value
    try:
        return configparser.ConfigParser.BOOLEAN_STATES[value.lower()]
    except KeyError:
        raise ValueError(f"{value!r} is neither true nor false") from None


def line(value: str) -> str:
    """Check a text of one line that is not empty."""
    if not value or len(value.splitlines()) > 1:
        raise ValueError("one line of text is needed")
    return value


def mount_path(value: str) -> str:
    """Convert a path below the mount point of a file system: C{/a/b}, or C{/} for the mount point itself."""
    parts = [part for part in line(value).split("/") if part]
    if {".", ".."}.intersection(parts):
        raise ValueError(f"{value!r} has a part that is . or ..")
    return "/" + "/".join(parts)


def command(value: str) -> str:
    """Check a command with its arguments, with quotes as for a shell; empty for none."""
    try:
        words = shlex.split(optional_line(value))
    except ValueError as error:
        raise ValueError(f"{value!r} is not a valid command: {error}") from None
    if words and not words[0]:
        raise ValueError(f"{value!r} is not a valid command: it is empty")
    return value if words else ""


def optional_line(value: str) -> str:
    """Check a text of one line, which may be empty."""
    return line(value) if value else ""


def optional_url(value: str) -> str:
    """Convert a base URL, removing slashes at its end; empty for none."""
    text = optional_line(value).rstrip("/")
    if text and not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", text, re.ASCII):
        raise ValueError(f"{value!r} is not a valid URL; write for example https://archive.example.org")
    return text


def host_names(value: str | Iterable[str]) -> tuple[str, ...]:
    """Convert names and addresses of hosts, separated by blanks, commas or line ends, to their canonical forms."""
    return tuple(_host_name(each) for each in (_items(value, r"[\s,;]") if isinstance(value, str) else value))


def _host_name(given: str) -> str:
    name = given.removesuffix(".").lower()
    with suppress(ValueError):
        return str(ip_address(name[1:-1] if re.fullmatch(r"\[.*\]", name) else name))
    with suppress(UnicodeError):
        name = name if name.isascii() else name.encode("idna").decode("ascii")
        if re.fullmatch(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*", name):
            return name
    raise ValueError(f"{given!r} is not a valid host; write for example archive.example.org, without a port")


def directory(value: str | Path) -> Path:
    """Convert a path to an absolute one without symbolic links; L{load} checks whether it exists."""
    return Path(os.path.realpath(line(str(value))))


def place(value: str | Path) -> Path:
    """Convert a path, leaving it as written: L{pacarchive.settings.reading.load} knows if it is one of this machine."""
    return Path(line(str(value)))


def optional_path(value: str | Path | None) -> Path | None:
    """An absolute path, or none."""
    if value is None or value == "":
        return None
    path = Path(line(str(value)))
    if not path.is_absolute():
        raise ValueError(f"{str(value)!r} is not an absolute path")
    return path


def places(value: str | Iterable[str | Path]) -> tuple[Path, ...]:
    """Convert paths, one per line."""
    return tuple(place(each) for each in (_items(value, "\n") if isinstance(value, str) else value))


def endpoint_strings(value: str | Iterable[str]) -> tuple[str, ...]:
    """Convert Twisted endpoint strings, one per line or separated by semicolons; there may be none."""
    endpoints = tuple(_items(value, "[\n;]") if isinstance(value, str) else value)
    for endpoint in endpoints:
        if not re.match(r"\w+:.", endpoint):
            raise ValueError(f"{endpoint!r} is not a valid endpoint; write for example tcp:8080:interface=127.0.0.1")
        if re.search(r":sslmethod=", endpoint):
            raise ValueError(f"{endpoint!r}: sslmethod cannot be set; TLS 1.2 and 1.3 are spoken")
    return endpoints


def digest_names(value: str | Iterable[str]) -> tuple[str, ...]:
    """Convert names of digest algorithms; the one that is always computed is left out."""
    names = dict.fromkeys(_items(value.lower(), r"[\s,;]") if isinstance(value, str) else value)
    for name in names:
        if name not in ALGORITHMS:
            raise ValueError(f"{name!r} is not among {', '.join(ALGORITHMS)}")
    return tuple(name for name in names if name != PRIMARY)


def networks(value: str | Iterable[str]) -> tuple[str, ...]:
    """Convert IP addresses and networks, separated by commas or blanks; may be empty."""
    found = []
    for each in _items(value, r"[\s,;]") if isinstance(value, str) else value:
        try:
            found.append(str(ipaddress.ip_network(each)))
        except ValueError:
            raise ValueError(f"{each!r} is not a valid network; write 192.0.2.7, 192.0.2.0/24 or ::1") from None
    return tuple(found)


def time_zone(value: str | tzinfo) -> tzinfo:
    """Convert the name of a time zone of the IANA database."""
    if isinstance(value, tzinfo):
        return value
    if value == "UTC":
        return UTC
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # only now: it takes half a megabyte, and few need it

    try:
        return ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: a directory, such as "America"
        raise ValueError(f"{value!r} is not a valid time zone; write for example UTC or America/Los_Angeles") from None


def _items(text: str, separator: str) -> Iterator[str]:
    return (item.strip() for item in re.split(separator, text) if item.strip())


def converted(field: attrs.Attribute[Any], value: object) -> Any:
    """
    Convert the value of a key.

    @param field: The key's field in the class of its section.
    @param value: The value, as text or typed.
    @return: The typed value.
    @raise ValueError: It is invalid; C{str()} says why.
    """
    converter: Any = field.converter
    if isinstance(converter, type) and issubclass(converter, enum.Enum):
        try:
            return converter(value)
        except ValueError:
            raise ValueError(f"{value!r} is not among {', '.join(each.value for each in converter)}") from None
    return value if converter is None else converter(value)
