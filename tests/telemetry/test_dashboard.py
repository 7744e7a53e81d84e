"""The dashboard of C{deploy/grafana}: every expression is one that Prometheus takes, over metrics that there are."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from telemetry.names import asked, exported

ROOT = Path(__file__).parents[2]
FILE = ROOT / "deploy/grafana/pacarchive.json"

_VARIABLE = re.compile(r"\$\w+")


def panels() -> list[dict[str, Any]]:
    """Those that show something."""
    found = json.loads(FILE.read_text())["panels"]
    return [each for each in found if each["type"] != "row"]


def expressions() -> dict[str, str]:
    """What each asks Prometheus, by its title and legend, with values in the place of Grafana's variables."""
    found = {}
    for panel in panels():
        for target in panel["targets"]:
            expr = target["expr"].replace("$__rate_interval", "5m").replace("$__range", "5m")
            found[f"{panel['title']}: {target['legendFormat']} ({panel['id']})"] = _VARIABLE.sub(".*", expr)
    return found


def test_it_is_what_the_script_makes(tmp_path: Path) -> None:
    """Else the next one who runs it takes a change back."""
    subprocess.run([sys.executable, ROOT / "tools/dashboard.py", tmp_path / "made.json"], check=True, timeout=60)
    assert (tmp_path / "made.json").read_text() == FILE.read_text(), "tools/dashboard.py makes it anew"


@pytest.mark.program
def test_prometheus_takes_every_expression(tmp_path: Path) -> None:
    """As rules that record them."""
    rules = [{"record": f"dashboard:{number}", "expr": expr} for number, expr in enumerate(expressions().values())]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", tmp_path / "rules.yml"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules)} rules found" in done.stdout


def test_every_metric_is_one() -> None:
    """None is asked for that no server has."""
    for name, expr in expressions().items():
        assert asked(expr) <= exported(), name


def test_panels_lie_beside_each_other() -> None:
    """None over another, and none beyond the edge; each has a number of its own."""
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(FILE.read_text())["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    numbers = [each["id"] for each in json.loads(FILE.read_text())["panels"]]
    assert len(numbers) == len(set(numbers))
