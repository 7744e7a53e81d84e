"""C{pacarchive top} on a real terminal and elsewhere, beside a real server that ends and comes back."""

from __future__ import annotations

import json
import os
import re
import signal
import termios
from typing import TYPE_CHECKING

import pytest

from system.harness import HOST, PATIENCE, Service, until
from system.terminal import COMMAND, Terminal, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FAST = ("--interval", "0.5s")
WELL = "The archive is well."
SETTINGS = "[auth]\ntokens = {tokens}\nanonymous = stat\n"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One that most tests look at."""
    started = Service(tmp_path_factory.mktemp("archive"), workers=2)
    for file_id in range(3):
        assert started.ask("PUT", file_id, b"x" * 1000).status == 201
    assert started.ask("GET", 99).status == 404
    yield started
    started.stop()
    started.assert_clean()


def url_of(service: Service) -> dict[str, str]:
    """What tells the command of it."""
    return {"PACARCHIVE_URL": f"http://{HOST}:{service.port}"}


def attributes(terminal: Terminal) -> list[object]:
    """How the terminal treats what is typed."""
    return termios.tcgetattr(terminal._terminal)


@pytest.mark.parametrize(("columns", "rows"), [(100, 40), (40, 10)])
def test_on_a_terminal(service: Service, tmp_path: Path, columns: int, rows: int) -> None:
    """All that there is to say, as far as it fits; q ends it, and leaves the terminal as it was."""
    with Terminal(tmp_path, "top", *FAST, columns=columns, rows=rows, environment=url_of(service)) as terminal:
        before = attributes(terminal)
        screen = terminal.shows(WELL)
        assert attributes(terminal) != before
        if columns == 100:
            labels = ("requests", "answers", "bytes", "refused", "failed", "threads", "processes")
            screen = terminal.shows("since the start NotFound", "2 of 2 workers", *labels)
            text = "\n".join(screen)
            assert re.search(r"^pacarchive \S+ at http://[^,]+, up .*, 2 of 2 workers$", text, re.MULTILINE)
            for label in labels:
                assert re.search(rf"^{label} +\S", text, re.MULTILINE)
            terminal.shows("(GET ")  # there is a rate as soon as it has looked twice: its own requests count
        assert all(len(line) <= columns for line in screen)
        terminal.type("xq")
        assert terminal.ends() == 0
        assert terminal.cursor_shown
        assert attributes(terminal) == before
    assert b"\x1b[?1049h" in terminal.received
    assert terminal.received.rindex(b"\x1b[?1049l") > terminal.received.rindex(WELL.encode())


def test_ctrl_c(service: Service, tmp_path: Path) -> None:
    """It ends as every command does, and the terminal is as it was."""
    with Terminal(tmp_path, "top", environment=url_of(service)) as terminal:
        before = attributes(terminal)
        terminal.shows(WELL)
        terminal.type("\x03")
        assert terminal.ends() == 130
        assert terminal.cursor_shown
        assert attributes(terminal) == before
    assert b"Traceback" not in terminal.received


def test_a_server_that_goes_and_comes(tmp_path: Path, serve: Callable[..., Service]) -> None:
    """It says so, shows how it was, goes on trying, and says again how it is; also before it was ever there."""
    service = serve()
    port = service.port
    service.stop()
    with Terminal(tmp_path, "top", *FAST, environment=url_of(service)) as terminal:
        screen = terminal.shows("no answer for", "refused")
        assert not any("Below is how it was" in each for each in screen)
        service = serve(port=port)
        terminal.shows(WELL)
        service.kill()
        screen = terminal.shows("no answer for", "Below is how it was before.", "requests ")
        assert any(each.startswith("requests ") for each in screen)
        serve(port=port)
        until(lambda: terminal.read() and not any("no answer" in each for each in terminal.screens[-1]), "it is back")
        terminal.shows(WELL)
        terminal.type("q")
        assert terminal.ends() == 0


def test_q_is_heard_before_anything_is_drawn(tmp_path: Path, serve: Callable[..., Service]) -> None:
    """What was typed while the command was starting counts."""
    with Terminal(tmp_path, "top", environment=url_of(serve())) as terminal:
        terminal.type("q")
        assert terminal.ends() == 0


def test_q_is_heard_while_nothing_answers(tmp_path: Path, serve: Callable[..., Service]) -> None:
    """Nobody has to wait for a server that hangs."""
    service = serve()
    assert service.port
    service.process.send_signal(signal.SIGSTOP)
    try:
        with Terminal(tmp_path, "top", environment=url_of(service)) as terminal:
            terminal.shows("Asking the archive...")
            terminal.type("q")
            assert terminal.ends() == 0
            assert terminal.cursor_shown
    finally:
        service.process.send_signal(signal.SIGCONT)


def test_once(service: Service, tmp_path: Path) -> None:
    """The same lines, without anything for terminals; two looks make rates."""
    done = run(tmp_path, "top", "--once", *FAST, environment=url_of(service))
    assert (done.returncode, done.stderr) == (0, "")
    assert WELL in done.stdout.splitlines()
    assert re.search(r"^refused +\d+\.\d/s.*; since the start NotFound 1", done.stdout, re.MULTILINE)
    assert re.search(r"^requests +\d+\.\d/s \(GET \d+\.\d\), \d+ under way$", done.stdout, re.MULTILINE)
    assert "\x1b" not in done.stdout
    done = run(tmp_path, "top", "--once", "--json", *FAST, environment=url_of(service))
    record = json.loads(done.stdout)
    assert (record["ready"], record["well"], record["troubles"]) == (True, True, [])
    assert (record["workers"], record["workers_reporting"]) == (2, 2)
    assert record["refused"]["NotFound"] == 1
    assert record["requests_per_second"] > 0
    assert 0 < record["first_byte"]["p50"] <= record["first_byte"]["p99"]


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_where_there_is_no_terminal(service: Service, tmp_path: Path, form: tuple[str, ...]) -> None:
    """A line each time, until somebody ends it."""
    import forks

    process = forks.Popen(
        [*COMMAND, "top", *FAST, *form], cwd=tmp_path, env={**os.environ, **url_of(service)},
        stdin=forks.DEVNULL, stdout=forks.PIPE, stderr=forks.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(3)]
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert errors == "pacarchive: interrupted\n"
    for each in lines:
        if form:
            assert json.loads(each)["well"] is True
        else:
            assert re.match(r"\d\d:\d\d:\d\d  well; \d+\.\d/s requests; in .*/s; out .*/s; \d+ transfers; ", each)


def test_who_may(tmp_path: Path, serve: Callable[..., Service]) -> None:
    """It takes the right admin; without it, it ends with the exit code of other commands, on a terminal too."""
    settings = tmp_path / "settings.ini"
    settings.write_text(SETTINGS.format(tokens=tmp_path / "tokens"))
    made = run(tmp_path, "admin", "token", "create", "operator", "-c", str(settings), "--may", "admin stat")
    assert made.returncode == 0, made.stderr
    (token,) = re.findall(r"\bpac_\w+\S*", made.stdout)
    service = serve(settings=settings.read_text())
    known = {**url_of(service), "PACARCHIVE_TOKEN": token}
    assert WELL in run(tmp_path, "top", "--once", *FAST, environment=known).stdout
    done = run(tmp_path, "top", "--once", *FAST, environment=url_of(service))
    assert (done.returncode, done.stdout) == (6, "")
    assert "requires authentication" in done.stderr or "token" in done.stderr
    with Terminal(tmp_path, "top", environment=url_of(service)) as terminal:
        assert terminal.ends() == 6
        assert terminal.cursor_shown


def test_what_cannot_be(tmp_path: Path) -> None:
    """No server; and intervals that are none."""
    done = run(tmp_path, "top", "--once", "--retry", "0", "--url", "http://127.0.0.1:1")
    assert done.returncode == 3
    assert "127.0.0.1:1" in done.stderr
    for interval in ("0.1s", "2h", "soon"):
        done = run(tmp_path, "top", "--interval", interval, "--url", "http://127.0.0.1:1")
        assert done.returncode == 2, interval
