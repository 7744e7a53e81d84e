"""What L{forks} runs is a process like any other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import forks
import pytest

if TYPE_CHECKING:
    from pathlib import Path

PYTHON = (sys.executable, "-c")

TELLING = """
import json, os, signal, sys, threading
print(json.dumps([
    sys.argv, os.getcwd(), os.environ.get("SOMETHING"), sys.stdin.read(), sys.stdout.encoding, sys.stdout.errors,
    sys.stdout.line_buffering, sys.stderr.line_buffering, sys.stdout.isatty(), sys.path[0], os.getsid(0) == os.getpid(),
    signal.getsignal(signal.SIGINT) is signal.default_int_handler, threading.active_count(),
    sorted(os.listdir("/proc/self/fd")), "twisted.internet.reactor" in sys.modules,
]))
print("complaint", file=sys.stderr)
sys.exit(7)
"""


@pytest.mark.parametrize("more", [{}, {"PYTHONUNBUFFERED": "1"}, {"PYTHONIOENCODING": "latin-1"}])
@pytest.mark.parametrize("session", [False, True])
def test_it_finds_what_another_finds(tmp_path: Path, more: dict[str, str], session: bool) -> None:
    """Arguments, directory, variables, files and their manners, as Python has them where it starts; and its end."""
    ours = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = [
        run(
            [*PYTHON, TELLING, "ä", "\udcff"], cwd=tmp_path, env={**ours, "SOMETHING": "x", **more}, input=b"words",
            capture_output=True, start_new_session=session,
        )
        for run in (forks.run, subprocess.run)
    ]  # fmt: skip
    assert [(each.returncode, each.stdout, each.stderr) for each in done[:1]] == [
        (each.returncode, each.stdout, each.stderr) for each in done[1:]
    ]
    assert done[0].returncode == 7


SERVING = "pacarchive.web.application"

FINDING = f"""
import sys
print({SERVING!r} in sys.modules)
import {SERVING}
from twisted.internet import reactor
print(hasattr(reactor, "callWhenRunning"))
"""


def test_it_has_imported_what_serves() -> None:
    """Which takes longer than all else of a server's start; and the reactor that comes then is a real one."""
    assert forks.run([*PYTHON, FINDING], stdout=forks.PIPE, text=True).stdout.split() == ["True", "True"]


def test_how_it_ends() -> None:
    """By a signal, by a failure, or by the text of one; what runs on can be waited for."""
    for number in (signal.SIGKILL, signal.SIGTERM):
        with forks.Popen([*PYTHON, "print(flush=True); import time; time.sleep(60)"], stdout=forks.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"\n"
            assert process.poll() is None
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.01)
            process.send_signal(number)
            assert process.wait() == -number
    done = forks.run([*PYTHON, "1 / 0"], capture_output=True, text=True)
    assert (done.returncode, "ZeroDivisionError" in done.stderr) == (1, True)
    with pytest.raises(subprocess.CalledProcessError):
        forks.run([*PYTHON, "exit(3)"], check=True)
    began = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired):
        forks.run([*PYTHON, "import time; time.sleep(60)"], capture_output=True, timeout=0.1)
    assert time.monotonic() - began < 30


@pytest.mark.program
def test_others_are_run_as_ever() -> None:
    """What is not C{python -c}."""
    assert forks.run(["echo", "words"], capture_output=True).stdout == b"words\n"
