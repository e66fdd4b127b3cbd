"""Jobs that our own agent starts call `wandb.init()` of the real package and find all they were given."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.fakes.backend import Backend
from tests.fakes.eventually import eventually
from tests.fakes.wandb_sandbox import WandbSandbox, stop
from tests.interop import jobs
from tests.interop.targets import Target

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(300)]

# A job that ends by itself takes seconds; the rest is for a machine that has other work.
PATIENCE = 90.0


@pytest.fixture
def agent(backend: Backend, sandbox: WandbSandbox, target: Target) -> Iterator[None]:
    """Our agent on a queue that is named like its target, in a process of its own, drained at the end."""
    queue = target.resource
    backend.create_queue(queue, target.resource, target.queue_config)
    config = sandbox.folder / "launch-config.yaml"
    settings = {
        # An agent takes over the containers of its name; other test processes have agents on the same engine.
        "name": f"{sandbox.folder.name}-agent",
        "entity": backend.entity,
        "queues": [queue],
        "base_url": backend.url,
        "state-dir": str(sandbox.folder / "state"),
        "stopped_run_timeout": 120,
        **target.agent_config,
    }
    config.write_text(yaml.safe_dump(settings))
    process = sandbox.start(
        [sys.executable, "-m", "launch_agent", "start", "-c", str(config)], "agent.log", target.env
    )
    yield
    assert stop(process, signal.SIGTERM) == 0, sandbox.read("agent.log")


@pytest.mark.usefixtures("agent")
@pytest.mark.req("AGT-1", "JOB-1", "QUEUE-12")
def test_a_run_is_recorded_from_its_start_to_its_end(
    backend: Backend, sandbox: WandbSandbox, target: Target
) -> None:
    spec = target.spec(jobs.TRAIN, run_config={"lr": 0.1, "note": "ä"}) | {"name": "first", "author": "ada"}

    item = backend.push(target.resource, spec)
    end = _end(backend, sandbox, item)

    assert end["detailedState"] == "FINISHED", backend.error_log(item)
    run = backend.run("vision", end["associatedRunId"])
    assert run is not None
    assert (run["state"], run["exitCode"]) == ("finished", 0)
    assert run["config"] == {"lr": 0.1, "note": "ä", "layers": 2}
    assert run["historyLineCount"] == 2
    assert (run["summaryMetrics"]["loss"], run["summaryMetrics"]["best"]) == (0.5, 0.5)
    assert b"trained with 0.1" in backend.download(run["files"]["output.log"]["directUrl"])
    assert run["summaryMetrics"]["env"] == {
        "WANDB_LAUNCH": "True",
        "WANDB_LAUNCH_QUEUE_NAME": target.resource,
        "WANDB_LAUNCH_QUEUE_ENTITY": backend.entity,
        "WANDB_LAUNCH_TRACE_ID": item,
        "WANDB_PROJECT": "vision",
        "WANDB_ENTITY": backend.entity,
        "WANDB_RUN_ID": end["associatedRunId"],
        "WANDB_USERNAME": "ada",
        "WANDB_NAME": "first",
        "WANDB_DOCKER": target.image,
    }


@pytest.mark.usefixtures("agent")
def test_a_config_longer_than_a_variable_arrives_whole(
    backend: Backend, sandbox: WandbSandbox, target: Target
) -> None:
    config = {f"parameter_{number}": "µ" * 2000 for number in range(40)}  # 480 kB as ASCII JSON

    item = backend.push(target.resource, target.spec(jobs.TRAIN, run_config=config))
    end = _end(backend, sandbox, item)

    assert end["detailedState"] == "FINISHED", backend.error_log(item)
    run = backend.run("vision", end["associatedRunId"])
    assert run is not None
    assert run["config"] == config | {"lr": 0.5, "layers": 2}
    assert run["summaryMetrics"]["chunks"] > 1


@pytest.mark.usefixtures("agent")
def test_a_run_that_is_pushed_again_goes_on_where_it_was(
    backend: Backend, sandbox: WandbSandbox, target: Target
) -> None:
    """A preempted run comes back with its own id and a count; the package then resumes its record."""
    spec = target.spec(jobs.TRAIN) | {"run_id": f"again-{target.resource}"}

    for resume_count in range(2):
        item = backend.push(target.resource, spec | {"_resume_count": resume_count})
        end = _end(backend, sandbox, item)
        assert end["detailedState"] == "FINISHED", backend.error_log(item)

    run = backend.run("vision", spec["run_id"])
    assert run is not None
    assert (run["state"], run["historyLineCount"]) == ("finished", 4)
    assert run["summaryMetrics"]["_step"] == 3


@pytest.mark.usefixtures("agent")
def test_the_clients_stop_ends_a_running_job(backend: Backend, sandbox: WandbSandbox, target: Target) -> None:
    item = backend.push(target.resource, target.spec(jobs.FOREVER))
    run = eventually(lambda: _running(backend, item), within=PATIENCE, what="wandb.init in the job")
    assert run["stopped"] is False

    sandbox.script(
        """
        import wandb
        run = wandb.Api().run(sys.argv[1])
        run.stop()
        result(run.state)
        """,
        f"{backend.entity}/vision/{run['name']}",
    )

    stopped = backend.run("vision", run["name"])
    assert stopped is not None
    assert stopped["stopped"] is True
    end = _end(backend, sandbox, item)
    assert end["detailedState"] == "STOPPED", backend.error_log(item)
    ended = backend.run("vision", run["name"])
    assert ended is not None
    # The package heard of it in an answer of the server and ended by itself, while the agent still waited.
    assert (ended["state"], ended["exitCode"]) == ("failed", 1)


@pytest.mark.usefixtures("agent")
def test_a_job_that_fails_tells_its_reason(backend: Backend, sandbox: WandbSandbox, target: Target) -> None:
    item = backend.push(target.resource, target.spec("raise SystemExit('no data at /data')"))
    end = _end(backend, sandbox, item)

    assert end["state"] == end["detailedState"] == "FAILED"
    assert end["error"]["stage"] == "run"
    assert "exit code 1" in end["error"]["message"]
    log = eventually(lambda: backend.error_log(item), within=PATIENCE, what="error.log")
    assert "no data at /data" in log


def _end(backend: Backend, sandbox: WandbSandbox, item: str) -> dict[str, Any]:
    """The item, once it has come to an end of any kind."""

    def ended() -> dict[str, Any] | None:
        found = backend.item(item)
        return found if found["detailedState"] in ("FINISHED", "FAILED", "STOPPED", "PREEMPTED") else None

    try:
        return eventually(ended, within=PATIENCE, what="the end of the item")
    except AssertionError as error:
        raise AssertionError(f"{error}\n{sandbox.read('agent.log')}") from error


def _running(backend: Backend, item: str) -> dict[str, Any] | None:
    run_id = backend.item(item)["associatedRunId"]
    run = run_id and backend.run("vision", run_id)
    return run if run and run["state"] == "running" else None
