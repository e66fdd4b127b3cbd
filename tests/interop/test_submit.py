"""`wandb launch` and `launch_add`, unmodified, put jobs on our server's queues."""

from __future__ import annotations

import json

import pytest

from tests.fakes.backend import Backend
from tests.fakes.wandb_sandbox import WandbSandbox

pytestmark = [pytest.mark.interop]

IMAGE = "registry.example/team/train:1"


@pytest.mark.req("JOB-1", "JOB-5", "QUEUE-7", "QUEUE-12")
def test_an_image_is_pushed_with_the_queues_own_resource(backend: Backend, sandbox: WandbSandbox) -> None:
    backend.create_queue("plain", "local-container", {"env": ["FROM=queue"]})

    printed = sandbox.wandb(
        "launch", "-d", IMAGE, "-q", "plain", "-p", "vision", "-e", backend.entity, "--name", "first"
    )

    assert "Added run to queue plain" in printed
    (item,) = backend.items("plain")
    assert item["state"] == "PENDING"
    spec = item["runSpec"]
    assert spec["docker"] == {"docker_image": IMAGE}
    assert (spec["entity"], spec["project"], spec["name"]) == (backend.entity, "vision", "first")
    # The client leaves the resource open; the queue decides it.
    assert spec["resource"] == "local-container"
    assert spec["resource_args"]["local-container"]["env"] == ["FROM=queue"]


@pytest.mark.req("JOB-10", "QUEUE-13", "QUEUE-14")
def test_a_jobs_own_arguments_win_over_the_queues_for_this_job_alone(
    backend: Backend, sandbox: WandbSandbox
) -> None:
    backend.create_queue("merging", "local-container", {"memory": "1g", "cpus": "1"})
    common = ("launch", "-d", IMAGE, "-q", "merging", "-p", "vision", "-e", backend.entity)

    sandbox.wandb(*common, "-R", json.dumps({"local-container": {"memory": "8g"}}))
    sandbox.wandb(*common)

    own, other = (item["runSpec"]["resource_args"]["local-container"] for item in backend.items("merging"))
    assert own == {"memory": "8g", "cpus": "1"}
    assert other == {"memory": "1g", "cpus": "1"}


def test_overrides_travel_with_the_job(backend: Backend, sandbox: WandbSandbox) -> None:
    backend.create_queue("overriding", "local-container")
    config = {"overrides": {"args": ["--epochs", "3"], "run_config": {"lr": 0.1}}}

    sandbox.wandb(
        *("launch", "-d", IMAGE, "-q", "overriding", "-p", "vision", "-e", backend.entity),
        *("-E", "python train.py", "-c", json.dumps(config)),
    )

    (item,) = backend.items("overriding")
    assert item["runSpec"]["overrides"] == {
        "entry_point": ["python", "train.py"],
        "args": ["--epochs", "3"],
        "run_config": {"lr": 0.1},
    }


@pytest.mark.req("QUEUE-1", "QUEUE-2", "QUEUE-3")
def test_priority_decides_who_leaves_a_prioritised_queue_first(
    backend: Backend, sandbox: WandbSandbox
) -> None:
    backend.create_queue("ranked", "local-container", prioritised=True)
    for name, priority in (("last", "low"), ("second", "high"), ("first", "critical"), ("third", "high")):
        sandbox.wandb(
            *("launch", "-d", IMAGE, "-q", "ranked", "-p", "vision", "-e", backend.entity),
            *("--name", name, "--priority", priority),
        )

    assert [item["priority"] for item in backend.items("ranked")] == [3, 1, 0, 1]
    order = [popped[1]["name"] for _ in range(4) if (popped := backend.pop("ranked"))]
    assert order == ["first", "second", "third", "last"]
    assert backend.pop("ranked") is None


@pytest.mark.req("QUEUE-15")
def test_template_variables_are_filled_and_checked(backend: Backend, sandbox: WandbSandbox) -> None:
    backend.create_queue(
        "templated",
        "local-container",
        {"memory": "{{memory}}", "cpus": "{{cpus}}"},
        variables={
            "memory": {"schema": {"type": "string", "enum": ["1g", "8g"]}},
            "cpus": {"schema": {"type": "integer", "minimum": 1, "maximum": 4}},
        },
    )
    common = ("launch", "-d", IMAGE, "-q", "templated", "-p", "vision", "-e", backend.entity)

    sandbox.wandb(*common, "--set-var", "memory=8g", "--set-var", "cpus=2")
    refused = sandbox.wandb(*common, "--set-var", "memory=8g", "--set-var", "cpus=64", ok=False)

    assert "Added run to queue" not in refused
    (item,) = backend.items("templated")
    assert item["runSpec"]["resource_args"]["local-container"] == {"memory": "8g", "cpus": 2}


@pytest.mark.req("QUEUE-9")
def test_a_queue_that_is_not_there_is_named_in_the_error(backend: Backend, sandbox: WandbSandbox) -> None:
    backend.create_queue("present", "local-container")

    printed = sandbox.wandb(
        "launch", "-d", IMAGE, "-q", "absent", "-p", "vision", "-e", backend.entity, ok=False
    )

    assert "Unable to push to run queue absent. Queue not found." in printed


def test_the_default_queue_is_made_at_its_first_use(backend: Backend, sandbox: WandbSandbox) -> None:
    backend.create_queue("present", "local-container")

    sandbox.wandb("launch", "-d", IMAGE, "-q", "default", "-p", "vision", "-e", backend.entity)

    (item,) = backend.items("default")
    assert item["runSpec"]["docker"] == {"docker_image": IMAGE}


def test_a_wrong_key_is_refused(backend: Backend, sandbox: WandbSandbox) -> None:
    backend.create_queue("guarded", "local-container")
    sandbox.env["WANDB_API_KEY"] = "0" * 40

    sandbox.wandb("launch", "-d", IMAGE, "-q", "guarded", "-p", "vision", "-e", backend.entity, ok=False)

    assert backend.items("guarded") == []


@pytest.mark.slow
def test_a_queued_run_is_followed_from_the_queue_to_its_end(backend: Backend, sandbox: WandbSandbox) -> None:
    """`launch_add` gives a handle whose state, run and end come from the server."""
    backend.create_queue("followed", "local-container")
    queued = sandbox.script(
        """
        from wandb.sdk.launch import launch_add
        entity, image = sys.argv[1:]
        queued = launch_add(docker_image=image, entity=entity, project="vision", queue_name="followed")
        result({"id": queued.id, "state": queued.state})
        """,
        *(backend.entity, IMAGE),
    )
    assert queued["state"] == "pending"

    popped = backend.pop("followed")
    assert popped is not None
    assert popped[0] == queued["id"]
    backend.ack(queued["id"], "followed1")
    seen = sandbox.script(
        """
        import wandb
        entity, item = sys.argv[1:]
        with wandb.init(entity=entity, project="vision", id="followed1") as run:
            queued = wandb.Api().queued_run(entity, "vision", "followed", item, "model-registry")
            started = queued.wait_until_running()
            during = {"state": queued.state, "run": started.id, "run state": started.state}
            run.log({"loss": 0.25})
        ended = queued.wait_until_finished()
        result({**during, "end": ended.state, "loss": ended.summary["loss"]})
        """,
        *(backend.entity, queued["id"]),
    )

    assert seen == {
        "state": "claimed",
        "run": "followed1",
        "run state": "running",
        "end": "finished",
        "loss": 0.25,
    }
