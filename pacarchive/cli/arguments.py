"""What argparse lacks for users: options before the command, and suggestions for unknown names."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

_FILES = {
    "bash": "_shtab_compgen_files",
    "zsh": "_files",
    "tcsh": "f",
    "fish": "(__fish_complete_path (commandline -ct))",
}
"""How shells complete a path; the value of C{shtab.FILE}, without the time that its import takes."""


def complete_path(action: argparse.Action) -> None:
    """Let shells complete an argument with names of files."""
    action.complete = _FILES  # type: ignore[attr-defined]


def parsed(parser: argparse.ArgumentParser, argv: Sequence[str]) -> argparse.Namespace:
    """
    Parse a command line.

    @raise SystemExit: It is invalid, or asks for help; messages suggest commands and options like the wrong one.
    """
    command, place, words = arranged(parser, argv)
    # Some do something by themselves, and have commands as well.
    alone = command.get_default("run") is not None
    if (
        not alone
        and (commands := _commands(command))
        and not (place < len(words) and words[place] in _own_options(command))
    ):
        known = ", ".join(commands)
        command.exit(2, f"{command.prog}: which command? There are {known}.{_more(command, 'tells more')}\n")
    arguments, rest = parser.parse_known_args(words)
    if rest:
        _refuse_rest(command, rest)
    return arguments


def arranged(parser: argparse.ArgumentParser, argv: Sequence[str]) -> tuple[argparse.ArgumentParser, int, list[str]]:
    """
    Move the options that precede the command behind it, where argparse expects them; C{help} becomes C{--help}.

    @return: The parser of the command, how many words name it, and all words.
    @raise SystemExit: There is no such command; the message suggests those that are like it.
    """
    if argv and argv[0] == "help" and "help" not in _commands(parser):
        argv = [*argv[1:], "--help"]
    rest, moved, known, place = list(argv), list[str](), parser, 0
    while commands := _commands(known):
        ahead = rest[place : place + _end_of_options(rest[place:], _options(known))]
        word = rest[place + len(ahead)] if place + len(ahead) < len(rest) else "-"
        if word.startswith("-"):
            break
        if word not in commands:
            _refuse(known, word, list(commands))
        moved += ahead
        del rest[place : place + len(ahead)]
        known, place = commands[word], place + 1
    if place:
        return known, place, [*rest[:place], *moved, *rest[place:]]
    rest = rest[len(ahead) :]
    if rest and _name(rest[0]) not in _own_options(parser):
        _refuse_option(parser, _name(rest[0]), _options(parser))
    return parser, 0, rest


def _options(parser: argparse.ArgumentParser) -> dict[str, bool]:
    """
    Return the options of all commands, and whether each takes a value; that is the same in all commands that have it.
    """
    found: dict[str, bool] = {}
    for command in _commands(parser).values():
        found |= {name: action.nargs != 0 for action in command._actions for name in action.option_strings}
        found |= _options(command)
    return found


def _end_of_options(words: Sequence[str], options: Mapping[str, bool]) -> int:
    """
    Return the index of the first word that is neither an option of a command nor the value of one; help stays in its
    place.
    """
    place = 0
    while place < len(words):
        name, equals, _ = words[place].partition("=")
        if name not in options or name in ("-h", "--help"):
            break
        place += 2 if options[name] and not equals else 1
    return min(place, len(words))


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the commands of a parser; none if it is the parser of a command."""
    found: Any = [action.choices for action in parser._actions if isinstance(action.choices, dict)]
    return found[0] if found else {}


def _own_options(parser: argparse.ArgumentParser) -> list[str]:
    return [name for action in parser._actions for name in action.option_strings]


def _name(word: str) -> str:
    return word.partition("=")[0]


def _refuse(parser: argparse.ArgumentParser, word: str, commands: list[str]) -> None:
    meant = _meant(word, commands)
    parser.exit(2, f"{parser.prog}: unknown command {word!r};{meant}{_more(parser, 'lists all commands')}\n")


def _refuse_option(parser: argparse.ArgumentParser, name: str, options: Iterable[str]) -> None:
    meant = _meant(name, options)
    parser.exit(2, f"{parser.prog}: unknown option {name!r};{meant}{_more(parser, 'lists all options')}\n")


def _refuse_rest(command: argparse.ArgumentParser, rest: Sequence[str]) -> None:
    for word in rest:
        if word.startswith("-") and word != "-":
            _refuse_option(command, _name(word), _own_options(command))
    command.exit(2, f"{command.prog}: {rest[0]!r} is one word too many;{_more(command, 'tells more')}\n")


def _meant(word: str, known: Iterable[str]) -> str:
    like = " or ".join(map(repr, get_close_matches(word, list(known), 3, 0.6)))
    return f" did you mean {like}?" if like else ""


def _more(parser: argparse.ArgumentParser, what: str) -> str:
    return f" '{parser.prog} --help' {what}"
