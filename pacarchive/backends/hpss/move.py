"""Moving a file that lies in HPSS already into its place in an L{HpssTree}.

The source is untrusted: a path from a client.  It counts only when, symbolic links followed, it lies below one of the
configured roots.

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
from pacarchive.backends.hpss.publish import FILE_MODE, computed_digests, place
from pacarchive.backends.hpss.residency import Residency, residency_of
from pacarchive.backends.hpss.tree import HIDDEN, HpssTree, version_of
from pacarchive.backends.hpss.words import translating
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

    It is renamed, never copied: that would recall it.  Digests that its writer stored with it stay valid.

    The source may be another id's file.  So its name is looked at again, used and removed while both ids are locked;
    when it has become another file's meanwhile, that one is moved.
    """
    path = locate(tree, source)
    with translating(_MOVING):
        for _ in range(_ATTEMPTS):
            found = tree.session.call(client.attributes, path)
            if found.kind is not Kind.FILE:
                raise errors.InvalidRequest("Only a regular file can be moved.", reason=_MOVING)
            stored = tree.stored_digests(path, found.size)
            digests = _digests_of(tree, path, found, stored, file_id, conditions)
            source_id = tree.id_of(path)
            with tree.locks.held(file_id, found.file_id if source_id is None else source_id):
                now = tree.session.call(client.attributes, path)
                if version_of(now) == version_of(found):
                    status = _move(tree, path, now, file_id, digests, conditions)
                    return _completed(tree, status, now, {} if digests == stored else digests)
    raise errors.BackendUnavailable("The source of the move changes all the time.", reason=_MOVING)


def _digests_of(
    tree: HpssTree, path: str, found: Attributes, stored: Digests, file_id: int, conditions: WriteConditions
) -> Digests:
    """Those that are stored with the source; and the primary one where it is needed, or the source stays."""
    if PRIMARY not in stored:
        stays = path == tree.path_of(file_id) and residency_of(found.size, found.levels) is Residency.RESIDENT
        if conditions.overwrite is Overwrite.IDENTICAL or stays:
            return {**stored, **computed_digests(tree, path, found)}
    return stored


def _move(
    tree: HpssTree, path: str, mine: Attributes, file_id: int, digests: Digests, conditions: WriteConditions
) -> FileStatus:
    """With both ids locked."""
    if _is_there(tree, file_id, mine):
        tree.is_wanted_again(tree.path_of(file_id))
        if path != tree.path_of(file_id) and mine.links > 1:  # else it is another way to the only name that it has
            # Not dropped in the end: were it left over, and the other name in another process, both would be removed.
            tree.session.call(client.unlink, path)
        return tree.status(file_id)
    try:
        return place(tree, path, mine, file_id, digests, conditions)
    except HpssError as error:
        if error.errno == errno.EXDEV:
            raise errors.InvalidRequest(
                "The source lies in another fileset of HPSS: it cannot be moved here without being copied.",
                reason=f"{_MOVING} with error: {error.name} ({error.code})",
            ) from error
        raise


def _completed(tree: HpssTree, status: FileStatus, moved: Attributes, computed: Digests) -> FileStatus:
    """
    Give the published version the mode of an archived file, and the digests that were computed of it.

    @param status: The version that was published, or kept.
    @param moved: The attributes of the source.
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
    except HpssError as error:  # somebody else's; that does not make it less archived
        _log.warn("HPSS: file {file_id} stays incomplete: {error}", file_id=status.file_id, error=error)
        return status


def _is_there(tree: HpssTree, file_id: int, mine: Attributes) -> bool:
    """Whether the file is under the id already, whatever other names it has."""
    with suppress(errors.NotFound):
        return tree.attributes(tree.path_of(file_id)).file_id == mine.file_id
    return False


def locate(tree: HpssTree, source: str) -> str:
    """
    Resolve the source of a move, and see that it is in one of the move roots.

    @param source: A path from a client.
    @return: The path without symbolic links.
    """
    if "\0" in source or not source.startswith("/"):
        raise errors.InvalidRequest("The path of the source must be absolute.", reason=_MOVING)
    try:
        source.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:  # half of a pair, as JSON can have it
        raise errors.InvalidRequest("The path of the source is not text.", reason=_MOVING) from error
    with translating(_MOVING):
        real, missing = resolve(tree, source)
    hidden = f"{tree.prefix}/{HIDDEN}/"
    if not any(real.startswith(root.rstrip("/") + "/") for root in tree.move_roots) or f"{real}/".startswith(hidden):
        raise errors.NotPermitted(
            "The source of the move is outside the directories from which this archive may take files.", reason=_DENIED
        )
    if missing:
        raise errors.NotFound("The source of the move is not there.", reason=f"{_MOVING} with error: [Errno 2]")
    return real


def resolve(tree: HpssTree, path: str) -> tuple[str, bool]:
    """
    Follow the symbolic links of a path.

    @return: The path without them, and whether something on it is missing, so that the rest is as it was given.
    @raise errors.NotPermitted: The links lead in circles.
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
