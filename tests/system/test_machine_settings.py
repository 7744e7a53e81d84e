"""The settings of the machine's service, which are found where nothing names others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import forks
import pytest

from pacarchive.cli.words import SETTINGS_FILE
from pacarchive.settings.reading import MACHINE_FILE

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]

# The file's place is the only thing that differs from what an operator types.
START = "import sys; import pacarchive.settings.reading as config; config.MACHINE_FILE = sys.argv.pop(1);"
COMMAND = f"{START} from pacarchive.cli import main; sys.exit(main())"
PREDECESSOR = f"{START} from pacarchive.cli.admin.predecessor import main; sys.exit(main())"
TWISTD = f"{START} from twisted.scripts.twistd import run; run()"


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A machine's settings, with an archive that has the file 5."""
    (tmp_path / "srv").mkdir()
    (tmp_path / "srv/5").write_text("five")
    (tmp_path / "srv/5").chmod(0o444)
    file = tmp_path / "pacarchive.ini"
    file.write_text(f"[server]\nprefix = {tmp_path}/srv\nendpoint = tcp:0:interface=127.0.0.1\nworkers = 77\n")
    return file


def run(code: str, file: Path, *words: str, wrapper: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """A program, with the machine's file in another place."""
    environment = {name: each for name, each in os.environ.items() if not name.startswith(("ARCHIVE", "PAI_"))}
    environment |= {"HOME": str(file.parent / "home")}
    command = [*wrapper, sys.executable, "-c", code, str(file), *words]
    return forks.run(command, cwd=file.parent, env=environment, capture_output=True, text=True, check=False)


def test_the_command_finds_the_services_archive(machine: Path) -> None:
    """C{config} tells what is in force, and C{admin} works on it."""
    done = run(COMMAND, machine, "config")
    assert (done.returncode, "workers = 77\n" in done.stdout) == (0, True), done.stderr
    done = run(COMMAND, machine, "admin", "adopt")
    assert (done.returncode, f"posix archive {machine.parent}/srv" in done.stdout) == (0, True), done.stderr
    done = run(COMMAND, machine, "admin", "delete", "--yes", "5")
    assert (done.returncode, (machine.parent / "srv/5").exists()) == (0, False), done.stderr


def test_the_predecessors_command_finds_it_too(machine: Path) -> None:
    """Instead of the predecessor's own default, C{/tmp}."""
    done = run(PREDECESSOR, machine, "delete", "5")
    assert (done.returncode, (machine.parent / "srv/5").exists()) == (0, False), done.stderr


def test_the_server_finds_them(machine: Path) -> None:
    """twistd's plugin reads the same file as the command."""
    machine.write_text("[server]\nprefix = /nonexistent\n")
    done = run(TWISTD, machine, "-n", "--pidfile=", "pacarchive")
    assert (done.returncode, done.stderr) == (
        2,
        f"pacarchive: {machine}: [server] prefix: /nonexistent is not an existing directory\n",
    )


@pytest.mark.parametrize("words", [("config", "-c", "/dev/null"), ("config", "-c", "other.ini")])
def test_a_file_that_is_named_goes_before_it(machine: Path, words: tuple[str, ...]) -> None:
    """One with no settings as well."""
    (machine.parent / "other.ini").write_text("")
    assert "workers = 77" not in run(COMMAND, machine, *words).stdout


def test_none_is_needed(tmp_path: Path) -> None:
    """Where it is not there, the defaults hold."""
    assert run(COMMAND, tmp_path / "none.ini", "config").returncode == 0


@pytest.mark.parametrize("closed", ["pacarchive.ini", "."])
def test_another_user_is_told(machine: Path, closed: str) -> None:
    """A file, or a directory, that only the service's user may read is one clear line, and not the defaults."""
    (machine.parent / closed).chmod(0)
    # Without root's right to read everything.
    wrapper = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()
    try:
        done = run(COMMAND, machine, "config", wrapper=wrapper)
    finally:
        (machine.parent / closed).chmod(0o700)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"pacarchive: {machine}: Permission denied; this is the file of the machine's service: be its user, or name"
        " another file with -c\n"
    )


def test_the_command_works_through_a_link(tmp_path: Path) -> None:
    """As the manual has one in C{/usr/local/bin}."""
    link = tmp_path / "pacarchive"
    link.symlink_to(Path(sys.executable).with_name("pacarchive"))
    done = subprocess.run([link, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("pacarchive ")
    for page in "installation", "deployment":
        words = "ln -s /opt/pacarchive/bin/pacarchive /usr/local/bin/pacarchive\n"
        assert words in (ROOT / f"docs/{page}.md").read_text()


def test_the_help_names_it() -> None:
    """And so does the unit, which is where the manual has it installed."""
    assert MACHINE_FILE in SETTINGS_FILE
    assert f" -c {MACHINE_FILE}\n" in (ROOT / "tac/systemd/pacarchive.service").read_text()
