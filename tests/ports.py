"""Ports for what is started later, and by others than this process."""

from __future__ import annotations

import random
import socket
from contextlib import suppress

HOST = "127.0.0.1"


def free_port() -> int:
    """
    A port that nobody has, and that nobody gets by chance before it is used: it is none of those that connections on
    this machine get for their own end, and another run of tests at the same time is not likely to choose it.
    """
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            return port
    raise AssertionError("there is no free port")
