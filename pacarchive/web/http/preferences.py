"""What a client prefers, where the server has a choice: C{Prefer} (RFC 7240)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import attrs

_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_QUOTED = r'"(?:[^"\\]|\\.)*+"'
_WORD = rf"(?:{_NAME}|{_QUOTED})"
_SPACE = r"[ \t]*+"
_PARAMETER = rf"{_NAME}(?:{_SPACE}={_SPACE}{_WORD})?"
_PREFERENCE = re.compile(
    rf"{_SPACE}({_NAME})(?:{_SPACE}={_SPACE}({_WORD}))?(?:{_SPACE};(?:{_SPACE}{_PARAMETER})?)*{_SPACE}", re.DOTALL
)
# What a quote opens and nothing closes is one element, so that nothing in it is taken for another.
_ELEMENT = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*+(?:"|\\?\Z))++', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)

_DIGITS = 9  # three decades; longer numbers mean no more


@attrs.frozen
class Preferences:
    """
    The preferences that this server knows.

    @ivar wait: For how many seconds the client waits for an answer.
    @ivar respond_async: Whether it would rather be told that there will be one.
    """

    wait: int | None = None
    respond_async: bool = False


def read_preferences(fields: Iterable[str]) -> Preferences:
    """
    Understand what is to be understood of all C{Prefer} fields of a request; the rest counts as absent (section 2).

    @param fields: Their values, in order.
    """
    given: dict[str, str] = {}
    for name, value in _preferences(fields):
        given.setdefault(name, value)  # one that comes twice is the first
    wait = given.get("wait", "")
    return Preferences(_delta_seconds(wait), given.get("respond-async") == "")


def wait_applied(seconds: float) -> str:
    """The C{Preference-Applied} field where a client's C{wait} was heeded, for so long."""
    return f"wait={int(seconds)}"


RESPOND_ASYNC_APPLIED = "respond-async"
"""The same for C{respond-async}."""


def _preferences(fields: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Names, in lower case, and values; no value and an empty one are the same."""
    for field in fields:
        for element in _ELEMENT.findall(field):
            if match := _PREFERENCE.fullmatch(element):
                value = match[2] or ""
                yield match[1].lower(), _ESCAPED.sub(r"\1", value[1:-1]) if value.startswith('"') else value


def _delta_seconds(text: str) -> int | None:
    if not (text.isascii() and text.isdigit()):
        return None
    digits = text.lstrip("0") or "0"
    return int(digits) if len(digits) <= _DIGITS else 10**_DIGITS
