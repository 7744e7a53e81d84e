"""Write the settings for people: those in force, and the defaults."""

from __future__ import annotations

import enum
import textwrap
from typing import TYPE_CHECKING, Any

import attrs

from pacarchive.settings.converters import (
    BoundedSize,
    converted,
    format_seconds,
    format_size,
    optional_size,
    seconds,
    size,
    timeout,
)
from pacarchive.settings.fields import key_of, keys_of
from pacarchive.settings.reading import find_provider
from pacarchive.settings.sections import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

MASK = "****"
"""Shown instead of a secret."""


def default_words(field: attrs.Attribute[Any]) -> str:
    """Return a field's default as text, for people."""
    if "default" in field.metadata:
        return str(field.metadata["default"])
    return "" if field.default is attrs.NOTHING else ", ".join(_lines(field, converted(field, field.default)))


def describe(settings: Settings) -> str:
    """
    Return the settings in force as an INI file that L{pacarchive.settings.reading.load} accepts.

    A secret is masked, and in a comment, so that the mask is not read as the password from a copy.
    """
    own = (find_provider(settings.server.type).section, settings.backend.own)
    out = []
    for section, values in (*settings.sections.items(), *settings.named.items(), own):
        out.append(f"[{section}]")
        for field in keys_of(type(values)).values():
            out += textwrap.wrap(str(field.metadata.get("doc", "")), 100, initial_indent="; ", subsequent_indent="; ")
            out.append(_assignment(field, getattr(values, field.name)))
        out.append("")
    return "\n".join(out)


def _assignment(field: attrs.Attribute[Any], value: object) -> str:
    if field.metadata.get("secret") and value:
        return f"; {key_of(field)} = {MASK}"
    lines = list(_lines(field, value))
    text = "".join(f"\n    {each}" for each in lines) if len(lines) > 1 else "".join(f" {each}" for each in lines)
    return f"{key_of(field)} ={text}"


def _lines(field: attrs.Attribute[Any], value: object) -> Iterator[str]:
    """Return a value as text that its converter accepts; one line for each item."""
    converter: Any = field.converter
    if value is None:  # where nothing is said
        return
    for item in value if isinstance(value, tuple) else (value,):
        if converter in (size, optional_size) or isinstance(converter, BoundedSize):
            yield format_size(item)
        elif converter in (seconds, timeout):
            yield format_seconds(item)
        elif isinstance(item, enum.Enum) and not isinstance(item, enum.Flag):
            yield str(item.value)
        else:
            yield str(item).lower() if isinstance(item, bool) else str(item)
