"""Each folder of tests/golden/kubernetes is a queue's configuration with the objects that a job makes of it.

`queue.yaml` is the configuration, `request.yaml` what the job brings beyond the usual; `objects.yaml` the
objects in the order in which they are made, `error.txt` what is said where there are none. With
`UPDATE_GOLDEN=1` in the environment this test writes them anew: read the diff before you commit it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from launch_agent.errors import LaunchError
from launch_agent.runners.kubernetes.manifest import compose
from launch_agent.runners.kubernetes.namespaces import Namespaces
from tests.runners.kubernetes.requests import CREDENTIALS, request

CASES = Path(__file__).parents[2] / "golden" / "kubernetes"
NAMES = sorted(path.parent.name for path in CASES.glob("*/queue.yaml"))
ALLOWED = Namespaces(default="jobs", targets=["wandb"])

# What the cases show, by the ids of tests/requirements.tsv.
SHOWS = {
    "doc-e1": pytest.mark.req("K8S-1", "K8S-2", "K8S-3", "K8S-4", "K8S-5", "K8S-6", "K8S-7", "CON-30"),
    "doc-e2": pytest.mark.req("K8S-16", "CON-32"),
    "doc-e2-one-level-too-deep": pytest.mark.req("K8S-16", "CON-32"),
    "job-empty": pytest.mark.req(
        "K8S-7",
        "K8S-8",
        "K8S-9",
        "K8S-10",
        "K8S-11",
        "K8S-12",
        "K8S-13",
        "K8S-14",
        "K8S-15",
        "K8S-17",
        "SEC-7",
    ),
    "job-everything-set": pytest.mark.req("K8S-2", "K8S-16"),
    "volcano-job": pytest.mark.req("K8S-1", "SEC-7"),
    "bad-namespaces": pytest.mark.req("CON-30"),
}


@pytest.mark.parametrize("name", [pytest.param(name, marks=SHOWS.get(name, ())) for name in NAMES])
def test_a_queues_configuration_makes_these_objects(name: str) -> None:
    folder = CASES / name
    args = yaml.safe_load((folder / "queue.yaml").read_text(encoding="utf-8"))
    said = folder / "request.yaml"
    brings = yaml.safe_load(said.read_text(encoding="utf-8")) if said.exists() else {}
    credentials = CREDENTIALS if brings.pop("credentials", False) else None
    try:
        made = compose(request(args, **brings), allowed=ALLOWED, credentials=credentials)
    except LaunchError as error:
        _compare(folder, "error.txt", f"{type(error).__name__}: {error}\n")
        return
    objects: list[Any] = [*made.secrets, *made.services, made.manifest]
    _compare(folder, "objects.yaml", yaml.safe_dump_all(objects, sort_keys=False, width=100))


def test_every_case_has_one_outcome() -> None:
    wrong = [name for name in NAMES if (CASES / name / "error.txt").exists() != name.startswith("bad-")]
    assert wrong == []


def _compare(folder: Path, file: str, text: str) -> None:
    path = folder / file
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert path.exists(), f"{folder.name} gave {file}:\n{text}"
    assert path.read_text(encoding="utf-8") == text
