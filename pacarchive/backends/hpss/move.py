"""Move a file that lies in HPSS already to its name in an L{HpssTree}.

The source is untrusted: a path from a client.  It is accepted only if, with symbolic links resolved, it lies below one
of the configured roots.

Everything here blocks and is called in pool threads.
"""

from __future__ import annotations

import errno
import posixpath
from contextlib import suppress

from twisted.logger import Logger

from pacarchive import errors
from pacarchive.backends.hpss import client
from pacarchive.backends.hpss.client import Attributes, HpssError, Kind
from pacarchive.backends.hpss.publish import FILE_MODE, computed_digests, publish_locked
from pacarchive.backends.hpss.residency import Residency, residency_of
from pacarchive.backends.hpss.translation import translating
from pacarchive.backends.hpss.tree import HIDDEN, HpssTree, version_of
from pacarchive.digests import PRIMARY, Digests
from pacarchive.model import FileStatus, Overwrite, WriteConditions

_LINKS_MOST = 40
_ATTEMPTS = 100
_MOVING = "Can't move hpss file"
_DENIED = f"{_MOVING} with error: [Errno 13] Permission denied"

_log = Logger()


def move_into(tree: HpssTree, file_id: int, source: str, conditions: WriteConditions) -> FileStatus:
    """
    Publish a file that lies in one of the tree's move roots (L{pacarchive.interfaces.IArchiveBackend.move}).

    It is renamed, never copied, as a copy would recall it.  Digests that its writer stored with it stay valid.

    The source may be the file of another id.  So its attributes are read again, and it is moved, while both ids are
    locked; if another file has its name by then, that one is moved.
    """
    path = locate(tree, source, conditions.from_archive)
    with translating(_MOVING):
        for _ in range(_ATTEMPTS):
            found = tree.session.call(client.attributes, path)
            if found.kind is not Kind.FILE:
                raise errors.InvalidRequest("Only a regular file can be moved.", reason=_MOVING)
            stored = tree.stored_digests(path, found.size)
            digests = _source_digests(tree, path, found, stored, file_id, conditions)
            source_id = tree.id_of(path)
            with tree.locks.held(file_id, found.file_id if source_id is None else source_id):
                now = tree.session.call(client.attributes, path)
                if version_of(now) == version_of(found):
                    status = _move(tree, path, now, file_id, digests, conditions)
                    return _complete(tree, status, now, {} if digests == stored else digests)
    raise errors.BackendUnavailable("The source of the move changes all the time.", reason=_MOVING)


def _source_digests(
    tree: HpssTree, path: str, found: Attributes, stored: Digests, file_id: int, conditions: WriteConditions
) -> Digests:
    """
    Return the digests that are stored with the source; with the primary one computed where a condition needs it, or
    where the source is this id's file and on disk.
    """
    if PRIMARY not in stored:
        stays = path == tree.path_of(file_id) and residency_of(found.size, found.levels) is Residency.RESIDENT
        if conditions.overwrite is Overwrite.IDENTICAL or stays:
            return {**stored, **computed_digests(tree, path, found)}
    return stored


def _move(
    tree: HpssTree, path: str, mine: Attributes, file_id: int, digests: Digests, conditions: WriteConditions
) -> FileStatus:
    """Move the source; both ids are locked."""
    if _is_there(tree, file_id, mine):
        tree.forget_left_over(tree.path_of(file_id))
        if path != tree.path_of(file_id) and mine.links > 1:  # else both paths are the only name that it has
            # Not by drop, which retries later: if another process removed the other name meanwhile, both were gone.
            tree.session.call(client.unlink, path)
        return tree.status(file_id)
    try:
        return publish_locked(tree, path, mine, file_id, digests, conditions)
    except HpssError as error:
        if error.errno == errno.EXDEV:
            raise errors.InvalidRequest(
                "The source lies in another fileset of HPSS: it cannot be moved here without being copied.",
                reason=f"{_MOVING} with error: {error.name} ({error.code})",
            ) from error
        raise


def _complete(tree: HpssTree, status: FileStatus, moved: Attributes, computed: Digests) -> FileStatus:
    """
    Set the mode of an archived file on the published version, and store the digests that were computed.

    @param status: The status of the version that was published, or kept.
    @param moved: The attributes of the source.
    @param computed: The digests to store; empty for none.
    @return: The status afterwards.
    """
    path = tree.path_of(status.file_id)
    try:
        found = tree.attributes(path)
        if computed and found.file_id == moved.file_id:
            tree.add_digests(path, computed, moved.size)
        if found.mode != FILE_MODE:
            tree.session.call(client.chmod, path, FILE_MODE)
        return tree.status(status.file_id)
    except errors.NotFound:  # removed on another machine already
        return status
    except HpssError as error:  # another user may own it; it is archived all the same
        _log.warn("HPSS: file {file_id} stays incomplete: {error}", file_id=status.file_id, error=error)
        return status


def _is_there(tree: HpssTree, file_id: int, mine: Attributes) -> bool:
    """Return whether the id is a name of the file already."""
    with suppress(errors.NotFound):
        return tree.attributes(tree.path_of(file_id)).file_id == mine.file_id
    return False


def locate(tree: HpssTree, source: str, from_archive: bool = True) -> str:
    """
    Resolve the source of a move, and check that it is in one of the move roots.

    @param source: A path from a client.
    @param from_archive: Whether it may lie in the archive.
    @return: The path without symbolic links.
    @raise errors.InvalidRequest: It is not an absolute path.
    @raise errors.NotPermitted: It is outside of the move roots.
    @raise errors.InArchive: It is in the archive, and may not be.
    @raise errors.NotFound: It does not exist.
    """
    if "\0" in source or not source.startswith("/"):
        raise errors.InvalidRequest("The path of the source must be absolute.", reason=_MOVING)
    try:
        source.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:  # a lone surrogate, which JSON can contain
        raise errors.InvalidRequest("The path of the source is not text.", reason=_MOVING) from error
    with translating(_MOVING):
        real, missing = resolve(tree, source)
    hidden = f"{tree.prefix}/{HIDDEN}/"
    if not any(real.startswith(root.rstrip("/") + "/") for root in tree.move_roots) or f"{real}/".startswith(hidden):
        raise errors.NotPermitted(
            "The source of the move is outside the directories from which this archive may take files.", reason=_DENIED
        )
    if not from_archive and real.startswith(f"{tree.prefix}/"):
        raise errors.InArchive("The source of the move lies in the archive.", reason=_DENIED)
    if missing:
        raise errors.NotFound("The source of the move is not there.", reason=f"{_MOVING} with error: [Errno 2]")
    return real


def resolve(tree: HpssTree, path: str) -> tuple[str, bool]:
    """
    Resolve the symbolic links of a path.

    @return: The path without them, and whether a part of it does not exist; the rest is then as it was given.
    @raise errors.NotPermitted: There are too many links, or a loop of them.
    """
    done, rest, links = "/", _components(path), 0
    while rest:
        name = rest.pop(0)
        if name == "..":
            done = posixpath.dirname(done)
            continue
        here = posixpath.join(done, name)
        try:
            kind = tree.session.call(client.lstat, here).kind
        except HpssError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
                raise
            return posixpath.normpath(posixpath.join(here, *rest)), True
        if kind is not Kind.SYMLINK:
            done = here
            continue
        if (links := links + 1) > _LINKS_MOST:
            raise errors.NotPermitted("The source of the move cannot be opened.", reason=_DENIED)
        target = tree.session.call(client.readlink, here)
        if target.startswith("/"):
            done = "/"
        rest = _components(target) + rest
    return done, False


def _components(path: str) -> list[str]:
    return [name for name in path.split("/") if name not in ("", ".")]
