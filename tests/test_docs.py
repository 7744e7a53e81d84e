"""What holds for every page of the manual and its neighbours: what they show is run, and what they name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from apipage import page as page_of
from epytext import to_rest
from system.pages import MANUAL, PROGRAMS, README, ROOT, RUN, SHELLS, blocks, commands, programs, shell_blocks

from pacarchive import client
from pacarchive.web.application import ROUTER
from pacarchive.web.openapi import description

PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted(MANUAL.glob("*.md"))]
LANGUAGES = {
    "{graphviz}",
    *SHELLS,
    "ini",
    "json",
    "nginx",
    "python",
    "sql",
    "text",
    "{eval-rst}",
    "{include}",
    "{toctree}",
}

_FENCED = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_PATH = re.compile(r"`((?:bench|deploy|docs|ext|news|pacarchive|tac|tests|tools)/[^`\s]*)`")
_INCLUDE = re.compile(r"^```{include} (\S+)$", re.MULTILINE)
_NAMED = re.compile(r"^\.\. auto\w+:: (?:pacarchive\.client\.\w+\.)?(\w+)$", re.MULTILINE)
_VARIABLE = re.compile("<(?:[a-z_]+:)?([a-z_]+)>")
_HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)


def unfenced(page: Path) -> str:
    """The page without what stands between fences."""
    return _FENCED.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """The names by which its headings can be linked to."""
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in _HEADING.findall(unfenced(page))}


def included(page: Path) -> list[Path]:
    """What is on a page, and stands elsewhere."""
    return [(page.parent / each).resolve() for each in _INCLUDE.findall(page.read_text())]


@pytest.fixture(params=PAGES, ids=lambda page: page.name)
def page(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


def test_commands_are_run_or_excused(page: Path) -> None:
    """A block of commands is among those that tests/system runs, or says why it is not."""
    run = RUN.get(page.name, [])
    for block in shell_blocks(page):
        assert run is None or block.heading in run, (
            f"{block.name} shows commands that no test runs: add the page to RUN in tests/system/pages.py and a test "
            "that runs it, or put <!-- not run: REASON --> before the block"
        )
        assert list(commands(block)), f"{block.name} is empty"


def test_programs_are_run(page: Path) -> None:
    """A page that shows programs in Python has a test that runs them: one that reads this page."""
    test = PROGRAMS.get(page.name)
    assert bool(programs(page)) == (test is not None), f"{page.name}: see PROGRAMS in tests/system/pages.py"
    assert test is None or page.name in (ROOT / "tests" / test).read_text()


def test_blocks_have_languages(page: Path) -> None:
    """So that no commands hide in a block without one."""
    for block in blocks(page):
        assert block.language.partition(" ")[0] in LANGUAGES, f"{block.name}: {block.language!r}"


def test_excuses_are_for_blocks(page: Path) -> None:
    """None is left over from a block that is gone."""
    excused = [block for block in blocks(page) if block.reason is not None]
    assert page.read_text().count("<!-- not run:") == len(excused)
    assert all(block.language in SHELLS for block in excused)


@pytest.mark.parametrize("page", [*PAGES, *(ROOT / name / "README.md" for name in ("ext", "bench"))])
def test_lines_are_no_wider_than_the_code(page: Path) -> None:
    """But for tables, and what is shown as it is."""
    lines = unfenced(page).splitlines()
    assert [line for line in lines if len(line) > 120 and not line.startswith("|")] == []


def test_pages_that_are_run_exist() -> None:
    """And have the chapters."""
    for name, headings in RUN.items():
        (page,) = [each for each in PAGES if each.name == name]
        found = {block.heading for block in shell_blocks(page)}
        assert found
        assert set(headings or ()) <= found


def test_links_lead_somewhere(page: Path) -> None:
    """Links within the project: to files that are there, and headings that they have."""
    for link in _LINK.findall(unfenced(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_files_are_there(page: Path) -> None:
    """Those of the source tree that are named: a module that moves takes its name in the pages with it."""
    for path in _PATH.findall(page.read_text()):
        assert (ROOT / path).exists(), path


def test_the_readme_is_short_and_names_every_page() -> None:
    """But for the index itself."""
    linked = {(ROOT / link).resolve() for link in _LINK.findall(unfenced(README))}
    missing = [page.name for page in MANUAL.glob("*.md") if not {page, *included(page)} & linked]
    assert missing == ["index.md"], "the README links to every page but the index, or to what the page includes"
    assert len(README.read_text().splitlines()) <= 70, "it is for a first look; the rest is in docs/"


def test_header_fields_are_told_of() -> None:
    """Every field that an answer may have is in the list of them."""
    page = (MANUAL / "headers.md").read_text()
    told = page[page.index("## What is answered") :]
    source = "".join(each.read_text() for each in sorted((ROOT / "pacarchive/web").rglob("*.py")))
    fields = set(re.findall(r'(?:\.set\(\s*|yield )b"([A-Za-z-]+)"', source)) | {"Allow", "Content-Range"}
    assert len(fields) > 20
    assert {field for field in fields if f"`{field}`" not in told} == set()


def _braced(variable: re.Match[str]) -> str:
    return f"{{{variable[1]}}}"


def test_the_page_of_the_api() -> None:
    """Every operation is on it, but for OPTIONS and a HEAD that is GET without a body, and every document."""
    document = description(ROUTER)
    rendered = page_of(document)
    headings = set(re.findall("^### (.*)$", rendered, re.MULTILINE))
    assert {"GET /{file_id}", "HEAD /{file_id}", "PROPFIND /", "POST /jobs"} <= headings
    routes = {f"{method} {_VARIABLE.sub(_braced, url)}" for method, url in ROUTER.described if method != "OPTIONS"}
    assert headings == routes | set(document["components"]["schemas"])
    assert all(line.endswith("|") for line in rendered.splitlines() if line.startswith("|"))


def test_the_client_api_is_complete() -> None:
    """Every public name of the client is on the page; how it is rendered, C{tools/docs} sees to."""
    page = (MANUAL / "client-api.md").read_text()
    named = _NAMED.findall(page[: page.index("## On asyncio")])
    assert sorted(named) == sorted({*client.__all__, "OnProgress", "OnJobProgress"})


def test_every_room_is_on_the_plan() -> None:
    """Each package has its line in the table of rooms."""
    page = (MANUAL / "architecture.md").read_text()
    rooms = {each.parent.name for each in (ROOT / "pacarchive").glob("*/__init__.py")}
    assert rooms >= {"backends", "client", "web"}
    assert {room for room in rooms if f"| `pacarchive/{room}` |" not in page} == set()


# How docstrings are read


@pytest.mark.parametrize(
    ("epytext", "rest"),
    [
        ("plain", "plain"),
        ("C{a} and I{b},\nB{c d}", "``a`` and *b*,\n**c d**"),
        ("C{{1: 2}} stays", "``{1: 2}`` stays"),
        ("L{put}, L{a get<Archive.get>}", ":py:obj:`put <.put>`, :py:obj:`a get <.Archive.get>`"),
        ("2 * 3, `x`, a_, a_b, C{a_*}", r"2 \* 3, \`x\`, a\_, a_b, ``a_*``"),
        (
            "What.\n\n@param size: In C{bytes}.\n    More.\n@return: It.\n@raise ValueError: No.",
            "What.\n\n:param size: In ``bytes``.\n    More.\n:returns: It.\n:raises ValueError: No.",
        ),
        ("So::\n\n    C{a} * b\n\n    c_\n\nC{d} * e", "So::\n\n    C{a} * b\n\n    c_\n\n``d`` \\* e"),
    ],
)
def test_reading_a_docstring(epytext: str, rest: str) -> None:
    """Inline markup, fields, code, and what reStructuredText would take for markup."""
    assert to_rest(epytext) == rest


# How pages are read


def test_reading_a_page(tmp_path: Path) -> None:
    """Commands, answers, quotes that stay open, excuses and chapters."""
    page = tmp_path / "page.md"
    page.write_text(
        "# One\n\n"
        "```console\n$ one 'a\nb' \\\n  c\nanswer\n\nmore\n$ two # it's\n```\n\n"
        "* item\n\n  ```sh\n  # a comment\n\n  three\n  ```\n\n"
        "## Two\n\n<!-- not run: a reason -->\n```sh\nfour\n```\n\n```sh\nfive\n```\n"
        "```text\n# no heading\n```\n"
    )
    shown = [
        (block.line, block.heading, block.reason, [(each.text, each.answer) for each in commands(block)])
        for block in blocks(page)
        if block.language in SHELLS
    ]
    assert shown == [
        (3, "One", None, [("one 'a\nb' \\\n  c", "answer\n\nmore"), ("two # it's", "")]),
        (15, "One", None, [("three", None)]),
        (24, "Two", "a reason", [("four", None)]),
        (28, "Two", None, [("five", None)]),
    ]
    assert [block.line for block in shell_blocks(page, "Two")] == [28]
