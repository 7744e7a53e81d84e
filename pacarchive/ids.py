"""File ids, and the paths that are made from them.

A file id is the integer in the URL.  Text is always converted to an id by L{parse_file_id}, so that a file never has
two names (for the predecessor C{007}, C{7} and Arabic digits are the same).

L{id_to_path} and L{path_to_id} are the predecessor's C{id2filename} and C{filename2id}: a bijection between ids and
paths, by which directories stay small.
"""

from __future__ import annotations

import re
from functools import lru_cache

MAX_FILE_ID = 2**64 - 1
"""The largest file id; HPSS and SAM-QFS sites use ids of up to 64 bits."""

_CANONICAL_ID = re.compile(r"(?:0|[1-9][0-9]{0,19})\Z", re.ASCII)
_SINGLE_BYTE_NAME = re.compile(r"/file\.(0|[1-9a-f][0-9a-f]?)\Z", re.ASCII)
_HEX_PATH = re.compile(r"((?:/[0-9a-f]{2})+)/([1-9a-f][0-9a-f]{2,})\Z", re.ASCII)


def parse_file_id(text: str) -> int:
    """
    Convert the canonical decimal form of a file id.

    @param text: ASCII digits without sign, leading zero or white space.
    @return: The id, C{0 <= id <= }L{MAX_FILE_ID}.
    @raise ValueError: C{text} is anything else.
    """
    if _CANONICAL_ID.match(text) is None:
        raise ValueError("not a canonical file id")
    file_id = int(text)
    if file_id > MAX_FILE_ID:
        raise ValueError("a file id is below 2**64")
    return file_id


def id_to_path(file_id: int) -> str:
    """
    Spread ids over a tree of directories, lowest byte first.

    >>> id_to_path(1234), id_to_path(12345), id_to_path(1)
    ('/d2/4d2', '/39/3039', '/file.1')

    @param file_id: A non-negative integer.
    @return: An absolute path below the archive's prefix.
    @raise ValueError: C{file_id} is negative.
    """
    if file_id < 0:
        raise ValueError("a file id is not negative")
    digits = f"{file_id:x}"
    if len(digits) <= 2:
        return f"/file.{digits}"
    directories = []
    rest = digits
    while len(rest) > 2:
        directories.append(rest[-2:])
        rest = rest[:-2]
    return f"/{'/'.join(directories)}/{digits}"


def path_to_id(path: str) -> int:
    """
    Return the id of a path; the inverse of L{id_to_path}.

    @param path: A path as L{id_to_path} makes it.
    @return: The id.
    @raise ValueError: No id has this path.
    """
    if many := _HEX_PATH.match(path):
        directories, digits = many.groups()
        low = _low_digits(directories)
        if digits.endswith(low) and 1 <= len(digits) - len(low) <= 2:
            return int(digits, 16)
    elif single := _SINGLE_BYTE_NAME.match(path):
        return int(single[1], 16)
    raise ValueError("no file id has this path")


@lru_cache(1024)
def _low_digits(directories: str) -> str:
    """The digits of the ids whose files are in a directory, but for the first one or two of each."""
    return "".join(reversed(directories[1:].split("/")))
