"""The section C{[console]}: the pages for people in a browser."""

from __future__ import annotations

import os

import attrs

from pacarchive.settings.converters import count, flag
from pacarchive.settings.fields import setting


@attrs.frozen(kw_only=True)
class ConsoleSettings:
    """
    The pages for people in a browser: C{[console]}.

    @ivar key: What sessions are sealed with: another at each start, and the same in all workers.
    """

    enabled: bool = setting(
        True,
        flag,
        "Whether there are pages for people in a browser, at /console: how everything is, what moves, what comes next. "
        "They show what the caller may see, as the REST API does.",
    )
    viewers: int = setting(
        100,
        count,
        "The most pages that are kept up to date at a time, per worker process; beyond, a page says that it is not "
        "live. Of these, one address has [limits] client_share.",
    )
    key: bytes = attrs.field(
        init=False, repr=False, eq=False, factory=lambda: os.urandom(32), metadata={"computed": True}
    )
