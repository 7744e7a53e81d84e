"""The man pages in C{man/}: what the commands and the settings say of themselves, all of it, and nothing older."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pacarchive.cli import make_parser
from pacarchive.interfaces import IBackendProvider
from pacarchive.launch.tap import Options
from pacarchive.settings.fields import keys_of
from pacarchive.settings.sections import NAMED, SECTIONS, section_class
from twisted.plugins import pacarchive_plugin

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "man").iterdir())


def rendered(name: str) -> str:
    """A page as people see it, in wide lines."""
    command = ["man", "--encoding=UTF-8", "--local-file", str(ROOT / "man" / name)]
    environ = {**os.environ, "MANWIDTH": "1000", "MANPAGER": "cat", "LC_ALL": "C.UTF-8"}
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=True).stdout


def test_the_pages_are_those_of_this_version(tmp_path: Path) -> None:
    """They are kept, and made anew by tools/man when something has changed."""
    subprocess.run([sys.executable, ROOT / "tools/manpages.py", tmp_path], timeout=60, check=True)
    made = {each.name: each.read_text() for each in tmp_path.iterdir()}
    assert {each.name: each.read_text() for each in PAGES} == made, "run tools/man"
    assert set(made) == {
        *("pacarchive.1", "pacifica-archiveinterface-cmd.1", "pacarchive.ini.5", "twistd-pacarchive.8"),
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_formatter_complains(page: Path) -> None:
    """Neither groff, which man runs, with all its warnings on, nor mandoc, of which other systems' man is part."""
    groff = subprocess.run(["groff", "-man", "-ww", "-z", page], capture_output=True, text=True, timeout=60, check=True)
    assert groff.stderr == ""
    mandoc = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", page], capture_output=True, text=True, timeout=60, check=False
    )
    # The date of a release is not known when the page is made.
    assert [line for line in mandoc.stdout.splitlines() if "missing date" not in line] == []


def commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """All commands that do something."""
    below = [action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not below or parser.get_default("run"):
        yield parser
    for choices in below:
        for each in choices.values():
            yield from commands(each)


def chapter(text: str, title: str) -> str:
    """What stands under a heading, up to the next one of its rank or a higher one."""
    heading = re.search(rf"^( *){re.escape(title)}$", text, re.MULTILINE)
    assert heading, f"there is no chapter {title}"
    return re.split(rf"^ {{0,{len(heading[1])}}}\S", text[heading.end() :], maxsplit=1, flags=re.MULTILINE)[0]


def test_every_command_and_option_is_there() -> None:
    """The options of each command under its heading, or among those that many have."""
    text = rendered("pacarchive.1")
    common = chapter(text, "SERVER AND OUTPUT")
    names = []
    for command in commands(make_parser()):
        names.append(command.prog)
        own = chapter(text, command.prog)
        for option in {name for action in command._actions for name in action.option_strings} - {"-h", "--help"}:
            pattern = rf"^ +(.*, )?{option}\b"
            assert re.search(pattern, own, re.MULTILINE) or re.search(pattern, common, re.MULTILINE), option
        for line in (command.epilog or "").splitlines():
            assert line in own
    assert {"pacarchive put", "pacarchive check", "pacarchive admin sweep"} <= set(names)
    assert "130  interrupted by Ctrl-C" in chapter(text, "EXIT STATUS")
    assert "PACARCHIVE_TOKEN" in chapter(text, "ENVIRONMENT")


def test_every_setting_is_there() -> None:
    """Of every section, with its words."""
    text = rendered("pacarchive.ini.5")
    sections = {name: section_class(name) for name in SECTIONS}
    sections |= {f"{kind} NAME": section_class(kind) for kind in NAMED}
    providers = [each for each in vars(pacarchive_plugin).values() if IBackendProvider.providedBy(each)]
    for name, section in (*sections.items(), *((each.section, each.settings_class) for each in providers)):
        own = chapter(text, f"[{name}]")
        for key, field in keys_of(section).items():
            assert re.search(rf"^ +{key}( |$)", own, re.MULTILINE), f"[{name}] {key}"
            assert field.metadata["doc"] in re.sub(r"\s+", " ", own)


def test_every_option_of_the_server_is_there() -> None:
    """With its words."""
    text = rendered("twistd-pacarchive.8")
    for name, words in Options().docs.items():
        if name not in ("help", "version"):
            assert re.search(rf"^ +(-\w, )?--{name} ", text, re.MULTILINE)
            assert words in re.sub(r"\s+", " ", text)
