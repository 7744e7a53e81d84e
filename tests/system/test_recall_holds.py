"""Operators act, by real commands at a simulated HPSS: a cartridge is held, is lost, comes back, and is retried."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from system.harness import HOST, PATIENCE, content, until
from system.terminal import run

if TYPE_CHECKING:
    from pathlib import Path

    from system.hpss import Site


@pytest.mark.timeout(300)
def test_a_cartridge_that_comes_back(site: Site, tmp_path: Path) -> None:
    """What waits is told by whom it is held; what has failed as it was lost is retried, and its job ends well."""
    audit = tmp_path / "audit.log"
    service = site.start(recall={"attempts": 1, "silence": 5}, beside=f"[audit]\nfile = {audit}\n")
    for file_id in (1, 2):
        service.ask("PUT", file_id, content(file_id, 1000))
        site.send_to_tape(file_id)
    (cartridge,) = site.archive.cartridges()
    environment = {"PACARCHIVE_URL": f"http://{HOST}:{service.port}", "TZ": "UTC"}

    def pacarchive(*arguments: str, code: int = 0) -> str:
        done = run(tmp_path, *arguments, environment=environment)
        assert done.returncode == code, done.stderr
        return str(done.stdout)

    def job_of(name: str) -> Any:
        return json.loads(service.ask("GET", f"/jobs/{name}").body)

    held = pacarchive("hold", "--cartridge", cartridge.name, "--why", "cleaning", "--for", "1h")
    assert held.startswith(f"cartridge {cartridge.name} is held by ")
    assert held.endswith(": cleaning\n")
    assert pacarchive("hold") == held
    job = json.loads(pacarchive("stage", "1-2", "--json"))["job"]
    until(lambda: job_of(job)["trouble"], "it is told that it is held", 2 * PATIENCE)
    shown = pacarchive("job", job)
    assert f"trouble   cartridge {cartridge.name} is held by " in shown
    assert "estimate  unknown" in shown
    assert job_of(job)["counts"]["queued"] == 2
    overview = json.loads(service.ask("GET", "/recall").body)
    assert any(f"2 files: Cartridge {cartridge.name} is held by " in each for each in overview["problems"])
    # It is lost meanwhile, and so the recalls fail for good once nobody holds it.
    site.archive.lose_cartridge(cartridge.name)
    site.archive.clock.set_scale(60)
    assert pacarchive("hold", "--cartridge", cartridge.name, "--end") == ""
    until(lambda: job_of(job)["state"] == "ended", "the recalls have failed", 4 * PATIENCE)
    assert job_of(job)["counts"]["failed"] == 2
    site.archive.restore_cartridge(cartridge.name)
    assert pacarchive("retry", "--cartridge", cartridge.name, "--dry-run") == "2 recalls failed\n"
    assert job_of(job)["state"] == "ended"
    assert pacarchive("retry", "--cartridge", cartridge.name, "--why", "repaired") == "retried: 2 recalls failed\n"
    assert pacarchive("job", job, "--wait").startswith("2 of 2 files are on disk")
    assert pacarchive("retry", "--everything", "--dry-run") == "0 recalls failed\n"
    assert pacarchive("jobs", "--json").count(job) == 1
    assert [json.loads(line)["file"] for line in pacarchive("pins", "--json").splitlines()] == ["1", "2"]
    assert "priority high" in pacarchive("job", job, "--priority", "high")
    pacarchive("retry", code=2)
    pacarchive("hold", "--drives", "--why", "cleaning", code=2)
    assert pacarchive("hold") == ""
    lines = [json.loads(line) for line in audit.read_text().splitlines()]
    said = [(each["what"], each.get("why")) for each in lines if each["what"] not in ("put", "PUT", "stage")]
    assert said == [("hold", "cleaning"), ("resume", None), ("retry", "repaired"), ("priority", None)]
