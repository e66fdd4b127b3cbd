"""Each folder of tests/golden/values is a values file, or several that are merged in the order of their
names, with what must be said about it.

`findings.txt` is the text report of `launch-agent lint`. With `UPDATE_GOLDEN=1` in the environment this test
writes it anew: read the diff before you commit it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from launch_agent.cli.report import render
from launch_agent.config.judge import Kind, judge, judge_merged, kind_of, layer

CASES = Path(__file__).parents[1] / "golden" / "values"
NAMES = sorted(path.name for path in CASES.iterdir())

# What the cases show, by the ids of tests/requirements.tsv.
SHOWS = {
    "doc-f1": pytest.mark.req(
        "CHART-3", "CHART-10", "CHART-12", "CHART-15", "CHART-21", "CHART-22", "CHART-24", "CHART-26",
        "CON-4", "CON-20", "CON-21", "CON-39",
    ),
    "doc-f1-as-given": pytest.mark.req("CFG-22", "CHART-2", "CHART-26"),
    "ok-pvc": pytest.mark.req("CON-5"),
    "ok-azure-identity": pytest.mark.req("CHART-20", "CHART-22", "CON-10", "CON-11", "SEC-6"),
    "ok-nulls": pytest.mark.req("CHART-21", "CON-39"),
    "bad-text": pytest.mark.req("CHART-13", "CHART-14"),
    "bad-text-tabs": pytest.mark.req("CFG-23"),
    "bad-both-configs": pytest.mark.req("CON-2"),
    "bad-placeholders": pytest.mark.req("CFG-22"),
    "warn-agent-config": pytest.mark.req("CHART-16", "CON-2"),
    "warn-azure-without-credentials": pytest.mark.req("KAN-29", "CON-10", "CON-11"),
    "warn-azure-key-for-s3": pytest.mark.req("KAN-29"),
    "warn-credentials": pytest.mark.req("CHART-4", "SEC-4"),
    "warn-git-creds": pytest.mark.req("CHART-17", "CON-14", "GIT-2", "GIT-3", "GIT-6"),
    "warn-ssh-without-known-hosts": pytest.mark.req("GIT-3", "CON-14"),
    "merge-objects": pytest.mark.req("CARD-8"),
    "merge-null-deletes": pytest.mark.req("CARD-8"),
}  # fmt: skip


def cases(names: list[str]) -> list[Any]:
    return [pytest.param(name, marks=SHOWS.get(name, ())) for name in names]


@pytest.mark.req("CARD-9")
@pytest.mark.parametrize("case", cases(NAMES))
def test_lint_says_what_it_must(case: str) -> None:
    files = sorted((CASES / case).glob("*.yaml"))
    if len(files) == 1:
        (file,) = files
        found = {file.name: judge(file.read_bytes(), file=file.name)}
    else:
        found = judge_merged([layer(file.read_bytes(), file=file.name) for file in files])
    text = render(found, "text")
    golden = CASES / case / "findings.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text + "\n", encoding="utf-8") if text else golden.unlink(missing_ok=True)
    expected = golden.read_text(encoding="utf-8") if golden.exists() else ""
    assert text == expected.removesuffix("\n")


@pytest.mark.req("CARD-9")
@pytest.mark.parametrize("case", [name for name in NAMES if not name.startswith("merge-")])
def test_the_kind_is_told_by_the_keys(case: str) -> None:
    data = (CASES / case / "values.yaml").read_bytes()
    assert kind_of(layer(data, file="values.yaml").value) is Kind.CHART_VALUES
