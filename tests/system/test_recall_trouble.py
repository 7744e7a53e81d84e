"""A cartridge is lost: what people and programs are told of recalls that fail, by real commands at a simulated HPSS."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from typing import TYPE_CHECKING, Any

import forks
import pytest

from system.harness import HOST, PATIENCE, content, until
from system.terminal import COMMAND, Terminal, run

if TYPE_CHECKING:
    from pathlib import Path

    from system.hpss import Site

WORDS = "the tape system dropped the request"


@pytest.mark.timeout(240)
def test_a_lost_cartridge(site: Site, tmp_path: Path) -> None:
    """The reason, the attempt and the next try are shown wherever one waits; nowhere that it is nearly done."""
    service = site.start(recall={"attempts": 7})
    for file_id in (1, 2):
        service.ask("PUT", file_id, content(file_id, 1000))
        site.send_to_tape(file_id)
    (cartridge,) = site.archive.cartridges()
    site.archive.lose_cartridge(cartridge.name)
    site.archive.clock.set_scale(60)
    environment = {"PACARCHIVE_URL": f"http://{HOST}:{service.port}", "TZ": "UTC"}
    begun = time.monotonic()
    with open(tmp_path / "said", "wb") as said:
        waiting = forks.Popen(
            [*COMMAND, "get", "1-2", "-o", "out/", "--wait"], cwd=tmp_path, env={**os.environ, **environment},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said,
        )  # fmt: skip
    until(lambda: re.search(f"{WORDS}; 2 files, attempt", (tmp_path / "said").read_text()), "it is told", 2 * PATIENCE)
    job = re.findall("job ([0-9a-f]{32}) brings them", (tmp_path / "said").read_text())[0]

    def resting() -> Any:
        document = json.loads(service.ask("GET", f"/jobs/{job}?since=").body)
        # The job and its files are read one after the other: an attempt may have begun between the two.
        tries = [document["trouble"]["next_try"], *(each["next_try"] for each in document["changes"])]
        return all(each and each > time.time() + 3 for each in tries) and document

    # A caller who asks for one file alone gets the same words, and when to come back: not before the next attempt.
    document = until(resting, "an attempt has failed, and the next is not yet due", 2 * PATIENCE)
    attempts = document["trouble"]["attempts"]
    assert (document["estimate"], document["most_attempts"]) == (None, 7)
    assert document["trouble"]["files"] == 2
    left = document["trouble"]["next_try"] - time.time()
    assert min(each["next_try"] for each in document["changes"]) == document["trouble"]["next_try"]
    assert {(each["attempts"], each["reason"]) for each in document["changes"]} == {
        (attempts, "The tape system dropped the request.")
    }
    answer = service.ask("GET", 1)
    assert answer.status == 503
    assert int(answer.fields["retry-after"]) >= left - 2
    message = json.loads(answer.body)["message"]
    assert re.fullmatch(rf"The tape system dropped the request\. Attempt {attempts} of 7; next try in \d+ s\.", message)
    # On a slow machine the first rest may be over before a command has begun.
    shown = run(tmp_path, "job", job, environment=environment).stdout
    next_try = r"(, next try at \d\d:\d\d)?"
    assert re.search(rf"\nestimate  unknown\ntrouble   {WORDS}\n          2 files, attempt \d of 7{next_try}\n", shown)
    done = run(tmp_path, "get", "1", "-o", "one", environment=environment)
    assert done.returncode == 4
    state = r"(Attempt \d of 7; next try in \d+ s|It is being tried again)"
    wait = r"add --wait \(expected wait: at least \d+ (second|minute)s?\)"
    assert re.fullmatch(rf"pacarchive: file 1 is on tape: {WORDS}\. {state}; {wait}\n", done.stderr)
    with Terminal(tmp_path, "job", job, "--wait", environment=environment) as terminal:
        lines = terminal.shows(f"  {WORDS}")
        assert " left" not in "".join(lines)
        assert re.search(rf"  2 files, attempt \d of 7{next_try}\n", "\n".join([*lines, ""]))
    site.archive.restore_cartridge(cartridge.name)
    assert waiting.wait(3 * PATIENCE) == 0
    assert (tmp_path / "out/2").read_bytes() == content(2, 1000)
    lines = [line for line in (tmp_path / "said").read_text().splitlines() if line.startswith("get: 0 of 2 files")]
    # By how much fewer they are is for test_display, in its own time.
    assert 2 <= len(lines) <= 2 + (time.monotonic() - begun) / 5
    assert not [line for line in lines if " left" in line]
