"""The tour of the simulator, in the page that stands beside it: what it says behind its commands is what happens."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from system.harness import PATIENCE, until
from system.pages import Shell, blocks

if TYPE_CHECKING:
    from collections.abc import Callable

    from system.harness import Service

PAGE = Path(__file__).parents[2] / "ext/README.md"

SHOWN = {
    "disk": "disk",
    "tape": "tape",
    "503": "http status 503",
    "202": "http status 202",
    "hello": "hello",
    "!!": "!!",
    "-T": "-T",
    "0 has failed": "failed",
}
"""What a comment says at its beginning, or at its end, and what is to be seen of that."""


@pytest.mark.timeout(300)
def test_the_tour(tmp_path: Path, serve: Callable[..., Service]) -> None:
    """From the archive that it creates to what the service did to the library; the service is started in its place."""
    from system.hpss import environment

    (tmp_path / "hpss-simulator").write_text(
        f'#!/bin/sh\nPYTHONPATH={PAGE.parent}/simulator exec {sys.executable} -m hpss_simulator "$@"\n'
    )
    (tmp_path / "hpss-simulator").chmod(0o755)
    commands = [line for block in blocks(PAGE) if not block.language for line in block.lines if line]
    create, begin, end = (
        next(place for place, line in enumerate(commands) if line.startswith(first))
        for first in ("hpss-simulator create", "echo hello", "$ ")
    )
    (settings,) = ("\n".join(block.lines) for block in blocks(PAGE) if block.language == "ini")
    here = {"/tmp/archive": str(tmp_path / "hpss")}
    with Shell(tmp_path, here, {**environment(), "PATH": f"{tmp_path}:/usr/bin:/bin"}) as shell:
        seen = 0

        def run(line: str) -> None:
            nonlocal seen
            text, _, said = (part.strip() for part in line.partition("  # "))
            for shown, replacement in here.items():
                text = text.replace(shown, replacement)
            expected = [SHOWN[word] for word in SHOWN if said.startswith(word) or said.endswith(f": {word}")]

            def shows_it() -> bool:
                status, output, complained = shell.run(text, PATIENCE)
                assert status == 0 or "grep" in text, f"{text}\n{output}\n{complained}"
                return all(each in output + complained for each in expected)

            until(shows_it, line)
            seen += len(expected)

        run(commands[create])
        service = serve(
            "-t", "hpss", "--prefix", "/archive",
            settings=re.sub("/tmp/archive", str(tmp_path / "hpss"), settings), environment=environment(),
        )  # fmt: skip
        here["127.0.0.1:8080"] = f"127.0.0.1:{service.port}"
        for line in commands[begin:end]:
            run(line)
    assert seen == 9, "each comment that says what is to be seen was compared"
    service.stop()
    assert "Traceback" not in service.log
