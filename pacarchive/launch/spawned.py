"""Run a worker as a program of its own, where it cannot be forked: C{python -m pacarchive.launch.spawned}.

L{pacarchive.launch.forking} says when that is.
"""

from __future__ import annotations

import os
import sys

from pacarchive.launch.service import make_archive_service
from pacarchive.launch.worker import run


def main() -> None:
    """Serve the archive until the parent stops this worker, then exit."""
    status = run(make_archive_service)
    # All is released.  Finalising the interpreter as well would take half a second in each worker, for which whoever
    # stops or restarts the service would wait; twistd, which ends by its signal, does not do it either.
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
