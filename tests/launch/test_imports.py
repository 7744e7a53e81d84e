"""What a server imports at its start, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

NEVER = {
    "zoneinfo",  # and with it all that Python was built with
    "pymysql",
    "rich",
    "treq",
    "twisted.web.client",
}


def test_what_few_need_is_not_imported() -> None:
    """It would be in the memory of every process."""
    code = (
        "import sys, pacarchive.launch.service, pacarchive.launch.tap, pacarchive.settings.reading as reading\n"
        "reading.load(None, {}, {('server', 'asctime_zone'): 'UTC'})\n"
        "import pacarchive.web.application, pacarchive.recall.engine, pacarchive.backends.posix\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    assert "pacarchive.web.application" in imported
    assert not {each for each in imported if each in NEVER or each.startswith("_sysconfigdata")}
