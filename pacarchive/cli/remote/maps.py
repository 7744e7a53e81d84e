"""Maps of ids to paths: lines of an id, white space, and a path up to the end of the line."""

from __future__ import annotations

import os
import sys
from collections.abc import Container, Mapping, Sequence
from typing import TYPE_CHECKING, TextIO

from pacarchive.cli.remote.ids import numbered, text_of
from pacarchive.cli.words import Misunderstood
from pacarchive.client.landing import Landing
from pacarchive.ids import parse_file_id

if TYPE_CHECKING:
    import argparse


def read_map(path: str, stdin: TextIO) -> list[tuple[int, str]]:
    """
    Read which files go by which ids.

    @param path: C{-} for standard input.
    @raise Misunderstood: A line is something else, or an id is there twice.
    """
    found: dict[int, str] = {}
    name = "stdin" if path == "-" else path
    for number, line in enumerate(text_of(path, stdin, "surrogateescape").split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        first, *rest = line.split(maxsplit=1)
        try:
            file_id = parse_file_id(first)
        except ValueError:
            raise Misunderstood(f"{name}, line {number}: {first!r} is not a valid id; a line is: ID PATH") from None
        if not rest:
            raise Misunderstood(f"{name}, line {number}: no path stands behind the id")
        if file_id in found:
            raise Misunderstood(f"{name}, line {number}: id {file_id} is there twice")
        # A name is bytes, whatever the locale makes of them.
        found[file_id] = os.fsdecode(rest[0].strip().encode("utf-8", "surrogateescape"))
    if not found:
        raise Misunderstood(f"{name}: contains no files")
    return list(found.items())


def named_files(arguments: argparse.Namespace) -> list[tuple[int, str]]:
    """
    The files that a command line names, in a map or by their paths, with their ids.

    @raise Misunderstood: It names none, or not by which ids.
    """
    if arguments.id_file is not None:
        if arguments.files or arguments.id is not None:
            raise Misunderstood("with --id-file, the files and their ids are named in there")
        return read_map(arguments.id_file, sys.stdin)
    if not arguments.files:
        raise Misunderstood("which files? Name them, or give --id-file")
    if arguments.id is None:
        raise Misunderstood("under which id? Give --id N (several files get N, N+1, ...), or --id-file")
    return numbered(arguments.files, arguments.id)


class SavedMap:
    """
    The map that a command leaves behind.

    @param path: Where it will be.  What is there already is replaced only if it is a map of the same files under the
        same ids, from the same command, which was cut short.
    @param files: Those that may be in it.
    @ivar path: That path.
    @raise Misunderstood: Something else is there, or a name cannot stand in a map.
    @raise OSError: It cannot be written.
    """

    def __init__(self, path: str, files: Sequence[tuple[int, str]]) -> None:
        self.path = path
        self._files = {file_id: _lasting(file) for file_id, file in files}
        self._before = set[int]()
        if os.path.lexists(path):
            self._before = _before(path, self._files)
        self._landing = Landing(path)

    def write(self, stored: Container[int]) -> None:
        """
        Write it, all at once, if there is something to write.

        @param stored: Those of the files that are in the archive.
        """
        kept = [(each, file) for each, file in self._files.items() if each in stored or each in self._before]
        if kept:
            self._landing.write([_line(file_id, file) for file_id, file in kept], 0)
            self._landing.publish()

    def close(self) -> None:
        """Be done with it, written or not."""
        self._landing.close()


def _lasting(file: str) -> str:
    """
    The name of a file as it can stand in a map.

    @raise Misunderstood: It cannot.
    """
    name = f"./{file}" if file[:1].isspace() else file
    text = os.fsencode(name).decode("utf-8", "surrogateescape")
    if text != text.strip() or "\n" in text or "\r" in text:
        raise Misunderstood(f"{file!a} cannot stand in a map: it has an end of a line in it, or a blank at its end")
    return name


def _before(path: str, files: Mapping[int, str]) -> set[int]:
    """The files of the map that is there."""
    try:
        before = dict(read_map(path, sys.stdin))
    except Misunderstood:
        before = {-1: ""}
    if not before.items() <= files.items():
        raise Misunderstood(f"{path}: exists and is not a map of these files under these ids")
    return set(before)


def _line(file_id: int, file: str) -> bytes:
    if file == "-":
        return b"# %d came from standard input\n" % file_id
    return b"%d %b\n" % (file_id, os.fsencode(file))
