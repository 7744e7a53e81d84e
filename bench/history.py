"""Commits of this checkout, and the file that keeps what they came to."""

from __future__ import annotations

import subprocess
import tarfile
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from goals import figure_words
from peers import ROOT, PeerError, make_environment

import pacarchive

if TYPE_CHECKING:
    from collections.abc import Sequence

    from goals import Goal

HISTORY = Path(__file__).with_name("history.md")


def describe_commit() -> str:
    """The commit of this checkout, with a plus if it has been changed since; a dash where it has none."""
    try:
        commit = _git("rev-parse", "--short=10", "HEAD").strip()
        return f"{commit}+" if _git("status", "--porcelain", "--untracked-files=no").strip() else commit
    except PeerError:
        return "-"


def install_commit(name: str) -> tuple[str, Path]:
    """
    Install a commit into an environment of its own, if it is not there.

    @return: The commit in short, and the folder of its programs.
    @raise PeerError: There is no such commit, or it cannot be installed.
    """
    try:
        commit = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}").strip()
    except PeerError as error:
        raise PeerError(f"{name} is no commit of this repository") from error
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        archive = Path(folder) / "commit.tar"
        _git("archive", "--output", str(archive), commit)
        with tarfile.open(archive) as tar:
            tar.extractall(Path(folder) / "source", filter="data")
        return commit[:10], make_environment(f"pacarchive-{commit}", str(Path(folder) / "source"))


def keep(
    values: Sequence[tuple[Goal, float | None]], commit: str, beside: str, foreign: float, path: Path = HISTORY
) -> None:
    """
    Append a row; where the last table of the file has other columns, a new table.

    @param values: The goals, and what each came to.
    @param beside: The other servers, with their versions.
    @param foreign: The share of the machine that others used, in percent.
    """
    columns = ["version", "commit", "date", "beside", "others' CPU, %", *(_title(goal) for goal, _ in values)]
    header = f"| {' | '.join(columns)} |"
    cells = [f"{foreign:.0f}", *(figure_words(value) for _, value in values)]
    today = datetime.now(UTC).date().isoformat()
    row = f"| {' | '.join([pacarchive.__version__, commit, today, beside, *cells])} |"
    text = path.read_text(encoding="utf-8")
    headers = [line for line in text.splitlines() if line.startswith("| version |")]
    lines = [row] if headers and headers[-1] == header else ["", header, "|---" * len(columns) + "|", row]
    with open(path, "a", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


def _title(goal: Goal) -> str:
    return f"{goal.name}{f' / {goal.of}' if goal.of else ''} ({'≥' if goal.at_least else '≤'} {goal.bar:g})"


def _git(*arguments: str) -> str:
    """
    What git says.

    @raise PeerError: It fails, or there is none.
    """
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise PeerError("there is no git here") from error
    if done.returncode:
        raise PeerError(f"git {arguments[0]} fails: {done.stderr.strip()}")
    return done.stdout
