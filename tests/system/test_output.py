"""What the commands print goes out, whatever the locale and whoever reads it; and what does not is told."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import forks
import pytest

from system.harness import HOST, PATIENCE, Service
from system.terminal import COMMAND, Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

OLD_COMMAND = (sys.executable, "-c", "import sys; from pacarchive.cli.admin.predecessor import main; sys.exit(main())")

ASCII = {"PYTHONIOENCODING": "ascii"}
LATIN = {"PYTHONIOENCODING": "iso-8859-1"}
PLAIN_C = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
POSIX = {"LC_ALL": "POSIX", "LANG": "", "LC_CTYPE": ""}

HELPS = [
    ["--help"], ["--version"], ["put", "--help"], ["admin", "digest", "--help"], ["check", "--list"],
    ["completion", "bash"],
]  # fmt: skip
"""Commands that only print."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One for all tests; it has the files 1 and 2."""
    started = Service(tmp_path_factory.mktemp("archive"))
    for file_id in (1, 2):
        assert started.ask("PUT", file_id, b"data").status == 201
    yield started
    started.stop()
    started.assert_clean()


def use(service: Service) -> list[list[str]]:
    """Commands that do something."""
    prefix = ["--prefix", str(service.prefix)]
    return [
        ["stat", "1-2"], ["stat", "1", "--json"], ["verify", "grün…", "--id", "1"],
        ["put", "grün…", "--id", "1", "--replace"], ["get", "1", "-o", "grün…"], ["stage", "1-2", "--plan"],
        ["config", "--config", "settings.ini"], ["admin", "adopt", *prefix], ["admin", "digest", *prefix],
        ["admin", "sweep", *prefix],
    ]  # fmt: skip


def act(
    directory: Path, words: Sequence[str], command: Sequence[str] = COMMAND, ending: str = "", **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """A command, to its end; with C{ending}, what a shell does with its files."""
    (directory / "grün…").write_bytes(b"data")
    (directory / "settings.ini").write_text(f"[server]\nprefix = {directory}\n")
    shell = ("bash", "-c", f'"$@" {ending}', "bash") if ending.endswith("&-") else ()
    with ExitStack() as opened:
        files: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        if ending == "| nobody":
            reads, files["stdout"] = os.pipe()
            os.close(reads)
            opened.callback(os.close, files["stdout"])
        elif not shell and ending:
            name, path = ending.split(">")
            files["stderr" if name == "2" else "stdout"] = opened.enter_context(open(path, "wb")).fileno()
        return forks.run(
            [*shell, *command, *words], cwd=directory, env={**os.environ, **environment}, timeout=PATIENCE, **files
        )


@pytest.mark.parametrize("environment", [ASCII, LATIN, PLAIN_C, POSIX], ids=["ascii", "latin", "c", "posix"])
def test_text_goes_out_in_any_locale(service: Service, tmp_path: Path, environment: dict[str, str]) -> None:
    """What the encoding lacks is written in characters that it has; the exit code is what it is elsewhere."""
    url = f"http://{HOST}:{service.port}"
    failing = (["get", "3", "-o", "x"], ["get", "1", "-o", "no…ne/x"], ["stat", "1", "--url", "http://…"])
    for words, code in (*((each, 0) for each in use(service)), *zip(failing, (1, 1, 2), strict=True)):
        done = act(tmp_path, words, PACARCHIVE_URL=url, **environment)
        assert (done.returncode, bool(done.stdout), done.stderr.count(b"\n")) == (code, code == 0, code != 0), words
    done = act(tmp_path, ["put", "grün…", "--id", "1", "--replace"], PACARCHIVE_URL=url, **ASCII)
    assert done.stdout.startswith(b"1  gr\\xfcn...  4 B  sha256:3a6eb0790f39ac87...  stored in ")
    done = act(tmp_path, ["stat", "1"], PACARCHIVE_URL=url, **ASCII)
    assert done.stdout.endswith(b"DISK           ####       3a6eb0790f...\n")


@pytest.mark.parametrize("environment", [{}, PLAIN_C, ASCII], ids=["utf-8", "c", "ascii"])
def test_names_that_are_no_text_are_names(service: Service, tmp_path: Path, environment: dict[str, str]) -> None:
    """Bytes that no encoding knows, on the command line and in maps."""
    name = b"odd\xff\xc3\xa4"
    (tmp_path / os.fsdecode(name)).write_bytes(b"data")
    (tmp_path / "map").write_bytes(b"20 " + name + b"\n")
    told = {"PACARCHIVE_URL": f"http://{HOST}:{service.port}", **environment}
    for words in (["--id", "20", os.fsdecode(name)], ["--id-file", "map"]):
        for command in ("put", "verify"):
            done = act(tmp_path, [command, *words], **told)
            assert (done.returncode, done.stderr) == (0, b"")
            assert b"odd\\udcff" in done.stdout
    done = act(tmp_path, ["get", "99", "-o", os.fsdecode(name) + "x"], **told)
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
    for words in (["stat", "\udcff"], ["nonsense\udcff"], ["stat", "1", "--url", "\udcff"], ["mv", "/\udcff", "5"]):
        done = act(tmp_path, words, **told)
        assert b"Traceback" not in done.stderr
        assert done.returncode in (1, 2, 7)


@pytest.mark.parametrize("buffered", [True, False])
def test_what_could_not_be_written_is_told(service: Service, tmp_path: Path, buffered: bool) -> None:
    """One line, and 1; whether it is found at once, or at the end."""
    told = {"PACARCHIVE_URL": f"http://{HOST}:{service.port}"} | ({} if buffered else {"PYTHONUNBUFFERED": "1"})
    for words in (*HELPS, *use(service)) if buffered else HELPS:
        done = act(tmp_path, words, ending=">/dev/full", **told)
        lines = done.stderr.decode().splitlines()
        assert (done.returncode, lines[-1:]) == (1, ["pacarchive: No space left on device"]), (words, lines)
        assert "Traceback" not in done.stderr.decode()


@pytest.mark.parametrize("buffered", [True, False])
def test_whoever_reads_no_more_is_left_in_peace(service: Service, tmp_path: Path, buffered: bool) -> None:
    """As after C{| head}: no words, and what a shell knows of a program that SIGPIPE ends."""
    told = {"PACARCHIVE_URL": f"http://{HOST}:{service.port}"} | ({} if buffered else {"PYTHONUNBUFFERED": "1"})
    for words in (*HELPS, *use(service)) if buffered else HELPS:
        gone = act(tmp_path, words, ending="| nobody", **told)
        assert (gone.returncode, b"Traceback" in gone.stderr, b"Broken" in gone.stderr) == (141, False, False), words


@pytest.mark.parametrize("ending", ["2>/dev/full", "2>&-"])
def test_failures_that_cannot_be_told_have_their_exit_codes(service: Service, tmp_path: Path, ending: str) -> None:
    """Nobody hears of them, and scripts do."""
    url = f"http://{HOST}:{service.port}"
    for words, code in (
        (["stat", "1"], 0),
        (["stat", "3"], 1),
        (["stat", "x"], 2),
        (["nonsense"], 2),
        (["config", "--config", "none"], 2),
        (["stat", "1", "--url", "http://127.0.0.1:1", "--retry", "1"], 3),
        (["admin", "delete", "77", "--yes", "--prefix", str(service.prefix)], 1),
    ):
        assert act(tmp_path, words, ending=ending, PACARCHIVE_URL=url).returncode == code, words


def test_the_predecessors_command(tmp_path: Path) -> None:
    """Its name has the same manners."""
    for ending, code in ((">/dev/full", 1), (">&-", 1), ("", 0)):
        done = act(tmp_path, ["--help"], OLD_COMMAND, ending, **ASCII)
        assert (done.returncode, b"Traceback" in done.stderr) == (code, False)
    done = act(tmp_path, ["--help"], OLD_COMMAND, "| nobody")
    assert (done.returncode, done.stderr) == (141, b"")
    done = act(tmp_path, ["--prefix", ".", "delete", "…\udcff"], OLD_COMMAND, **ASCII)
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)


@pytest.mark.parametrize("size", ["0", "-1", "x", "²", "99999999999999999999"])
def test_a_terminal_whose_size_makes_no_sense_is_asked(service: Service, tmp_path: Path, size: str) -> None:
    """Nothing would be drawn."""
    (tmp_path / "file").write_bytes(b"x" * 3_000_000)
    told = {"PACARCHIVE_URL": f"http://{HOST}:{service.port}", "COLUMNS": size, "LINES": size}
    with Terminal(tmp_path, "put", "file", "--id", "60", environment=told) as terminal:
        assert terminal.ends() == 0
    assert any("60  file  2.9 MiB" in line for line in terminal.screens[-1])


@pytest.mark.parametrize("environment", [ASCII, LATIN, PLAIN_C])
def test_a_bar_is_drawn_in_any_locale(service: Service, tmp_path: Path, environment: dict[str, str]) -> None:
    """In characters that there are."""
    names = [f"file{number}" for number in range(30)]
    for name in names:
        (tmp_path / name).write_bytes(b"x" * 2_000_000)
    told = {"PACARCHIVE_URL": f"http://{HOST}:{service.port}", **environment}
    with Terminal(tmp_path, "put", *names, "--id", "100", environment=told) as terminal:
        assert terminal.ends() == 0
    assert any("--------" in line for screen in terminal.screens for line in screen)
    assert all(line.isascii() for screen in terminal.screens for line in screen)
    prefix = str(service.prefix)
    for words in (
        ["admin", "digest", "--verify", "--prefix", prefix],
        ["check", "--only", "put", "--large-file-size", "1MiB"],
    ):
        with Terminal(tmp_path, *words, environment=told) as terminal:
            terminal.ends()
        assert b"Traceback" not in terminal.received
        assert all(line.isascii() for screen in terminal.screens for line in screen)
