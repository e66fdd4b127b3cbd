"""Reasons are words that others rely on: each one that the code can give is in the document."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from launch_agent.config.schema import findings
from launch_agent.runners import exits
from launch_agent.runners.kubernetes import diagnose
from launch_agent.runners.kubernetes.status import rules
from launch_agent.runners.kubernetes.status.table import ROWS, Row
from launch_agent.spec.model import RunState

ROOT = Path(__file__).parents[3]
DOCUMENT = (ROOT / "docs" / "kubernetes-runs.md").read_text(encoding="utf-8")
HOME = Path(diagnose.__file__).parent
_WORD = r'"([A-Z]\w+)"'
GIVEN = re.compile(
    rf"reason={_WORD}(?: if \w+ else {_WORD})?|reason, message = {_WORD}|_held\({_WORD}|: \({_WORD}, "
)


def given() -> set[str]:
    """The words that the sources give as reasons."""
    files = [*(HOME / "diagnosis").glob("*.py"), *(HOME / "status").glob("*.py"), Path(exits.__file__)]
    texts = [path.read_text(encoding="utf-8") for path in files]
    return {word for text in texts for found in GIVEN.findall(text) for word in found if word}


def documented() -> set[str]:
    table = DOCUMENT.partition("## Reasons")[2]
    return {word for row in re.findall(r"^\| ([A-Z].*?) \|", table, re.MULTILINE) for word in row.split(", ")}


def test_each_reason_is_documented_and_each_documented_one_given() -> None:
    assert given() == documented() - {"Reason"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.group)
def test_each_end_of_each_kind_is_documented(row: Row) -> None:
    words = {
        word
        for meaning in (row.conditions, row.phases, row.verdicts)
        for word, state in meaning.items()
        if state.is_terminal
    }
    assert all(re.search(rf"\b{word}\b", DOCUMENT) for word in words)


def config(rules: object) -> dict[str, object]:
    return {"runner": {"kubernetes": {"status": rules}}}


def test_the_documents_rules_are_valid_and_read() -> None:
    (example,) = re.findall(r"```yaml\n(runner:\n.*?)```", DOCUMENT, re.DOTALL)
    written = yaml.safe_load(example)
    assert findings("launch-config", written) == []
    made = rules.make(written["runner"]["kubernetes"]["status"])
    assert [(rule.state, rule.held) for rule in made] == [
        (RunState.FINISHED, False),
        (RunState.FAILED, False),
        (RunState.PENDING, True),
    ]
    assert "status.reason" in rules.paths(made)


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "training"},
        {"path": "status..stage"},
        {"path": "status.jobs[0"},
        {"equals": "Done"},
        {"equals": []},
        {"equals": [True]},
        {"state": "done"},
        {"expression": "status.stage == 'Done'"},
    ],
)
def test_a_rule_that_cannot_be_read_is_refused(wrong: dict[str, object]) -> None:
    right = {"kind": "Training", "path": "status.stage", "equals": ["Done"], "state": "finished"}
    assert findings("launch-config", config([right])) == []
    assert findings("launch-config", config([right | wrong]))
