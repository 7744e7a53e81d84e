"""C{pacarchive check}, from its arguments to its exit code."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console

from pacarchive.cli import exits
from pacarchive.cli.check.catalogue import chosen
from pacarchive.cli.check.ids import FIRST_ID, block
from pacarchive.cli.check.predecessor import EXPECTED
from pacarchive.cli.check.report import Lines, Live, Plain
from pacarchive.cli.check.run import Run, clean_up
from pacarchive.cli.check.session import SPARE
from pacarchive.cli.check.wire import Trouble
from pacarchive.cli.check.words import Check, Outcome, Refused, Summary, Wishes
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
    Run it.

    @return: One of L{exits}.
    """
    try:
        checks = chosen(arguments.only)
        if arguments.list:
            _list(checks, as_json=arguments.json)
            return exits.OK
        server = server_of(arguments, os.environ, "ARCHIVE_URL", "PACARCHIVE_URL")
        wishes = wishes_of(arguments, os.environ)
    except (Misunderstood, ValueError) as error:
        return _complain(error, exits.USAGE)
    report: Report = Lines(sys.stdout) if arguments.json else Plain(sys.stdout)
    if not arguments.json and sys.stdout.isatty():
        report = Live(Console())
    from twisted.internet import reactor

    made = Run(reactor, server, wishes, checks, report)
    try:
        made.wire()
    except (ValueError, OSError) as error:
        return _complain(error, exits.USAGE)
    try:
        return _in_reactor(made, arguments)
    finally:
        if isinstance(report, Live):
            report.stop()


def _in_reactor(run: Run, arguments: argparse.Namespace) -> int:
    try:
        if arguments.clean_up:
            return run_in_reactor(lambda _: _clean_up(run, as_json=arguments.json), unfinished=_UNFINISHED)
        return run_in_reactor(lambda _: _check(run), interrupt=lambda _: run.interrupt(), unfinished=_UNFINISHED)
    except Interrupted:
        return exits.INTERRUPTED
    except Refused as error:
        return _complain(error, exits.USAGE)
    except Trouble as error:
        return _complain(error, exits.UNAVAILABLE)


def _complain(error: object, code: int) -> int:
    sys.stderr.write(f"pacarchive: {error}\n")
    return code


def _list(checks: Sequence[Check], *, as_json: bool) -> None:
    for check in checks:
        reason = EXPECTED.get(check.name, "")
        if as_json:
            document = {"name": check.name, "purpose": check.purpose, "predecessor": reason}
            sys.stdout.write(json.dumps(document) + "\n")
        else:
            sys.stdout.write(f"{check.name:20} {check.purpose}\n")


def wishes_of(arguments: argparse.Namespace, environ: Mapping[str, str]) -> Wishes:
    """
    What is wanted, by the command line or else the environment.

    @raise Misunderstood: Something has no meaning.
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

    wishes = Wishes(
        large=value("--large-file-size", "LARGE_FILE_SIZE", size, 1 << 30),
        many=value("--many", "MANY_FILES_TEST_COUNT", int, 1000, least=1),
        first_id=value("--first-id", "", int, FIRST_ID),
        stage_timeout=value("--stage-timeout", "", float, 600.0),
        move_from=arguments.move_from,
        keep=arguments.keep,
        predecessor=arguments.expect == "predecessor",
    )
    try:
        block(wishes.first_id, wishes.many + SPARE)
    except ValueError as error:
        raise Misunderstood(f"--first-id, --many: {error}") from error
    return wishes


async def _check(run: Run) -> int:
    summary = await run.check()
    return exits.INTERRUPTED if summary is None else code_of(summary)


def code_of(summary: Summary) -> int:
    """The exit code."""
    if summary.interrupted:
        return exits.INTERRUPTED
    return exits.FAILED if summary.count(Outcome.FAILED) or summary.left else exits.OK


async def _clean_up(run: Run, *, as_json: bool) -> int:
    wishes = run.wishes
    cleaned = await clean_up(run.wire(), block(wishes.first_id, wishes.many + SPARE), run.report.progress)
    if as_json:
        document = {
            "event": "clean-up",
            "removed": [str(each) for each in cleaned.removed],
            "left": [{"id": str(file_id), "reason": why} for file_id, why in cleaned.left],
            "foreign": [str(each) for each in cleaned.foreign],
        }
        sys.stdout.write(json.dumps(document) + "\n")
    else:
        sys.stdout.write(f"{counted(len(cleaned.removed), 'test file')} removed\n")
        for file_id, why in cleaned.left:
            sys.stdout.write(f"{file_id} could not be removed: {why}\n")
        for file_id in cleaned.foreign:
            sys.stdout.write(f"{file_id} was left: nothing tells that it is a test file\n")
    return exits.FAILED if cleaned.left else exits.OK
