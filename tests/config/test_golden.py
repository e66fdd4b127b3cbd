"""Each folder of tests/golden/configs is one config with what must be said about it.

`findings.txt` is the text report of `launch-agent lint`; `error.txt` what `start` says before it exits with
2; `config.json` what the config says in its normal form beyond that of ok-minimal. With `UPDATE_GOLDEN=1` in
the environment this test writes them anew: read the diff before you commit it.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from decimal import Decimal
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
MINIMAL = json.loads((CASES / "ok-minimal" / "normal-form.json").read_text(encoding="utf-8"))

# What the cases show, by the ids of tests/requirements.tsv.
SHOWS = {
    "doc-a1-core": pytest.mark.req("CFG-4", "CFG-5", "CFG-6", "CFG-8", "CFG-9"),
    "doc-a1-core-as-given": pytest.mark.req("CFG-22"),
    "doc-a2-eks-tabs": pytest.mark.req("CFG-23", "CON-31"),
    "doc-a2-eks-as-given": pytest.mark.req("CFG-22"),
    "doc-a2-eks": pytest.mark.req(
        "CFG-7",
        "CFG-11",
        "CFG-12",
        "CFG-13",
        "CFG-16",
        "CFG-18",
        "CFG-19",
        "CFG-20",
        "CON-18",
        "CON-20",
        "KAN-30",
        "REG-12",
    ),
    "doc-b1-docker": pytest.mark.req("DKR-1", "BLD-11", "CFG-11"),
    "doc-b2-notation": pytest.mark.req("BLD-1", "BLD-12", "CON-29"),
    "doc-b3-kaniko": pytest.mark.req("KAN-1", "KAN-2", "KAN-9", "KAN-10", "BLD-7"),
    "doc-b3-kaniko-fragment": pytest.mark.req("KAN-2", "CON-27"),
    "doc-b4-secret": pytest.mark.req("KAN-11", "KAN-20", "KAN-21", "CON-5", "CFG-17"),
    "doc-b5-kaniko-config": pytest.mark.req("KAN-3", "KAN-28", "CON-5"),
    "doc-c1-ecr": pytest.mark.req("ECR-1", "CON-33"),
    "doc-c1-ecr-repository": pytest.mark.req("ECR-3"),
    "doc-c2-gar": pytest.mark.req("CFG-15", "GAR-1", "GAR-2", "GCP-1", "CON-15"),
    "doc-c2-gar-names": pytest.mark.req("GAR-4"),
    "doc-c3-acr": pytest.mark.req("ACR-1", "AZ-1", "CFG-14", "CON-34"),
    "doc-d1-aws-kaniko": pytest.mark.req("AWS-1", "CFG-21", "ECR-4", "KAN-3", "REG-13", "CON-24"),
    "doc-d2-gcp-kaniko": pytest.mark.req("GAR-5", "REG-14", "CON-25"),
    "doc-d3-azure-kaniko": pytest.mark.req("ACR-2", "KAN-12", "BLOB-2", "CON-34"),
    "bad-builder-type": pytest.mark.req("BLD-1"),
    "bad-max-jobs-zero": pytest.mark.req("CON-19"),
    "bad-max-jobs-negative": pytest.mark.req("CON-19"),
    "bad-region": pytest.mark.req("ECR-2", "REG-15"),
    "bad-project": pytest.mark.req("GAR-3", "REG-15"),
    "bad-region-missing": pytest.mark.req("AWS-1"),
    "bad-project-missing": pytest.mark.req("GCP-1"),
    "bad-registry-and-environment": pytest.mark.req("ENV-2", "GAR-1"),
    "bad-registry-without-environment": pytest.mark.req("CFG-19", "ENV-2"),
    "bad-destination-of-another-cloud": pytest.mark.req("ENV-2"),
    "bad-two-destinations": pytest.mark.req("CON-1"),
    "bad-uri-and-destination": pytest.mark.req("CON-25"),
    "bad-snake-case": pytest.mark.req("CFG-17"),
    "bad-kaniko-without-destination": pytest.mark.req("KAN-2", "CON-5"),
    "bad-kaniko-without-environment": pytest.mark.req("CON-5"),
    "bad-kaniko-without-store": pytest.mark.req("KAN-9"),
    "bad-secret-without-key": pytest.mark.req("CON-10"),
    "bad-registry-type-and-uri": pytest.mark.req("CON-6"),
    "warn-said-twice": pytest.mark.req("CON-1"),
    "warn-environment-inferred": pytest.mark.req("CON-5"),
    "note-docker-in-cluster": pytest.mark.req("BLD-9", "KAN-6", "DKR-5"),
    "ok-generic-registry": pytest.mark.req("CON-6", "REG-13", "CON-34"),
    "doc-e2-defaults-as-given": pytest.mark.req("CON-32"),
    "doc-e2-defaults": pytest.mark.req("CON-32"),
    "queue-backoff": pytest.mark.req("CON-32"),
    "queue-backoff-twice": pytest.mark.req("CON-32"),
    "queue-namespaces": pytest.mark.req("CON-30"),
}


def cases(names: list[str]) -> list[Any]:
    return [pytest.param(name, marks=SHOWS.get(name, ())) for name in names]


@pytest.mark.parametrize("case", cases(LAUNCH))
def test_lint_says_what_it_must(case: str) -> None:
    file = CASES / case / "launch-config.yaml"
    found = judge(file.read_bytes(), file=file.name, kind=Kind.LAUNCH_CONFIG)
    _same(CASES / case / "findings.txt", render({file.name: found}, "text"))


@pytest.mark.parametrize("case", cases(LAUNCH))
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
        said = json.dumps(_beyond(_plain(loaded, tmp_path), MINIMAL), indent=2)
        config = said.replace(f"{file.parent}/", "")
    _same(CASES / case / "error.txt", error)
    _same(CASES / case / "config.json", config)


def test_the_least_config_is_all_defaults(tmp_path: Path) -> None:
    env = {"WANDB_API_KEY": KEY, "HOME": str(tmp_path), "WANDB_RELEASE_NAME": "release"}
    assert _plain(load.load(CASES / "ok-minimal", env), tmp_path) == MINIMAL


@pytest.mark.parametrize("case", cases(QUEUE))
def test_queue_configs(case: str) -> None:
    file = CASES / case / "queue-config.yaml"
    found = judge(file.read_bytes(), file=file.name, kind=Kind.QUEUE_CONFIG)
    _same(CASES / case / "findings.txt", render({file.name: found}, "text"))


@pytest.mark.parametrize("case", [case for case in QUEUE if "as-given" not in case])
def test_the_kind_is_told_by_the_keys(case: str) -> None:
    file = CASES / case / "queue-config.yaml"
    assert kind_of(read(file.read_bytes(), file=file.name).value) is Kind.QUEUE_CONFIG


def _beyond(value: Any, base: Any) -> Any:
    """What the value says that the base does not."""
    if not (isinstance(value, dict) and isinstance(base, dict)):
        return value
    return {
        key: _beyond(item, base.get(key))
        for key, item in value.items()
        if key not in base or item != base[key]
    }


def _plain(value: Any, home: Path) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name), home) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(item, home) for key, item in value.items()}
    if isinstance(value, Secret | Path | Decimal):
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
