"""What a command need not import: half of what a short one takes is imports."""

from __future__ import annotations

import atexit
import gc
import os
from typing import TYPE_CHECKING

from pacarchive.cli.profiles import profile_of
from pacarchive.cli.server import url_of
from pacarchive.runtime.imports import do_without_http2, do_without_tls

if TYPE_CHECKING:
    import argparse


def leave_out(arguments: argparse.Namespace) -> None:
    """
    See that a command which asks a server imports no TLS to ask one without (no redirect is followed), nor HTTP/2.

    To be called only where the process is the command's own.

    @raise pacarchive.cli.words.Misunderstood: The chosen profile cannot be used.
    """
    # What is imported is no garbage; to look through it for some takes a tenth of the time, and at the end a fourth.
    gc.set_threshold(50_000)
    atexit.register(gc.freeze)
    do_without_http2()
    url = url_of(arguments, os.environ, profile_of(arguments, os.environ), "PACARCHIVE_URL")
    if not url.lower().startswith("https:"):
        do_without_tls()
