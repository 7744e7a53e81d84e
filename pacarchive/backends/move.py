"""Moving a file that already lies in the storage into its place in the archive, as durably as a PUT.

The source is untrusted: a path from a client.  It counts only when, symbolic links followed, it lies below one of the
configured roots; from there on it is handled by descriptors, so that nobody can exchange a directory under way.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pacarchive import errors
from pacarchive.backends.commit import Draft, complete, compute_digests, publish
from pacarchive.backends.syscalls import open_beneath, release
from pacarchive.backends.tree import DIRECTORY_FLAGS, HIDDEN, READ_FLAGS, FileTree, translating
from pacarchive.digests import PRIMARY, Hasher
from pacarchive.model import FileStatus, Overwrite, WriteConditions

_COPY_BLOCK = 4 << 20
_WRITABLE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
_NOT_LINKABLE = frozenset({errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK})
_DENIED = "Can't move posix file with error: [Errno 13] Permission denied"


def move_into(tree: FileTree, file_id: int, source: str, conditions: WriteConditions) -> FileStatus:
    """
    Publish a file that lies in one of the tree's move roots, and remove it there.

    It is linked into place where that is possible, else copied; the source goes last, once the archive's copy is
    durable, so that a crash leaves one of the two, or both.

    @param source: An absolute path.
    @raise errors.NotPermitted: It leads outside the roots.
    @raise errors.NotFound: It is not there.
    @raise errors.InvalidRequest: It is not absolute, or no regular file.
    """
    root, below = locate(tree, source)
    parent, name = os.path.split(below)
    with _opening_source():
        root_descriptor = os.open(root, DIRECTORY_FLAGS)
        try:
            directory = open_beneath(root_descriptor, parent or ".", DIRECTORY_FLAGS)
        finally:
            release(root_descriptor)
        try:
            descriptor = os.open(name, READ_FLAGS, dir_fd=directory)
        except BaseException:
            release(directory)
            raise
    try:
        with translating("Can't move posix file"):
            return _move(tree, file_id, directory, name, descriptor, conditions)
    finally:
        release(descriptor)
        release(directory)


def locate(tree: FileTree, source: str) -> tuple[Path, str]:
    """
    Find the root that holds the source, symbolic links followed.

    @return: The root, and the path below it.
    """
    if "\0" in source or not os.path.isabs(source):
        raise errors.InvalidRequest("The path of the source must be absolute.", reason="Can't move posix file")
    try:
        real = Path(os.path.realpath(source))
    except (OSError, ValueError) as error:
        raise errors.InvalidRequest("The path of the source is no path.", reason="Can't move posix file") from error
    for root in tree.move_roots:
        if real != root and real.is_relative_to(root) and not real.is_relative_to(tree.prefix / HIDDEN):
            # Strictly only now: what is missing outside the roots must not look other than what is there.
            with _opening_source():
                os.path.realpath(source, strict=True)  # "file/." and "file/.." are no paths of a file
            return root, str(real.relative_to(root))
    raise errors.NotPermitted(
        "The source of the move is outside the directories from which this archive may take files.", reason=_DENIED
    )


@contextmanager
def _opening_source() -> Iterator[None]:
    """What a source that cannot be opened means."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise errors.NotFound(
            "The source of the move is not there.",
            reason=f"Can't move posix file with error: [Errno {error.errno}] {error.strerror}",
        ) from error
    except OSError as error:  # a link or device put there since it was resolved, or no right to read
        raise errors.NotPermitted("The source of the move cannot be opened.", reason=_DENIED) from error


def _move(
    tree: FileTree, file_id: int, directory: int, name: str, source: int, conditions: WriteConditions
) -> FileStatus:
    before = os.fstat(source)
    if not stat.S_ISREG(before.st_mode):
        raise errors.InvalidRequest("Only a regular file can be moved.", reason="Can't move posix file")
    if _is_archived_under(tree, file_id, directory, name):
        return tree.status(file_id)
    if (current := tree.published(file_id)) is None or current.generation != _generation(tree, before, file_id):
        tree.check(file_id, None, conditions)
    if not tree.copies and before.st_dev != os.fstat(tree.root).st_dev:
        raise _not_to_be_copied()  # before anything is done to it
    try:
        _link_into(tree, file_id, source, conditions)
    except OSError as error:
        if error.errno not in _NOT_LINKABLE:
            raise
        if not tree.copies:
            raise _not_to_be_copied() from error
        _copy_into(tree, file_id, source, conditions)
    with suppress(FileNotFoundError):
        if os.path.samestat(os.stat(name, dir_fd=directory, follow_symlinks=False), before):
            os.unlink(name, dir_fd=directory)
            tree.sync(directory)
    return tree.status(file_id)


def _not_to_be_copied() -> errors.InvalidRequest:
    return errors.InvalidRequest(
        "The source of the move cannot be linked into the archive: it is on another file system, or belongs to "
        "somebody else.",
        reason="Can't move posix file",
    )


def _generation(tree: FileTree, state: os.stat_result, file_id: int) -> str:
    return tree.status_of(state, file_id, {}).generation


def _is_archived_under(tree: FileTree, file_id: int, directory: int, name: str) -> bool:
    """Whether the source's name is the very name of the id."""
    with suppress(OSError), tree.directory_of(file_id) as (archived, archived_name):
        return archived_name == name and os.path.samestat(os.fstat(archived), os.fstat(directory))
    return False


def _link_into(tree: FileTree, file_id: int, source: int, conditions: WriteConditions) -> None:
    if os.fstat(source).st_mode & _WRITABLE:
        tree.fixity.clear(source)  # whoever may write it may have changed it since they were stored
    digests = tree.fixity.load(source)
    if conditions.overwrite is Overwrite.IDENTICAL and PRIMARY not in digests:
        tree.require_readable(source)
        digests |= compute_digests(source, [PRIMARY])
    complete(tree, source, None, digests)
    tree.sync(source)
    draft = Draft(tree, source, None)
    try:
        publish(tree, draft, file_id, digests, conditions, tree.sync)
    finally:
        draft.drop_temporary()


def _copy_into(tree: FileTree, file_id: int, source: int, conditions: WriteConditions) -> None:
    """For a source on another file system, or one that belongs to somebody else."""
    before = os.fstat(source)
    draft, hasher = Draft.create(tree), Hasher([PRIMARY])
    try:
        while block := os.pread(source, _COPY_BLOCK, draft.size):
            hasher.update(block)
            draft.write([block])
        after = os.fstat(source)
        if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            raise errors.InvalidRequest(
                "The source of the move is still being written.", reason="Can't move posix file"
            )
        draft.commit(file_id, after.st_mtime_ns, hasher.digests(), conditions)
    finally:
        draft.discard()
