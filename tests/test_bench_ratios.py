"""What C{bench/} makes of figures of several servers, and what it says of names that it does not know."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest

sys.path.append(str(Path(__file__).parents[1] / "bench"))

import goals
import history
import peers
import turns
from against import Plan, measure
from goals import Goal, collect, is_worse, ratio, remarks, summary, table
from goals import goals as all_goals
from machine import Findings
from turns import Contestant, take_turns

if TYPE_CHECKING:
    from clients import Source

SPEED, CPU, LATENCY = "GET 1 KiB c64, ops/s", "GET 1 KiB c64, server CPU us a request", "GET 1 KiB c64, p99 ms"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("nginx", ["nginx"]),
        ("rclone,nginx", ["rclone", "nginx"]),
        (" nginx , pai-uwsgi,", ["nginx", "pai-uwsgi"]),
        ("nginx,nginx", ["nginx"]),
    ],
)
def test_names_of_peers(text: str, names: list[str]) -> None:
    """They keep their order, and each counts once."""
    assert peers.parse_peers(text) == names


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nginx,apache,iis", "no such peer: apache, iis; known are nginx, rclone, pai-uwsgi"),
        ("", "no peer is named; known are nginx, rclone, pai-uwsgi"),
        (",", "no peer is named; known are nginx, rclone, pai-uwsgi"),
    ],
)
def test_names_of_no_peers(text: str, words: str) -> None:
    """The reader is told what there is."""
    with pytest.raises(ValueError, match="peer") as caught:
        peers.parse_peers(text)
    assert str(caught.value) == words


def test_nothing_can_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then nothing is started, and the reader is told why."""

    def fail() -> Path:
        raise peers.PeerError("the network is down")

    monkeypatch.setitem(peers.PEERS, "nginx", attrs.evolve(peers.PEERS["nginx"], find=fail))
    plan = Plan(rounds=1, phases=["put"], share=0.02, workers=1, settings=[])
    with pytest.raises(peers.PeerError) as caught:
        measure(plan, ["nginx"], None, tmp_path, None, tmp_path)  # type: ignore[arg-type]
    assert str(caught.value) == "nginx: the network is down"


def test_what_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that neither is there nor can be installed is named, and its package."""
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    commands = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr("subprocess.run", run)
    with pytest.raises(peers.PeerError) as caught:
        peers.PEERS["nginx"].find()
    assert str(caught.value) == "there is no nginx, and Debian's nginx-light cannot be installed"
    assert commands == [["sh", "-euc", ". tools/environment.sh; need_idle nginx-light", "tools/bench"]]


@pytest.mark.parametrize(
    ("label", "figures", "found"),
    [
        (SPEED, [5.0, 1.0, 9.0], 5.0),
        (CPU, [5.0, 1.0, 9.0], 1.0),
        (LATENCY, [5.0, None, 9.0], 7.0),
        (CPU, [None, 3.0], 3.0),
        (SPEED, [None], None),
        (SPEED, [], None),
    ],
)
def test_summaries(label: str, figures: list[float | None], found: float | None) -> None:
    """The median of what was measured, but of CPU the least."""
    assert summary(label, figures) == found


@pytest.mark.parametrize(
    ("label", "ours", "theirs", "found"),
    [
        # A round that was slow for both counts as any other.
        (SPEED, [100.0, 10.0, 120.0], [50.0, 5.0, 40.0], 2.0),
        (SPEED, [100.0, None, 120.0], [50.0, 5.0, None], 2.0),
        (CPU, [8.0, 6.0], [3.0, 4.0], 2.0),
        (CPU, [8.0], [0.0], None),
        (SPEED, [8.0], [0.0], None),
        (SPEED, [8.0], [], None),
    ],
)
def test_ratios(label: str, ours: list[float | None], theirs: list[float | None], found: float | None) -> None:
    """The median of the ratios of each round, but of CPU that of the least."""
    assert ratio(label, {label: ours}, {label: theirs}) == found


@pytest.mark.parametrize(
    ("label", "ours", "theirs", "worse"),
    [
        (SPEED, [80.0, 70.0], [100.0, 100.0], True),
        (SPEED, [80.0, 99.0], [100.0, 100.0], False),
        (SPEED, [120.0, 130.0], [100.0, 100.0], False),
        (CPU, [12.0, 13.0], [10.0, 10.0], True),
        (CPU, [12.0, 10.0], [10.0, 10.0], False),
        (LATENCY, [8.0, 7.0], [10.0, 10.0], False),
        (LATENCY, [], [10.0], False),
    ],
)
def test_worse(label: str, ours: list[float | None], theirs: list[float | None], *, worse: bool) -> None:
    """A figure is worse where it is so in every round and by more than a tenth, whichever way is up."""
    assert is_worse(label, {label: ours}, {label: theirs}) is worse


def test_goals_ask_for_what_is_measured() -> None:
    """Each has a figure of one of the phases, and a peer that takes part in that."""
    small = {"PUT": "put", "GET": "get", "HEAD": "head"}
    for goal in all_goals(1 << 30):
        if goal.of in peers.PEERS and "KiB" in goal.figure:
            assert small[goal.figure.split()[0]] in peers.PEERS[goal.of].phases
        if goal.of == turns.MACHINE.name:
            assert goal.figure.startswith("PUT ")
    assert "PUT 1 GiB x1, MB/s" in {goal.figure for goal in all_goals(1 << 30)}
    assert "PUT 16 MiB x4, MB/s" in {goal.figure for goal in all_goals(64 << 20)}


def test_the_table() -> None:
    """A column for each, the ratios of ours to theirs, what was to be, and nothing of failures where there are none."""
    found = {
        goals.OURS: collect([Findings(figures={SPEED: 300.0, "failed %": 0.0, LATENCY: 4.0}, problems=[])]),
        "rclone": collect([Findings(figures={SPEED: 100.0, "failed %": 0.0}, problems=[])]),
        "1234567890": collect([Findings(figures={SPEED: 600.0, "failed %": 0.0, LATENCY: 0.0}, problems=[])]),
    }
    wanted = [Goal("a", SPEED, 1.5, True, "rclone"), Goal("b", SPEED, 2, True, "nginx"), Goal("c", LATENCY, 3.5, False)]
    assert table(found, wanted, "1234567890") == [
        "| figure | pacarchive | rclone | 1234567890 | |",
        "|---|---|---|---|---|",
        f"| {SPEED} | 300 | 100 (3.00) | 600 (0.50) | at least 1.5 of rclone: 3.00, met; **worse than 1234567890** |",
        f"| {LATENCY} | 4.00 | - | 0.00 | at most 3.5: 4.00, **missed** |",
    ]
    found["rclone"]["failed %"] = [2.0]
    assert "| failed % | 0.00 | 2.00 (0.00) | 0.00 |  |" in table(found, wanted, None)


def test_remarks() -> None:
    """Problems and disturbances are told with their round."""
    quiet = Findings(foreign={"put": 9.0})
    loud = Findings(problems=["get: it has ended"], foreign={"put": 9.0, "get": 40.2})
    assert remarks([quiet, loud], "nginx") == [
        "PROBLEM in round 2 of nginx: get: it has ended",
        "CPU used by others in round 2 of nginx: get 40 %. Distrust these figures.",
    ]


def test_the_history(tmp_path: Path) -> None:
    """Rows go below each other, until there are other columns."""
    path = tmp_path / "history.md"
    path.write_text("Words.\n")
    speed, memory = Goal("GET", SPEED, 1.5, True, "rclone"), Goal("idle, KiB", "memory", 8, False)
    history.keep([(speed, 0.5), (memory, 7.25)], "1234567890+", "rclone 1.60", 7.3, path)
    history.keep([(speed, None), (memory, 12.5)], "1234567890+", "rclone 1.60", 7.3, path)
    history.keep([(speed, 2.0)], "1234567890+", "rclone 1.60", 7.3, path)
    lines = path.read_text().splitlines()
    assert [line.split(" | ")[5:] for line in lines if line.startswith("| 0") or "version" in line] == [
        ["GET / rclone (≥ 1.5)", "idle, KiB (≤ 8) |"],
        ["0.50", "7.25 |"],
        ["-", "12.5 |"],
        ["GET / rclone (≥ 1.5) |"],
        ["2.00 |"],
    ]
    assert [number for number, line in enumerate(lines) if not line] == [1, 6]


def test_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Phases go by their order, and those who take part forwards and backwards by turns."""
    done: list[tuple[str, str]] = []

    class Recording(Findings):
        def __init__(self, _source: Source, folder: Path, _share: float) -> None:
            super().__init__()
            self.name = folder.name

        def run(self, names: list[str]) -> None:
            done.extend((self.name, name) for name in names)

    monkeypatch.setattr(turns, "Machine", Recording)
    both = [Contestant("a", "", ("put", "get"), None), Contestant("b", "", ("put", "head"), None)]
    found = take_turns(both, ["head", "get", "put"], 2, 1, tmp_path, None, tmp_path)  # type: ignore[arg-type]
    assert done == [
        *[("0-a", "put"), ("0-b", "put"), ("0-a", "get"), ("0-b", "head")],
        *[("1-b", "put"), ("1-a", "put"), ("1-a", "get"), ("1-b", "head")],
    ]
    assert {name: len(rounds) for name, rounds in found.items()} == {"a": 2, "b": 2}
