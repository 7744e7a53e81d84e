"""C{pacarchive check}, from its arguments to its exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pacarchive.cli import exits
from pacarchive.cli.check.catalogue import chosen
from pacarchive.cli.check.checks import Check, Outcome, Summary
from pacarchive.cli.check.ids import FIRST_ID, block
from pacarchive.cli.check.predecessor import EXPECTED
from pacarchive.cli.check.report import Lines, Plain, Tables
from pacarchive.cli.check.run import Run, clean_up
from pacarchive.cli.check.session import SPARE
from pacarchive.cli.check.wire import NoAnswer
from pacarchive.cli.check.words import Options, Refused
from pacarchive.cli.printing import complain, is_screen, print_json, write_line
from pacarchive.cli.progress import Display
from pacarchive.cli.running import run_in_reactor
from pacarchive.cli.server import server_of
from pacarchive.cli.streams import Interrupted
from pacarchive.cli.words import Misunderstood
from pacarchive.settings.converters import size
from pacarchive.texts import counted

if TYPE_CHECKING:
    import argparse

    from pacarchive.cli.check.run import Report


_UNFINISHED = "pacarchive: interrupted; test files may be left: remove them with --clean-up\n"


def run(arguments: argparse.Namespace) -> int:
    """
    Run the command.

    @return: The exit code, one of L{exits}.
    """
    try:
        checks = chosen(arguments.only)
        if arguments.list:
            _list(checks, as_json=arguments.json)
            return exits.OK
    except ValueError as error:
        return complain(error, exits.USAGE)
    server = server_of(arguments, os.environ, "ARCHIVE_URL", "PACARCHIVE_URL")
    options = options_of(arguments, os.environ)
    from twisted.internet import reactor

    report: Report = Lines() if arguments.json else Plain()
    made = Run(reactor, server, options, checks, report, draws=False)
    if not arguments.json and sys.stdout.isatty() and is_screen(sys.stderr):
        made.draws, made.report = True, Tables(made.display.say)
    try:
        made.wire()
    except (ValueError, OSError) as error:
        return complain(error, exits.USAGE)
    return _in_reactor(made, arguments)


def _in_reactor(run: Run, arguments: argparse.Namespace) -> int:
    try:
        if arguments.clean_up:
            return run_in_reactor(lambda _: _clean_up(run, as_json=arguments.json), unfinished=_UNFINISHED)
        return run_in_reactor(lambda _: _check(run), interrupt=lambda _: run.interrupt(), unfinished=_UNFINISHED)
    except Interrupted:
        return exits.INTERRUPTED
    except Refused as error:
        return complain(error, exits.USAGE)
    except NoAnswer as error:
        return complain(error, exits.UNAVAILABLE)


def _list(checks: Sequence[Check], *, as_json: bool) -> None:
    for check in checks:
        reason = EXPECTED.get(check.name, "")
        if as_json:
            print_json({"name": check.name, "purpose": check.purpose, "predecessor": reason})
        else:
            write_line(f"{check.name:20} {check.purpose}")


def options_of(arguments: argparse.Namespace, environ: Mapping[str, str]) -> Options:
    """
    Read the options from the command line, or else from the environment.

    @raise Misunderstood: A value is invalid.
    """

    def value(option: str, variable: str, convert: Callable[[str], Any], default: Any, least: int = 0) -> Any:
        given, name = getattr(arguments, option.lstrip("-").replace("-", "_")), option
        if given is None and variable and environ.get(variable):
            given, name = environ[variable], variable
        if given is None:
            return default
        try:
            found = convert(given)
        except ValueError as error:
            raise Misunderstood(f"{name}: {error}") from error
        if found < least:
            raise Misunderstood(f"{name}: {'it is negative' if found < 0 else f'it must be at least {least}'}")
        return found

    options = Options(
        large=value("--large-file-size", "LARGE_FILE_SIZE", size, 1 << 30),
        many=value("--many", "MANY_FILES_TEST_COUNT", int, 1000, least=1),
        first_id=value("--first-id", "", int, FIRST_ID),
        stage_timeout=value("--stage-timeout", "", float, 600.0),
        move_from=arguments.move_from,
        keep=arguments.keep,
        predecessor=arguments.expect == "predecessor",
    )
    try:
        block(options.first_id, options.many + SPARE)
    except ValueError as error:
        raise Misunderstood(f"--first-id, --many: {error}") from error
    return options


async def _check(run: Run) -> int:
    summary = await run.check()
    return exits.INTERRUPTED if summary is None else code_of(summary)


def code_of(summary: Summary) -> int:
    """Return the exit code of a run."""
    if summary.interrupted:
        return exits.INTERRUPTED
    return exits.FAILED if summary.count(Outcome.FAILED) or summary.left else exits.OK


async def _clean_up(run: Run, *, as_json: bool) -> int:
    ids = block(run.options.first_id, run.options.many + SPARE)
    display = Display("clean-up", len(ids), clock=run.reactor, counts_bytes=False, noun="id")
    with display.shown(quiet=not run.draws):
        cleaned = await clean_up(run.wire(), ids, lambda: display.add(files=1))
    if as_json:
        document = {
            "event": "clean-up",
            "removed": [str(each) for each in cleaned.removed],
            "left": [{"id": str(file_id), "reason": why} for file_id, why in cleaned.left],
            "foreign": [str(each) for each in cleaned.foreign],
        }
        print_json(document)
    else:
        write_line(f"{counted(len(cleaned.removed), 'test file')} removed")
        for file_id, why in cleaned.left:
            write_line(f"{file_id} could not be removed: {why}")
        for file_id in cleaned.foreign:
            write_line(f"{file_id} was left: it is not known to be a test file")
    return exits.FAILED if cleaned.left else exits.OK
