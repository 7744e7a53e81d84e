"""C{pacarchive admin digest}: give an adopted tree the digests that it lacks, and check those that it has."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

from pacarchive import errors
from pacarchive.backends.commit import compute_digests
from pacarchive.backends.posix import tree_of
from pacarchive.backends.tree import HIDDEN, FileTree
from pacarchive.config import ConfigError, load
from pacarchive.digests import PRIMARY
from pacarchive.ids import parse_file_id, path_to_id

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

_REPORT_EVERY = 5.0


def run(arguments: argparse.Namespace) -> int:
    """Run it."""
    overrides = {("server", "prefix"): arguments.prefix} if arguments.prefix else {}
    settings = load(arguments.config, os.environ, overrides, create_default=False)
    if settings.server.type != "posix":
        raise ConfigError("admin digest", f"this works on archives of type posix, not {settings.server.type}")
    tree = tree_of(settings.backend)
    tree.open_root()
    try:
        return _visit(tree, verify=arguments.verify)
    finally:
        tree.close_root()


def _visit(tree: FileTree, *, verify: bool) -> int:
    counts = dict.fromkeys(("files", "bytes", "stored", "verified", "bad"), 0)
    report_at = time.monotonic() + _REPORT_EVERY
    for file_id in file_ids(tree):
        try:
            _visit_file(tree, file_id, counts, verify=verify)
        except errors.ArchiveError as error:
            if not isinstance(error, errors.NotFound):  # removed meanwhile
                counts["bad"] += 1
                sys.stderr.write(f"pacarchive: file {file_id}: {error.reason}\n")
        if time.monotonic() > report_at:
            report_at += _REPORT_EVERY
            sys.stderr.write(f"{_spoken(counts)}, at file {file_id}\n")
    sys.stdout.write(f"{_spoken(counts)}\n")
    return 1 if counts["bad"] else 0


def _visit_file(tree: FileTree, file_id: int, counts: dict[str, int], *, verify: bool) -> None:
    descriptor, _, status = tree.open_stored(file_id)
    try:
        counts["files"] += 1
        stored = status.digests.get(PRIMARY)
        if stored is not None and not verify:
            return
        try:
            computed = compute_digests(descriptor, [PRIMARY])
        except OSError as error:
            raise errors.BackendUnavailable("", reason=f"cannot be read: {error.strerror}") from error
        counts["bytes"] += status.size
        if stored is None:
            tree.remember(descriptor, status, computed)
            counts["stored"] += 1
        elif stored == computed[PRIMARY]:
            counts["verified"] += 1
        else:
            raise errors.DigestMismatch(f"is damaged: its sha256 is {computed[PRIMARY].hex()}, stored {stored.hex()}")
    finally:
        os.close(descriptor)


def _spoken(counts: dict[str, int]) -> str:
    return (
        f"{counts['files']} files, {counts['bytes'] >> 20} MiB read: {counts['stored']} digests stored,"
        f" {counts['verified']} verified, {counts['bad']} bad"
    )


def file_ids(tree: FileTree) -> Iterator[int]:
    """All ids that have a file, in no order.  Names that are no id's are passed over."""
    for directory, below, names in os.walk(tree.prefix):
        if directory == str(tree.prefix) and HIDDEN in below:
            below.remove(HIDDEN)
        for name in names:
            path = os.path.relpath(os.path.join(directory, name), tree.prefix)
            for convert, text in ((parse_file_id, path), (path_to_id, f"/{path}")):
                try:
                    file_id = convert(text)
                except ValueError:
                    continue
                if tree.name_of(file_id) == path:
                    yield file_id
