"""A service on a simulated HPSS that cannot start says so in one line."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import forks

from system.harness import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

    from system.harness import Service
    from system.hpss import Site


def _complaint(service: Service) -> tuple[int, str]:
    """The exit status, and the one line that says why."""
    status = service.ends()
    ordinary = ("UnixAppLogger#info]", "Main loop terminated")
    (line,) = (line for line in service.log.splitlines() if not any(words in line for words in ordinary))
    return status, line


def test_bad_settings(site: Site) -> None:
    """What does not fit this HPSS ends the start, with one line that has the setting's value and HPSS's own error."""
    keytab, forged = site.archive.keytab, site.archive.directory / "forged.keytab"
    forged.write_text(keytab.read_text().replace("simulated", "forged"))
    cannot_log_in = "HPSS: {} cannot log in with {}: hpss_SetLoginCred: {}"
    cases: list[tuple[dict[str, object], str]] = [
        ({"user": "nobody"}, cannot_log_in.format("nobody", keytab, "HPSS_SEC_EBAD_PRINCIPAL (-11004)")),
        ({"auth": "/none/keytab"}, cannot_log_in.format("hpss", "/none/keytab", "HPSS_SEC_EKEYTAB (-11002)")),
        ({"auth": forged}, cannot_log_in.format("hpss", forged, "HPSS_SEC_EBAD_KEY (-11003)")),
        ({"sitename": "elsewhere"}, "HPSS: there is no site elsewhere: hpss_LookupRootCS: HPSS_ENOENT (-2)"),
    ]
    for number, (hpss, words) in enumerate(cases):
        status, line = _complaint(site.start(hpss=hpss, workers=1 + number % 2))
        assert status == 1
        assert re.search(f"cannot start: (worker .: )?{re.escape(words)}$", line), line


def test_bad_prefix(site: Site) -> None:
    """The prefix is never made: a slip of the pen would be a second archive."""
    site.archive.write("/file", b"data")
    for workers, prefix, words in (
        (1, "/none", "the prefix /none cannot be used: hpss_Stat: HPSS_ENOENT (-2)"),
        (2, "/file", "/file is not a directory"),
    ):
        status, line = _complaint(site.start("--prefix", prefix, workers=workers))
        assert status == 1
        assert re.search(f"cannot start: (worker .: )?HPSS: {re.escape(words)}$", line), line
    assert "/none" not in {entry.path for entry in site.archive.entries("/")}


def test_printed_settings(tmp_path: Path) -> None:
    """C{pacarchive config} shows what would be in force, without HPSS."""
    (tmp_path / "given.ini").write_text("[server]\ntype = hpss\nprefix = /archive\n[hpss]\nuser = somebody\n")
    command = [sys.executable, "-c", "import sys; from pacarchive.cli import main; sys.exit(main())", "config"]
    shown = forks.run(
        [*command, "-c", "given.ini"], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=PATIENCE
    )
    lines = shown.stdout.splitlines()
    for line in ("type = hpss", "prefix = /archive", "[hpss]", "user = somebody", "ping_interval = 10 s"):
        assert line in lines, shown.stdout


def test_start_without_core_server(site: Site) -> None:
    """It ends with words; whoever started it tries again."""
    site.archive.set("server_state", "down")
    status, line = _complaint(site.start(workers=2))
    assert status == 1
    assert re.search(r"cannot start: worker .: HPSS: .* hpss_SetLoginCred: HPSS_ECONN \(-50\)$", line), line
