"""
Whether a server answers as it describes itself, whatever it is asked: schemathesis over C{/openapi.json}.

Real workers: over a directory (C{posix}), over a simulated HPSS whose files come and go between disk and tape
(C{hpss}), and over a directory with callers who may do little or nothing (C{guarded}).  Requests are made of the
description: such as it allows, and such as it does not.  Each answer must have a status, a media type, header fields
and a document that are described (and no members beyond), no other 5xx than 503, which has C{Retry-After}; what is
malformed in a path, a query or a document must be refused.

    python -m tests.campaigns.described --cases 20000
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from conformance import strict_answers
from system.harness import Service, content

from pacarchive.access import tokens
from pacarchive.access.rights import EVERYTHING, Right

IDS = range(1, 41)
JOBS = 150
OPERATIONS = 60
"""About as many as there are, each of which gets its share of the requests."""

BACKENDS = ("posix", "hpss", "guarded")
LACKING = {"hpss": [("/files", 501)]}
"""What a storage cannot do, and says so."""

CHECKS = (
    "no_failure", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance", "negative_data_rejection", "unsupported_method", "allowed",
)  # fmt: skip

_KNOWN = ("unsupported_method", "allowed")
"""What is only told to those who are known."""

_SETTINGS = """
[recall]
get_wait = 2
"""

_RULES = """
[auth]
anonymous = none
tokens = {tokens}
"""
_CALLERS = (("all", EVERYTHING), ("reads", Right.READ), ("adds", Right.CREATE), ("stages", Right.STAGE))
"""The first may do everything, the others little."""

_CONFIGURATION = """
[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 411, 412, 413, 415, 416, 417, 429, 431, 501, 503]
"""


@contextmanager
def _served(service: Service) -> Iterator[Service]:
    try:
        yield service
        service.stop()
        service.assert_clean()
    finally:
        service.kill()


@contextmanager
def _posix(directory: Path) -> Iterator[tuple[Service, list[str]]]:
    with _served(Service(directory / "service", settings=_SETTINGS, workers=2)) as service:
        yield service, []


@contextmanager
def _guarded(directory: Path) -> Iterator[tuple[Service, list[str]]]:
    """Callers: one who may do everything, others who may do little, and some that are nobody."""
    made = {name: tokens.make_token() for name, _ in _CALLERS}
    lines = [tokens.Token(name, tokens.digest_of(made[name]), rights).line for name, rights in _CALLERS]
    (directory / "tokens").write_text("".join(f"{line}\n" for line in lines))
    settings = _SETTINGS + _RULES.format(tokens=directory / "tokens")
    callers = [f"Bearer {each}" for each in made.values()]
    with _served(Service(directory / "service", settings=settings, workers=2)) as service:
        service.given = {"Authorization": callers[0]}
        yield service, [*callers, callers[0], f"Bearer {tokens.make_token()}", "Basic Og==", ""]


@contextmanager
def _hpss(directory: Path) -> Iterator[tuple[Service, list[str]]]:
    """Files go to tape, and come from there, all the time."""
    from system.hpss import Site, path_of  # only now: it builds the simulator

    site = Site(directory, lambda *options, **more: Service(directory / "service", *options, **more))
    over = threading.Event()

    def live() -> None:
        turn = 0
        while not over.wait(0.05):
            turn += 1
            site.archive.clock.advance(30)
            with suppress(Exception):  # it may have been removed, or be on its way
                site.archive.migrate(path_of(IDS[turn % len(IDS)]))
                site.archive.purge(path_of(IDS[turn % len(IDS)]))

    service = site.start(workers=2, recall={"get_wait": 2})
    living = threading.Thread(target=live, daemon=True)
    try:
        service.port  # noqa: B018  (waits for it)
        living.start()
        yield service, []
        over.set()
        living.join()
        site.close()
        service.assert_clean()
    finally:
        over.set()
        service.kill()


_STARTS: dict[str, Callable[[Path], Any]] = {"posix": _posix, "hpss": _hpss, "guarded": _guarded}


def _furnish(service: Service) -> list[str]:
    """Have files, and jobs that brought them.  @return: The jobs."""
    jobs = []
    for file_id in IDS:
        assert service.ask("PUT", file_id, content(("described", file_id), file_id * 100)).status == 201
    for number in range(JOBS):
        body = json.dumps({"files": [IDS[number % len(IDS)], f"{IDS[0]}-{IDS[number % 5]}"], "pin": 60})
        answer = service.ask("POST", "/jobs", body, {"Content-Type": "application/json"})
        assert answer.status == 201, answer.body
        jobs.append(json.loads(answer.body)["job"])
    return jobs


def run(directory: Path, backend: str, cases: int, seed: int) -> tuple[int, Counter[str], str]:
    """
    Have a server asked.

    @param cases: About how many requests.
    @return: The exit status of schemathesis, its answers counted by method and status, and what it printed.
    """
    directory.mkdir(parents=True)
    with _STARTS[backend](directory) as (service, callers):
        jobs = _furnish(service)
        document = json.loads(service.ask("GET", "/openapi.json").body)
        (directory / "openapi.json").write_text(json.dumps(strict_answers(document)))
        (directory / "schemathesis.toml").write_text(_CONFIGURATION)
        given = {
            "file_id": [str(each) for each in IDS],
            "job": jobs,
            "callers": callers,
            "lacking": LACKING.get(backend, []),
        }
        checks = ",".join(each for each in CHECKS if not (callers and each in _KNOWN))
        done = subprocess.run(
            [
                sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()",
                "--config-file", "schemathesis.toml",
                "run", "openapi.json", "--url", f"http://127.0.0.1:{service.port}",
                "--checks", checks, "--max-examples", str(max(1, cases // OPERATIONS)),
                "--seed", str(seed), "--generation-database", "none", "--phases", "examples,coverage,fuzzing",
                "--continue-on-failure", "--request-timeout", "60", "--workers", "1", "--warnings", "off",
                "--suppress-health-check", "all", "--no-color",
            ],
            cwd=directory,
            env={
                **os.environ,
                "SCHEMATHESIS_HOOKS": "campaigns.described_hooks",
                "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]),
                "PACARCHIVE_DESCRIBED": json.dumps({**given, "counts": str(directory / "counts")}),
            },
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
    counts = directory / "counts"
    return done.returncode, Counter(json.loads(counts.read_text()) if counts.exists() else {}), done.stdout


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it, and print the figures.  @return: The exit status: 1 where an answer is not as described."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.described", description=__doc__.split("\n\n")[0])
    parser.add_argument("--cases", type=int, default=20_000, help="about how many requests, in all (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="what is drawn from (%(default)s)")
    parser.add_argument("--backends", default=",".join(BACKENDS), help="which servers (%(default)s)")
    chosen = parser.parse_args(arguments)
    backends = chosen.backends.split(",")
    if unknown := set(backends) - set(BACKENDS):
        parser.error(f"no such backend: {', '.join(sorted(unknown))}")
    failed = total = 0
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for backend in backends:
            begun = time.monotonic()
            status, counts, said = run(directory / backend, backend, chosen.cases // len(backends), chosen.seed)
            total += sum(counts.values())
            print(f"{backend}: {sum(counts.values())} answers in {time.monotonic() - begun:.0f} s")
            print("  " + ", ".join(f"{what}: {times}" for what, times in sorted(counts.items())))
            if status:
                failed += 1
                print(said)
    print(f"{total} answers; {failed} of {len(backends)} servers answer otherwise than described (seed {chosen.seed})")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
