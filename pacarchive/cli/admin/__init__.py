"""C{pacarchive admin}: commands for operators, which work on the storage itself, without HTTP.

It works on storage through L{pacarchive.backends}, and knows nothing of L{pacarchive.client}.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pacarchive.cli.arguments import complete_path
from pacarchive.cli.words import SETTINGS_FILE

if TYPE_CHECKING:
    import argparse

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def register(subparsers: Subparsers) -> None:
    """Add the commands to the parser."""
    parser = subparsers.add_parser(
        "admin",
        help="what operators do to the archive itself, without HTTP",
        description=(
            "Works on the archive's storage itself, with the service's settings. No server is needed, and one that"
            " runs is not disturbed. Run it as the user that the service runs as."
        ),
    )
    commands = parser.add_subparsers(metavar="command", required=True)
    _register_adopt(commands)
    _register_copy(commands)
    _register_delete(commands)
    _register_digest(commands)
    _register_inventory(commands)
    _register_rebuild(commands)
    _register_sweep(commands)
    _register_token(commands)
    _register_access(commands)


def settings_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that select the archive."""
    parser.add_argument("-c", "--config", metavar="FILE", help=SETTINGS_FILE)
    parser.add_argument("--prefix", metavar="DIRECTORY", help="the archive's prefix, in place of the settings file's")


def _json_option(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument(
        "--json", action="store_true", help=f"print JSON lines: an object for each {what}, and the summary as the last"
    )


def _register_adopt(commands: Subparsers) -> None:
    parser = commands.add_parser(
        "adopt",
        help="report on a predecessor's tree, or take over objects of a store",
        description=(
            "Looks at every name below the prefix, before the archive is taken over or afterwards, and reports what"
            " pacarchive will not serve, what may be half written, and what is in the way. Opens no file's data and"
            " changes nothing. In an object store (s3) it takes over plain objects, whose keys are ids or are told"
            " with their ids (--map): the store copies each, it is read once for its digests, and stays where it is"
            " without --move. What is there already is let alone, so that it can be interrupted and run again; a file"
            " of the archive is never replaced. Exit code: 0 when nothing needs attention; 1 when something does; 2 for"
            " a command line or settings that cannot be used; 3 when a store does not answer; 130 when it was"
            " interrupted."
        ),
    )
    settings_options(parser)
    parser.add_argument(
        "--examples", type=_count, default=5, metavar="N", help="how many names to show for each finding (default: 5)"
    )
    parser.add_argument(
        "--from",
        dest="source",
        metavar="PLACE",
        help="take over what is here, below one of the move_roots: s3://bucket/start-of-keys",
    )
    complete_path(
        parser.add_argument("--map", metavar="FILE", help="ids and whole keys: CSV, or JSON lines with id and key")
    )
    parser.add_argument("--move", action="store_true", help="remove each when it is in the archive")
    parser.add_argument("-n", "--dry-run", action="store_true", help="only look, and say what would be done")
    _bulk_options(parser)
    _json_option(parser, "finding")
    parser.set_defaults(run="pacarchive.cli.admin.adopt:run")


def _register_copy(commands: Subparsers) -> None:
    parser = commands.add_parser(
        "copy",
        help="copy all files into another archive",
        description=(
            "Copies all files into another archive, which may be of another type, and compares their digests on the"
            " way. What is there already is let alone, so that it can be interrupted and run again; another file of the"
            " same id is never replaced. Files on tape are left out. Exit code: 0 when all files are there; 1 when some"
            " are not, which are named; 2 for a command line or settings that cannot be used; 3 when a storage does not"
            " answer; 130 when it was interrupted."
        ),
    )
    settings_options(parser)
    complete_path(
        parser.add_argument("--to", required=True, metavar="FILE", help="the settings file of the other archive")
    )
    parser.add_argument("-n", "--dry-run", action="store_true", help="only look, and say what would be copied")
    parser.add_argument("-j", "--jobs", type=_count, default=4, metavar="N", help="copy so many at a time (default: 4)")
    parser.add_argument("--rate", type=_rate, metavar="MB/S", help="read at most so many megabytes in a second")
    _json_option(parser, "file that is not copied")
    parser.set_defaults(run="pacarchive.cli.admin.copy:run")


def _register_delete(commands: Subparsers) -> None:
    parser = commands.add_parser(
        "delete",
        help="remove files by their ids",
        description=(
            "Removes files from the archive, as DELETE does over HTTP; on tape, too, as far as the storage system lets"
            " go of them. Asks first, on a terminal. Exit code: 0; 1 when an id had no file, or a file could not be"
            " removed; 2 for a command line or settings that cannot be used, or a no, and then nothing was removed; 3"
            " when the storage does not answer."
        ),
    )
    settings_options(parser)
    parser.add_argument("ids", nargs="+", metavar="ID", help="a file's id")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    _json_option(parser, "id")
    parser.set_defaults(run="pacarchive.cli.admin.delete:run")


def _register_digest(commands: Subparsers) -> None:
    parser = commands.add_parser(
        "digest",
        help="store missing digests, or verify stored ones",
        description=(
            "Reads every file of a posix archive that has no stored digest, and stores one. A file that its predecessor"
            " wrote has none: what is stored is the digest of the bytes as they are now. Can be interrupted and run"
            " again, and beside a running server. Exit code: 0; 1 when a file is damaged or cannot be read; 2 for"
            " settings that cannot be used; 130 when it was interrupted."
        ),
    )
    settings_options(parser)
    parser.add_argument(
        "--verify", action="store_true", help="also read the files that have a digest, and name those that differ"
    )
    parser.add_argument(
        "-j",
        "--jobs",
        type=_count,
        metavar="N",
        help="read so many files at a time (default: as many as there are processors, 4 at most)",
    )
    _json_option(parser, "bad file")
    parser.set_defaults(run="pacarchive.cli.admin.digest:run")


def _register_inventory(commands: Subparsers) -> None:
    parser = commands.add_parser(
        "inventory",
        help="list all files",
        description=(
            "Lists all files of the archive, with sizes, times, digests and where they are, in the storage's own order."
            " Opens and recalls none. Progress is on standard error. Exit code: 0; 1 when a file could not be told of;"
            " 2 for settings that cannot be used; 3 when the storage does not answer; 130 when it was interrupted."
        ),
    )
    settings_options(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="print CSV, with a head")
    form.add_argument("--ndjson", action="store_true", help="print an object of JSON in each line (default)")
    parser.set_defaults(run="pacarchive.cli.admin.inventory:run")


def _register_rebuild(commands: Subparsers) -> None:
    parser = commands.add_parser(
        "rebuild",
        help="make records of an object store's files again, from their data",
        description=(
            "Makes the records of files again whose data is still in an object store, after records were lost: lists"
            " all data, reads what has no record once, for its digests, and writes a record. A record that exists is"
            " never replaced; of several versions of a file the newest counts. Small files are in their records alone,"
            " and cannot be rebuilt. Look with --dry-run first, and stop every timer of pacarchive admin sweep: it"
            " takes data without a record for garbage, where that is not most of it. Can be interrupted and run again."
            " Exit code: 0; 1 when something was left out that has to be looked at, which is named; 2 for a command"
            " line or settings that cannot be used; 3 when the storage does not answer; 130 when it was interrupted."
        ),
    )
    settings_options(parser)
    parser.add_argument("-n", "--dry-run", action="store_true", help="only look, and say what would be rebuilt")
    parser.add_argument(
        "--marked",
        action="store_true",
        help="also from data that is marked as garbage, as a sweep does without records",
    )
    parser.add_argument(
        "--settled",
        type=_seconds,
        default=3600.0,
        metavar="SECONDS",
        help="leave out data stored so recently, which may be of an upload (default: 3600)",
    )
    _bulk_options(parser)
    _json_option(parser, "object that is left out")
    parser.set_defaults(run="pacarchive.cli.admin.rebuild:run")


def _bulk_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-j", "--jobs", type=_count, default=4, metavar="N", help="read so many at a time (default: 4)")
    parser.add_argument("--rate", type=_rate, metavar="MB/S", help="read at most so many megabytes in a second")


def _register_sweep(commands: Subparsers) -> None:
    parser = commands.add_parser(
        "sweep",
        help="remove what writers left that are no more",
        description=(
            "Removes unfinished files whose writer is gone, as every start of the service does. Those of uploads that"
            " are under way stay. In an object store it also removes data that nothing needs, and stops where so much"
            " data has no record that records must have been lost. Exit code: 0; 1 when one could not be removed, or"
            " records are lost; 2 for settings that cannot be used; 3 when the storage does not answer."
        ),
    )
    settings_options(parser)
    parser.add_argument("-n", "--dry-run", action="store_true", help="only list them")
    parser.add_argument("--force", action="store_true", help="of an object store: also where much data has no record")
    _json_option(parser, "file")
    parser.set_defaults(run="pacarchive.cli.admin.sweep:run")


def _register_token(commands: Subparsers) -> None:
    parser = commands.add_parser(
        "token",
        help="make, list and revoke tokens for programs",
        description=(
            "Looks after the file of static tokens ([auth] tokens). A server that runs reads it again when it changes."
        ),
    )
    actions = parser.add_subparsers(metavar="action", required=True)
    create = actions.add_parser(
        "create",
        help="make a token",
        description=(
            "Makes a token, and prints it on standard output: this once, as the file keeps its digest only. For"
            " example: pacarchive admin token create robot --may 'read create' --expires 90d > robot.token"
        ),
    )
    create.add_argument("name", metavar="NAME", help="who holds it")
    create.add_argument("--may", required=True, metavar="RIGHTS", help="what it allows, as 'read create'; or all")
    create.add_argument("--ids", metavar="RANGES", help="for which ids, as 5,1000-1999 (default: all)")
    create.add_argument("--expires", metavar="WHEN", help="90d, 12h, 2w, 1y, or a date (default: never)")
    create.set_defaults(run="pacarchive.cli.admin.tokens:create")
    show = actions.add_parser(
        "list", help="list them", description="Lists tokens by their digests, with what each allows."
    )
    _json_option(show, "token")
    show.set_defaults(run="pacarchive.cli.admin.tokens:show")
    revoke = actions.add_parser(
        "revoke",
        help="take tokens back",
        description="Takes tokens out of the file. Exit code: 0; 1 when there was none of that name.",
    )
    revoke.add_argument("name", metavar="NAME", help="who holds them")
    revoke.add_argument("--digest", default="", metavar="DIGITS", help="only the one whose digest begins so")
    revoke.set_defaults(run="pacarchive.cli.admin.tokens:revoke")
    for each in (create, show, revoke):
        settings_options(each)
        each.add_argument("--file", metavar="FILE", help="the file of tokens, in place of the settings file's")


def _register_access(commands: Subparsers) -> None:
    parser = commands.add_parser("access", help="explain who may do what", description="Explains the rules of access.")
    actions = parser.add_subparsers(metavar="action", required=True)
    explain = actions.add_parser(
        "explain",
        help="say what a caller would be allowed, and why",
        description=(
            "Says which rights a caller would have, and by which rule each. Without an option it is one of whom nothing"
            " is known. Exit code: 0; 1 when the token would be refused, with the reason; 2 for settings that cannot be"
            " used; 3 when the keys of its issuer cannot be had."
        ),
    )
    settings_options(explain)
    explain.add_argument("--token-file", metavar="FILE", help="a token of any kind; - for standard input")
    explain.add_argument(
        "--who", action="append", metavar="WHO", help="as a rule says it: user:alice, cert:dns:...; can be repeated"
    )
    explain.add_argument("--address", metavar="ADDRESS", help="the IP address that the caller connects from")
    explain.add_argument("--id", metavar="ID", help="for this file (default: for any)")
    explain.add_argument("--json", action="store_true", help="print a JSON object")
    explain.set_defaults(run="pacarchive.cli.admin.explain:run")


def _count(text: str) -> int:
    from argparse import ArgumentTypeError

    if not text.isdecimal() or not 0 < (count := int(text)) <= 10**6:
        raise ArgumentTypeError(f"{text!r} is not a valid number; write one from 1")
    return count


def _seconds(text: str) -> float:
    from argparse import ArgumentTypeError

    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 10**9:
        raise ArgumentTypeError(f"{text!r} is not a valid number of seconds; write one from 0")
    return seconds


def _rate(text: str) -> float:
    from argparse import ArgumentTypeError

    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0.001 <= rate <= 10**6:
        raise ArgumentTypeError(f"{text!r} is not a valid rate; write megabytes in a second, as 50")
    return rate
