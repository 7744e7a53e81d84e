"""From the text of a settings file to values: the converters of the settings classes, for backends of others too.

Each takes its own results as well, since defaults and the command line give values, and raises C{ValueError} with
words that an operator understands.
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
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import attrs

from pacarchive.digests import ALGORITHMS, PRIMARY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_SIZE_UNITS = {"": 1, "b": 1, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40, "pib": 2**50}
_TIME_UNITS = {"": 1, "s": 1, "min": 60, "h": 3600, "d": 86400}
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?(?:e[-+]?[0-9]+)?)\s*([a-z]*)", re.ASCII | re.IGNORECASE)


def size(value: str | int) -> int:
    """Bytes, from C{"64 KiB"} or a plain number."""
    if isinstance(value, str):
        match = _QUANTITY.fullmatch(value.strip())
        if match is None or not match[1].isdigit() or match[2].lower() not in _SIZE_UNITS:
            raise ValueError(f"{value!r} is not a valid size; write bytes, or for example 64 KiB, 10 MiB, 1 GiB")
        value = int(match[1]) * _SIZE_UNITS[match[2].lower()]
    if value < 1:
        raise ValueError("a size is at least one byte")
    return value


def optional_size(value: str | int) -> int:
    """As L{size}; zero stands for none."""
    return 0 if value in (0, "0") else size(value)


def percent(value: str | int) -> int:
    """A share of a hundred, with or without its sign."""
    if isinstance(value, str):
        value = value.removesuffix("%").strip()
    if not 1 <= (result := number(value)) <= 100:
        raise ValueError("a share is 1 to 100 percent")
    return result


def store_address(value: str) -> str:
    """A file, or the URL of a database of MariaDB's; a password has no place in it."""
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


def block_size(value: str | int) -> int:
    """What a mover of HPSS moves well in one piece."""
    if not 4 * 2**20 <= (result := size(value)) <= 32 * 2**20:
        raise ValueError("a block has 4 MiB to 32 MiB")
    return result


def format_size(value: int) -> str:
    """The shortest text that L{size} turns into the same number."""
    for unit in ("PiB", "TiB", "GiB", "MiB", "KiB"):
        whole, rest = divmod(value, _SIZE_UNITS[unit.lower()])
        if whole and not rest:
            return f"{whole} {unit}"
    return str(value)


def seconds(value: str | float) -> float:
    """Seconds, zero included, from C{"60"}, C{"0.5 s"}, C{"2 min"}, C{"1 h"} or a number."""
    if isinstance(value, str):
        match = _QUANTITY.fullmatch(value.strip())
        if match is None or match[2].lower() not in _TIME_UNITS:
            raise ValueError(f"{value!r} is not a valid duration; write seconds, or for example 60 s, 2 min, 1 h")
        value = float(match[1]) * _TIME_UNITS[match[2].lower()]
    if not 0 <= value < math.inf:
        raise ValueError("a duration is finite and not negative")
    return float(value)


def format_seconds(value: float) -> str:
    """Text that L{seconds} turns into the same number."""
    return f"{int(value) if value.is_integer() else value!r} s"


def timeout(value: str | float) -> float:
    """As L{seconds}, but more than zero: a limit of nothing would refuse everyone."""
    if (result := seconds(value)) == 0:
        raise ValueError("a time-out is more than zero")
    return result


def number(value: str | int) -> int:
    """A whole number, zero included."""
    if isinstance(value, str):
        if not re.fullmatch(r"[0-9]{1,18}", value, re.ASCII):
            raise ValueError(f"{value!r} is not a whole number")
        value = int(value)
    if value < 0:
        raise ValueError(f"{value} is less than 0")
    return value


def count(value: str | int) -> int:
    """A whole number of at least one."""
    if (result := number(value)) < 1:
        raise ValueError(f"{result} is less than 1")
    return result


def worker_count(value: str | int) -> int:
    """A number of processes; zero stands for one per core that this process may use."""
    if value in (0, "0"):
        return len(os.sched_getaffinity(0))
    return count(value)


def port_number(value: str | int) -> int:
    """A TCP port that can be connected to."""
    if (number := count(value)) > 65535:
        raise ValueError("a port is at most 65535")
    return number


def flag(value: str | bool) -> bool:
    """Yes or no, in any of L{configparser}'s words."""
    if isinstance(value, bool):
        return value
    try:
        return configparser.ConfigParser.BOOLEAN_STATES[value.lower()]
    except KeyError:
        raise ValueError(f"{value!r} is neither true nor false") from None


def line(value: str) -> str:
    """Text that fits in one line and is not empty."""
    if not value or len(value.splitlines()) > 1:
        raise ValueError("one line of text is needed")
    return value


def mount_path(value: str) -> str:
    """A path below the mount point of a file system: C{/a/b}, and C{/} for the mount point itself."""
    parts = [part for part in line(value).split("/") if part]
    if {".", ".."}.intersection(parts):
        raise ValueError(f"{value!r} has a part that is . or ..")
    return "/" + "/".join(parts)


def command(value: str) -> str:
    """A command with its arguments, with quotes as for a shell; empty for none."""
    try:
        words = shlex.split(optional_line(value))
    except ValueError as error:
        raise ValueError(f"{value!r} is not a valid command: {error}") from None
    if words and not words[0]:
        raise ValueError(f"{value!r} is not a valid command: it is empty")
    return value if words else ""


def optional_line(value: str) -> str:
    """Text that fits in one line, or none."""
    return line(value) if value else ""


def optional_url(value: str) -> str:
    """The beginning of URLs, without a slash at its end; or none."""
    text = optional_line(value).rstrip("/")
    if text and not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", text, re.ASCII):
        raise ValueError(f"{value!r} is not a valid URL; write for example https://archive.example.org")
    return text


def host_names(value: str | Iterable[str]) -> tuple[str, ...]:
    """Names and addresses of hosts, with blanks, commas or line ends between them; in one spelling."""
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
    """An absolute path without symbolic links; whether it exists is looked at in L{load}."""
    return Path(os.path.realpath(line(str(value))))


def place(value: str | Path) -> Path:
    """A path as it is written: L{pacarchive.settings.reading.load} knows whether it is one of this machine."""
    return Path(line(str(value)))


def places(value: str | Iterable[str | Path]) -> tuple[Path, ...]:
    """Paths, one per line."""
    return tuple(place(each) for each in (_items(value, "\n") if isinstance(value, str) else value))


def endpoint_strings(value: str | Iterable[str]) -> tuple[str, ...]:
    """Twisted endpoint strings, one per line or with semicolons between them."""
    endpoints = tuple(_items(value, "[\n;]") if isinstance(value, str) else value)
    for endpoint in endpoints:
        if not re.match(r"\w+:.", endpoint):
            raise ValueError(f"{endpoint!r} is not a valid endpoint; write for example tcp:8080:interface=127.0.0.1")
        if re.search(r":sslmethod=", endpoint):
            raise ValueError(f"{endpoint!r}: sslmethod cannot be set; TLS 1.2 and 1.3 are spoken")
    if not endpoints:
        raise ValueError("at least one endpoint is needed")
    return endpoints


def digest_names(value: str | Iterable[str]) -> tuple[str, ...]:
    """Names of algorithms, apart from the one that is always computed."""
    names = dict.fromkeys(_items(value.lower(), r"[\s,;]") if isinstance(value, str) else value)
    for name in names:
        if name not in ALGORITHMS:
            raise ValueError(f"{name!r} is not among {', '.join(ALGORITHMS)}")
    return tuple(name for name in names if name != PRIMARY)


def networks(value: str | Iterable[str]) -> tuple[str, ...]:
    """IP addresses and networks, with commas or blanks between them; or none."""
    found = []
    for each in _items(value, r"[\s,;]") if isinstance(value, str) else value:
        try:
            found.append(str(ipaddress.ip_network(each)))
        except ValueError:
            raise ValueError(f"{each!r} is not a valid network; write 192.0.2.7, 192.0.2.0/24 or ::1") from None
    return tuple(found)


def time_zone(value: str | ZoneInfo) -> ZoneInfo:
    """A zone of the IANA database."""
    if isinstance(value, ZoneInfo):
        return value
    try:
        return ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: a directory, such as "America"
        raise ValueError(f"{value!r} is not a valid time zone; write for example UTC or America/Los_Angeles") from None


def _items(text: str, separator: str) -> Iterator[str]:
    return (item.strip() for item in re.split(separator, text) if item.strip())


def converted(field: attrs.Attribute[Any], value: object) -> Any:
    """
    The typed value of a key.

    @param field: The field of its section.
    @param value: As it was given: text or typed.
    @raise ValueError: It is none; C{str()} says why.
    """
    converter: Any = field.converter
    if isinstance(converter, type) and issubclass(converter, enum.Enum):
        try:
            return converter(value)
        except ValueError:
            raise ValueError(f"{value!r} is not among {', '.join(each.value for each in converter)}") from None
    return value if converter is None else converter(value)
