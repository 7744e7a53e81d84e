"""What is written down of requests: the section C{[audit]}."""

from __future__ import annotations

from pathlib import Path

import attrs

from pacarchive.settings.converters import optional_path
from pacarchive.settings.fields import setting


@attrs.frozen(kw_only=True)
class AuditSettings:
    """Who changed what: C{[audit]}."""

    file: Path | None = setting(
        None,
        optional_path,
        "Where a line of JSON is appended for each change of the archive, before it is acknowledged, and for each "
        "request that is refused for want of a right. SIGHUP opens it again.",
    )
