"""Figures know whether they met their goal, and are stored so that they can be read back."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from benchmarks.__main__ import found, store
from benchmarks.figures import Figure, as_json, percentile, table


@pytest.mark.parametrize(
    ("value", "goal", "more", "met"),
    [(44, 45, False, True), (46, 45, False, False), (10, 9, True, True), (8, 9, True, False),
     (None, 45, False, None), (44, None, False, None)],
)  # fmt: skip
def test_a_goal_is_a_bound(value: float | None, goal: float | None, more: bool, met: bool | None) -> None:
    figure = Figure(name="memory", subject="us", value=value, unit="MB", goal=goal, more_is_better=more)
    assert figure.met is met


def test_percentiles_are_by_nearest_rank() -> None:
    values = [float(number) for number in range(1, 101)]
    assert percentile(values, 0.5) == 50
    assert percentile(values, 0.95) == 95
    assert percentile([7.0], 0.95) == 7
    assert percentile(values, 1.0) == 100


def test_what_is_stored_can_be_read_back(tmp_path: Path) -> None:
    figures = [
        Figure(name="memory", subject="us", value=40.25, unit="MB", goal=45),
        Figure(name="memory", subject="them", value=None, unit="MB", note="not installed"),
    ]
    base = store({"idle": figures}, tmp_path, datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC))
    document = json.loads(base.with_suffix(".json").read_text())["idle"]
    assert document["measured"] == "2030-01-02T03:04:05+00:00"
    assert [Figure(**row) for row in document["figures"]] == figures
    assert "| memory | us | 40.25 MB | ≤ 45 MB | met |" in base.with_suffix(".md").read_text()


def test_one_benchmark_measured_again_leaves_the_others(tmp_path: Path) -> None:
    now = datetime(2030, 1, 2, tzinfo=UTC)
    store({"idle": [Figure(name="a", subject="us", value=1, unit="")]}, tmp_path, now)
    store({"rate": [Figure(name="b", subject="us", value=2, unit="")]}, tmp_path, now)
    base = store({"idle": [Figure(name="a", subject="us", value=3, unit="")]}, tmp_path, now)
    document = json.loads(base.with_suffix(".json").read_text())
    assert [document[name]["figures"][0]["value"] for name in ("idle", "rate")] == [3, 2]
    assert base.with_suffix(".md").read_text().count("## ") == 2


def test_the_table_says_what_was_not_measured() -> None:
    text = table([Figure(name="a", subject="b", value=None, unit="s", note="no engine")])
    assert "| a | b | not measured |  | no engine |" in text
    assert as_json([]) == []


def test_benchmarks_are_found_by_what_they_define() -> None:
    assert "startup" in found()
    assert "figures" not in found()
