"""The keys of a section: fields of a frozen attrs class.

C{metadata} of a field holds C{"doc"}, which feeds C{--help}, C{pacarchive config} and the manual; C{"default"}, the
words for a default that is computed; C{"key"}, the name in the file where it differs from the field's; C{"secret"},
which hides the value; and C{"computed"}: the field is no key.
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
    A key that has a default.

    @param default: Typed, or as text that C{converter} takes.
    @param converter: Makes the value of the text in the file; C{None} where that is text, too.
    @param doc: What it sets, in one sentence or some.
    @param key: The name in the file, where it differs from the field's.
    @param default_words: What people read about the default, where it is computed.
    @param secret: Whether nobody is shown the value.
    """
    given = {"key": key, "default": default_words, "secret": secret or None}
    metadata = {"doc": doc, **{name: value for name, value in given.items() if value is not None}}
    return attrs.field(default=default, converter=converter, metadata=metadata, repr=not secret)


def keys_of(section: type[Any]) -> dict[str, attrs.Attribute[Any]]:
    """The keys that a section of the file may have, and the field of each."""
    return {key_of(field): field for field in attrs.fields(section) if not field.metadata.get("computed")}


def key_of(field: attrs.Attribute[Any]) -> str:
    """The field's name in the file."""
    return str(field.metadata.get("key", field.name))
