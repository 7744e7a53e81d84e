"""Command lines that argparse alone would not understand: options before the command, and commands it has not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacarchive.cli import main, make_parser
from pacarchive.cli.arguments import _commands, arranged

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

PARSER = make_parser()


def commands(parser: argparse.ArgumentParser, *before: str) -> Iterator[tuple[list[str], argparse.ArgumentParser]]:
    """Each command that does something, by the words that name it."""
    for name, command in _commands(parser).items():
        if _commands(command):
            yield from commands(command, *before, name)
        else:
            yield [*before, name], command


OPTIONS = [
    (words, action.option_strings[-1], action.nargs != 0)
    for words, command in commands(PARSER)
    for action in command._actions
    if action.option_strings and "--help" not in action.option_strings
]


def test_an_option_takes_a_value_with_each_command_or_with_none() -> None:
    """Before the command, it is not known yet whose it is."""
    takes = {(option, value) for _, option, value in OPTIONS}
    assert len(takes) == len({option for option, _ in takes})


@given(st.sampled_from(OPTIONS), st.booleans(), st.lists(st.sampled_from(["12", "-q", "--", "x"]), max_size=3))
def test_options_may_stand_before_the_command(
    option: tuple[list[str], str, bool], joined: bool, rest: list[str]
) -> None:
    """Each option of each command, with its value in the same word or in the next one."""
    words, name, takes_value = option
    given = [name] if not takes_value else [f"{name}=health"] if joined else [name, "health"]
    assert arranged(PARSER, [*given, *words, *rest])[2] == [*words, *given, *rest]
    assert arranged(PARSER, [*words, *given, *rest])[2] == [*words, *given, *rest]
    assert arranged(PARSER, [*words[:-1], *given, words[-1], *rest])[2] == [*words, *given, *rest]


@pytest.mark.parametrize("line", ["", "--help", "--version", "--url http://x --help", "--url"])
def test_without_a_command_nothing_is_moved(line: str) -> None:
    """It is asked which one; help is that of the whole program."""
    words = line.split()
    assert arranged(PARSER, words)[2] == words[2 if "http://x" in line else len(words) if line == "--url" else 0 :]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "healt",
            "pacarchive: unknown command 'healt'; did you mean 'health'? 'pacarchive --help' lists all commands\n",
        ),
        ("--json stats 5", "pacarchive: unknown command 'stats'; did you mean 'stat' or 'stage'? 'pacarchive --help'"),
        ("xyzzy", "pacarchive: unknown command 'xyzzy'; 'pacarchive --help' lists all commands\n"),
        ("admin swep", "pacarchive admin: unknown command 'swep'; did you mean 'sweep'? 'pacarchive admin --help'"),
    ],
)
def test_an_unknown_command(line: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What was meant is guessed, in one line."""
    with pytest.raises(SystemExit) as ended:
        main(line.split())
    shown = capsys.readouterr()
    assert (ended.value.code, shown.out) == (2, "")
    assert shown.err.startswith(said)
    assert shown.err.count("\n") == 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "get --outputt x 5",
            "pacarchive get: unknown option '--outputt'; did you mean '--output'? 'pacarchive get --help'",
        ),
        ("stage --pinn=5d 1", "pacarchive stage: unknown option '--pinn'; did you mean '--pin' or '--plan'? "),
        (
            "admin digest --jbos 3",
            "pacarchive admin digest: unknown option '--jbos'; did you mean '--jobs' or '--json'? ",
        ),
        ("get 5 -X", "pacarchive get: unknown option '-X'; 'pacarchive get --help' lists all options"),
        (
            "--urll x get 5",
            "pacarchive: unknown option '--urll'; did you mean '--url' or '--user'? 'pacarchive --help' ",
        ),
        ("-X", "pacarchive: unknown option '-X'; 'pacarchive --help' lists all options"),
        ("health 5", "pacarchive health: '5' is one word too many; 'pacarchive health --help' tells more"),
        ("", "pacarchive: which command? There are put, get, stat, "),
        ("--url http://x", "pacarchive: which command? There are put, "),
        (
            "admin",
            "pacarchive admin: which command? There are adopt, copy, delete, digest, inventory, rebuild, sweep, ",
        ),
        ("--url http://x admin", "pacarchive admin: which command? "),
    ],
)
def test_what_is_wrong_is_named(line: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In one line, with what is like it, and where the rest is told."""
    with pytest.raises(SystemExit) as ended:
        main(line.split())
    assert ended.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith(said)
    assert err.count("\n") == 1
