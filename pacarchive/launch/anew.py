"""A worker that is no fork: C{python -m pacarchive.launch.anew}.  L{pacarchive.launch.forking} says when."""

from __future__ import annotations

import os
import sys

from pacarchive.launch.service import make_archive_service
from pacarchive.launch.worker import run


def main() -> None:
    """Serve the archive."""
    status = run(make_archive_service)
    # All is released.  To take the interpreter apart as well would be half a second's work in each worker, for which
    # whoever stops or restarts the service would wait; twistd, which ends by its signal, does not do it either.
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
