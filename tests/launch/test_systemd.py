"""The unit files in C{tac/systemd}: systemd takes them, they are tight, and they allow what the server does."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pacarchive.settings.reading import load

UNITS = Path(__file__).parents[2] / "tac" / "systemd"
SERVICES = ["pacarchive.service", "pacarchive@.service"]
SOCKETS = ["pacarchive.socket", "pacarchive@.socket"]

EXPOSURE = 2.0
"""The highest C{systemd-analyze security} level that passes, of 10."""

# What the archive, Twisted and Python ask of the kernel beyond the obvious; see pacarchive/backends.
NEEDED = [
    "accept4",
    "clone3",
    "close",
    "copy_file_range",
    "epoll_create1",
    "fallocate",
    "fchmod",
    "fdatasync",
    "fgetxattr",
    "flock",
    "fsetxattr",
    "fsync",
    "getdents64",
    "linkat",
    "memfd_create",
    "mkdirat",
    "openat2",
    "pipe2",
    "fadvise64",
    "prlimit64",
    "pwrite64",
    "pwritev",
    "renameat2",
    "sched_getaffinity",
    "sendfile",
    "splice",
    "statx",
    "syncfs",
    "unlinkat",
    "utimensat",
    "vfork",
    "wait4",
]


@pytest.fixture
def analyze(tmp_path: Path) -> list[str]:
    """The command, with copies of all units in C{tmp_path} whose program exists here."""
    command = shutil.which("systemd-analyze")
    if command is None:
        pytest.fail("systemd-analyze is missing, so the unit files cannot be checked: install the package systemd")
    for unit in SERVICES + SOCKETS:
        text = (UNITS / unit).read_text()
        (tmp_path / unit).write_text(text.replace("/opt/pacarchive/bin/twistd", sys.executable))
    return [command]


def _run(command: list[str], directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=60, check=False)


def _version(analyze: list[str]) -> int:
    shown = subprocess.run([*analyze, "--version"], capture_output=True, text=True, check=True).stdout
    return int(shown.split()[1])


def _options(unit: str) -> dict[str, list[str]]:
    """The keys of the unit's [Service] section, with their values in order."""
    options: dict[str, list[str]] = {}
    section = (UNITS / unit).read_text().partition("[Service]\n")[2].partition("\n[")[0]
    for line in section.splitlines():
        if line and not line.startswith("#"):
            key, _, value = line.partition("=")
            options.setdefault(key, []).append(value)
    return options


@pytest.mark.parametrize(
    "unit", ["pacarchive.service", "pacarchive@1.service", "pacarchive.socket", "pacarchive@1.socket"]
)
def test_units_are_valid(analyze: list[str], tmp_path: Path, unit: str) -> None:
    """systemd knows every key and value."""
    done = _run([*analyze, "verify", "--man=no", f"./{unit}"], tmp_path)
    assert done.returncode == 0, done.stderr
    # Other units of this machine may have flaws of their own.
    assert [line for line in done.stderr.splitlines() if "pacarchive" in line] == []


@pytest.mark.parametrize("unit", SERVICES)
def test_services_are_tight(analyze: list[str], tmp_path: Path, unit: str) -> None:
    """systemd's own rating of what the service could do to the machine is low."""
    if _version(analyze) < 250:
        pytest.skip("this systemd cannot rate unit files")
    done = _run([*analyze, "security", "--offline=true", f"--threshold={EXPOSURE * 10:.0f}", f"./{unit}"], tmp_path)
    assert done.returncode == 0, done.stdout[-200:] + done.stderr


@pytest.mark.parametrize("unit", SERVICES)
def test_the_filter_lets_the_server_work(analyze: list[str], unit: str) -> None:
    """No system call that the server needs is refused."""
    shown = subprocess.run([*analyze, "syscall-filter"], capture_output=True, text=True, check=True).stdout
    groups: dict[str, set[str]] = {}
    for block in re.split(r"\n\n+", shown):
        name, *rest = block.strip().split("\n")
        groups[name] = {line.strip() for line in rest if not line.strip().startswith("#")}

    def expand(name: str) -> set[str]:
        return {call for each in groups[name] for call in (expand(each) if each.startswith("@") else {each})}

    allowed: set[str] = set()
    for value in _options(unit)["SystemCallFilter"]:
        named = {call for each in value.removeprefix("~").split() for call in expand(each)}
        allowed = allowed - named if value.startswith("~") else allowed | named
    assert [call for call in NEEDED if call not in allowed] == []


def test_both_services_are_alike() -> None:
    """What is protected in one is protected in the other."""
    plain, template = (_options(unit) for unit in SERVICES)
    (start,), (template_start,) = plain.pop("ExecStart"), template.pop("ExecStart")
    assert plain == template
    assert template_start == f"{start} --workers 1 --endpoint systemd:domain=INET:name=http"


@pytest.mark.parametrize("unit", SERVICES)
def test_time_to_drain(unit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd waits longer than the server's own limits take."""
    monkeypatch.chdir(tmp_path)
    (stop,) = _options(unit)["TimeoutStopSec"]
    assert int(stop) > load(None, {}, {}).server.drain_timeout + 20


@pytest.mark.parametrize("unit", SOCKETS)
def test_sockets_have_the_name_that_the_services_ask_for(unit: str) -> None:
    """The name in the endpoint string is the socket's, and only the template's sockets share their port."""
    socket = configparser.ConfigParser()
    socket.optionxform = str  # type: ignore[assignment, method-assign]
    socket.read(UNITS / unit)
    assert socket["Socket"]["FileDescriptorName"] == "http"
    assert socket["Socket"]["ListenStream"] == "127.0.0.1:8080"  # what makes it domain=INET
    assert ("ReusePort" in socket["Socket"]) is ("@" in unit)


def test_no_service_is_root() -> None:
    """The services run as a user of their own."""
    for unit in SERVICES:
        assert _options(unit)["User"] == ["pacarchive"]
        assert _options(unit)["CapabilityBoundingSet"] == [""]
