"""The page of the API: Markdown that is made of the description which the server sends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

METHODS = ("get", "head", "put", "post", "patch", "delete")
OTHERS = "x-additionalOperations"


def page(document: Mapping[str, Any]) -> str:
    """
    Describe an API.

    @param document: Its OpenAPI document.
    @return: Markdown, from the second level of headings on.
    """
    lines = [document["info"]["description"]]
    for tag in document["tags"]:
        if operations := list(_operations(document, tag["name"])):
            lines += [f"## {tag['name'].capitalize()}", tag["description"]]
            for method, place, operation in operations:
                lines += _operation(document, method, place, operation)
    lines += ["## Answers to any request", _common(document), "## Documents"]
    for name, schema in document["components"]["schemas"].items():
        lines += [f"### {name}", schema.get("description", ""), *_members(schema)]
    return "\n\n".join(filter(None, lines)) + "\n"


def _operations(document: Mapping[str, Any], tag: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Those of a tag, but for OPTIONS, and for HEAD where it is GET without a body: these are the same everywhere."""
    for place, item in document["paths"].items():
        methods = [each for each in METHODS if each in item and not _is_plain_head(each, item)]
        for method, operation in (*((each, item[each]) for each in methods), *item.get(OTHERS, {}).items()):
            if operation["tags"] == [tag]:
                yield method.upper(), place, operation


def _is_plain_head(method: str, item: Mapping[str, Any]) -> bool:
    return method == "head" and bool(item["head"]["summary"].startswith(f"{item['get']['summary']}:"))


def _operation(document: Mapping[str, Any], method: str, place: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"### {method} {place}"
    yield f"{operation['summary']}."
    yield operation["description"]
    if parameters := operation.get("parameters"):
        yield _table(
            ("parameter", "in", "what it is"),
            (
                (f"`{each['name']}`", each["in"], f"{_kind(each['schema'])} {each['description']}".strip())
                for each in parameters
            ),
        )
    if body := operation.get("requestBody"):
        kinds = _contents(body["content"])
        yield f"**Body**{'' if body['required'] else ' (may be left out)'}: {body['description']} {kinds}"
    yield _table(
        ("status", "when", "body"),
        (
            (f"`{status}`", answer["description"], _contents(answer.get("content", {})))
            for status, answer in operation["responses"].items()
            if "$ref" not in answer
        ),
    )
    yield from _fields(operation)


def _fields(operation: Mapping[str, Any]) -> Iterator[str]:
    """The header fields of its successes."""
    fields = {
        (name, field["description"]): None
        for status, answer in operation["responses"].items()
        if status < "400"
        for name, field in answer.get("headers", {}).items()
    }
    if fields:
        yield _table(("field of the answer", "what it says"), ((f"`{name}`", words) for name, words in fields))


def _common(document: Mapping[str, Any]) -> str:
    """What the operations refer to."""
    answers = {name: answer for name, answer in sorted(document["components"]["responses"].items()) if name.isdigit()}
    return _table(
        ("status", "when", "body"),
        ((f"`{status}`", each["description"], _contents(each.get("content", {}))) for status, each in answers.items()),
    )


def _contents(content: Mapping[str, Any]) -> str:
    return ", ".join(f"`{media}`{_of(each['schema'])}" for media, each in content.items())


def _of(schema: Mapping[str, Any]) -> str:
    named = [each for each in (schema, *schema.get("anyOf", ()), schema.get("items", {})) if "$ref" in each]
    return f" ({', '.join(_link(each) for each in named)})" if named else ""


def _link(schema: Mapping[str, Any]) -> str:
    name = schema["$ref"].rpartition("/")[2]
    return f"[{name}](#{name.lower()})"


def _members(schema: Mapping[str, Any]) -> Iterator[str]:
    required = schema.get("required", ())
    rows = [
        (
            f"`{name}`",
            "" if name in required else "may be missing",
            f"{_kind(each)} {each.get('description', '')}".strip(),
        )
        for name, each in schema.get("properties", {}).items()
    ]
    if rows:
        yield _table(("member", "", "what it is"), rows)


def _kind(schema: Mapping[str, Any]) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        return f"{_link(schema)}."
    if "enum" in schema:
        return f"{' or '.join(f'`{each}`' for each in schema['enum'])}."
    if "anyOf" in schema:
        return " or ".join(_kind(each).removesuffix(".") for each in schema["anyOf"]) + "."
    kinds = schema.get("type", "anything")
    kind = " or ".join([kinds] if isinstance(kinds, str) else kinds).replace("string", "text")
    if "items" in schema:
        return f"List of {_kind(schema['items'])}"
    limits = [str(schema[each]) for each in ("minimum", "maximum") if each in schema]
    return f"{kind.capitalize()} ({' to '.join(limits)})." if len(limits) == 2 else f"{kind.capitalize()}."


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = tuple(heads)
    lines = [heads, ("---",) * len(heads), *rows]
    return "\n".join(f"| {' | '.join(_cell(each) for each in line)} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("\n", " ")
