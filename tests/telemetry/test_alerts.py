"""The alerts fire when they should, each has its runbook, and they and the dashboard ask for what there is."""

import re
import subprocess
from collections import defaultdict
from itertools import combinations
from typing import Any

import pytest
import yaml

from streams.telemetry.metrics import BridgeMetrics, Metrics
from tests.support.documents import OPERATING, ROOT
from tests.support.tools import tool
from tests.telemetry.deployed import ALERTS, PROMETHEUS, alerts, panels, queries

CASES = ROOT / "tests" / "telemetry" / "alerts.yaml"
SELECTOR = r"((?:robot_orchestrator|process)_\w+)(?:\{([^}]*)\})?"


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", PROMETHEUS),
        ("check", "rules", "--lint=all", "--lint-fatal", ALERTS),
        ("test", "rules", CASES),
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_prometheus_takes_the_files_and_the_alerts_fire_as_the_recorded_series_say(arguments: tuple[Any, ...]) -> None:
    command = [tool("promtool", "prometheus"), *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_every_alert_is_seen_firing() -> None:
    samples = [
        sample["labels"]
        for case in yaml.safe_load(CASES.read_text(encoding="utf-8"))["tests"]
        for query in case["promql_expr_test"]
        for sample in query["exp_samples"]
    ]
    fired = {name for labels in samples for name in re.findall(r'alertname="(\w+)"', labels)}
    assert fired == {alert["alert"] for alert in alerts()}


def test_an_alert_has_a_name_of_ours_a_severity_and_a_runbook_of_its_own() -> None:
    names = [alert["alert"] for alert in alerts()]
    assert re.findall(r"^### (RobotOrchestrator\w+)$", OPERATING.section("Alerts"), re.MULTILINE) == names
    for alert in alerts():
        assert alert["labels"]["severity"] in ("critical", "warning", "info")
        assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}
        assert alert["annotations"]["runbook_url"] == f"{OPERATING.path}#{alert['alert'].lower()}"


def series() -> dict[str, list[dict[str, str]]]:
    """Return the labels of all series that there are from the start, by name; of some names there are none yet."""
    found: dict[str, list[dict[str, str]]] = defaultdict(list)
    for family in (*Metrics().registry.collect(), *BridgeMetrics().registry.collect()):
        for sample in family.samples:
            found[sample.name].append(sample.labels)
        if not family.samples:
            found[family.name] = []
    return dict(found)


@pytest.mark.parametrize("expression", [*(alert["expr"] for alert in alerts()), *queries()])
def test_what_is_asked_for_is_there_from_the_start(expression: str) -> None:
    known = series()
    for name, matchers in re.findall(SELECTOR, expression):
        assert name in known
        for label, operator, value in re.findall(r'(\w+)(=~|!=|=)"([^"]*)"', matchers):
            values = {labels.get(label, "") for labels in known[name]}
            assert label == "job" or any(re.fullmatch(value, one) for one in values), (name, label, operator, value)


def test_no_panel_of_the_dashboard_lies_on_another_one() -> None:
    assert [panel["id"] for panel in panels()] == list(range(1, len(panels()) + 1))
    for one, other in combinations([panel["gridPos"] for panel in panels()], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, (one, other)
