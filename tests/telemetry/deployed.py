"""The files that Prometheus and Grafana are given."""

import json
from typing import Any

import yaml

from tests.support.documents import ROOT

PROMETHEUS = ROOT / "deploy" / "prometheus" / "prometheus.yaml"
ALERTS = PROMETHEUS.parent / "alerts.yaml"
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboard.json"


def alerts() -> list[dict[str, Any]]:
    """Return the alerts."""
    return [rule for group in yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    """Return the panels of the dashboard."""
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return found


def queries() -> list[str]:
    """Return what the panels ask for."""
    return [target["expr"] for panel in panels() for target in panel["targets"]]
