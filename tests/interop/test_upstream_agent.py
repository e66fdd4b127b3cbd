"""`wandb launch-agent`, unmodified, works off our server's queues."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

from tests.fakes.backend import Backend
from tests.fakes.eventually import eventually
from tests.fakes.wandb_sandbox import WandbSandbox, stop
from tests.interop import jobs
from tests.interop.targets import Target

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(300)]

# The agent looks at its queues and at its runs every 10 seconds.
PATIENCE = 75.0


@pytest.mark.req("AGT-1", "AGT-2", "QUEUE-4", "QUEUE-12", "CLI-1")
def test_it_takes_a_job_runs_it_and_ends_when_a_user_stops_it(
    backend: Backend, sandbox: WandbSandbox, target: Target
) -> None:
    queue = target.resource
    backend.create_queue(queue, target.resource, target.queue_config)
    item = backend.push(queue, target.spec(jobs.TRAIN, run_config={"lr": 0.1}) | {"name": "first"})
    # For containers it chooses the host's network where the server's address begins with this name.
    sandbox.env["WANDB_BASE_URL"] = backend.url.replace("127.0.0.1", "localhost")

    agent = sandbox.start(_agent(queue, backend), "agent.log", target.env)
    run = eventually(lambda: _ended(backend, item), within=PATIENCE, what="the job's run")

    assert run["state"] == "finished", sandbox.read("agent.log")
    assert run["config"] == {"lr": 0.1, "layers": 2}
    assert run["historyLineCount"] == 2
    assert run["summaryMetrics"]["best"] == 0.5
    environment = run["summaryMetrics"]["env"]
    assert environment["WANDB_NAME"] == "first"
    assert environment["WANDB_LAUNCH_QUEUE_NAME"] == queue
    assert environment["WANDB_LAUNCH_TRACE_ID"] == item
    found = backend.item(item)
    assert (found["state"], found["detailedState"]) == ("CLAIMED", "FINISHED")

    registered = _registered(backend, queue)
    assert registered["version"].startswith("wandb@")
    # Asked to stop while it sees to the end of a job, it would say POLLING after KILLED.
    eventually(
        lambda: "Job finished" in sandbox.read("agent.log"), within=PATIENCE, what="the agent sees the end"
    )
    backend.stop_agent(registered["id"])
    assert agent.wait(timeout=PATIENCE) == 0
    assert _registered(backend, queue)["agentStatus"] == "KILLED", sandbox.read("agent.log")


@pytest.mark.req("CLI-2", "CLI-3", "CLI-4", "AGT-3")
def test_it_reports_a_job_that_it_cannot_run_with_the_log(backend: Backend, sandbox: WandbSandbox) -> None:
    for queue in ("one", "two"):
        backend.create_queue(queue, "local-process")
    # The official agent refuses to run an image as a process.
    item = backend.push("two", {"project": "vision", "docker": {"docker_image": "a/b:1"}})

    agent = sandbox.start(_agent("one", backend, "-q", "two", "--max-jobs", "5"), "agent.log")
    failed = eventually(
        lambda: (found := backend.item(item))["state"] == "FAILED" and found,
        within=PATIENCE,
        what="the failure",
    )

    assert failed["detailedState"] == "FAILED"
    assert "Cannot specify docker image with local-process" in failed["error"]["message"]
    assert failed["error"]["stage"] == "agent"
    log = eventually(lambda: backend.error_log(item), within=PATIENCE, what="error.log")
    assert "LaunchError" in log
    # Interrupted by hand it ends with click's "Aborted!".
    stop(agent, signal.SIGINT)


def _agent(queue: str, backend: Backend, *more: str) -> list[str]:
    return ["wandb", "launch-agent", "-q", queue, "-e", backend.entity, "-l", "-", *more]


def _registered(backend: Backend, queue: str) -> dict[str, Any]:
    """The one agent that polls a queue, as the server has it."""
    (agent,) = (one for one in backend.agents() if queue in json.loads(one["agentConfig"])["queues"])
    return agent


def _ended(backend: Backend, item: str) -> dict[str, Any] | None:
    run_id = backend.item(item)["associatedRunId"]
    run = run_id and backend.run("vision", run_id)
    return run if run and run["state"] not in ("pending", "running") else None
