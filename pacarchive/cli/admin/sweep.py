"""C{pacarchive admin sweep}: remove temporaries of dead processes, as each start does, and digests of lost files."""

from __future__ import annotations

import errno
import os
import sys
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import attrs

from pacarchive.backends.local.hidden import HIDDEN, SIDECARS, TEMPORARIES, Hidden, named_in, sweep
from pacarchive.backends.local.sidecars import Sidecars
from pacarchive.backends.local.syscalls import LOOK_FLAGS, open_beneath
from pacarchive.backends.local.tree import FileTree
from pacarchive.cli import exits
from pacarchive.cli.admin.archive import require_own, root_of, settings_of, tree_of
from pacarchive.cli.printing import age_words, complain, print_json
from pacarchive.errors import BackendUnavailable
from pacarchive.settings.reading import ConfigError
from pacarchive.settings.sections import Settings
from pacarchive.texts import counted, printable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from pacarchive.backends.hpss.session import Session


@attrs.frozen
class Abandoned:
    """
    A temporary whose writer has ended, or a digest of a file that was removed.

    @ivar path: The path.
    @ivar size: Bytes.
    @ivar age: Seconds since it was last changed.
    @ivar removed: Whether it was removed.
    @ivar locked: Whether the storage keeps it from being removed, for now or for ever.
    """

    path: str
    size: int
    age: float
    removed: bool
    locked: bool = False


def run(arguments: argparse.Namespace) -> int:
    """Run the command.  @return: The exit code."""
    settings = settings_of(arguments)
    if settings.server.type == "s3":
        return _of_objects(settings, arguments)
    if arguments.force:
        raise ConfigError("admin sweep", "--force is for object stores, whose records may be lost")
    if (tree := tree_of(settings)) is not None:
        found = _of_tree(tree, dry_run=arguments.dry_run)
    elif settings.server.type == "hpss":
        found = _of_hpss(settings, dry_run=arguments.dry_run)
    else:
        raise ConfigError("admin sweep", f"what an archive of type {settings.server.type} leaves is not known here")
    counts = _Counts()
    while True:
        try:
            each = next(found, None)
        except BackendUnavailable as error:
            return complain(error, exits.UNAVAILABLE)
        except OSError as error:
            sys.stderr.write(f"pacarchive: {error.filename or HIDDEN}: {error.strerror}\n")
            counts.failed += 1
            break
        if each is None:
            break
        counts.add(each, arguments)
    return counts.summary(arguments)


@attrs.define
class _Counts:
    found: int = 0
    bytes: int = 0
    failed: int = 0
    locked: int = 0

    def add(self, each: Abandoned, arguments: argparse.Namespace) -> None:
        self.found += 1
        self.bytes += each.size
        self.locked += each.locked
        self.failed += not (each.removed or each.locked or arguments.dry_run)
        _report(each, as_json=arguments.json, dry_run=arguments.dry_run)

    def summary(self, arguments: argparse.Namespace) -> int:
        """Print the last line.  @return: The exit code."""
        removed = 0 if arguments.dry_run else self.found - self.failed - self.locked
        if arguments.json:
            summary = {"found": self.found, "bytes": self.bytes, "removed": removed, "failed": self.failed}
            print_json({"summary": {**summary, **({"locked": self.locked} if self.locked else {})}})
        else:
            words = f"{self.found} left over, {counted(self.bytes, 'byte')}"
            locked = f", {self.locked} locked" if self.locked else ""
            sys.stdout.write(f"{words}: {removed} removed, {self.failed} not removed{locked}\n")
        return exits.FAILED if self.failed else exits.OK


def _report(each: Abandoned, *, as_json: bool, dry_run: bool) -> None:
    if as_json:
        print_json(attrs.asdict(each, filter=lambda field, value: field.name != "locked" or value))
        return
    outcome = "would be removed" if dry_run else "removed" if each.removed else "NOT REMOVED"
    outcome = "locked" if each.locked else outcome
    sys.stdout.write(f"{printable(each.path)}  {counted(each.size, 'byte')}, {age_words(each.age)} old: {outcome}\n")


def _of_objects(settings: Settings, arguments: argparse.Namespace) -> int:
    from pacarchive.cli.admin.objects import sweep as sweep_objects

    counts = _Counts()
    marked, code = sweep_objects(
        settings,
        lambda each: counts.add(Abandoned(each.key, each.size, each.age, each.removed, each.locked), arguments),
        dry_run=arguments.dry_run,
        force=arguments.force,
    )
    if marked:
        days = settings.backend.own.sweep_after / 86400
        sys.stderr.write(f"{counted(marked, 'object')} more can be removed in {days:g} days\n")
    return counts.summary(arguments) or code


def _of_tree(tree: FileTree, *, dry_run: bool) -> Iterator[Abandoned]:
    def has_inode(file_id: int, number: int) -> bool:
        try:
            with named_in(tree.prefix):
                descriptor = open_beneath(root, tree.name_of(file_id), LOOK_FLAGS)
        except FileNotFoundError:
            return False
        try:
            return os.fstat(descriptor).st_ino == number
        finally:
            os.close(descriptor)

    with ExitStack() as opened:
        root = opened.enter_context(root_of(tree))
        require_own(tree, root)
        try:
            os.stat(HIDDEN, dir_fd=root, follow_symlinks=False)
        except FileNotFoundError:
            return  # nothing was ever stored
        try:
            hidden = Hidden(root, tree.prefix, os.fsync)
        except BackendUnavailable as error:
            raise ConfigError("admin sweep", str(error)) from error
        opened.callback(hidden.close)
        sidecars = Sidecars(hidden.sidecars, hidden.temporaries, os.fsync, hidden.sidecars_locked)
        for directory, found in (
            (TEMPORARIES, sweep(hidden.temporaries, dry_run=dry_run)),
            (SIDECARS, sidecars.sweep(has_inode, dry_run=dry_run)),
        ):
            with named_in(tree.prefix / HIDDEN / directory):
                for name, state in found:
                    path = f"{HIDDEN}/{directory}/{name}"
                    yield Abandoned(path, state.st_size, time.time() - state.st_ctime, not dry_run)


def _of_hpss(settings: Settings, *, dry_run: bool) -> Iterator[Abandoned]:
    try:
        from pacarchive.backends.hpss.loading import load

        load(settings.backend.own.deep_bind)
    except ImportError as error:
        raise ConfigError("backend hpss", str(error)) from error
    return _found_in_hpss(settings, dry_run=dry_run)


def _found_in_hpss(settings: Settings, *, dry_run: bool) -> Iterator[Abandoned]:
    from pacarchive.backends.hpss import client
    from pacarchive.backends.hpss.client import HpssError
    from pacarchive.backends.hpss.temporaries import this_writer
    from pacarchive.backends.hpss.tree import HpssTree

    prefix = str(settings.server.prefix)
    with _logged_in(settings) as session:
        tree = HpssTree(session, prefix, ())
        try:
            session.call(client.stat, prefix)
            try:
                session.call(client.stat, tree.temporaries)
            except HpssError as error:
                if error.errno == errno.ENOENT:
                    return  # nothing was ever stored
                raise
            for path, found in tree.left_over_temporaries(this_writer()):
                removed = not dry_run and _remove(session, path)
                yield Abandoned(path, found.size, time.time() - found.ctime, removed)
        except HpssError as error:
            raise BackendUnavailable(f"HPSS: the prefix {prefix} cannot be swept: {error}") from error


def _remove(session: Session, path: str) -> bool:
    from pacarchive.backends.hpss import client
    from pacarchive.backends.hpss.client import HpssError

    try:
        session.call(client.unlink, path)
    except HpssError as error:
        if error.errno != errno.ENOENT:
            sys.stderr.write(f"pacarchive: {path}: {error}\n")
            return False
    return True


@contextmanager
def _logged_in(settings: Settings) -> Iterator[Session]:
    from pacarchive.backends.hpss.pool import begin_thread, end_thread
    from pacarchive.backends.hpss.session import session_of

    session = session_of(settings.backend.own.user, settings.backend.own.auth)
    session.open()
    try:
        begin_thread()
        try:
            yield session
        finally:
            end_thread()
    finally:
        session.close()
