"""This checkout beside other servers, or beside another commit of it."""

from __future__ import annotations

import os
import statistics
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from goals import OURS, Goal, collect, goals, remarks, table
from history import describe_commit, install_commit
from peers import PEERS, PeerError
from phases import PHASES
from server import Server, ServerError
from turns import MACHINE, Contestant, take_turns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clients import Source

_ALONE = ("hello", "machine")
"""Phases that say nothing beside others: the machine takes turns itself."""


@attrs.frozen
class Plan:
    """
    What is measured.

    @ivar phases: Their names.
    @ivar share: The factor on all counts of requests and connections.
    @ivar workers: Processes of each server.
    @ivar settings: Of ours: section, key and value of each.
    """

    rounds: int
    phases: Sequence[str]
    share: float
    workers: int
    settings: Sequence[tuple[str, str, str]]


@attrs.frozen
class Result:
    """
    What came of it.

    @ivar lines: A table and notes, in Markdown.
    @ivar report: The same and more, for JSON.
    @ivar right: Whether every answer of ours was.
    @ivar goals: Each goal, with what it came to.
    @ivar beside: The other servers, with their versions.
    @ivar foreign: The share of the machine that others used, in percent: the median of all that ours did.
    """

    lines: Sequence[str]
    report: dict[str, object]
    right: bool
    goals: Sequence[tuple[Goal, float | None]] = ()
    beside: str = ""
    foreign: float = 0


def measure(
    plan: Plan, against: Sequence[str], compare: str | None, load: Path, source: Source, folder: Path
) -> Result:
    """
    Measure ours and others in turns.

    @param against: Names of peers.  One that cannot be had is left out, and the notes say why.
    @param compare: A commit of this repository.
    @raise PeerError: None of them can be had.
    @raise ServerError: Ours does not start.
    """
    phases = [phase for phase in plan.phases if phase not in _ALONE]
    ours = Contestant(OURS, "this checkout", list(PHASES), partial(_start, plan, None))
    peers, missing = _find_peers(plan, against, folder)
    contestants = [ours, *peers]
    before = None
    if compare is not None:
        before, programs = install_commit(compare)
        contestants.append(Contestant(before, f"the commit {compare}", list(PHASES), partial(_start, plan, programs)))
    if len(contestants) == 1:
        raise PeerError("; ".join(missing))
    if against:
        contestants.append(MACHINE)
    findings = take_turns(contestants, phases, plan.rounds, plan.share, load, source, folder)
    found = {name: collect(rounds) for name, rounds in findings.items()}
    wanted = goals(source.size) if against else []
    notes = [f"* {each.name}: {each.doc}" for each in contestants] + [f"* not measured: {each}" for each in missing]
    for name, rounds in findings.items():
        notes += remarks(rounds, name)
    values = [(goal, goal.value(found)) for goal in wanted]
    report: dict[str, object] = {
        "cores": os.cpu_count(),
        "commit": describe_commit(),
        "servers": {each.name: each.doc for each in contestants},
        "missing": missing,
        "goals": [
            {**attrs.asdict(goal), "value": value, "met": goal.is_met(value)}
            for goal, value in values
            if value is not None
        ],
        "rounds": {name: [each.as_json() for each in rounds] for name, rounds in findings.items()},
    }
    right = not any(each.problems for name in filter(None, (OURS, before)) for each in findings[name])
    beside = ", ".join(f"{each.name} {each.doc.partition(',')[0]}" for each in peers)
    shares = [share for each in findings[OURS] for share in each.foreign.values()]
    foreign = statistics.median(shares) if shares else 0
    return Result([*table(found, wanted, before), "", *notes], report, right, values, beside, foreign)


def _start(plan: Plan, programs: Path | None, folder: Path) -> Server:
    return Server(folder, plan.workers, plan.settings, programs and programs / "twistd")


def _find_peers(plan: Plan, names: Sequence[str], folder: Path) -> tuple[list[Contestant], list[str]]:
    """Find or install them, and try whether they start.  @return: Those that do, and why the others do not."""
    found, missing = [], []
    for name in names:
        peer = PEERS[name]
        try:
            program = peer.find()
            place = folder / f"trial-{name}"
            place.mkdir()
            peer.start(program, place, plan.workers).stop()
        except (PeerError, ServerError, OSError) as error:
            missing.append(f"{name}: {error}")
            print(f"bench: {missing[-1]}", file=sys.stderr)
            continue
        start = partial(peer.start, program, workers=plan.workers)
        found.append(Contestant(name, peer.describe(program), peer.phases, start))
    return found, missing
