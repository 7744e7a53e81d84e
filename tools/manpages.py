"""Writes the man pages, from the command's own parsers and from what the settings say of themselves.

They are kept in C{man/}, so that building a wheel needs neither Twisted nor anything else of what they are made from;
C{tests/test_manpages.py} fails where they are not what this makes.  C{tools/man} runs it.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import attrs

from pacarchive import __version__
from pacarchive.cli import make_parser
from pacarchive.cli.admin.predecessor import make_parser as make_predecessor
from pacarchive.interfaces import IBackendProvider
from pacarchive.launch.tap import Options
from pacarchive.settings.explaining import default_words
from pacarchive.settings.fields import keys_of
from pacarchive.settings.reading import CONFIG_VARIABLE, MACHINE_FILE, VARIABLES
from pacarchive.settings.sections import NAMED, SECTIONS, section_class
from twisted.plugins import pacarchive_plugin

WIDTH = 100

OF_ITSELF = {"positional arguments", "options"}
"""Groups that C{argparse} makes, which need no heading."""

SIGNALS = (
    ("SIGTERM, SIGINT", "Stop listening, let the transfers under way finish for at most drain_timeout, and end."),
    (
        "SIGHUP, SIGUSR1",
        "Open the log and audit files again, and read those of tokens and users. Settings are not read again.",
    ),
)

PAGES = ("pacarchive(1)", "pacifica-archiveinterface-cmd(1)", "pacarchive.ini(5)", "twistd-pacarchive(8)", "twistd(1)")


# roff


def escape(text: str) -> str:
    """Text as it is, of one line."""
    text = text.replace("\\", r"\(rs").replace("-", r"\-").replace("'", r"\(aq")
    text = re.sub(r"[^\x00-\x7f]", lambda found: rf"\[u{ord(found[0]):04X}]", text)
    return rf"\&{text}" if text.startswith(".") else text


def bold(text: str) -> str:
    """A word to be typed."""
    return rf"\fB{escape(text)}\fR"


def italic(text: str) -> str:
    """A word that stands for others."""
    return rf"\fI{escape(text)}\fR"


def filled(text: str) -> list[str]:
    """Lines to be filled, which are not too long to be compared."""
    lines = textwrap.wrap(" ".join(text.split()), WIDTH, break_long_words=False, break_on_hyphens=False)
    return [escape(line) for line in lines]


def shown(lines: Iterable[str]) -> list[str]:
    """Lines that are kept as they are, such as examples."""
    return [".EX", *(escape(line) for line in lines), ".EE"]


def prose(text: str) -> list[str]:
    """Paragraphs, and between them lines that are kept because they are indented."""
    parts: list[list[str]] = []
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        for indented, group in groupby(block.splitlines(), lambda line: line.startswith(" ")):
            lines = list(group)
            parts.append(shown(lines) if indented else filled(" ".join(lines)))
    return [line for part in parts for line in (".PP", *part)][1:]


def entry(tag: str, *words: str) -> list[str]:
    """An item of a list: its tag, and paragraphs."""
    lines = [line for each in words for line in (".IP", *filled(each))][1:]
    return [".TP", tag, *lines]


def page(name: str, section: int, what: str, *parts: Iterable[str]) -> str:
    """A whole page, with its head and its links to the others."""
    links = ",\n".join(bold(each[:-3]) + each[-3:] for each in PAGES if each != f"{name}({section})")
    lines = [
        '.\\" Made by tools/man; not to be edited.',
        f'.TH "{escape(name.upper())}" "{section}" "" "pacarchive {escape(__version__)}"',
        ".SH NAME",
        rf"{escape(name)} \- {escape(what)}",
        *(line for part in parts for line in part),
        ".SH SEE ALSO",
        links,
    ]
    return "\n".join(lines) + "\n"


# Commands


def tag_of(action: argparse.Action) -> str:
    """An option with its value, or what an argument is called."""
    value = "" if action.nargs == 0 else value_of(action)
    if not action.option_strings:
        return value
    return ", ".join(map(bold, action.option_strings)) + (value and f" {value}")


def value_of(action: argparse.Action) -> str:
    """What stands for a value."""
    if action.metavar is None and action.choices is not None:
        return "|".join(bold(str(each)) for each in action.choices)
    return italic(str(action.metavar or (action.dest.upper() if action.option_strings else action.dest)))


def usage_of(action: argparse.Action) -> str:
    """An argument as the synopsis has it."""
    value = value_of(action)
    return {"*": f"[{value} ...]", "+": f"{value} ...", "?": f"[{value}]"}.get(str(action.nargs), value)


def commands_of(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The commands below a parser that do something, in their order."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                below = list(commands_of(each))
                if not below or each.get_default("run"):
                    yield each
                yield from below


def items_of(parser: argparse.ArgumentParser, actions: Iterable[argparse.Action]) -> list[str]:
    """Options and arguments, each with its words."""
    out = []
    for action in actions:
        if isinstance(action, argparse._HelpAction | argparse._SubParsersAction):
            continue
        words = (action.help or "") % {**vars(action), "prog": parser.prog}
        out += entry(tag_of(action), f"{words[:1].upper()}{words[1:]}." if words else "One of these.")
    return out


class Commands:
    """All commands of a parser, and the options that several have in common, which are shown once."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._commands = list(commands_of(parser))
        self._common: dict[str, list[str]] = {}
        for command in self._commands:
            for group in command._action_groups:
                if group.title and group.title not in OF_ITSELF and (items := items_of(command, group._group_actions)):
                    assert self._common.setdefault(group.title, items) == items, "a group is not the same everywhere"

    def lines(self) -> Iterator[str]:
        """The chapter on the commands, and one on each group."""
        yield ".SH COMMANDS"
        for command in self._commands:
            yield from self._command(command)
        for title, items in self._common.items():
            yield f".SH {escape(title.upper())}"
            yield from items

    def _command(self, command: argparse.ArgumentParser) -> Iterator[str]:
        own = [group for group in command._action_groups if group.title in OF_ITSELF]
        common = [group.title for group in command._action_groups if group.title in self._common]
        below = argparse._SubParsersAction
        arguments = [each for each in command._actions if not each.option_strings and not isinstance(each, below)]
        yield f".SS {escape(command.prog)}"
        yield " ".join([bold(command.prog), f"[{italic('OPTION')} ...]", *map(usage_of, arguments)])
        yield ".PP"
        yield from prose(command.description or "")
        for group in own:
            yield from items_of(command, group._group_actions)
        for title in common:
            yield from (".PP", f"The options under {escape(title.upper())} belong to it, too.")
        if command.epilog:
            yield from (".PP", *prose(command.epilog))


def chapters(epilog: str) -> Iterator[str]:
    """The last words of a parser: each chapter that has a title under a heading."""
    for block in epilog.strip().split("\n\n"):
        title, _, rest = block.partition(":\n")
        if rest:
            yield f".SH {escape(title.upper()).replace('EXIT CODES', 'EXIT STATUS')}"
            yield from shown(rest.splitlines())


def command_page(parser: argparse.ArgumentParser, what: str) -> str:
    """The page of a program that has commands."""
    options = [action for action in parser._actions if action.option_strings]
    own = items_of(parser, options)
    return page(
        parser.prog,
        1,
        what,
        [".SH SYNOPSIS", f"{bold(parser.prog)} [{italic('OPTION')} ...] {italic('COMMAND')} ..."],
        [".SH DESCRIPTION", *prose(parser.description or "")],
        [".SH OPTIONS", *own] if own else [],
        Commands(parser).lines(),
        chapters(parser.epilog or ""),
    )


# The settings, and the server


def plain(docstring: str) -> str:
    """The first line of a docstring, without its marks and without what is said where they lead."""
    return re.sub(r"[CL]\{([^}]*)\}", r"\1", docstring.splitlines()[0].partition(": C{[")[0]).rstrip(".") + "."


def section_lines(name: str, section: type[Any]) -> Iterator[str]:
    """One section of the settings file."""
    yield f".SS [{escape(name)}]"
    yield from filled(plain(inspect.getdoc(section) or ""))
    for key, field in keys_of(section).items():
        required = field.default is attrs.NOTHING and "default" not in field.metadata
        default = "It must be set." if required else f"Default: {default_words(field) or 'none'}."
        yield from entry(bold(key), str(field.metadata.get("doc", "")), default)


def settings_page() -> str:
    """The page of the settings file."""
    providers = [each for each in vars(pacarchive_plugin).values() if IBackendProvider.providedBy(each)]
    sections = {name: section_class(name) for name in SECTIONS}
    sections |= {f"{kind} NAME": section_class(kind) for kind in NAMED}
    sections |= {each.section: each.settings_class for each in providers}
    variables = [
        line
        for name, (section, key) in VARIABLES.items()
        for line in entry(bold(name), f"Stands for {key} in [{section}], and beats the file.")
    ]
    return page(
        "pacarchive.ini",
        5,
        "the settings of the archive server",
        [".SH SYNOPSIS", escape(MACHINE_FILE)],
        [".SH DESCRIPTION"],
        prose(
            f"The server and the commands of pacarchive admin read the file that -c names, else the one that "
            f"{CONFIG_VARIABLE} names, else {MACHINE_FILE} where it is. It has sections in brackets, and lines of the "
            "form KEY = VALUE; a value of several items has one in each line, indented. Lines that begin with ; or # "
            "are comments. Sizes are in bytes, or have a unit such as MiB; times are in seconds. A section or key that "
            "is not known ends the start with a line that names it.\n\n"
            "pacarchive config prints what is in force, or says what is wrong with the file. Of the sections of the "
            "backends only the one that type chooses is used."
        ),
        [".SH SECTIONS"],
        (line for name, section in sections.items() for line in section_lines(name, section)),
        [".SH ENVIRONMENT", *entry(bold(CONFIG_VARIABLE), "The settings file."), *variables],
    )


def server_page() -> str:
    """The page of twistd's plugin."""
    options = Options()
    short = {name: letter for letter, name in options.synonyms.items() if len(letter) == 1}
    items = []
    for name, doc in options.docs.items():
        if name not in ("help", "version"):
            names = [bold(f"-{short[name]}")] if name in short else []
            items += entry(f"{', '.join([*names, bold(f'--{name}')])} {italic(name.upper())}", doc)
    examples = options.getUsage().partition("Examples:\n")[2]
    synopsis = f"{bold('twistd')} [{italic('TWISTD-OPTION')} ...] {bold('pacarchive')} [{italic('OPTION')} ...]"
    return page(
        "twistd-pacarchive",
        8,
        "the archive server",
        [".SH SYNOPSIS", synopsis],
        [".SH DESCRIPTION", *prose(options.longdesc)],
        [".SH OPTIONS", *items],
        [".SH EXAMPLES", *prose(examples)],
        [".SH SIGNALS", *(line for name, words in SIGNALS for line in entry(name, words))],
        [".SH EXIT STATUS", *entry("1", "The server could not start."), *entry("2", "The settings cannot be used.")],
        [".PP", *prose("A server that was stopped ends by the signal that stopped it.")],
        [".SH FILES", *entry(escape(MACHINE_FILE), "The settings, where nothing else is named.")],
    )


def main(directory: Path) -> None:
    """Write all pages into a directory."""
    pages = {
        "pacarchive.1": command_page(make_parser(), "put files into an archive, and get them back"),
        "pacifica-archiveinterface-cmd.1": command_page(make_predecessor(), "the predecessor's command"),
        "pacarchive.ini.5": settings_page(),
        "twistd-pacarchive.8": server_page(),
    }
    directory.mkdir(exist_ok=True)
    for name, text in pages.items():
        (directory / name).write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
