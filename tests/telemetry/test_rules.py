"""The alerts of C{deploy/prometheus}: what makes each of them fire, what does not, and where their links lead."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from telemetry.names import asked, exported
from telemetry.rule_cases import CASES, SERVER, Case

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy/prometheus"
RUNBOOKS = ROOT / "docs/runbooks.md"
LINKS = "https://docs.example.org/pacarchive/runbooks.html"

RULES: dict[str, dict[str, Any]] = {
    each["alert"]: each
    for group in yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"]
    for each in group["rules"]
}
OF_FIXITY = {
    "pacarchive_receipt_last_checkpoint_timestamp_seconds",
    "pacarchive_scrub_corrupt_files",
    "pacarchive_scrub_files_total",
    "pacarchive_scrub_oldest_verified_timestamp_seconds",
    "pacarchive_scrub_period_seconds",
}
"""What rules ask for, and this version has not; the page of the rules says so."""

ALERTS = pytest.mark.parametrize("alert", RULES)


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Have it check something."""
    return subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=120, check=False)


def tried(case: Case, rule: dict[str, Any]) -> dict[str, Any]:
    """A case as promtool has it."""
    where = f'job="pacarchive", instance="{SERVER}"'
    series = []
    for each, values in case.series.items():
        name, _, labels = each.rstrip("}").partition("{")
        series.append({"series": f"{name}{{{', '.join(filter(None, (labels, where)))}}}", "values": values})
    expected = {
        "exp_labels": {"job": "pacarchive", "instance": SERVER, **rule["labels"], **case.labels},
        "exp_annotations": {"summary": case.says, "runbook_url": f"{LINKS}#{case.alert.lower()}"},
    }
    look = {"eval_time": case.at, "alertname": case.alert, "exp_alerts": [] if case.says is None else [expected]}
    return {"interval": case.every, "input_series": series, "alert_rule_test": [look]}


@ALERTS
def test_it_fires_and_does_not(alert: str, tmp_path: Path) -> None:
    """With what it is for, in the words that its receiver reads; and not with what looks much the same."""
    cases = [each for each in CASES if each.alert == alert]
    assert {each.says is not None for each in cases} == {True, False}
    tests = [tried(each, RULES[alert]) for each in cases]
    slowest = max(each.every for each in cases)  # of 1m and 5m
    file = {"rule_files": [str(PROMETHEUS / "rules.yml")], "evaluation_interval": slowest, "tests": tests}
    (tmp_path / "test.yml").write_text(json.dumps(file))
    done = promtool("test", "rules", tmp_path / "test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_case_is_of_an_alert() -> None:
    """None is left from a rule that is gone."""
    assert {each.alert for each in CASES} == set(RULES)


@ALERTS
def test_who_is_told_what(alert: str) -> None:
    """How urgent it is, in a word that a site can route by; and what to do, by a link to the page that says it."""
    rule = RULES[alert]
    assert rule["labels"] == {"severity": rule["labels"]["severity"]}
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"]["runbook_url"] == f"{LINKS}#{alert.lower()}"
    section = re.search(rf"^## {alert}\n(.*?)(?=^## |\Z)", RUNBOOKS.read_text(), re.DOTALL | re.MULTILINE)
    assert section
    text = section[1]
    for words in (f"**{rule['labels']['severity'].capitalize()}.**", "*Look at*", "*Do*"):
        assert words in text


def test_every_metric_is_one() -> None:
    """None is asked for that no server has, but for those of fixity."""
    names = set().union(*(asked(each["expr"]) for each in RULES.values())) - {"pacarchive"}
    assert names - exported() == OF_FIXITY


def test_links_lead_to_a_sites_own_pages(tmp_path: Path) -> None:
    """By the one command that the page and the rules tell: all of them, and to each alert's own section."""
    rules = (PROMETHEUS / "rules.yml").read_text()
    (command,) = {each.strip("# ") for each in re.findall(".*sed -i .*", rules + RUNBOOKS.read_text())}
    (tmp_path / "rules.yml").write_text(rules)
    subprocess.run(shlex.split(command), cwd=tmp_path, check=True, timeout=60)
    groups = yaml.safe_load((tmp_path / "rules.yml").read_text())["groups"]
    assert {each["alert"]: each["annotations"]["runbook_url"] for group in groups for each in group["rules"]} == {
        alert: f"https://YOUR.SITE/runbooks.html#{alert.lower()}" for alert in RULES
    }
    assert promtool("check", "rules", tmp_path / "rules.yml").returncode == 0


def test_no_runbook_is_left_over() -> None:
    """Each section that is called as an alert has one."""
    assert set(re.findall(r"^## (Pacarchive\w+)$", RUNBOOKS.read_text(), re.MULTILINE)) == set(RULES)


def test_the_files_are_what_prometheus_takes() -> None:
    """The example, and the rules that it names."""
    done = promtool("check", "config", PROMETHEUS / "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(RULES)} rules found" in done.stdout
    assert promtool("check", "rules", "--lint-fatal", PROMETHEUS / "rules.yml").returncode == 0
