"""The rooms are as docs/architecture.md draws them: who imports whom, no circles, no long modules."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "pacarchive").rglob("*.py"))
}
ROOMS = ("backends/local", "web/http")
"""Rooms inside of others that the drawing has by themselves."""

MOST_LINES = 400


def imported(module: str) -> set[str]:
    """The modules that one imports, also those that only a type checker or a function does."""
    path = MODULES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package)
            found |= {name if (name := f"{base}.{each.name}") in MODULES else base for each in node.names}
    return {each for each in found if each in MODULES} - {module}


IMPORTS = {module: imported(module) for module in MODULES}


def room_of(module: str) -> str:
    """The room that a module is in; empty for the words."""
    parts = module.split(".")[1:]
    inner = "/".join(parts[:2])
    if inner in ROOMS:
        return inner
    return parts[0] if parts and MODULES[module].parent != ROOT / "pacarchive" else ""


def drawn() -> dict[str, set[str]]:
    """The arrows of the drawing."""
    page = (ROOT / "docs/architecture.md").read_text()
    block = re.search(r"```\{graphviz\}\n(.*?)```", page, re.DOTALL)
    assert block is not None
    arrows: dict[str, set[str]] = {}
    for source, targets in re.findall(r'^ +"?([a-z/]+)"? -> \{(.*)\}$', block[1], re.MULTILINE):
        assert source not in arrows
        arrows[source] = set(re.findall("[a-z/]+", targets))
    return arrows


def test_the_drawing_is_true() -> None:
    """Every arrow is there, and none is drawn that is not; the words, which all may import, are left out."""
    arrows: dict[str, set[str]] = defaultdict(set)
    for module, others in IMPORTS.items():
        room = room_of(module)
        arrows[room] |= {room_of(each) for each in others} - {room, ""}
    assert arrows.pop("") == set(), "a word knows a room"
    assert drawn() == {room: others for room, others in arrows.items() if others}


def test_no_module_imports_itself_in_a_circle() -> None:
    """Not even by way of what only a type checker sees."""
    try:
        TopologicalSorter(IMPORTS).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("module", MODULES)
def test_no_module_is_long(module: str) -> None:
    """A module that grows beyond what is read in one go is parted by topic."""
    assert len(MODULES[module].read_text().splitlines()) <= MOST_LINES


@pytest.mark.parametrize("module", [name for name, path in MODULES.items() if path.name == "__init__.py"])
def test_every_room_says_what_it_is_for(module: str) -> None:
    """Its first lines are the first that a newcomer reads."""
    text = ast.get_docstring(ast.parse(MODULES[module].read_text()))
    assert text
    for name in re.findall(r"L\{(pacarchive[a-z_.]*)\}", text):
        assert name in MODULES, "it names a room that there is not"
