"""Each folder of tests/golden/configs is one config with what must be said about it.

`findings.txt` is the text report of `launch-agent lint`; `error.txt` what `start` says before it exits with
2; `config.json` the config in its normal form where there is one. With `UPDATE_GOLDEN=1` in the environment
this test writes them anew: read the diff before you commit it.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from launch_agent.cli.report import render
from launch_agent.config import load
from launch_agent.config.document import read
from launch_agent.config.judge import Kind, judge, kind_of
from launch_agent.errors import ConfigError
from launch_agent.spec.secret import Secret

CASES = Path(__file__).parents[1] / "golden" / "configs"
LAUNCH = sorted(path.parent.name for path in CASES.glob("*/launch-config.yaml"))
QUEUE = sorted(path.parent.name for path in CASES.glob("*/queue-config.yaml"))
KEY = "k" * 40

pytestmark = pytest.mark.req(
    "CFG-4", "CFG-5", "CFG-6", "CFG-7", "CFG-8", "CFG-9", "CFG-11", "CFG-12", "CFG-13", "CFG-14", "CFG-15",
    "CFG-16", "CFG-17", "CFG-18", "CFG-19", "CFG-20", "CFG-21", "CFG-22", "CFG-23", "BLD-1", "BLD-7",
    "BLD-11", "BLD-12", "BLD-13", "DKR-1", "DKR-6", "KAN-1", "KAN-2", "KAN-3", "KAN-9", "KAN-10", "KAN-11",
    "KAN-12", "KAN-16", "KAN-20", "KAN-21", "KAN-22", "KAN-24", "KAN-28", "KAN-30", "NOOP-1", "REG-12",
    "REG-13", "REG-14", "REG-15", "ENV-2", "AWS-1", "GCP-1", "AZ-1", "ECR-1", "ECR-2", "ECR-3", "ECR-4",
    "GAR-1", "GAR-2", "GAR-3", "GAR-4", "GAR-5", "ACR-1", "ACR-2", "CON-1", "CON-5", "CON-6", "CON-15",
    "CON-18", "CON-19", "CON-25", "CON-27", "CON-28", "CON-29", "CON-30", "CON-31", "CON-32", "CON-33",
    "CON-34",
)  # fmt: skip


@pytest.mark.parametrize("case", LAUNCH)
def test_lint_says_what_it_must(case: str) -> None:
    file = CASES / case / "launch-config.yaml"
    found = judge(file.read_bytes(), file=file.name, kind=Kind.LAUNCH_CONFIG)
    _same(CASES / case / "findings.txt", render({file.name: found}, "text"))


@pytest.mark.parametrize("case", LAUNCH)
def test_start_loads_it_or_says_why_not(case: str, tmp_path: Path) -> None:
    file = CASES / case / "launch-config.yaml"
    env = {"WANDB_API_KEY": KEY, "HOME": str(tmp_path), "LAUNCH_AGENT_NAME": ""}
    error = config = ""
    try:
        loaded = load.load(file, {**env, "WANDB_RELEASE_NAME": "release"})
    except ConfigError as raised:
        error = str(raised).replace(f"{file.parent}/", "")
    else:
        assert KEY not in repr(loaded)
        config = json.dumps(_plain(loaded, tmp_path), indent=2)
    _same(CASES / case / "error.txt", error)
    _same(CASES / case / "config.json", config)


@pytest.mark.parametrize("case", QUEUE)
def test_queue_configs(case: str) -> None:
    file = CASES / case / "queue-config.yaml"
    found = judge(file.read_bytes(), file=file.name, kind=Kind.QUEUE_CONFIG)
    _same(CASES / case / "findings.txt", render({file.name: found}, "text"))


@pytest.mark.parametrize("case", [case for case in QUEUE if "as-given" not in case])
def test_the_kind_is_told_by_the_keys(case: str) -> None:
    file = CASES / case / "queue-config.yaml"
    assert kind_of(read(file.read_bytes(), file=file.name).value) is Kind.QUEUE_CONFIG


def _plain(value: Any, home: Path) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name), home) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(item, home) for key, item in value.items()}
    if isinstance(value, Secret | Path):
        return str(value).replace(str(home), "~")
    return [_plain(item, home) for item in value] if isinstance(value, list | tuple) else value


def _same(golden: Path, text: str) -> None:
    if os.environ.get("UPDATE_GOLDEN"):
        if text:
            golden.write_text(text + "\n", encoding="utf-8")
        else:
            golden.unlink(missing_ok=True)
    expected = golden.read_text(encoding="utf-8") if golden.exists() else ""
    assert text == expected.removesuffix("\n")
