"""The C{posix} backend's own settings: the section C{[posix]}."""

from __future__ import annotations

import attrs

from pacarchive.settings.converters import flag
from pacarchive.settings.fields import setting


@attrs.frozen(kw_only=True)
class PosixSettings:
    """The C{posix} backend's own: C{[posix]}."""

    use_id2filename: bool = setting(
        False, flag, "Spread the files over a tree of directories made from the id, instead of one directory."
    )
