"""C{pacarchive check} as a process, and what it tells."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import attrs
import forks

from pacarchive.cli.check.ids import FIRST_ID, block
from pacarchive.cli.check.session import SPARE
from system.harness import HOST, PATIENCE

MANY = 12
SMALL = ("--large-file-size", "3MiB", "--many", str(MANY))
MODES = ["none", "pacifica"]


@attrs.frozen
class Ran:
    """
    A run of the command that has ended.

    @ivar outcomes: By the name of each check.
    @ivar end: What it told at the end.
    """

    code: int
    events: list[dict[str, Any]]
    errors: str

    @property
    def outcomes(self) -> dict[str, str]:
        return {event["name"]: event["outcome"] for event in self.events if event["event"] == "check"}

    @property
    def end(self) -> dict[str, Any]:
        return self.events[-1]

    def having(self, outcome: str) -> set[str]:
        """The checks that ended so."""
        return {name for name, each in self.outcomes.items() if each == outcome}

    def assert_passed(self) -> None:
        """All that means anything here has passed, and nothing is left."""
        bad = [event for event in self.events if event.get("outcome") not in (None, "passed", "not applicable")]
        assert not bad, bad
        assert self.having("not applicable") <= {"move"}, self.events
        assert (self.code, self.end["event"], self.end["left"]) == (0, "end", []), self.errors


def command(*arguments: str) -> list[str]:
    """How the command is run."""
    return [sys.executable, "-c", "import sys; from pacarchive.cli import main; sys.exit(main())", "check", *arguments]


def environment(**more: str) -> dict[str, str]:
    """This process's own, without what the command would take from it."""
    names = ("ARCHIVE_URL", "PACARCHIVE_URL", "LARGE_FILE_SIZE", "MANY_FILES_TEST_COUNT", "PACARCHIVE_TOKEN",
             "PACARCHIVE_CA")  # fmt: skip
    return {**{name: value for name, value in os.environ.items() if name not in names}, **more}


def check(port: int, *options: str) -> Ran:
    """Run the command against a server."""
    ran = forks.run(
        command(f"http://{HOST}:{port}", *SMALL, "--json", *options),
        capture_output=True, text=True, check=False, env=environment(), timeout=10 * PATIENCE,
    )  # fmt: skip
    return Ran(ran.returncode, [json.loads(line) for line in ran.stdout.splitlines()], ran.stderr)


def ids(many: int = MANY) -> list[int]:
    """The ids that a run uses."""
    return block(FIRST_ID, many + SPARE)
