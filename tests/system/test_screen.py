"""Progress as a person sees it: the command on a real terminal, through a slow network, and the screen read back."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest

from system.faulty_proxy import FaultyProxy
from system.harness import HOST, Service, content
from system.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from system.hpss import Site

MIB = 1 << 20
MANY = 2_000


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One for all tests; each has ids of its own."""
    started = Service(tmp_path_factory.mktemp("archive"), workers=2)
    yield started
    started.stop()
    started.assert_clean()


def screens_of(terminal: Terminal) -> tuple[int, list[list[str]], list[str]]:
    """@return: The exit code, what was to be seen midway, and what is to be seen at the end."""
    code = terminal.ends()
    assert terminal.cursor_shown
    return code, [each for each in terminal.screens[:-1] if each], terminal.screens[-1]


def assert_fits(screens: list[list[str]], columns: int, most: int) -> None:
    """Nothing is wrapped, nothing is left of what was drawn before, and the height is what it should be."""
    for lines in screens:
        assert len(lines) <= most, lines
        for line in lines:
            assert len(line) <= columns - 4
            assert line.count("%") <= 1, lines


@pytest.mark.parametrize("columns", [80, 40])
def test_one_file(service: Service, tmp_path: Path, columns: int) -> None:
    """One line with a bar, the percentage and, where there is room, rate, time and bytes; then what was done."""
    (tmp_path / "a-file-with-a-name-that-is-rather-long.h5").write_bytes(content("one", 3 * MIB))
    service.ask("PUT", 100, content("one", 3 * MIB))
    with FaultyProxy(service.port, trickle=2 * MIB) as proxy:
        environment = {"PACARCHIVE_URL": proxy.url}
        with Terminal(tmp_path, "get", "100", "-o", "out", columns=columns, environment=environment) as terminal:
            code, midway, last = screens_of(terminal)
    assert code == 0
    os.unlink(tmp_path / "out")
    # The last of them may have the result already, above the bar.
    midway = [lines for lines in midway if "sha256" not in lines[0]]
    assert_fits(midway, columns, 1)
    moving = [lines[0] for lines in midway if lines[0].startswith("100 ━") and "%" in lines[0]]
    assert moving
    percents = [int(re.findall(r"(\d+)%", line)[0]) for line in moving]
    assert percents == sorted(percents)
    assert percents[-1] < 100
    if columns == 80:
        assert re.fullmatch(r"100 ━+[╸╺]?━* +\d+% +[\d.]+ [KM]iB/s +([\d.]+ m?s left)? +[\d.]+/3\.0 MiB", moving[-1])
    assert "".join(last).startswith("100  out  3.0 MiB  sha256:")
    assert "━" not in "".join(last)


@pytest.mark.parametrize("columns", [80, 40])
def test_ten_files(service: Service, tmp_path: Path, columns: int) -> None:
    """A line for all, and one for each of the five that are shown; at the end, one that says what was done."""
    names = [f"run-{number}.dat" for number in range(10)]
    for number, name in enumerate(names):
        (tmp_path / name).write_bytes(content(number, MIB // 4))
    with FaultyProxy(service.port, trickle=MIB) as proxy:
        words = ("put", *names, "--id", str(200 + columns), "--connections", "5")
        with Terminal(tmp_path, *words, columns=columns, environment={"PACARCHIVE_URL": proxy.url}) as terminal:
            code, midway, last = screens_of(terminal)
    assert code == 0
    # The last of them may have the result already, above the bars.
    midway = [lines for lines in midway if not lines[0][:1].isdigit()]
    assert_fits(midway, columns, 6)
    busy = [lines for lines in midway if len(lines) == 6]
    assert busy
    for lines in busy:
        assert re.match(r"put ━*[╸╺]?━* +\d+% +\d+/10 files", lines[0])
        assert [line for line in lines[1:] if not re.match(r"  run-\d\.dat +━*[╸╺]?━* +\d+%", line)] == []
    ids = [line.split() for line in last if line.split()[-1] in names]
    assert ids == [[str(200 + columns + number), name] for number, name in enumerate(names)]
    assert "".join(last[10:]).startswith("10 of 10 files stored, 2.5 MiB in ")


def test_which_id_a_file_got_is_always_told(service: Service, tmp_path: Path) -> None:
    """Of more than fit, the first and the last, and where all are."""
    names = [f"many{number:03}" for number in range(50)]
    for name in names:
        (tmp_path / name).write_text(name)
    (tmp_path / names[3]).unlink()
    environment = {"PACARCHIVE_URL": f"http://{HOST}:{service.port}"}
    for more, where in (
        ((), "one after the other; --save-map FILE keeps all"),
        (("--save-map", "map"), "all are in map"),
    ):
        words = ("put", *names, "--id", "40000", *more)
        with Terminal(tmp_path, *words, environment=environment) as terminal:
            code, _, last = screens_of(terminal)
        assert code == 1
        assert last[1:4] == ["40000  many000", "40001  many001", "40002  many002"]
        assert last[4] == "40004  many004"
        assert last[11] == f"... 29 more: {where}"
        assert last[12:22] == [f"{40000 + number}  many{number:03}" for number in range(40, 50)]
        assert last[22].startswith("49 of 50 files stored" if not more else "0 of 50 files stored")
    lines = (tmp_path / "map").read_text().splitlines()
    assert lines == [f"{40000 + number} {name}" for number, name in enumerate(names) if number != 3]
    with Terminal(tmp_path, "put", *names[:3], "--id", "40000", "--quiet", environment=environment) as terminal:
        assert (terminal.ends(), terminal.screens) == (0, [])


def test_thousands_of_files(service: Service, tmp_path: Path) -> None:
    """It stays calm: six lines, however many there are; failures are told above, and the end is one line."""
    (tmp_path / "files").mkdir()
    with open(tmp_path / "map", "w") as file:
        for number in range(MANY):
            (tmp_path / f"files/{number}").write_text(str(number))
            file.write(f"{1_000_000 + number} files/{number}\n")
    os.unlink(tmp_path / "files/1500")
    environment = {"PACARCHIVE_URL": f"http://{HOST}:{service.port}"}
    with Terminal(tmp_path, "put", "--id-file", "map", environment=environment) as terminal:
        code, midway, last = screens_of(terminal)
    assert code == 1
    failure = "pacarchive: files/1500 (id 1001500): No such file or directory"
    assert last[0] == failure
    assert last[1].startswith("1,999 of 2,000 files stored, 6.7 KiB in ")
    assert last[1].endswith("1 failed")
    assert len(last) == 2
    drawn = [[line for line in lines if line != failure] for lines in midway]
    assert_fits(drawn, 80, 6)
    assert any(
        re.match(r"put ━*[╸╺]?━* +\d+% +[\d,]+/2,000 files +(1 failed)? +\S+ \S+ left", each[0]) for each in drawn
    )
    # And none of the thousands of names has scrolled by.
    assert all(len(lines) <= 7 for lines in midway)


def test_thousands_that_are_looked_at(service: Service, tmp_path: Path) -> None:
    """A table goes where it is sent, and the bar to the screen; the order is that of the ids."""
    service.ask("PUT", 300, b"x")
    (tmp_path / "ids").write_text("\n".join(["300", *map(str, range(5_000_000, 5_000_000 + MANY - 1))]))
    # A terminal for what is said, and a file for the results.
    environment = {"PACARCHIVE_URL": f"http://{HOST}:{service.port}"}
    with Terminal(tmp_path, "stat", "@ids", "--json", environment=environment, redirect="out") as terminal:
        code, midway, last = screens_of(terminal)
    assert code == 1
    assert last == []
    assert_fits(midway, 80, 6)
    lines = (tmp_path / "out").read_text().splitlines()
    assert len(lines) == MANY
    assert '"file": "300", "size": 1' in lines[0]
    assert f'"file": "{5_000_000 + MANY - 2}"' in lines[-1]


def test_ctrl_c(service: Service, tmp_path: Path) -> None:
    """What was drawn is taken away, the cursor is there, and it says how far it got."""
    for number in range(8):
        (tmp_path / f"f{number}").write_bytes(content(number, MIB))
    with FaultyProxy(service.port, trickle=MIB // 2) as proxy:
        words = ("put", *(f"f{number}" for number in range(8)), "--id", "400", "--connections", "2")
        with Terminal(tmp_path, *words, environment={"PACARCHIVE_URL": proxy.url}) as terminal:
            terminal.shows("/8 files")
            terminal.type("\x03")
            code, _, last = screens_of(terminal)
    assert code == 130
    assert last[-1] == "pacarchive: interrupted"
    assert last[-2].endswith("not done; type the same again to go on")
    assert not any("━" in line for line in last)
    assert not service.temporaries()


def test_rm_asks(service: Service, tmp_path: Path) -> None:
    """And takes nothing but yes for a yes."""
    service.ask("PUT", 500, b"x")
    environment = {"PACARCHIVE_URL": f"http://{HOST}:{service.port}"}
    for answer, code, there in (("y", 2, True), ("yes", 0, False)):
        with Terminal(tmp_path, "rm", "500", environment=environment) as terminal:
            terminal.shows("Remove file 500 from the archive, for good? Type yes:")
            terminal.type(f"{answer}\n")
            assert terminal.ends() == code
        assert (service.prefix / "500").exists() is there


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"NO_COLOR": "1"}])
def test_terminals_that_can_less(service: Service, tmp_path: Path, environment: dict[str, str]) -> None:
    """Nothing is drawn where nothing can be drawn again, and no colours where they are not wanted."""
    service.ask("PUT", 600, content("x", MIB))
    environment = {**environment, "PACARCHIVE_URL": f"http://{HOST}:{service.port}"}
    with Terminal(tmp_path, "get", "600", "-o", "out", environment=environment) as terminal:
        assert terminal.ends() == 0
        assert terminal.screens[-1][0].startswith("600  out  1.0 MiB")
    assert b"\x1b[32m" not in terminal.received
    if environment.get("TERM") == "dumb":
        assert b"\x1b" not in terminal.received


def test_a_recall(site: Site, tmp_path: Path) -> None:
    """How many files are in which state, and what went wrong; Ctrl-C ends the wait alone, not the job."""
    service = site.start()
    for file_id in range(1, 9):
        service.ask("PUT", file_id, content(file_id, 1000))
        site.send_to_tape(file_id)
    site.archive.clock.freeze()
    environment = {"PACARCHIVE_URL": f"http://{HOST}:{service.port}"}
    with Terminal(tmp_path, "stage", "1-9", "--wait", environment=environment) as terminal:
        job = re.findall("job ([0-9a-f]{32});", " ".join(terminal.shows("Ctrl-C leaves it running")))[0]
        terminal.shows("started    8")
        lines = terminal.shows("  file 9:")
        bar, *table = lines[-6:]
        assert re.match(r"stage ━*[╸╺]?━* +10% +1/9 files +1 failed", bar)
        assert table == [
            *("  queued     0", "  started    8", "  completed  0", "  failed     1", "  file 9: No file has this id"),
        ]
        terminal.type("\x03")
        assert terminal.ends() == 130
        assert terminal.cursor_shown
        said = "".join(terminal.screens[-1])
        assert "━" not in said
        assert f"the job goes on; 'pacarchive job {job} --wait' comes back to it, '" in said
    with Terminal(tmp_path, "job", job, "--wait", columns=40, environment=environment) as terminal:
        lines = terminal.shows("started    8")
        assert re.match(r"stage ━*[╸╺]?━* +10% +1/9 files", lines[0])
        assert all(len(line) <= 36 for line in lines)
        site.archive.clock.set_scale(1000)
        assert terminal.ends() == 1
    said = "".join(terminal.screens[-1])
    assert said.startswith("pacarchive: file 9: No file has this id8 of 9 files are on disk, 7.8 KiB in ")
