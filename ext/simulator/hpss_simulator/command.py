"""C{hpss-simulator}: make, inspect and break simulated archives."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from hpss_simulator import listings
from hpss_simulator.archive import Archive
from hpss_simulator.files import path_of_id
from hpss_simulator.rehearsal import Plan, rehearse
from hpss_simulator.sdk import DEFAULT_VARIANT, hpss_root
from hpss_simulator.tables import amount, counted, duration, moment, pairs, parse_amount, table
from hpss_simulator.words import SimulatorError


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the command.

    @return: The exit code: 0, 1 when something cannot be done, 2 for a wrong command line.
    """
    try:
        try:
            options = _parser().parse_args(arguments)
        finally:
            sys.stdout.flush()  # the help
        if options.without_archive:
            options.run(options)
        else:
            with Archive(options.archive) as archive:
                options.run(archive, options)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output has gone; what is left of it goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (SimulatorError, OSError) as error:
        sys.stderr.write(f"hpss-simulator: {error}\n")
        return 1
    return 0


def _create(options: argparse.Namespace) -> None:
    settings = dict(options.settings)
    with Archive.create(options.archive, drives=options.drives, scale=options.scale, **settings) as archive:
        archive.mkdir(options.prefix)
        print(
            pairs(
                [
                    ("archive", archive.directory),
                    ("prefix", options.prefix),
                    ("key table", archive.keytab),
                    ("user", archive.principal),
                    ("site", archive.site),
                ]
            )
        )


def _for_each_path(change: Callable[[Archive, str], None]) -> Callable[[Archive, argparse.Namespace], None]:
    def run(archive: Archive, options: argparse.Namespace) -> None:
        failures = []
        paths = archive.matching(options.paths)
        for path in paths:
            try:
                change(archive, path)
            except SimulatorError as error:
                failures.append(str(error) if path in str(error) else f"{path}: {error}")
        if failures:
            others = (
                f" (and {len(failures) - 1} of the other {counted(len(paths) - 1, 'file')})"
                if len(failures) > 1
                else ""
            )
            raise SimulatorError(f"{failures[0]}{others}")

    return run


def _stage(archive: Archive, options: argparse.Namespace) -> None:
    archive.stage_all(archive.matching(options.paths), batch=options.batch)


def _clock(archive: Archive, options: argparse.Namespace) -> None:
    if options.scale is not None:
        archive.clock.set_scale(options.scale)
    if options.advance is not None:
        archive.clock.advance(options.advance)
    archive.play()
    print(f"{moment(archive.clock.now())}, {archive.clock.scale:g} seconds in a real one")


def _settings(archive: Archive, options: argparse.Namespace) -> None:
    for name, _ in options.settings:
        archive.get(name)
    for name, value in options.settings:
        archive.set(name, value)
    if not options.settings:
        print(pairs(archive.settings().items()))


def _add_fault(archive: Archive, options: argparse.Namespace) -> None:
    number = archive.fault(
        options.function,
        path=options.path,
        first=options.first,
        count=options.count,
        action=options.action,
        value=options.value,
    )
    print(f"fault {number}")


def _populate(archive: Archive, options: argparse.Namespace) -> None:
    first = options.first
    paths = archive.populate(
        options.count,
        options.size,
        options.prefix,
        on_tape=not options.on_disk,
        cos=options.class_of_service,
        name=lambda number: path_of_id(first + number - 1),
    )
    if not paths:
        print("no files")
        return
    ids = f"id {first}" if len(paths) == 1 else f"ids {first} to {first + len(paths) - 1}"
    named = paths[0] if len(paths) == 1 else f"{paths[0]} to {paths[-1]}"
    print(f"{counted(len(paths), 'file')} of {amount(options.size)}: {ids}, {named}")


def _root(options: argparse.Namespace) -> None:
    print(hpss_root(options.variant))


def _rehearse(options: argparse.Namespace) -> None:
    plan = Plan(
        files=options.files,
        wanted=min(options.wanted, options.files),
        size=options.size,
        cartridges=options.cartridges,
        drives=options.drives,
        seed=options.seed,
        failures=options.fail,
        settings=options.settings,
    )
    print(
        f"{plan.wanted} of {counted(plan.files, 'file')} of {amount(plan.size)} on"
        f" {counted(plan.cartridges, 'cartridge')}, {counted(plan.drives, 'drive')} (simulated)"
    )
    nights = [
        (name, rehearse(plan, in_tape_order=order)) for name, order in (("as asked", False), ("tape order", True))
    ]
    print(
        table(
            ("order", "mounts", "locates", "staged", "failed", "half of them in", "all of them in"),
            [
                (name, n.mounts, n.locates, n.staged, n.failed, duration(n.median), duration(n.seconds))
                for name, n in nights
            ],
        )
    )


def _setting(text: str) -> tuple[str, float | str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    try:
        number = float(value)
    except ValueError:
        return name, value
    return name, int(number) if number.is_integer() else number


def _size(text: str) -> int:
    try:
        return parse_amount(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of bytes") from None


def _failure(text: str) -> tuple[int, float]:
    drive, _, seconds = text.partition("@")
    try:
        return int(drive), float(seconds or 0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not DRIVE@SECONDS") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hpss-simulator",
        description="Make, inspect and break simulated HPSS archives. A simulator, not verified against a real HPSS.",
        epilog="An archive may be in use by any number of processes meanwhile. Exit code: 0; 1 when something cannot be"
        " done; 2 for a wrong command line.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, run: Callable[..., None], text: str, *, archive: bool = True) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        added.set_defaults(run=run, without_archive=not archive)
        if archive:
            added.add_argument("archive", metavar="ARCHIVE", help="the directory of the archive")
        return added

    create = command("create", _create, "make an archive", archive=False)
    create.add_argument("archive", metavar="ARCHIVE", help="a directory that does not exist, or is empty")
    create.add_argument("--drives", type=int, default=4, metavar="N", help="tape drives (default: 4)")
    create.add_argument(
        "--scale", type=float, default=1, metavar="X", help="simulated seconds in a real one (default: 1)"
    )
    create.add_argument("--prefix", default="/archive", metavar="PATH", help="a directory to make (default: /archive)")
    _add_set(create)

    command("status", listings.status, "print a summary")
    ls = command("ls", listings.ls, "list names, with D for disk and T for tape, and !! for what is lost")
    ls.add_argument("path", nargs="?", default="/", metavar="PATH", help="where to begin (default: /)")
    ls.add_argument("-X", dest="levels", action="store_true", help="also print levels, places on tape and attributes")
    _add_file_commands(command)
    _add_library_commands(command)

    clock = command("clock", _clock, "print the simulated clock, or set it")
    clock.add_argument("--scale", type=float, metavar="X", help="simulated seconds in a real one; 0 stands still")
    clock.add_argument("--advance", type=float, metavar="SECONDS", help="leap forward")
    settings = command("settings", _settings, "print the settings, or change some")
    settings.add_argument("settings", nargs="*", type=_setting, metavar="NAME=VALUE")
    command("expire", lambda archive, _options: archive.expire_credentials(), "end every login")
    command("calls", listings.calls, "print how often each function of the library was called")
    _add_fault_commands(commands)
    root = command("root", _root, "print what HPSS_ROOT can be set to, after building it where need be", archive=False)
    root.add_argument("variant", nargs="?", default=DEFAULT_VARIANT, help="7.4, 7.5 or 8.3 (default: 8.3)")
    _add_rehearsal(command("rehearse", _rehearse, "compare recalls as asked with recalls in tape order", archive=False))
    return parser


_Command = Callable[..., argparse.ArgumentParser]
_PATHS = "a file, or a pattern of files such as '/archive/*' (quoted; * stands for slashes, too)"


def _add_set(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set",
        dest="settings",
        type=_setting,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting of the archive, such as mount_seconds=120; may be repeated",
    )


def _add_file_commands(command: _Command) -> None:
    for name, change, text in (
        ("purge", Archive.purge, "drop copies on disk of files that are on tape"),
        ("migrate", Archive.migrate, "copy files to tape now"),
        ("lock", Archive.lock, "protect files from being purged"),
        ("unlock", Archive.unlock, "take the protection away"),
    ):
        command(name, _for_each_path(change), text).add_argument("paths", nargs="+", metavar="PATH", help=_PATHS)
    mkdir = command("mkdir", lambda a, o: a.mkdir(o.path, fileset=o.fileset), "make a directory, and all above it")
    mkdir.add_argument("path", metavar="PATH")
    mkdir.add_argument("--fileset", type=int, metavar="N", help="let fileset N begin there")
    stage = command("stage", _stage, "ask for files, as another client might")
    stage.add_argument("--batch", action="store_true", help="in tape order; else first in, first out")
    stage.add_argument("paths", nargs="+", metavar="PATH", help=_PATHS)
    populate = command("populate", _populate, "put in files of zeros, named as pacarchive names the ids 1, 2, 3...")
    populate.add_argument("count", type=int, metavar="N")
    populate.add_argument("--first", type=int, default=1, metavar="ID", help="the first id (default: 1)")
    populate.add_argument("--size", type=_size, default=10**9, metavar="SIZE", help="of each (default: 1G)")
    populate.add_argument("--prefix", default="/archive", metavar="PATH", help="where (default: /archive)")
    populate.add_argument("--on-disk", action="store_true", help="leave them on disk, too")
    populate.add_argument("--class-of-service", type=int, metavar="COS")


def _add_library_commands(command: _Command) -> None:
    command("drives", listings.drives, "print the drives")
    command("cartridges", listings.cartridges, "print the cartridges")
    requests = command("requests", listings.requests, "print the stage requests that are under way")
    requests.add_argument("--all", action="store_true", help="the ended ones, too")

    def one(name: str, text: str, target: str, kind: type, run: Callable[..., None]) -> argparse.ArgumentParser:
        added = command(name, run, text)
        added.add_argument("target", type=kind, metavar=target)
        added.add_argument("--after", type=float, default=0, metavar="SECONDS", help="simulated, from now")
        return added

    one("fail", "break a drive", "DRIVE", int, lambda a, o: a.fail_drive(o.target, after=o.after))
    one("repair", "make a drive as good as new", "DRIVE", int, lambda a, o: a.repair_drive(o.target, after=o.after))
    slow = one("slow", "slow a drive down", "DRIVE", int, lambda a, o: a.slow_drive(o.target, o.factor, after=o.after))
    slow.add_argument("factor", type=float, metavar="FACTOR", help="on its times; 1 is as good as new")
    one("lose", "let a cartridge disappear", "CARTRIDGE", str, lambda a, o: a.lose_cartridge(o.target, after=o.after))
    one("restore", "let it be found again", "CARTRIDGE", str, lambda a, o: a.restore_cartridge(o.target, after=o.after))
    command("forget", lambda a, _o: a.forget_requests(), "drop all stage requests, as a core server started anew")


def _add_fault_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    fault = commands.add_parser("fault", help="have calls of the library fail", description="Change the fault plan.")
    actions = fault.add_subparsers(title="actions", metavar="ACTION", required=True)
    runs: dict[str, tuple[Callable[..., None], str]] = {
        "add": (_add_fault, "have calls fail from now on"),
        "list": (listings.faults, "print the fault plan"),
        "clear": (lambda archive, _options: archive.clear_faults(), "forget the fault plan"),
    }
    for name, (run, text) in runs.items():
        added = actions.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        added.set_defaults(run=run, without_archive=False)
        added.add_argument("archive", metavar="ARCHIVE", help="the directory of the archive")
        if name == "add":
            added.add_argument("function", metavar="FUNCTION", help="such as hpss_Open, or '*'")
            added.add_argument("--path", default="*", metavar="PATTERN", help="of the call's path (default: *)")
            added.add_argument("--first", type=int, default=1, metavar="N", help="the first matching call (default: 1)")
            added.add_argument("--count", type=int, default=1, metavar="N", help="how many; 0 for all (default: 1)")
            added.add_argument("--action", default="error", choices=("error", "delay", "hang", "short", "disconnect"))
            added.add_argument(
                "--value",
                type=int,
                default=-5,
                metavar="V",
                help="error: the negative code (default: -5); delay: real milliseconds; short: at most so many bytes",
            )


def _add_rehearsal(parser: argparse.ArgumentParser) -> None:
    plan = Plan()
    parser.add_argument("--wanted", type=int, default=plan.wanted, metavar="N", help=f"files to recall ({plan.wanted})")
    parser.add_argument("--files", type=int, default=plan.files, metavar="N", help=f"files on tape ({plan.files})")
    parser.add_argument("--size", type=_size, default=plan.size, metavar="SIZE", help="of each (1G)")
    parser.add_argument("--cartridges", type=int, default=plan.cartridges, metavar="N", help=f"({plan.cartridges})")
    parser.add_argument("--drives", type=int, default=plan.drives, metavar="N", help=f"({plan.drives})")
    parser.add_argument("--seed", type=int, default=plan.seed, metavar="N", help="another choice of files")
    parser.add_argument(
        "--fail", type=_failure, action="append", default=[], metavar="DRIVE@SECONDS", help="break a drive in the night"
    )
    _add_set(parser)
