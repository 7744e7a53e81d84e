"""JSON Schema (2020-12), written short: what a document is like stands beside the code that makes it.

What has a name of its own (L{record}) is one type to those who generate clients, wherever it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

Schema = Mapping[str, Any]


@attrs.frozen
class Named:
    """A schema that is referred to by its name."""

    name: str
    schema: Schema


AnySchema = Schema | Named


def text(words: str = "", **more: Any) -> Schema:
    """Text; C{more} is as in JSON Schema: C{pattern}, C{minLength}..."""
    return _schema("string", words, more)


def integer(words: str = "", **more: Any) -> Schema:
    """A number without a fraction; C{more} may be C{minimum}, C{maximum}..."""
    return _schema("integer", words, more)


def number(words: str = "", **more: Any) -> Schema:
    """A number."""
    return _schema("number", words, more)


def boolean(words: str = "", **more: Any) -> Schema:
    """True or false."""
    return _schema("boolean", words, more)


def choice(words: str, *values: str) -> Schema:
    """One of some texts."""
    return _schema("string", words, {"enum": list(values)})


def array(items: AnySchema, words: str = "", **more: Any) -> Schema:
    """A list."""
    return _schema("array", words, {"items": items, **more})


def members(words: str, required: Mapping[str, AnySchema], optional: Mapping[str, AnySchema] | None = None) -> Schema:
    """An object with these members; whoever reads it ignores others, which may be added."""
    properties = {**required, **(optional or {})}
    more = {"required": list(required)} if required else {}
    return _schema("object", words, {"properties": properties, **more})


def record(
    name: str, words: str, required: Mapping[str, AnySchema], optional: Mapping[str, AnySchema] | None = None
) -> Named:
    """As L{members}, with a name."""
    return Named(name, members(words, required, optional))


def closed(schema: Schema) -> Schema:
    """An object that is refused if it has other members."""
    return {**schema, "additionalProperties": False}


def or_null(schema: AnySchema) -> Schema:
    """What may be C{null} as well."""
    if isinstance(schema, Named):
        return {"anyOf": [schema, {"type": "null"}]}
    return {**schema, "type": [schema["type"], "null"]}


def resolved(value: Any, found: dict[str, Schema]) -> Any:
    """
    Replace what is named by references to the components of an OpenAPI document.

    @param found: Takes what is referred to, by its name.
    @raise ValueError: Two different things have one name.
    """
    match value:
        case Named(name, schema):
            whole = resolved(schema, found)
            if found.setdefault(name, whole) != whole:
                raise ValueError(f"two schemas have the name {name}")
            return {"$ref": f"#/components/schemas/{name}"}
        case Mapping():
            return {key: resolved(each, found) for key, each in value.items()}
        case list() | tuple():
            return [resolved(each, found) for each in value]
        case _:
            return value


def _schema(kind: str, words: str, more: Mapping[str, Any]) -> Schema:
    return {"type": kind, **({"description": words} if words else {}), **more}
