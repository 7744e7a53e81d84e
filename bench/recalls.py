#!/usr/bin/env python3
"""Measures the recall engine: in virtual time over a simulated tape library, and for real with a million files."""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import million
from tapes import Library, SimulatedTapes, best_order, first_in_first_out, make_files
from virtual import Simulation

from pacarchive.recall.words import FileState, JobRequest
from pacarchive.runtime.shared import all_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tapes import TapeFile

    from pacarchive.recall.words import JobStatus, JobSummary

DRIVES = 4
MEDIA = 20
BURST = 10_000

_LOOK = 20.0
"""Seconds between two looks whether jobs have ended."""


@attrs.frozen
class Figure:
    """
    Something that was measured.

    @ivar at_most: The bar, if it must not be more; C{at_least} likewise.
    """

    label: str
    value: float
    at_most: float | None = None
    at_least: float | None = None

    @property
    def is_good(self) -> bool:
        """Whether it meets the bar."""
        return (self.at_most is None or self.value <= self.at_most) and (
            self.at_least is None or self.value >= self.at_least
        )

    @property
    def bar(self) -> str:
        """The bar, in words."""
        if self.at_most is not None:
            return f"at most {_words(self.at_most)}"
        return "" if self.at_least is None else f"at least {_words(self.at_least)}"


def _words(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) or value >= 100 else f"{value:.3g}"


@attrs.frozen
class Arrival:
    """Files that somebody asks for, so many seconds after the beginning."""

    owner: str
    time: float
    file_ids: Sequence[int]


def arrivals(rng: random.Random, owners: str, sizes: range, gap: float, until: float, first_id: int) -> list[Arrival]:
    """Jobs of some owners, with such gaps between two of the same on average; no file twice."""
    found = []
    for owner in owners:
        then = rng.expovariate(1 / gap)
        while then < until:
            count = rng.choice(sizes)
            found.append(Arrival(owner, then, range(first_id, first_id + count)))
            first_id += count
            then += rng.expovariate(1 / gap)
    return sorted(found, key=lambda each: each.time)


async def submit(simulation: Simulation, arrival: Arrival, **wishes: Any) -> str:
    """Ask for it when it is time.  @return: The job."""
    await simulation.reactor.sleep(max(0.0, arrival.time - simulation.elapsed))
    return await simulation.engine.submit(JobRequest(owner=arrival.owner, file_ids=list(arrival.file_ids), **wishes))


async def ended(simulation: Simulation, job: str, look: float = _LOOK) -> JobStatus:
    """Wait until a job has ended."""
    while (status := await simulation.engine.status(job)).summary.left:
        await simulation.reactor.sleep(look)
    return status


def took(summary: JobSummary) -> float:
    """Seconds from the submission of a job to its end."""
    assert summary.ended is not None, "it was waited for"
    return summary.ended - summary.created


# The scenarios


def burst(share: float, seed: int) -> Iterator[Figure]:
    """One job for files all over the cartridges."""
    files = make_files(int(BURST * share), MEDIA, seed=seed)
    best = best_order(Library(files, drives=DRIVES), files)
    plain = Library(files, drives=DRIVES)
    slowest = first_in_first_out(plain, files, DRIVES)
    library = Library(files, drives=DRIVES)
    with Simulation(lambda reactor: SimulatedTapes(reactor, library), drives=DRIVES) as simulation:

        async def run() -> JobStatus:
            return await ended(simulation, await submit(simulation, Arrival("a", 0, list(files))))

        status = simulation.do(run())
    yield Figure("files that came", status.counts[FileState.COMPLETED], at_least=len(files))
    yield Figure("files that were read more than once", len(library.reads.values()) - len(files), at_most=0)
    yield Figure("mounts", library.mounts, at_most=25)
    yield Figure("mounts, first in first out", plain.mounts)
    yield Figure("time, of the best order known", took(status.summary) / best, at_most=1.15)
    yield Figure("time of first in first out, of the best order known", slowest / best)


def fair_shares(files: dict[int, TapeFile], jobs: Sequence[Arrival]) -> list[float]:
    """
    What an owner's jobs would take with a fair share, of as many owners as drives: one drive, for nobody else.  There
    they are done one after the other, each in the best order known.
    """
    library = Library(files, drives=1)
    found = []
    for job in sorted(jobs, key=lambda job: job.time):
        library.advance(job.time)
        found.append(best_order(library, job.file_ids) - job.time)
    return found


def stream(share: float, seed: int) -> Iterator[Figure]:
    """A greedy owner with everything at once, and three who come with jobs all the time."""
    rng = random.Random(seed)
    greedy = make_files(int(BURST * share), MEDIA, seed=seed)
    jobs = arrivals(rng, "bcd", range(10, 41), 3000, 15_000 * share, BURST + 1)
    others = make_files(sum(len(job.file_ids) for job in jobs), MEDIA, seed=seed + 1, first_id=BURST + 1)
    files = greedy | others
    jobs = [Arrival("a", 0, list(greedy)), *jobs]
    library = Library(files, drives=DRIVES)
    with Simulation(lambda reactor: SimulatedTapes(reactor, library), drives=DRIVES) as simulation:

        async def run(job: Arrival) -> float:
            return took((await ended(simulation, await submit(simulation, job))).summary)

        waited = simulation.do(all_of(run(job) for job in jobs))
    fair: dict[int, float] = {}
    for owner in "abcd":
        mine = [index for index, job in enumerate(jobs) if job.owner == owner]
        fair |= dict(zip(mine, fair_shares(files, [jobs[index] for index in mine]), strict=True))
    parts = sorted(took / fair[index] for index, took in enumerate(waited))
    yield Figure("jobs", len(jobs))
    yield Figure("time of the worst job, of its fair share", parts[-1], at_most=2)
    yield Figure("time of the middle job, of its fair share", parts[len(parts) // 2])
    yield Figure("mounts", library.mounts)


def faults(share: float, seed: int) -> Iterator[Figure]:
    """Requests are lost on the way, the storage system loses its state twice, and some jobs are given up."""
    deadline = 8 * 3600.0
    rng = random.Random(seed)
    jobs = arrivals(rng, "abcde", range(20, 81), 900, 12_000 * share, 1)
    files = make_files(sum(len(job.file_ids) for job in jobs), MEDIA, seed=seed)
    library = Library(files, drives=DRIVES, drop=0.05, seed=seed)
    tapes: list[SimulatedTapes] = []

    def make(reactor: Any) -> SimulatedTapes:
        tapes.append(SimulatedTapes(reactor, library))
        return tapes[0]

    confirmed: list[float] = []
    with Simulation(make, drives=DRIVES) as simulation:

        async def run(index: int, job: Arrival) -> JobStatus:
            name = await submit(simulation, job, deadline=deadline)
            if index % 5 == 4:
                await _until_started(simulation, name)
                asked = simulation.elapsed
                await simulation.engine.cancel(name)
                await ended(simulation, name, 0.1)
                confirmed.append(simulation.elapsed - asked)
            return await ended(simulation, name)

        async def lose() -> None:
            for part in (0.3, 0.6):
                await simulation.reactor.sleep(max(0.0, part * 12_000 * share - simulation.elapsed))
                tapes[0].lose_state()

        statuses = simulation.do(_both(all_of(run(*each) for each in enumerate(jobs)), lose()))
        left = simulation.do(simulation.engine.pins(limit=1))
    yield Figure("jobs", len(jobs))
    yield Figure(
        "jobs that outlasted their deadline", sum(took(each.summary) > deadline for each in statuses), at_most=0
    )
    yield Figure("files that did not come", sum(each.counts[FileState.FAILED] for each in statuses), at_most=0)
    yield Figure("files given up", sum(each.counts[FileState.CANCELLED] for each in statuses))
    yield Figure("requests, of files", tapes[0].requested / len(files))
    yield Figure("longest until a cancelled job has ended, s", max(confirmed, default=0.0), at_most=5)
    yield Figure("the same where all its requests were lost on the way, s", _cancel_what_was_lost(seed), at_most=5)
    assert left, "they are pinned for a day"


def _cancel_what_was_lost(seed: int) -> float:
    """Give a job up that the storage system does not know of.  @return: Seconds until it has ended."""
    library = Library(make_files(200, MEDIA, seed=seed), drives=DRIVES, drop=1.0)
    with Simulation(lambda reactor: SimulatedTapes(reactor, library), drives=DRIVES) as simulation:

        async def run() -> float:
            name = await submit(simulation, Arrival("a", 0, list(library.files)))
            while not (await simulation.engine.status(name)).counts[FileState.STARTED]:
                await simulation.reactor.sleep(0.1)
            asked = simulation.elapsed
            await simulation.engine.cancel(name)
            await ended(simulation, name, 0.1)
            return simulation.elapsed - asked

        return simulation.do(run())


async def _until_started(simulation: Simulation, name: str) -> None:
    while not (await simulation.engine.status(name)).counts[FileState.STARTED]:
        await simulation.reactor.sleep(5)
    await simulation.reactor.sleep(20)


async def _both(first: Any, second: Any) -> Any:
    return (await all_of([first, second]))[0]


def buffer(share: float, seed: int) -> Iterator[Figure]:
    """The same burst with much and with little disk, and readers who come some minutes after the files."""
    files = make_files(int(BURST * share), MEDIA, seed=seed)
    demand = sum(file.size for file in files.values())
    times, tapes = [], []
    for size in (0, demand // 10):
        library = Library(files, drives=DRIVES)
        made: list[SimulatedTapes] = []

        def make(reactor: Any, library: Library = library, size: int = size) -> SimulatedTapes:
            made.append(SimulatedTapes(reactor, library, buffer=size))  # noqa: B023
            return made[0]  # noqa: B023

        with Simulation(make, drives=DRIVES, buffer=size) as simulation:
            job = simulation.do(submit(simulation, Arrival("a", 0, list(files))))
            missed = simulation.do(_read_all(simulation, made[0], job, share))
            times.append(took(simulation.do(ended(simulation, job)).summary))
        tapes.append((made[0].buffer, missed, library))
    plain, (disk, missed, library) = times[0], tapes[1]
    yield Figure("disk, of the demand", (demand // 10) / demand)
    yield Figure("files that had to leave before they were read", len(disk.early), at_most=0)
    yield Figure("files that had to leave before they were released", len(disk.unreleased), at_most=0)
    yield Figure("files that were not there when they were read", missed, at_most=0)
    yield Figure("drive rate, of that without a limit", plain / times[1], at_least=0.9)
    yield Figure("mounts", library.mounts)


async def _read_all(simulation: Simulation, tapes: SimulatedTapes, job: str, share: float) -> int:
    """
    Look every minute what has come, read it at the same look some minutes later, and release it.

    @return: How many files were not there.
    """
    since, missed = "", 0
    coming: list[list[int]] = []
    delay = max(1, round(10 * share))  # minutes
    while True:
        more = True
        come: list[int] = []
        while more:
            page = await simulation.engine.files(job, since)
            come += [file.file_id for file in page.files if file.state is FileState.COMPLETED]
            since, more = page.cursor, page.more
        coming.append(come)
        if len(coming) > delay and (now := coming.pop(0)):
            missed += sum(not tapes.read(file_id) for file_id in now)
            await simulation.engine.release(job, now)
        if not any(coming) and not (await simulation.engine.status(job)).summary.left:
            return missed
        await simulation.reactor.sleep(60)


def estimate(share: float, seed: int) -> Iterator[Figure]:
    """
    Jobs of 5 to 150 files from six owners, and what was said of each half a minute after it came: all at once, and at
    three rates.  Where more comes than the drives can do, the queue only grows, and nobody can tell who will be in it.
    """
    for name, gap, until, bar in (
        ("all at once", 0.1, 1.0, 25),
        ("steady", 4500.0, 60_000.0, 25),
        ("busy", 2400.0, 30_000.0, 25),
        ("more than the drives can do", 1500.0, 20_000.0, None),
    ):
        yield from estimates(
            name, arrivals(random.Random(seed), "abcdef", range(5, 151), gap, until * share, 1), seed, bar
        )


def estimates(name: str, jobs: Sequence[Arrival], seed: int, bar: float | None) -> Iterator[Figure]:
    """How good the estimates of some jobs are; of all but the first third, where they do not come at once."""
    files = make_files(sum(len(job.file_ids) for job in jobs), MEDIA, seed=seed)
    library = Library(files, drives=DRIVES, jitter=0.1, seed=seed)
    with Simulation(lambda reactor: SimulatedTapes(reactor, library), drives=DRIVES) as simulation:

        async def run(job: Arrival) -> float | None:
            submitted = await submit(simulation, job)
            await simulation.reactor.sleep(30)
            asked = simulation.reactor.seconds()
            status = await simulation.engine.status(submitted)
            summary = (await ended(simulation, submitted)).summary
            assert summary.ended is not None, "it was waited for"
            if status.estimate is None:
                return None
            return abs(status.estimate.seconds / (summary.ended - asked) - 1)

        found = simulation.do(all_of(run(job) for job in jobs))
        lasted = simulation.elapsed / max(jobs[-1].time, 1)
    # A server has known its library for longer than for the first of these jobs.
    judged = found if jobs[-1].time < 60 else found[len(found) // 3 :]
    errors = sorted(each for each in judged if each is not None)
    yield Figure(f"{name}: jobs", len(jobs))
    if jobs[-1].time >= 60:
        yield Figure(f"{name}: time until the last has ended, of that in which they came", lasted)
    yield Figure(f"{name}: jobs without an estimate", found.count(None), at_most=0)
    yield Figure(f"{name}: error, median, %", 100 * _quantile(errors, 0.5), at_most=bar)
    for part in (0.25, 0.75, 0.9, 1):
        yield Figure(f"{name}: error, percentile {100 * part:.0f}, %", 100 * _quantile(errors, part))


def _quantile(values: Sequence[float], part: float) -> float:
    return values[min(len(values) - 1, int(part * len(values)))] if values else float("nan")


def coalesce(share: float, seed: int) -> Iterator[Figure]:
    """Many who want one and the same file."""
    askers, owners = int(1000 * share), 50
    files = make_files(10, 2, seed=seed)
    library = Library(files, drives=DRIVES)
    made: list[SimulatedTapes] = []

    def make(reactor: Any) -> SimulatedTapes:
        made.append(SimulatedTapes(reactor, library))
        return made[0]

    with Simulation(make, drives=DRIVES) as simulation:

        async def run(asker: int) -> bool:
            asked = await simulation.engine.want(1, f"owner{asker % owners}")
            assert asked.retry_after > 0
            return await simulation.engine.wait(1, 3600)

        come = simulation.do(all_of(run(asker) for asker in range(askers)))
        jobs = simulation.do(simulation.engine.jobs(limit=1000))
    yield Figure("askers who heard of its end", sum(come), at_least=askers)
    yield Figure("requests to the storage system", made[0].requested, at_most=1)
    yield Figure("reads", library.reads[1], at_most=1)
    yield Figure("jobs, one for each owner", len(jobs), at_most=min(owners, askers))


def run_million(share: float, seed: int) -> Iterator[Figure]:
    """Files by the million on a real disk, and a kill."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir=Path().absolute()) as folder:
        found = million.measure(Path(folder), max(20, int(5000 * share)), 200, 3.0)
    for each in found.damage[:10]:
        print(f"DAMAGE: {each}", file=sys.stderr)
    yield Figure("files submitted before the kill", found.files)
    yield Figure("files submitted a second", found.rate, at_least=2000)
    yield Figure("status of a job meanwhile, median, ms", 1000 * found.p50)
    yield Figure("status of a job meanwhile, p99, ms", 1000 * found.p99, at_most=50)
    yield Figure("memory, MiB", found.memory[1], at_most=500)
    yield Figure("what was lost or damaged by the kill", len(found.damage), at_most=0)
    yield Figure("started again: first status after, s", found.answered, at_most=10)
    yield Figure("started again: dispatching after, s", found.dispatching, at_most=10)


SCENARIOS: dict[str, Callable[[float, int], Iterator[Figure]]] = {
    "burst": burst,
    "stream": stream,
    "million": run_million,
    "faults": faults,
    "buffer": buffer,
    "estimate": estimate,
    "coalesce": coalesce,
}


def main() -> int:
    """Run it.  @return: The exit status: 1 where a figure does not meet its bar."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("scenario", nargs="*", help=f"these only: {', '.join(SCENARIOS)}")
    parser.add_argument("--share", type=float, default=1, help="the factor on all counts of files and jobs (default 1)")
    parser.add_argument("--seed", type=int, default=1, help="another world (default 1)")
    parser.add_argument("--out", type=Path, help="write the figures to this file too, as JSON")
    arguments = parser.parse_args()
    if unknown := set(arguments.scenario) - SCENARIOS.keys():
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    figures: dict[str, list[Figure]] = {}
    print("| scenario | figure | value | bar | |\n|---|---|---|---|---|")
    for name in arguments.scenario or SCENARIOS:
        begun = time.monotonic()
        figures[name] = list(SCENARIOS[name](arguments.share, arguments.seed))
        for each in figures[name]:
            print(f"| {name} | {each.label} | {_words(each.value)} | {each.bar} | {'' if each.is_good else 'MISSED'} |")
        print(f"{name}: {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    if arguments.out:
        document = {name: {each.label: each.value for each in found} for name, found in figures.items()}
        arguments.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0 if all(each.is_good for found in figures.values() for each in found) else 1


if __name__ == "__main__":
    sys.exit(main())
