"""Several servers measured in turns, phase by phase, so that what else the machine does meets all of them alike."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import attrs
from machine import Findings, Machine
from phases import PHASES, Bench
from server import Program, ServerError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from clients import Source


@attrs.frozen
class Contestant:
    """
    Who takes a turn.

    @ivar doc: What it is.
    @ivar phases: Those that it takes part in.
    @ivar start: Starts it in an empty folder; C{None}: it is the bare machine.
    """

    name: str
    doc: str
    phases: Sequence[str]
    start: Callable[[Path], Program] | None


MACHINE = Contestant(
    name="machine",
    doc="durable creates by a C program, with the steps and syncs of a PUT, and write and fsync of the large bytes",
    phases=("put", "one", "four"),
    start=None,
)


def take_turns(
    contestants: Sequence[Contestant],
    phases: Sequence[str],
    rounds: int,
    share: float,
    load: Path,
    source: Source,
    folder: Path,
) -> dict[str, list[Findings]]:
    """
    Measure all, in rounds, forwards and backwards by turns.  In each round they are started anew.

    @param share: The factor on all counts of requests and connections.
    @param load: The load program.
    @return: By the names of the contestants, what each round has found.
    @raise ServerError: One does not start.
    """
    found: dict[str, list[Findings]] = {each.name: [] for each in contestants}
    for number in range(rounds):
        with ExitStack() as stack:
            benches: dict[str, Bench | Machine] = {}
            for each in contestants:
                place = folder / f"{number}-{each.name}"
                place.mkdir()
                if each.start is None:
                    benches[each.name] = Machine(source, place, share)
                    continue
                try:
                    server = each.start(place)
                except ServerError as error:
                    raise ServerError(f"{each.name}: {error}") from error
                stack.callback(server.stop)
                benches[each.name] = Bench(server.port, server, load, source, place, share, 1)
            ordered = [phase for phase in PHASES if phase in phases]
            for index, phase in enumerate(ordered):
                turns = [each for each in contestants if phase in each.phases]
                for each in turns[:: -1 if (number + index) % 2 else 1]:
                    begun = time.monotonic()
                    benches[each.name].run([phase])
                    took = time.monotonic() - begun
                    print(f"round {number + 1} of {rounds}: {phase}: {each.name}: {took:.0f} s", file=sys.stderr)
        for name, bench in benches.items():
            found[name].append(bench)
    return found
