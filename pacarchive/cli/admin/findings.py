"""The kinds of findings of C{pacarchive admin adopt}, with advice for each."""

from __future__ import annotations

from typing import Final

import attrs


@attrs.frozen
class Kind:
    """
    A kind of finding.

    @ivar title: What was found; the count follows it.
    @ivar advice: What it means, and what to do.
    @ivar needs_attention: Whether the operator has to decide something; else it is only good to know.
    """

    title: str
    advice: str
    needs_attention: bool = True


@attrs.frozen
class Finding:
    """
    A finding.

    @ivar kind: A key of L{KINDS}.
    @ivar path: The path, relative to the prefix; empty for what concerns the whole archive.
    @ivar detail: Further information on this one.
    """

    kind: str
    path: str = ""
    detail: str = ""


KINDS: Final[dict[str, Kind]] = {
    # Names.
    "layout": Kind(
        "names of the other layout",
        "The settings' use_id2filename does not fit them, and they are not served as it is. If the other setting fits"
        " most files, change it; give the rest ids with PATCH.",
    ),
    "no_id": Kind(
        "names that are not ids",
        "They are not served, and stay where they are. PATCH gives a file an id; or move it out of the archive.",
    ),
    "same_id": Kind(
        "names for an id that another name stands for, too",
        "Only the one of the settings' layout, in the usual spelling, is served. Compare the two, and remove one or"
        " give it another id with PATCH.",
    ),
    # Files.
    "unfinished": Kind(
        "files that can be written to",
        "The predecessor makes a file read-only when it is complete, and pacarchive too: a PUT that was cut short left"
        " this one, or the predecessor's PATCH moved it in. Compare it with its source. If it is right: chmod 0444; if"
        " not: pacarchive admin delete, and send it again.",
    ),
    "unreadable": Kind(
        "files that this user cannot read",
        "The service could not serve them if it runs as this user. Change their mode or owner.",
    ),
    "owner": Kind(
        "files of another user",
        "Only their owner, or root, can store digests with them. Run the service as their owner, or change it (chown).",
    ),
    "special_bits": Kind(
        "files with setuid, setgid or sticky bits",
        "Data has no use for them. Find out who set them; chmod 0444 removes them.",
    ),
    "symlink": Kind(
        "symbolic links",
        "They are not followed: to clients, there is no such file. Put the file itself in the place of the link.",
    ),
    "special": Kind("things that are neither files nor directories", "They are not served. Remove them."),
    "hard_link": Kind(
        "files with further names (hard links)",
        "Whoever changes the file under its other name changes the archive's. Remove the other name, or put a copy"
        " here.",
    ),
    "stale_digest": Kind(
        "files whose stored digest cannot be theirs",
        'They were changed after it was stored, and are not served. See "And back" in the page on migration; pacarchive'
        " admin digest --verify finds those that show no outward sign of it.",
    ),
    # Directories.
    "unreadable_directory": Kind(
        "directories that cannot be read",
        "What is below was not looked at, and cannot be served. Change their mode or owner, and run this again.",
    ),
    "other_file_system": Kind(
        "directories on another file system",
        "Files cannot be published by a rename across file systems. Move their contents to the prefix's own.",
    ),
    # The place itself.
    "read_only": Kind("the file system is mounted read-only", "Nothing can be stored. Mount it read-write."),
    "hidden": Kind(
        "the directory .pacarchive is somebody else's",
        "pacarchive keeps its locks and temporaries there. Run the service as its owner; or stop it, and change the"
        " owner of the directory and of all that is in it (chown -R).",
    ),
    "full": Kind("the file system is nearly full", "Make room before clients send files."),
    # Good to know.
    "no_digest": Kind(
        "files without a digest",
        "pacarchive admin digest stores them; from then on reads are checked.",
        needs_attention=False,
    ),
    "empty": Kind("files of zero bytes", "Right if their sources are empty as well; compare.", needs_attention=False),
    "mode": Kind(
        "files whose mode is not 0444", "They are served; chmod 0444 makes them like the rest.", needs_attention=False
    ),
    "empty_directory": Kind(
        "empty directories",
        "The predecessor makes them when it is asked for a file that is not there. They do no harm.",
        needs_attention=False,
    ),
    "left_over": Kind(
        "files among the temporaries",
        "Uploads under way, or what is left of some: pacarchive admin sweep tells.",
        needs_attention=False,
    ),
    "no_attributes": Kind(
        "the file system has no extended attributes",
        "Digests are kept in files of their own, below .pacarchive, and go when a file is moved by hand.",
        needs_attention=False,
    ),
    "no_unnamed_files": Kind(
        "the file system has no unnamed files (O_TMPFILE)",
        "An upload that a crash cuts short leaves a temporary, which the next start removes.",
        needs_attention=False,
    ),
    "root": Kind(
        "this is root",
        "root may do everything. Run this as the service's user to see what that may not.",
        needs_attention=False,
    ),
}
"""All kinds, in the order of the report."""
