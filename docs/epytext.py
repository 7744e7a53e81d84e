"""Has autodoc read the docstrings, which are epytext, as the reStructuredText that Sphinx knows."""

from __future__ import annotations

import re
from typing import Any

_INLINE = re.compile(r"\b([BCIL])\{((?:[^{}]|\{[^{}]*\})*)\}")
_FIELD = re.compile(r"^( *)@(\w+)\b([^:\n]*):", re.MULTILINE)
_FIELDS = {"return": "returns", "raise": "raises"}
_SPECIAL = re.compile(r"[\\*`|]|(?<=\w)_(?!\w)")


def to_rest(text: str) -> str:
    """Translate a docstring: paragraphs with inline markup and fields, and blocks of code behind C{::}."""
    done: list[str] = []
    code = False
    for paragraph in text.split("\n\n"):
        code = paragraph.startswith(" ") and (code or (bool(done) and done[-1].endswith("::")))
        done.append(paragraph if code else _paragraph(paragraph))
    return "\n\n".join(done)


def _paragraph(text: str) -> str:
    text = _FIELD.sub(lambda found: f"{found[1]}:{_FIELDS.get(found[2], found[2])}{found[3]}:", text)
    pieces, end = [], 0
    for found in _INLINE.finditer(text):
        pieces += [_escaped(text[end : found.start()]), _inline(found[1], found[2])]
        end = found.end()
    return "".join([*pieces, _escaped(text[end:])])


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\g<0>", text)


def _inline(kind: str, text: str) -> str:
    if kind == "L":
        title, _, target = text.removesuffix(">").rpartition("<")
        return f":py:obj:`{title or target} <.{target}>`"  # with a dot it is found in other modules, too
    quote = {"B": "**", "C": "``", "I": "*"}[kind]
    return f"{quote}{text}{quote}"


def setup(app: Any) -> dict[str, bool]:
    """Tell Sphinx."""

    def process(_app: Any, _what: str, _name: str, _item: object, _options: object, lines: list[str]) -> None:
        lines[:] = to_rest("\n".join(lines)).split("\n")

    app.connect("autodoc-process-docstring", process)
    return {"parallel_read_safe": True}
