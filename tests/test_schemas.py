"""The schemas obey the rules of the house, agree with the code, and travel in the wheel."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from launch_agent.config import model, schema
from launch_agent.runners.docker.arguments import OPTIONS
from launch_agent.spec.model import Resource
from launch_agent.spec.policy import PROTECTED_SECRETS
from schemas.bundle import SOURCE, problems, table

ROOT = SOURCE.parent
NAMES = sorted(path.stem for path in SOURCE.glob("*.json"))

# Key of the launch config -> field of AgentConfig, where the two are not the same word.
FIELDS = {
    "stopped_run_timeout": "stop_timeout",
    "secure_mode": "policy",
    "verbosity": "log",
    "queue": "queues",
    "registry": "builder",
    "api-key-file": "api_key",
}


@pytest.mark.req("CARD-6")
@pytest.mark.parametrize("name", NAMES)
def test_a_schema_is_draft_07_closed_and_described(name: str) -> None:
    assert list(problems(name, schema.bundle(name, SOURCE))) == []


def test_generated_files_are_fresh() -> None:
    done = subprocess.run(
        [sys.executable, str(SOURCE / "bundle.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@pytest.mark.parametrize(
    ("part", "complaint"),
    [
        ({"type": "object", "description": "A thing.", "properties": {}}, "whether other keys are allowed"),
        ({"type": "string"}, "no description"),
        ({"description": "A thing."}, "no type"),
        ({"type": "array", "description": "Things."}, "what its items are"),
        ({"type": "integer", "description": "A number.", "default": "1"}, "default or example is wrong"),
    ],
)
def test_a_bad_schema_is_caught(part: dict[str, object], complaint: str) -> None:
    whole = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "description": "A file.",
        "additionalProperties": False,
        "properties": {"thing": part},
    }
    found = list(problems("file", whole))
    assert len(found) == 1
    assert found[0].startswith("file.thing: ")
    assert complaint in found[0]


def test_every_key_has_a_field_and_every_field_a_key() -> None:
    keys = schema.load("launch-config")["properties"]
    fields = {field.name for field in dataclasses.fields(model.AgentConfig)}
    assert {FIELDS.get(key, key.replace("-", "_")) for key in keys} == fields - {"warnings"}


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        ("environment", model.Environment),
        ("leader-election", model.LeaderElection),
        ("metrics", model.Metrics),
        ("git", model.Git),
        ("log", model.Log),
    ],
)
def test_parts_agree_with_their_classes(part: str, kind: type) -> None:
    keys = schema.load("launch-config")["properties"][part]["properties"]
    assert {key.replace("-", "_") for key in keys} == {field.name for field in dataclasses.fields(kind)}


def test_defaults_of_lower_layers_are_the_schemas() -> None:
    policy = schema.load("policy")["properties"]
    assert tuple(policy["protected-secrets"]["default"]) == PROTECTED_SECRETS
    assert set(policy["allow"]["properties"]) == set(Resource)
    assert set(schema.load("runner")["properties"]) == set(Resource)


def test_every_docker_option_is_described() -> None:
    described = set(schema.load("queue-config")["properties"]["local-container"]["properties"])
    assert described == set(OPTIONS) | {"rm", "builder"}


def test_filling_in_defaults_changes_nothing_the_second_time() -> None:
    filled = schema.fill("launch-config", {"queues": ["gpu"]})
    assert schema.fill("launch-config", filled) == filled
    assert schema.findings("launch-config", filled) == []


def test_tables_have_a_row_for_each_key() -> None:
    text = table(schema.load("launch-config"))
    for path, _ in schema.properties("launch-config"):
        assert f"| `{'.'.join(map(str, path))}` |" in text


def test_the_schemas_travel_in_the_wheel(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="builds a wheel with hatchling")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=60)
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = (
        "import json; from launch_agent.config import schema;"
        "print(json.dumps([str(schema.folder()), *sorted(p.stem for p in schema.folder().iterdir())]));"
        "[schema.load(name) for name in ('launch-config', 'run-spec', 'queue-config')]"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=60)
    folder, *names = json.loads(done.stdout)
    assert Path(folder) == tmp_path / "site" / "launch_agent" / "schemas"
    assert names == NAMES
