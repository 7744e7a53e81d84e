"""Each converter of a setting: what it takes, what it refuses, and what it does not change."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given, strategies

from pacarchive.access.settings import AllowSettings, IssuerSettings
from pacarchive.settings import converters
from settings.surroundings import SECTIONS

if TYPE_CHECKING:
    from collections.abc import Callable


@given(strategies.integers(1, 2**60))
def test_a_size_survives_being_written(value: int) -> None:
    """What format_size writes, size reads."""
    assert converters.size(converters.format_size(value)) == value


@given(strategies.integers(1, 2**20), strategies.sampled_from(["KiB", "MiB", "GiB", "TiB", "PiB"]))
def test_a_size_has_binary_units(number: int, unit: str) -> None:
    """The units are powers of 1024, written with or without a space, in any case."""
    factor = 1024 ** (1 + ["KiB", "MiB", "GiB", "TiB", "PiB"].index(unit))
    assert converters.size(f"{number} {unit}") == converters.size(f"{number}{unit.lower()}") == number * factor


@given(strategies.floats(0, allow_infinity=False, allow_nan=False))
def test_a_duration_survives_being_written(value: float) -> None:
    """What format_seconds writes, seconds reads, to the last bit."""
    assert converters.seconds(converters.format_seconds(value)) == value


@pytest.mark.parametrize(
    ("text", "value"), [("60", 60), ("60 s", 60), ("2 min", 120), ("1 h", 3600), ("1d", 86400), ("0.5 s", 0.5)]
)
def test_a_duration_has_units(text: str, value: float) -> None:
    """Seconds are what a bare number means."""
    assert converters.seconds(text) == value


BLOCK_SIZE = converters.BoundedSize("a block has 4 MiB to 32 MiB, in steps of 2 bytes", 4 << 20, 32 << 20, 2)

BAD_VALUES: list[tuple[Callable[..., object], object]] = [
    *((converters.size, each) for each in ["", "0", "-1", "64 KB", "1.5 GiB", "KiB", "\u0661", 0, -5]),
    *((BLOCK_SIZE, each) for each in ["", "4", "4095 KiB", "32769 KiB", 2**22 - 1, 2**22 + 1, 2**25 + 1]),
    *((converters.number, each) for each in ["", "-1", "1.5", "\u0661", -1]),
    *((converters.seconds, each) for each in ["", "-1", "1 week", "nan", "inf", "1e999", "\u0661", float("nan")]),
    (converters.timeout, "0"),
    *((converters.count, each) for each in ["", "0", "-1", "1.5", "\u0661", 0]),
    (converters.worker_count, "-1"),
    (converters.port_number, "65536"),
    (converters.flag, "maybe"),
    *((converters.line, each) for each in ["", "two\nlines"]),
    (converters.directory, ""),
    *((converters.mount_path, each) for each in ["", "/a/../b", "..", "/a/.", "two\nlines"]),
    *((converters.command, each) for each in ["two\nlines", "stage 'a", 'stage "a', "stage \\"]),
    *((converters.endpoint_strings, each) for each in ["8080", "tcp:", ("tcp:1", "2"), "ssl:1:sslmethod=TLSv1_METHOD"]),
    (converters.digest_names, "md5 crc32"),
    *((converters.time_zone, each) for each in ["", "Mars", "America", "../../etc/passwd", "\0"]),
]


@pytest.mark.parametrize(("converter", "value"), BAD_VALUES)
def test_what_cannot_be_converted_is_refused(converter: Callable[..., object], value: object) -> None:
    """Every converter refuses with ValueError and with words."""
    with pytest.raises(ValueError, match=r"\w"):
        converter(value)


@pytest.mark.parametrize(
    ("text", "value"), [("/", "/"), ("//", "/"), ("a/b", "/a/b"), ("/a//b/", "/a/b"), ("/%_'a b/...", "/%_'a b/...")]
)
def test_a_path_below_a_mount_point_has_one_spelling(text: str, value: str) -> None:
    """With or without slashes around it; what a database may take for a wildcard or a quote stays."""
    assert converters.mount_path(text) == converters.mount_path(value) == value


@pytest.mark.parametrize("text", ["", "stage -- {path}", "ssh 'sam host' stage -- \"/sam1{sam_path}\"", "a ; # b"])
def test_a_command_is_kept_as_it_is_written(text: str) -> None:
    """Quotes have to survive until it is run."""
    assert converters.command(text) == text


CONVERTERS: list[Any] = list(
    dict.fromkeys(each.converter for cls in SECTIONS.values() for each in attrs.fields(cls) if each.converter)
)


@given(
    strategies.sampled_from(CONVERTERS),
    strategies.text() | strategies.from_regex(r"[0-9]{1,30}(\.[0-9]+)?(e[0-9]{1,5})? ?[a-z]{0,3}"),
)
def test_no_text_breaks_a_converter(converter: Callable[[str], object], text: str) -> None:
    """Whatever stands in a file, a converter returns a value or raises ValueError."""
    with contextlib.suppress(ValueError):
        converter(text)


NECESSARY: dict[type[Any], dict[str, str]] = {
    AllowSettings: {"who": "user:ada", "may": "read"},
    IssuerSettings: {"url": "https://a.example"},
}
"""What has no default."""


@pytest.mark.parametrize("cls", SECTIONS.values())
def test_converters_take_their_own_results(cls: type[Any]) -> None:
    """Settings can be rebuilt from their own values, as attrs.evolve does."""
    settings = cls(**NECESSARY.get(cls, {}))
    assert attrs.evolve(settings) == settings


@given(strategies.integers(2 * 2**20, 16 * 2**20).map(lambda half: 2 * half))
def test_a_block_size_survives_being_written(value: int) -> None:
    """From the smallest to the largest."""
    assert BLOCK_SIZE(value) == value
    assert BLOCK_SIZE(converters.format_size(value)) == value
