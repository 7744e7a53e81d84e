"""The database's password is where it must be, in the settings file, and nowhere else that others can see."""

from __future__ import annotations

import base64
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import forks
import pytest

from system.harness import PATIENCE, group_members, until

if TYPE_CHECKING:
    from system.harness import Service
    from system.sideband import Site


def _spellings(password: str) -> set[bytes]:
    """The password and what it might be written as."""
    plain = password.encode()
    escaped = [repr(password), repr(plain), password.encode("unicode_escape").decode()]
    return {plain, plain.hex().encode(), base64.b64encode(plain), *(each.strip("'b\"").encode() for each in escaped)}


def _shows(data: bytes, password: str) -> bool:
    """Whether it is there; C{s3cret}, with which it begins, would be bad enough."""
    return b"s3cret" in data or any(each in data for each in _spellings(password))


def _asked_for_everything(service: Service) -> bytes:
    """All answers, header fields included."""
    seen = []
    with service.client() as client:
        for method in ("HEAD", "GET", "POST", "PROPFIND", "DELETE", "PUT", "PATCH", "OPTIONS"):
            for path in ("/12345", "/12346", "/health", "/", "/x"):
                answer = client.ask(method, path, b"{}" if method in ("PUT", "PATCH") and path == "/x" else b"")
                seen.append(repr(answer.fields).encode() + answer.body)
        seen.append(client.ask("GET", "/health").body)
    return b"\n".join(seen)


def _processes(service: Service) -> bytes:
    """What everybody may see of them, and what their children would get."""
    seen = []
    for pid in group_members(service.process.pid):
        with suppress(FileNotFoundError, ProcessLookupError):  # a stage command ends at any time
            seen += [Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ")]
    assert sum(b"twistd" in each or b"pacarchive.launch.spawned" in each for each in seen) >= 1
    return b"".join(seen)


@pytest.mark.parametrize(
    ("trouble", "workers"),
    [("none", 2), ("away", 2), ("frozen", 2), ("wrong password", 1), ("no database", 1), ("no table", 1)],
)
def test_the_password_is_not_told(sam: Site, trouble: str, workers: int) -> None:
    """Neither in the log nor in answers, and nor in what the system tells of the processes, whatever goes wrong."""
    wrong = {"wrong password": {"password": sam.password + "x"}, "no database": {"schema": "no_such"}}.get(trouble, {})
    service = sam.start(hsm={"database_timeout": 0.5, **wrong}, workers=workers, tcp=trouble == "away", forked=False)
    assert sam.password in (service.directory / "settings.ini").read_text()
    assert service.ask("PUT", 12345, b"data").status == 201
    assert service.ask("PUT", 12346, b"data").status == 201
    if not wrong:
        sam.to_tape(12346)
    if trouble == "away":
        sam.server.stop()
    elif trouble == "frozen":
        sam.server.freeze()
    elif trouble == "no table":
        sam.server.execute("DROP TABLE sam_path", database="sam1")
    assert not _shows(_asked_for_everything(service), sam.password)
    assert not _shows(_processes(service), sam.password)
    if trouble != "none":
        until(lambda: "where the bytes of files are is not known" in service.log, "it is said")
    service.stop()
    assert not _shows(service.log.encode(), sam.password)
    if trouble == "away":
        sam.server.start()


def _print_settings(settings: Path) -> subprocess.CompletedProcess[bytes]:
    """C{pacarchive config}."""
    command = (sys.executable, "-c", "import sys; from pacarchive.cli import main; sys.exit(main())", "config")
    return forks.run([*command, "-c", str(settings)], capture_output=True, timeout=PATIENCE, check=False)


def test_the_password_is_not_printed(sam: Site) -> None:
    """C{pacarchive config} shows all other settings of the database, and that there is a password."""
    settings = sam.start().directory / "settings.ini"
    settings.write_text(settings.read_text().replace("[server]\n", "[server]\ntype = hsmsideband\n"))
    done = _print_settings(settings)
    assert done.returncode == 0, done.stderr
    assert f"user = {sam.user}".encode() in done.stdout
    assert b"password = ****" in done.stdout
    assert not _shows(done.stdout + done.stderr, sam.password)


@pytest.mark.parametrize("lines", ["password = {0}\npassword = {0}", "passwort = {0}", "password = {0}\nport = none"])
def test_settings_that_cannot_be_used(tmp_path: Path, lines: str) -> None:
    """What is said of them does not repeat the password."""
    settings = tmp_path / "settings.ini"
    settings.write_text("[server]\ntype = hsmsideband\n[hsm_sideband]\n" + lines.format("s3cret") + "\n")
    done = _print_settings(settings)
    assert done.returncode == 2
    assert done.stderr
    assert not _shows(done.stdout + done.stderr, "s3cret")
