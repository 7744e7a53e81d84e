"""C{pacarchive check}, from its arguments to its exit code."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
from rich.console import Console
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from pacarchive.cli import exits
from pacarchive.cli.check.catalogue import chosen
from pacarchive.cli.check.ids import FIRST_ID, block
from pacarchive.cli.check.predecessor import EXPECTED
from pacarchive.cli.check.report import Lines, Live, Plain
from pacarchive.cli.check.run import Run, clean_up
from pacarchive.cli.check.session import SPARE
from pacarchive.cli.check.wire import Trouble
from pacarchive.cli.check.words import Check, Outcome, Refused, Summary, Wishes
from pacarchive.settings.converters import size
from pacarchive.texts import NotText, counted, read_text

if TYPE_CHECKING:
    import argparse

    from pacarchive.cli.check.run import Report


class Misused(Exception):
    """The arguments mean nothing.  C{str()} says which and why."""


def run(arguments: argparse.Namespace) -> int:
    """
    Run it.

    @return: One of L{exits}.
    """
    try:
        checks = chosen(arguments.only)
    except ValueError as error:
        return _complain(error, exits.USAGE)
    if arguments.list:
        _list(checks, as_json=arguments.json)
        return exits.OK
    try:
        url = arguments.url or os.environ.get("ARCHIVE_URL") or os.environ.get("PACARCHIVE_URL")
        if not url:
            raise Misused("say which archive, by its URL or in ARCHIVE_URL")
        wishes = wishes_of(arguments, os.environ)
    except (Misused, ValueError, OSError) as error:
        return _complain(error, exits.USAGE)
    report: Report = Lines(sys.stdout) if arguments.json else Plain(sys.stdout)
    if not arguments.json and sys.stdout.isatty():
        report = Live(Console())
    from twisted.internet import reactor

    made = Run(reactor, url, wishes, checks, report)
    try:
        made.wire()
    except (ValueError, OSError) as error:
        return _complain(error, exits.USAGE)
    if arguments.clean_up:
        return _in_reactor(made, lambda: _clean_up(made, as_json=arguments.json))
    return _in_reactor(made, lambda: _check(made))


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

    @raise Misused: Something has no meaning.
    @raise OSError: The token cannot be read.
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
            raise Misused(f"{name}: {error}") from error
        if found < least:
            raise Misused(f"{name}: {'it is negative' if found < 0 else f'it must be at least {least}'}")
        return found

    token = environ.get("PACARCHIVE_TOKEN") or None
    if arguments.token_file is not None:
        try:
            token = read_text(arguments.token_file).strip()
        except NotText as error:
            raise Misused(f"{arguments.token_file}: {error}") from error
    wishes = Wishes(
        large=value("--large-file-size", "LARGE_FILE_SIZE", size, 1 << 30),
        many=value("--many", "MANY_FILES_TEST_COUNT", int, 1000, least=1),
        first_id=value("--first-id", "", int, FIRST_ID),
        stage_timeout=value("--stage-timeout", "", float, 600.0),
        move_from=arguments.move_from,
        keep=arguments.keep,
        predecessor=arguments.expect == "predecessor",
        token=token,
        ca=arguments.ca or environ.get("PACARCHIVE_CA") or None,
    )
    try:
        block(wishes.first_id, wishes.many + SPARE)
    except ValueError as error:
        raise Misused(f"--first-id, --many: {error}") from error
    return wishes


async def _check(run: Run) -> int:
    summary = await run.check()
    if summary is None:
        return exits.INTERRUPTED
    return code_of(summary)


def code_of(summary: Summary) -> int:
    """The exit code."""
    if summary.interrupted:
        return exits.INTERRUPTED
    return exits.FAILED if summary.count(Outcome.FAILED) or summary.left else exits.OK


async def _clean_up(run: Run, *, as_json: bool) -> int:
    wishes = run.wishes
    cleaned = await clean_up(run.wire(), block(wishes.first_id, wishes.many + SPARE), run.report.progress)
    if isinstance(run.report, Live):
        run.report.stop()
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


@attrs.define
class _Ended:
    code: int = exits.FAILED
    failure: Failure | None = None


def _in_reactor(run: Run, call: Callable[[], Any]) -> int:
    """Run it in the reactor; SIGINT and SIGTERM break it off, in order, and a second one at once."""
    reactor = run.reactor
    ended = _Ended()

    def end(result: Any) -> None:
        if isinstance(result, Failure):
            ended.failure = result
        else:
            ended.code = result
        reactor.stop()

    def begin() -> None:
        Deferred.fromCoroutine(call()).addBoth(end)

    def interrupt() -> None:
        if run.interrupted:
            ended.code = exits.INTERRUPTED
            sys.stderr.write("pacarchive: broken off; test files may be left: remove them with --clean-up\n")
            reactor.stop()
        else:
            run.interrupt()

    reactor.callWhenRunning(begin)
    before = {
        number: signal.signal(number, lambda *_: reactor.callFromThread(interrupt))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        reactor.run(installSignalHandlers=False)
    finally:
        if isinstance(run.report, Live):
            run.report.stop()
        for number, handler in before.items():
            signal.signal(number, handler)
    return _code(ended)


def _code(ended: _Ended) -> int:
    error = None if ended.failure is None else ended.failure.value
    if error is None:
        return ended.code
    if isinstance(error, Refused):
        return _complain(error, exits.USAGE)
    if isinstance(error, Trouble):
        return _complain(error, exits.UNAVAILABLE)
    raise error
