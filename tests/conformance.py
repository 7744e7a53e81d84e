"""
Whether answers are as the description of the API has them.

Every answer that the tests of the HTTP face get goes through here (L{support.Client.ask}), so that what they make the
server say is documented: its status, the kind of its body, the body itself, and the header fields that it must have.
"""

from __future__ import annotations

import json
import re
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from jsonschema_rs import Draft202012Validator

from pacarchive.web.application import ROUTER
from pacarchive.web.openapi import METHODS, description

if TYPE_CHECKING:
    from collections.abc import Mapping

OTHERS = "x-additionalOperations"

FOR_PEOPLE = {url.split("/")[1] for _, url in ROUTER.undescribed}
"""Where pages are, which the description says nothing of."""

_VARIABLE = re.compile(r"\{(\w+)\}")


def _pattern(variable: re.Match[str]) -> str:
    return "[0-9]+" if variable[1] == "file_id" else "[^/]+"


def strict(value: Any) -> Any:
    """
    Take objects to have no other members than those that are described.

    To clients the description says less: they ignore what they do not know.
    """
    if isinstance(value, dict):
        closed = {"additionalProperties": False} if isinstance(value.get("properties"), dict) else {}
        return {**closed, **{name: strict(each) for name, each in value.items()}}
    return [strict(each) for each in value] if isinstance(value, list) else value


def strict_answers(document: Mapping[str, Any]) -> dict[str, Any]:
    """The description, with answers taken so; requests may have what they may have."""
    requested = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(_bodies(document))))
    components = document["components"]
    schemas = {name: schema if name in requested else strict(schema) for name, schema in components["schemas"].items()}
    paths = {
        place: {
            method: {**each, "responses": strict(each["responses"])} if "responses" in each else each
            for method, each in item.items()
        }
        for place, item in document["paths"].items()
    }
    return {**document, "paths": paths, "components": {**components, "schemas": schemas}}


def _bodies(document: Mapping[str, Any]) -> list[Any]:
    return [each.get("requestBody") for item in document["paths"].values() for each in item.values()]


class Contract:
    """
    The description, to compare answers with.

    @param document: The description.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._paths: Mapping[str, Any] = document["paths"]
        self._components = strict(document["components"])
        # What is fixed goes before what varies.
        places = sorted(self._paths, key=lambda place: (place.count("{"), place))
        self._patterns: list[tuple[str, re.Pattern[str]]] = [
            (place, re.compile(_VARIABLE.sub(_pattern, place))) for place in places
        ]
        self._validators: dict[str, Draft202012Validator] = {}

    def place_of(self, target: str) -> str | None:
        """The path of the description that a request's target is of; C{None} for what no route answers to."""
        path = re.sub("^//+", "/", re.sub("^https?://[^/?]*", "", target, flags=re.IGNORECASE).partition("?")[0])
        if path in ("", "*"):
            path = "/"
        for spelling in (path, path.removesuffix("/")):
            for place, pattern in self._patterns:
                if pattern.fullmatch(spelling):
                    return place
        return None

    def operation(self, method: str, place: str) -> Mapping[str, Any] | None:
        """What is described of a method there."""
        item = self._paths[place]
        found: Mapping[str, Any] | None = (
            item.get(method.lower()) if method in METHODS else item.get(OTHERS, {}).get(method)
        )
        return found

    def check(self, method: str, target: str, status: int, fields: Mapping[str, str], body: bytes) -> None:
        """
        See that an answer is described.

        @param fields: Its header fields; names in lower case.
        """
        place = self.place_of(target)
        operation = None if place is None else self.operation(method, place)
        if operation is None and target.split("?")[0].lstrip("/").split("/")[0] in FOR_PEOPLE:
            return
        if operation is None:
            assert status >= 400, f"{method} {target} is not described, and was answered with {status}"
            return
        described = operation["responses"].get(str(status))
        what = f"{status} of {method} {place}"
        if described is None and status == HTTPStatus.NOT_FOUND and target.partition("?")[0].endswith("/"):
            return  # not every URL may end in a slash
        assert described is not None, f"{what} is not described"
        if "$ref" in described:
            described = self._components["responses"][described["$ref"].rpartition("/")[2]]
        for name, field in described.get("headers", {}).items():
            value = fields.get(name.lower())
            assert value is not None or not field["required"], f"{what} must have the field {name}"
            if value is not None:
                self._validate(f"{name} of {what}", field["schema"], _typed(value, field["schema"]))
        content = described.get("content", {})
        media = fields.get("content-type", "").partition(";")[0]
        if body:
            assert media in content, f"{what} has a body of the type {media!r}, which is not described"
            if media.endswith("json"):
                self._validate(f"{media} as {what}", content[media]["schema"], json.loads(body))
        elif status != HTTPStatus.NO_CONTENT and content and method != "HEAD":
            assert media in content, f"{what} has no body of {', '.join(content)}"

    def _validate(self, what: str, schema: Any, value: Any) -> None:
        if what not in self._validators:
            self._validators[what] = Draft202012Validator({**strict(schema), "components": self._components})
        for error in self._validators[what].iter_errors(value):
            raise AssertionError(f"{what}: {error.message} at {list(error.instance_path)}: {str(value)[:500]}")


def _typed(value: str, schema: Mapping[str, Any]) -> Any:
    return int(value) if schema["type"] == "integer" and value.isdigit() else value


@cache
def contract() -> Contract:
    """That of all routes."""
    return Contract(description(ROUTER))
