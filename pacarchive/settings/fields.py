"""The keys of a section: fields of a frozen attrs class.

C{metadata} of a field has C{"doc"}, the text for C{--help}, C{pacarchive config} and the manual; C{"default"}, the
description of a default that is computed; C{"key"}, the name in the file where it differs from the field's;
C{"secret"}, where the value is hidden; and C{"computed"}, where the field is no key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable


def setting(
    default: object,
    converter: Callable[[Any], Any] | None,
    doc: str,
    *,
    key: str | None = None,
    default_words: str | None = None,
    secret: bool = False,
) -> Any:
    """
    Declare a key that has a default.

    @param default: The default, typed or as text that C{converter} accepts.
    @param converter: Converts the text in the file to the value; C{None} where the value is that text.
    @param doc: What the key sets, in one or more sentences.
    @param key: The name in the file, where it differs from the field's.
    @param default_words: A description of the default, where it is computed.
    @param secret: Whether the value is hidden wherever settings are shown.
    @return: The field.
    """
    given = {"key": key, "default": default_words, "secret": secret or None}
    metadata = {"doc": doc, **{name: value for name, value in given.items() if value is not None}}
    return attrs.field(default=default, converter=converter, metadata=metadata, repr=not secret)


def keys_of(section: type[Any]) -> dict[str, attrs.Attribute[Any]]:
    """Return the fields of a section's class, by their keys in the file."""
    return {key_of(field): field for field in attrs.fields(section) if not field.metadata.get("computed")}


def key_of(field: attrs.Attribute[Any]) -> str:
    """Return the key of a field, its name in the file."""
    return str(field.metadata.get("key", field.name))
