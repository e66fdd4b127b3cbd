"""A run request as a custom job: both spellings, what is checked before a build, what the run adds."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from launch_agent.errors import Refused, SubmitRejected
from launch_agent.runners.vertex.request import compose, identity_of
from launch_agent.spec import cloud, macros, vertex
from launch_agent.spec.model import RunRequest
from launch_agent.spec.secret import Secret
from tests.contracts.runner import identity_for
from tests.runners.vertex.bench import IMAGE, PROJECT, REGION, queue
from tools import vertex_api

EXAMPLES = sorted((Path(__file__).parents[3] / "examples" / "queue-configs").glob("vertex*.yaml"))


def request(**fields: Any) -> RunRequest:
    usual: dict[str, Any] = {
        "identity": identity_for("agent é"),
        "image": IMAGE,
        "entry_point": ["python", "train.py"],
        "args": ["--lr", "0.1"],
        "env": {"WANDB_PROJECT": "p"},
        "secret_env": {"WANDB_API_KEY": Secret("hush-hush")},
        "resource_args": macros.fill(queue(), {"image_uri": IMAGE}),
    }
    return RunRequest(**{**usual, **fields})


def with_spec(**spec: Any) -> dict[str, Any]:
    """A queue with more keys in its spec."""
    return {"spec": {**macros.fill(queue(), {"image_uri": IMAGE})["spec"], **spec}}


def test_the_table_is_that_of_the_discovery_document() -> None:
    assert vertex_api.TARGET.read_text(encoding="utf-8") == vertex_api.text(), "python tools/vertex_api.py"


def test_a_job_has_what_makes_it_this_run() -> None:
    asked = request()
    job = compose(asked, project=PROJECT, region=REGION)
    (pool,) = job["jobSpec"]["workerPoolSpecs"]
    container = pool["containerSpec"]
    assert container["imageUri"] == IMAGE
    assert (container["command"], container["args"]) == (["python", "train.py"], ["--lr", "0.1"])
    assert {"name": "WANDB_API_KEY", "value": "hush-hush"} in container["env"]
    folder = job["jobSpec"]["baseOutputDirectory"]["outputUriPrefix"]
    assert re.fullmatch(r"gs://bucket/launch-agent/launch-[a-z0-9-]+", folder)
    assert identity_of(job) == asked.identity
    assert all(re.fullmatch(r"[a-z0-9_-]{1,63}", value) for value in job["labels"].values())


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_both_spellings_are_one(file: Path) -> None:
    args = macros.fill(yaml.safe_load(file.read_text()), {"image_uri": IMAGE})
    asked = request()
    jobs = [compose(request(identity=asked.identity, resource_args=spell(args))) for spell in (snake, camel)]
    assert jobs[0] == jobs[1]


def snake(value: Any) -> Any:
    return _spelt(value, lambda key: re.sub(r"([A-Z])", lambda found: f"_{found[1].lower()}", key))


def camel(value: Any) -> Any:
    return _spelt(value, vertex.camel)


def _spelt(value: Any, spell: Any) -> Any:
    if isinstance(value, Mapping):
        return {spell(key): _spelt(item, spell) for key, item in value.items()}
    return [_spelt(item, spell) for item in value] if isinstance(value, list) else value


def test_what_run_says_of_the_schedule_is_laid_over() -> None:
    args = with_spec(scheduling={"timeout": "60s", "strategy": "SPOT"})
    args["run"] = {
        "timeout": 3600,
        "restart_job_on_worker_restart": True,
        "max_wait_duration": "1800",
        "sync": 1,
    }
    assert compose(request(resource_args=args))["jobSpec"]["scheduling"] == {
        "timeout": "3600s",
        "strategy": "SPOT",
        "restartJobOnWorkerRestart": True,
        "maxWaitDuration": "1800s",
    }


def test_null_is_nothing_said() -> None:
    args = with_spec(labels=None, network=None)
    args["run"] = {"network": None, "service_account": None, "timeout": None}
    job = compose(request(resource_args=args))
    assert not {"network", "serviceAccount", "scheduling"} & job["jobSpec"].keys()
    assert compose(request(resource_args={**args, "run": None}))


def test_numbers_in_quotes_are_numbers() -> None:
    pool = {**queue(image_uri=IMAGE)["spec"]["worker_pool_specs"][0], "replica_count": "3"}
    job = compose(request(resource_args=with_spec(worker_pool_specs=[pool])))
    assert job["jobSpec"]["workerPoolSpecs"][0]["replicaCount"] == 3


def test_a_folder_of_ones_own_is_kept_and_an_empty_pool_keeps_its_place() -> None:
    pool = queue(image_uri=IMAGE)["spec"]["worker_pool_specs"][0]
    args = with_spec(base_output_dir="bucket/mine", worker_pool_specs=[pool, {}, pool])
    job = compose(request(resource_args=args))["jobSpec"]
    assert job["baseOutputDirectory"] == {"outputUriPrefix": "gs://bucket/mine"}
    assert [bool(pool) for pool in job["workerPoolSpecs"]] == [True, False, True]


def test_the_key_and_the_labels_of_the_queue_are_kept() -> None:
    args = with_spec(encryption_spec_key_name="projects/p/key", labels={"team": "a-b", "cost": 7})
    job = compose(request(resource_args=args))
    assert job["encryptionSpec"] == {"kmsKeyName": "projects/p/key"}
    assert {"team": "a-b", "cost": "7"}.items() <= job["labels"].items()
    with pytest.raises(SubmitRejected, match="the agent's own label"):
        compose(request(resource_args=with_spec(labels={"launch_item_key": "x"})))


def test_another_place_than_the_agents_is_refused() -> None:
    args = with_spec(project="elsewhere", location="us-central1")
    assert compose(request(resource_args=args))
    with pytest.raises(SubmitRejected) as refused:
        compose(request(resource_args=args), project=PROJECT, region=REGION)
    assert "spec.project" in refused.value.message
    assert "spec.location" in refused.value.message


@pytest.mark.req("VTX-2")
def test_everything_that_is_wrong_is_named_at_once() -> None:
    args = {
        "spec": {"worker_pool_specs": [{"machine_spec": {"acceleratorCount": "x", "machine_typ": "n1"}}]},
        "run": {"nonsense": 1, "timeout": "1h"},
    }
    with pytest.raises(SubmitRejected) as refused:
        compose(request(resource_args=args))
    said = refused.value.message
    for word in (
        "spec.staging_bucket is missing",
        "machine_spec.acceleratorCount is not a whole number",
        "machine_spec.machine_typ is no field",
        "run.nonsense is no argument",
        "run.timeout is not a number of seconds",
    ):
        assert word in said
    assert "machine_type" in refused.value.hint
    assert "gs://" in refused.value.hint
    assert "hush" not in str(refused.value)


@pytest.mark.req("VTX-7")
@pytest.mark.parametrize(
    ("image", "is_pulled"),
    [
        (IMAGE, True),
        ("eu.gcr.io/p/x", True),
        ("gcr.io/p/x:1", True),
        ("ubuntu:24.04", True),
        ("team/train", True),
        ("docker.io/team/train", True),
        ("123456789012.dkr.ecr.us-east-1.amazonaws.com/x", False),
        ("registry.example.com/x", False),
        ("localhost:5000/x", False),
    ],
)
def test_images_are_those_of_a_registry_that_the_service_reads(image: str, is_pulled: bool) -> None:
    assert vertex.can_pull(image) is is_pulled
    if not is_pulled:
        with pytest.raises(SubmitRejected, match="Artifact Registry"):
            compose(request(resource_args=macros.fill(queue(), {"image_uri": image})))


@pytest.mark.req("VTX-7")
def test_nothing_is_built_for_a_registry_that_the_service_cannot_read() -> None:
    for repository in ("", "registry.example.com/jobs"):
        with pytest.raises(Refused, match="cloud registry"):
            cloud.check_repository("vertex", repository)
    cloud.check_repository("vertex", f"{REGION}-docker.pkg.dev/{PROJECT}/jobs/train")


def test_a_word_that_is_newer_than_the_agent_is_doubted_and_not_refused() -> None:
    pool = {**queue(image_uri=IMAGE)["spec"]["worker_pool_specs"][0]}
    pool["machine_spec"] = {"machine_type": "z9", "accelerator_type": "NVIDIA_L40", "accelerator_count": 1}
    args = with_spec(worker_pool_specs=[pool])
    assert vertex.problems(args) == []
    (doubt,) = vertex.doubts(args)
    assert doubt.hint == "did you mean NVIDIA_L4?"


def test_variables_come_in_every_form_that_other_queues_take() -> None:
    forms: list[Any] = [[{"name": "A", "value": "1"}], ["A=1"], {"A": 1}]
    for form in forms:
        job = compose(request(resource_args=queue(image_uri=IMAGE, env=form)))
        env = job["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]["env"]
        assert {"name": "A", "value": "1"} in env


def test_more_variables_than_the_api_takes_are_refused() -> None:
    env = {f"V{number}": "x" for number in range(98)}
    assert compose(request(resource_args=queue(image_uri=IMAGE), env=env, secret_env={}))
    with pytest.raises(SubmitRejected, match="101, 100 at most"):
        compose(request(resource_args=queue(image_uri=IMAGE), env={**env, "A": "x", "B": "x"}, secret_env={}))


def test_a_working_directory_needs_a_command() -> None:
    job = compose(request(working_dir="/srv"))
    command = job["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]["command"]
    assert command == ["sh", "-c", 'cd "$0" && exec "$@"', "/srv", "python", "train.py"]
    with pytest.raises(SubmitRejected, match="working directory"):
        compose(request(working_dir="/srv", entry_point=[]))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(
    ["worker_pool_specs", "workerPoolSpecs", "container_spec", "env", "labels", "job_spec", "machine_spec",
     "scheduling", "staging_bucket", "base_output_directory", "replica_count", "image_uri", "timeout"]
)  # fmt: skip
TREES = st.recursive(
    JSON, lambda inner: st.dictionaries(KEYS, inner, max_size=4) | st.lists(inner, max_size=3)
)


@given(spec=TREES, run=TREES)
def test_whatever_a_queue_holds_is_a_job_or_one_clear_error(spec: Any, run: Any) -> None:
    args = {"spec": spec, "run": run}
    vertex.doubts(args)
    try:
        job = compose(request(resource_args=args))
    except SubmitRejected as refused:
        job = {"error": refused.message}
    assert "resource_args.vertex" in job["error"] if "error" in job else json.dumps(job)
