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

import attrs

from pacarchive import errors
from pacarchive.backends.local.commit import FILE_MODE, Draft, complete, compute_digests
from pacarchive.backends.local.hidden import HIDDEN
from pacarchive.backends.local.syscalls import DIRECTORY_FLAGS, READ_FLAGS, open_beneath, release
from pacarchive.backends.local.tree import FileTree, translating
from pacarchive.digests import PRIMARY, Digests, Hasher
from pacarchive.model import FileStatus, Overwrite, WriteConditions

_COPY_BLOCK = 4 << 20
_ATTEMPTS = 100
_WRITABLE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
_NOT_LINKABLE = frozenset({errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK})
_DENIED = "Can't move posix file with error: [Errno 13] Permission denied"


class _Changed(Exception):
    """Since the source was opened, its name was given to another file, or its bytes have changed."""


class _NotLinkable(Exception):
    """The source cannot get another name: it is somebody else's, or has too many."""


@attrs.frozen
class _Source:
    """
    A file that is to be moved, open.

    @ivar directory: A descriptor of where it is.
    @ivar name: Its name there.
    @ivar state: What the file system reported about it when it was opened.
    @ivar file_id: The id whose place that is, if it is one's.
    """

    directory: int
    name: str
    descriptor: int
    state: os.stat_result
    file_id: int | None

    @property
    def lock_key(self) -> int:
        """What to lock, so that its name stays what it is: the id, or for other files what tells them apart."""
        return self.state.st_ino if self.file_id is None else self.file_id

    @property
    def is_protected(self) -> bool:
        """Whether nobody could write to it: else its digests may be those of earlier bytes."""
        return not self.state.st_mode & _WRITABLE

    def require_unchanged(self) -> None:
        """
        See that the name still is that of the file that was opened, with the bytes that were there.

        @raise _Changed: It is not.
        """
        try:
            now = os.stat(self.name, dir_fd=self.directory, follow_symlinks=False)
        except FileNotFoundError as error:
            raise _Changed from error
        if not os.path.samestat(now, self.state) or _version(now) != _version(self.state):
            raise _Changed

    def unlink(self, tree: FileTree) -> None:
        """Remove the name, if it still is that of this file, durably."""
        with suppress(FileNotFoundError):
            if os.path.samestat(os.stat(self.name, dir_fd=self.directory, follow_symlinks=False), self.state):
                os.unlink(self.name, dir_fd=self.directory)
                tree.sync(self.directory)


def move_into(tree: FileTree, file_id: int, source: str, conditions: WriteConditions) -> FileStatus:
    """
    Publish a file that lies in one of the tree's move roots, and remove it there.

    It is linked into place where that is possible, else copied; the source goes last, once the archive's copy is
    durable, so that a crash leaves one of the two, or both.

    The source may be another id's file.  So its name is looked at again, used and removed while both ids are locked;
    when it has become another file's meanwhile, that one is moved.

    @param source: An absolute path.
    @raise errors.NotPermitted: It leads outside the roots.
    @raise errors.InArchive: It leads into the archive, and the conditions forbid that.
    @raise errors.NotFound: It is not there.
    @raise errors.InvalidRequest: It is not absolute, or no regular file.
    @raise errors.BackendUnavailable: Somebody writes to it, or replaces it, without end; or the storage failed.
    """
    for _ in range(_ATTEMPTS):
        with (
            _opened(tree, source, conditions.from_archive) as found,
            suppress(_Changed),
            translating("Can't move posix file"),
        ):
            return _move(tree, file_id, found, conditions)
    raise errors.BackendUnavailable("The source of the move changes all the time.", reason="Can't move posix file")


@contextmanager
def _opened(tree: FileTree, source: str, from_archive: bool) -> Iterator[_Source]:
    root, below = locate(tree, source, from_archive)
    parent, name = os.path.split(below)
    with _opening_source():
        root_descriptor = os.open(root, DIRECTORY_FLAGS)
        try:
            directory = open_beneath(root_descriptor, parent or ".", DIRECTORY_FLAGS)
        finally:
            release(root_descriptor)
    try:
        with _opening_source():
            descriptor = os.open(name, READ_FLAGS, dir_fd=directory)
        try:
            with translating("Can't move posix file"):
                state, file_id = os.fstat(descriptor), tree.id_at(directory, name)
            yield _Source(directory, name, descriptor, state, file_id)
        finally:
            release(descriptor)
    finally:
        release(directory)


def locate(tree: FileTree, source: str, from_archive: bool = True) -> tuple[Path, str]:
    """
    Find the root that holds the source, symbolic links followed.

    @param from_archive: Whether it may lie in the archive.
    @return: The root, and the path below it.
    """
    if "\0" in source or not os.path.isabs(source):
        raise errors.InvalidRequest("The path of the source must be absolute.", reason="Can't move posix file")
    try:
        real = Path(os.path.realpath(source))
    except (OSError, ValueError) as error:
        raise errors.InvalidRequest("The source of the move is not a path.", reason="Can't move posix file") from error
    for root in tree.move_roots:
        if real != root and real.is_relative_to(root) and not real.is_relative_to(tree.prefix / HIDDEN):
            if not from_archive and real.is_relative_to(tree.prefix):
                raise errors.InArchive("The source of the move lies in the archive.", reason=_DENIED)
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


def _move(tree: FileTree, file_id: int, source: _Source, conditions: WriteConditions) -> FileStatus:
    if not stat.S_ISREG(source.state.st_mode):
        raise errors.InvalidRequest("Only a regular file can be moved.", reason="Can't move posix file")
    if not _is_published_as(tree, file_id, source.state):
        try:
            tree.check(file_id, None, conditions)
        except (errors.PreconditionFailed, errors.AlreadyExists):
            source.require_unchanged()  # else it is perhaps what is under the id now that has its name
            if not _is_published_as(tree, file_id, source.state):  # somebody else is about to do the same
                raise
    same_system = source.state.st_dev == os.fstat(tree.root).st_dev
    if not same_system and not tree.copies:
        raise _not_to_be_copied()  # before anything is done to it
    digests = _digests_of(tree, file_id, source, conditions)
    # First without the locks, as it may take its time: what is written between this and the next makes it another
    # version.
    if same_system and tree.is_durable(source.descriptor):
        draft = Draft(tree, os.dup(source.descriptor), None)
        try:
            return _publish(tree, file_id, source, draft, digests, conditions)
        except _NotLinkable as error:
            if not tree.copies:
                raise _not_to_be_copied() from error
        finally:
            draft.discard()
    elif not tree.copies:
        raise errors.BackendUnavailable(
            "The source of the move could not be written to the disk; store it again.", reason="Can't move posix file"
        )
    draft = Draft.create(tree)
    try:
        digests = _copy(tree, file_id, source, draft, digests)
        return _publish(tree, file_id, source, draft, digests, conditions)
    finally:
        draft.discard()


def _digests_of(tree: FileTree, file_id: int, source: _Source, conditions: WriteConditions) -> Digests:
    """Those that are stored with the source; and the primary one where it is needed, or the source stays."""
    digests = dict(tree.fixity.load(source.descriptor)) if source.is_protected else {}
    if PRIMARY not in digests:
        try:
            if conditions.overwrite is Overwrite.IDENTICAL or source.file_id == file_id:
                tree.require_readable(source.descriptor)
                digests |= compute_digests(source.descriptor, [PRIMARY])
        except errors.Offline:
            if source.file_id != file_id:
                raise
    return digests


def _publish(
    tree: FileTree, file_id: int, source: _Source, draft: Draft, digests: Digests, conditions: WriteConditions
) -> FileStatus:
    """
    Give the id to the source, or to a copy of it, and remove the source's name.

    @param draft: Either of them.
    @raise _Changed: The source is another file now.
    @raise _NotLinkable: The source cannot be linked.
    """
    with (
        tree.directory_of(file_id, make=True) as (directory, name),
        tree.locked(file_id, source.lock_key),
    ):
        source.require_unchanged()
        if _is_published_as(tree, file_id, source.state):
            conditions = WriteConditions()  # it is there already: nothing else is replaced
        is_copy = not os.path.samestat(os.fstat(draft.descriptor), source.state)
        try:
            draft.place(
                file_id,
                (directory, name),
                digests,
                conditions,
                (lambda: None) if is_copy else (lambda: _finish(tree, file_id, source.descriptor, digests)),
            )
        except OSError as error:
            if is_copy or error.errno not in _NOT_LINKABLE:
                raise
            raise _NotLinkable from error
        tree.sync(directory)
        draft.settle()
        if source.file_id != file_id and not _is_last_name(tree, file_id, source):
            source.unlink(tree)
        return tree.status(file_id)


def _is_published_as(tree: FileTree, file_id: int, state: os.stat_result) -> bool:
    """Whether the file is under the id already, whatever other names it has."""
    with suppress(errors.NotFound):
        return os.path.samestat(tree.look(file_id)[0], state)
    return False


def _is_last_name(tree: FileTree, file_id: int, source: _Source) -> bool:
    """
    Whether the source's name is the only one of what is now under the id, and so the id's own: a file system that
    does not tell upper from lower case, or is mounted twice, has ways to the same place that look different.
    """
    return _is_published_as(tree, file_id, source.state) and os.fstat(source.descriptor).st_nlink < 2


def _finish(tree: FileTree, file_id: int, source: int, digests: Digests) -> None:
    """Give the source what an archived file has, where it is lacking, and sync that."""
    changed = tree.fixity.replace(source, digests, file_id)
    if stat.S_IMODE(os.fstat(source).st_mode) != FILE_MODE:
        os.fchmod(source, FILE_MODE)
        changed = True
    if changed:
        tree.sync_found(source)


def _copy(tree: FileTree, file_id: int, source: _Source, draft: Draft, stored: Digests) -> Digests:
    """
    Copy a source that is on another file system, is somebody else's, or could not be synced.

    @param stored: The digests that its bytes should have.
    @return: Those that the copy has.
    """
    hasher = Hasher([PRIMARY])
    while block := os.pread(source.descriptor, _COPY_BLOCK, draft.size):
        hasher.update(block)
        draft.write([block])
    after = os.fstat(source.descriptor)
    if _version(after) != _version(source.state):
        raise errors.InvalidRequest("The source of the move is still being written.", reason="Can't move posix file")
    digests = hasher.digests()
    if stored.get(PRIMARY, digests[PRIMARY]) != digests[PRIMARY]:
        raise errors.BackendUnavailable("The source of the move is damaged.", reason="Can't move posix file")
    complete(tree, draft.descriptor, after.st_mtime_ns, digests, file_id)
    tree.sync(draft.descriptor)
    return digests


def _version(state: os.stat_result) -> tuple[int, int]:
    return state.st_size, state.st_mtime_ns


def _not_to_be_copied() -> errors.InvalidRequest:
    return errors.InvalidRequest(
        "The source of the move cannot be linked into the archive: it is on another file system, or belongs to "
        "somebody else.",
        reason="Can't move posix file",
    )
