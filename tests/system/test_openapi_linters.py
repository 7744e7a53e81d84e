"""What two linters say of the description of the API: nothing at all."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pacarchive.web.application import ROUTER
from pacarchive.web.openapi import description
from system.npm import installed

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE = Path(__file__).parent
QUIET = {"REDOCLY_SUPPRESS_UPDATE_NOTICE": "true", "REDOCLY_TELEMETRY": "off"}

LINTERS = {
    # The last ones for the Node.js of Debian 12.
    "@stoplight/spectral-cli@6.16.3": (
        "spectral", "lint", "openapi.json", "--ruleset", HERE / "spectral.yaml", "--fail-severity", "hint",
        "--format", "json", "--quiet",
    ),
    "@redocly/cli@1.34.20": (
        "redocly", "lint", "openapi.json", "--config", HERE / "redocly.yaml", "--format", "json",
    ),
}  # fmt: skip


def lint(config: pytest.Config, package: str, directory: Path, document: object) -> subprocess.CompletedProcess[str]:
    """Have a linter look at a description."""
    (directory / "openapi.json").write_text(json.dumps(document))
    program, *arguments = LINTERS[package]
    command: Sequence[str | Path] = [installed(config, package) / ".bin" / program, *arguments]
    return subprocess.run(
        command, cwd=directory, env={**os.environ, **QUIET}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip


@pytest.mark.timeout(900)
@pytest.mark.parametrize("package", LINTERS)
def test_nothing_is_found(request: pytest.FixtureRequest, tmp_path: Path, package: str) -> None:
    """Neither errors nor warnings; and the linter finds something in what is odd."""
    document = description(ROUTER)
    done = lint(request.config, package, tmp_path, document)
    assert done.returncode == 0, done.stdout + done.stderr
    odd = {**document, "paths": {"/health": {**document["paths"]["/health"]}}}  # what is short is looked at sooner
    del odd["paths"]["/health"]["get"]["operationId"]
    done = lint(request.config, package, tmp_path, odd)
    assert done.returncode != 0
    assert "operation-operationId" in done.stdout
