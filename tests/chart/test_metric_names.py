"""Alerts and dashboard ask for metrics that the agent has: with a renamed one an alert would never fire."""

from __future__ import annotations

import json
import re
from typing import Any

from launch_agent.spec.model import RunState
from launch_agent.telemetry.metrics import Metrics
from launch_agent.telemetry.targets import TargetCollector
from tests.fakes.helm import CHART, Helm

VALUES: dict[str, Any] = {
    "agent": {"apiKey": "0123456789"},
    "launchConfig": {"queues": ["gpu"]},
    "metrics": {"prometheusRule": {"enabled": True}},
}
NAME = re.compile(r"\b(?:launch_agent|process)_[a-z_]+")
ENDINGS = {"histogram": ("bucket", "count", "sum"), "summary": ("count", "sum")}


def offered() -> set[str]:
    """Names of all series, those of histograms with their ending."""
    metrics = Metrics()
    metrics.registry.register(TargetCollector(list, list))
    found = set()
    for name, kind in re.findall(r"^# TYPE (\w+) (\w+)$", metrics.exposition()[0].decode(), re.MULTILINE):
        found |= {f"{name}_{end}" for end in ENDINGS[kind]} if kind in ENDINGS else {name}
    return found


def expressions(helm: Helm) -> list[str]:
    """Of the alerts and of the dashboard's panels."""
    rule = next(each for each in helm.template(VALUES) if each["kind"] == "PrometheusRule")
    asked = [each["expr"] for each in rule["spec"]["groups"][0]["rules"]]
    dashboard = json.loads((CHART / "files" / "dashboard.json").read_text(encoding="utf-8"))
    return asked + [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def test_every_metric_that_is_asked_for_exists(helm: Helm) -> None:
    asked = {name for expression in expressions(helm) for name in NAME.findall(expression)}
    assert len(asked) > 5
    assert asked <= offered()


def test_every_state_that_is_asked_for_exists(helm: Helm) -> None:
    found = re.findall(r'state=~?"([a-z|]+)"', " ".join(expressions(helm)))
    assert {state for each in found for state in each.split("|")} <= set(RunState)
