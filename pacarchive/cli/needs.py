"""Imports that a command does without: half the time of a short one is spent on imports."""

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
    Keep a command that calls a server without TLS from importing TLS (redirects are not followed), and all from HTTP/2.

    To be called only if the process runs nothing else.

    @param arguments: The parsed command line.
    @raise pacarchive.cli.words.Misunderstood: The chosen profile cannot be used.
    """
    # Imported modules are not garbage; collecting takes a tenth of the time while they are imported, and a fourth at
    # exit.
    gc.set_threshold(50_000)
    atexit.register(gc.freeze)
    do_without_http2()
    url = url_of(arguments, os.environ, profile_of(arguments, os.environ), "PACARCHIVE_URL")
    if not url.lower().startswith("https:"):
        do_without_tls()
