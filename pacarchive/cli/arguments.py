"""What a user types before argparse sees it: options before the command, and commands that there are not."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any


def arranged(parser: argparse.ArgumentParser, argv: Sequence[str]) -> list[str]:
    """
    Put the options that stand before the command behind it, where argparse looks for them; C{help} is C{--help}.

    @raise SystemExit: There is no such command; what is said names those that are like it.
    """
    if argv and argv[0] == "help" and "help" not in _commands(parser):
        argv = [*argv[1:], "--help"]
    start = _end_of_options(argv, _options(parser))
    moved, rest = argv[:start], argv[start:]
    known, place = parser, 0
    while (commands := _commands(known)) and place < len(rest) and not rest[place].startswith("-"):
        word = rest[place]
        if word not in commands:
            _refuse(known, word, list(commands))
        known, place = commands[word], place + 1
    # Without a command, argparse says that one is missing.
    return [*rest[:place], *moved, *rest[place:]] if place else list(rest)


def _options(parser: argparse.ArgumentParser) -> dict[str, bool]:
    """The options of all commands, and whether each takes a value: it is the same of all that have it."""
    found: dict[str, bool] = {}
    for command in _commands(parser).values():
        found |= {name: action.nargs != 0 for action in command._actions for name in action.option_strings}
        found |= _options(command)
    return found


def _end_of_options(words: Sequence[str], options: Mapping[str, bool]) -> int:
    """Where the first word stands that is no option of a command, nor the value of one; help stays where it is."""
    place = 0
    while place < len(words):
        name, equals, _ = words[place].partition("=")
        if name not in options or name in ("-h", "--help"):
            break
        place += 2 if options[name] and not equals else 1
    return min(place, len(words))


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The commands that a parser has; none where it is a command's own."""
    found: Any = [action.choices for action in parser._actions if isinstance(action.choices, dict)]
    return found[0] if found else {}


def _refuse(parser: argparse.ArgumentParser, word: str, commands: list[str]) -> None:
    like = " or ".join(map(repr, get_close_matches(word, commands, 3, 0.6)))
    meant = f"did you mean {like}? " if like else ""
    parser.exit(2, f"{parser.prog}: unknown command {word!r}; {meant}'{parser.prog} --help' lists all commands\n")
