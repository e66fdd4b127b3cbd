"""Jobs go from a queue through the real agent process to containers of a real engine, and to their ends."""

from __future__ import annotations

import json
import re
import signal
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fakes.engine_proxy import EngineProxy
from tests.fakes.eventually import eventually

pytestmark = pytest.mark.docker
Site = Any  # tests.e2e.conftest.Site, which is no module to import
Agent = Any

# Runs until it is told how to end: USR1 is success, USR2 a failure.
WAITS = "trap 'echo told; exit 0' USR1; trap 'exit 3' USR2; echo ready; while :; do sleep 0.1; done"
# Ignores the polite signal, as a first process without a handler does.
SILENT = ("sleep", "600")


@pytest.fixture(scope="module")
def queue(site: Site) -> str:
    config = {
        "env": ["FROM_QUEUE=queue", "BOTH=queue", "RUN=${run_id}", "IMAGE=${image_uri}", "WHO=${author}",
                "KEY=${WANDB_API_KEY}", "PLACE=${HOME}", "AGENT=${USER}${PATH}"],
        "memory": "256m",
        "name": "e2e-${run_id}",
        "stop-timeout": 1,
    }  # fmt: skip
    return str(site.queue(config))


@pytest.fixture(scope="module")
def agent(site: Site, queue: str) -> Iterator[Agent]:
    """One agent for the tests that need nothing special; it keeps containers, to be looked at."""
    with site.agent(queue, **{"start-timeout": 3}) as made:
        yield made


def env_of(lines: list[str]) -> Mapping[str, str]:
    return dict(line.split("=", 1) for line in lines if "=" in line)


@pytest.mark.req("JOB-4", "JOB-5", "AGT-4", "AGT-10", "QUEUE-6", "QUEUE-12", "QUEUE-18")
def test_a_job_runs_with_everything_that_ties_it_to_its_item(site: Site, agent: Agent, queue: str) -> None:
    config = {"lr": 0.1, "name": "näme", "deep": {"a": [1, None]}}
    item = site.push(queue, "env", run_config=config, name="my run", author="ada")
    found = site.finished(item)
    env = env_of(agent.output(item))
    run = found["associatedRunId"]
    assert {name: env[name] for name in env if name.startswith("WANDB_")} == {
        "WANDB_API_KEY": site.server.api_key,
        "WANDB_BASE_URL": site.server.url,
        "WANDB_CONFIG": json.dumps(config, separators=(",", ":")),
        "WANDB_DOCKER": site.image,
        "WANDB_ENTITY": "team",
        "WANDB_LAUNCH": "True",
        "WANDB_LAUNCH_QUEUE_ENTITY": "team",
        "WANDB_LAUNCH_QUEUE_NAME": queue,
        "WANDB_LAUNCH_TRACE_ID": item,
        "WANDB_NAME": "my run",
        "WANDB_PROJECT": "train",
        "WANDB_RUN_ID": run,
        "WANDB_USERNAME": "ada",
    }
    assert agent.container(item)["HostConfig"]["Memory"] == 256 << 20


def test_macros_are_filled_and_the_agents_environment_is_not_told(
    site: Site, agent: Agent, queue: str
) -> None:
    item = site.push(queue, "env", author="ada")
    run = site.finished(item)["associatedRunId"]
    env = env_of(agent.output(item))
    assert (env["RUN"], env["IMAGE"], env["WHO"]) == (run, site.image, "ada")
    assert (env["KEY"], env["PLACE"]) == ("${WANDB_API_KEY}", "${HOME}")
    assert env["AGENT"] == "${USER}${PATH}"
    assert agent.container(item)["Name"] == f"/e2e-{run}"


@pytest.mark.req("QUEUE-13", "JOB-10")
def test_a_job_overrides_its_queue_for_itself_alone(site: Site, agent: Agent, queue: str) -> None:
    own = {"local-container": {"memory": "128m", "name": "e2e-own-${run_id}"}}
    changed = site.push(queue, "env", resource_args=own)
    plain = site.push(queue, "env")
    run = site.finished(changed)["associatedRunId"]
    site.finished(plain)
    memory = [agent.container(item)["HostConfig"]["Memory"] >> 20 for item in (changed, plain)]
    assert memory == [128, 256]
    assert agent.container(changed)["Name"] == f"/e2e-own-{run}"
    assert env_of(agent.output(changed))["FROM_QUEUE"] == "queue"


def test_args_arrive_as_they_were_given(site: Site, agent: Agent, queue: str) -> None:
    args = ["--lr=1e-3", "a b", "$HOME", "${run_id}", "*", "", "'q'", "ü"]
    item = site.push(queue, "printf", "[%s]\n", args=args)
    site.finished(item)
    assert agent.output(item) == [f"[{word}]" for word in args]


def test_a_failure_tells_its_exit_code_and_its_last_lines(site: Site, agent: Agent, queue: str) -> None:
    item = site.push(
        queue, "sh", "-c", "exec 2>&1; for i in 1 2 3; do echo epoch $i; done; echo oh no >&2; exit 7"
    )
    assert "exit code 7" in site.failed(item)
    log = eventually(lambda: site.backend.error_log(item))
    assert log.splitlines() == ["epoch 1", "epoch 2", "epoch 3", "oh no"]
    assert site.backend.item(item)["error"]["stage"] == "run"


def test_a_program_that_is_not_in_the_image_is_named(site: Site, agent: Agent, queue: str) -> None:
    message = site.failed(site.push(queue, "no-such-program"))
    assert message.startswith("ContainerCannotRun: ")
    assert "no-such-program" in message
    assert "entry point" in message


@pytest.mark.req("JOB-9")
def test_an_image_that_is_not_in_its_registry_fails_with_its_reason(
    site: Site, agent: Agent, queue: str, docker_registry: str
) -> None:
    image = f"{docker_registry}/absent:1"
    message = site.failed(site.push(queue, "true", docker={"docker_image": image}))
    assert message.startswith("ImageNotFound: ")
    assert image in message
    assert "check the image's name" in message


def test_an_image_that_is_shut_fails_with_its_reason(
    site: Site, agent: Agent, queue: str, private_registry: str
) -> None:
    image = f"{private_registry}/secret:1"
    message = site.failed(site.push(queue, "true", docker={"docker_image": image}))
    assert message.startswith("ImageDenied: ")
    assert "docker login" in message


def test_a_registry_that_does_not_answer_fails_with_its_reason(site: Site, agent: Agent, queue: str) -> None:
    item = site.push(queue, "true", docker={"docker_image": "127.0.0.1:9/nobody:1"})
    message = site.failed(item)
    assert message.startswith("RegistryUnreachable: ")
    assert "can the engine reach" in message


def test_memory_that_runs_out_is_named(site: Site, agent: Agent, queue: str) -> None:
    own = {"local-container": {"memory": "16m", "memory-swap": "16m"}}
    item = site.push(queue, "sh", "-c", "x=$(yes | head -c 100000000)", resource_args=own)
    message = site.failed(item)
    if "exit code" in message and "137" not in message:
        pytest.skip("this engine's machine does not limit memory")
    assert message.startswith("OOMKilled: ")
    assert "memory" in message


def test_a_silent_container_is_stopped(site: Site, agent: Agent, queue: str) -> None:
    item = site.push(queue, *SILENT)
    agent.running(item)
    site.backend.stop_item(item)
    assert site.ended(item)["detailedState"] == "STOPPED"
    assert not agent.container(item)["State"]["Running"]


def test_the_key_is_in_the_runs_own_container_and_nowhere_else(site: Site, agent: Agent, queue: str) -> None:
    key = site.server.api_key
    item = site.push(queue, "sh", "-c", WAITS)
    agent.running(item)
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not [command for command in commands if key.encode() in command]
    own = agent.container(item)
    assert str(own).count(key) == 1
    assert f"WANDB_API_KEY={key}" in own["Config"]["Env"]
    images = site.engine.client.images()
    assert key not in str([site.engine.client.inspect_image(image["Id"]) for image in images])
    agent.signal(item, "USR2")
    assert key not in site.failed(item)
    assert key not in agent.log
    assert key not in eventually(lambda: site.backend.error_log(item))


@pytest.mark.parametrize(
    ("args", "what"),
    [
        ({"volume": ["/tmp:/data:ro"]}, "--volume"),
        ({"privileged": True}, "--privileged"),
        ({"network": "host"}, "--network"),
        ({"cap-add": ["SYS_PTRACE"], "user": "root"}, "--cap-add"),
    ],
)
def test_what_the_policy_refuses_runs_once_it_is_opened_as_it_says(
    site: Site, agent: Agent, queue: str, args: dict[str, Any], what: str
) -> None:
    own = {"local-container": args}
    message = site.failed(site.push(queue, "true", resource_args=own))
    assert message.startswith("Refused: ")
    assert what in message
    opening = re.search(r"`(policy: \{.*\})`", message)
    assert opening, message
    assert [found for found in agent.containers() if found["HostConfig"]["Privileged"]] == []
    opened = site.queue()
    with site.agent(opened, **yaml.safe_load(opening[1])) as other:
        item = site.push(opened, "true", resource_args=own)
        found = site.ended(item)
        if "operation not permitted" in str(found["error"]):
            pytest.skip("this engine itself may not do that")
        assert found["detailedState"] == "FINISHED", found
        host = other.container(item)["HostConfig"]
    wanted = {"volume": host["Binds"], "privileged": host["Privileged"], "network": host["NetworkMode"]}
    assert all(wanted[key] == value for key, value in args.items() if key in wanted)


@pytest.mark.req("AGT-6", "CFG-4")
def test_containers_outlive_their_agent_are_adopted_and_count(site: Site) -> None:
    queue = site.queue()
    with site.agent(queue, max_jobs=1) as agent:
        first = site.push(queue, "sh", "-c", WAITS)
        agent.running(first)
        agent.process.signal(signal.SIGTERM)
        assert agent.process.wait() == 0
        assert "1 runs go on" in agent.log
        assert agent.container(first)["State"]["Running"]
        second = site.push(queue, "true")
        begin = agent.restart()
        eventually(lambda: "is adopted" in agent.log[begin:])
        agent.signal(first, "USR2")
        assert "exit code 3" in site.failed(first)
        site.finished(second)
        times = agent.container(first)["State"]["FinishedAt"], agent.container(second)["State"]["StartedAt"]
    assert times[0] <= times[1], "the second began while the first, which was adopted, still ran"


@pytest.mark.req("AGT-6", "CFG-4")
def test_no_more_than_max_jobs_run_at_once(site: Site) -> None:
    queue = site.queue()
    items = [site.push(queue, "sh", "-c", "sleep 0.5") for _ in range(6)]
    with site.agent(queue, max_jobs=2) as agent:
        for item in items:
            site.finished(item, within=60)
        states = [agent.container(item)["State"] for item in items]
    spans = [(state["StartedAt"], state["FinishedAt"]) for state in states]
    assert max(sum(begin <= other[0] < end for begin, end in spans) for other in spans) <= 2


def test_kept_containers_are_told_of_once(site: Site) -> None:
    queue = site.queue()
    with site.agent(queue) as agent:
        items = [site.push(queue, "sh", "-c", "exit 4"), site.push(queue, "true")]
        for item in items:
            site.ended(item)
        eventually(lambda: all(map(agent.is_marked, items)))
        running = site.push(queue, "sh", "-c", WAITS)
        agent.running(running)
        begin = agent.restart()
        agent.signal(running, "USR1")
        site.finished(running)
        assert agent.log[begin:].count("is adopted") == 1
        assert len(agent.containers()) == 3


def test_containers_go_when_their_end_is_told(site: Site) -> None:
    queue = site.queue()
    with site.agent(queue, runner={"keep": False}) as agent:
        site.failed(site.push(queue, "false"))
        eventually(lambda: not agent.containers())


def test_a_kill_between_create_and_start_starts_once(site: Site) -> None:
    queue = site.queue()
    with EngineProxy(site.engine.host) as proxy, site.agent(queue, runner={"host": proxy.host}) as agent:
        reached = proxy.hold(rb"/containers/\w+/start")
        item = site.push(queue, "echo", "once")
        assert reached.wait(30)
        assert agent.container(item)["State"]["Status"] == "created"
        agent.process.kill()
        proxy.let_go()
        agent.restart()
        site.finished(item)
        assert agent.output(item) == ["once"]


def test_an_engine_that_goes_away_fails_no_job(site: Site) -> None:
    queue = site.queue()
    with EngineProxy(site.engine.host) as proxy, site.agent(queue, runner={"host": proxy.host}) as agent:
        before = site.push(queue, "sh", "-c", WAITS)
        agent.running(before)
        # The engine runs it before it answers; what is cut off in between is a start, not a run.
        eventually(lambda: re.search(r"run \S+ is running", agent.log), within=30)
        proxy.cut()
        during = [site.push(queue, "true") for _ in range(3)]
        eventually(lambda: agent.log.count("cannot be started yet") >= 3, within=30)
        eventually(lambda: "cannot be asked for its status" in agent.log, within=30)
        agent.signal(before, "USR1")
        assert {site.backend.item(item)["detailedState"] for item in (before, *during)} == {"CLAIMED"}
        proxy.mend()
        for item in (before, *during):
            site.finished(item, within=60)


def test_an_engine_that_is_away_at_the_start_is_looked_into_later(site: Site) -> None:
    """The ends of runs are told though no new job comes that needs the engine."""
    queue = site.queue()
    with EngineProxy(site.engine.host) as proxy, site.agent(queue, runner={"host": proxy.host}) as agent:
        item = site.push(queue, "sh", "-c", WAITS)
        agent.running(item)
        agent.process.kill()
        proxy.cut()
        begin = agent.restart()
        eventually(lambda: "cannot be looked for yet" in agent.log[begin:])
        agent.signal(item, "USR1")
        proxy.mend()
        site.finished(item, within=60)


def test_answers_of_the_engine_that_break_off_lose_no_end(site: Site) -> None:
    """The engine goes while the log of a failure is being read."""
    queue = site.queue()
    with EngineProxy(site.engine.host) as proxy, site.agent(queue, runner={"host": proxy.host}):
        reached = proxy.hold(rb"/containers/\w+/logs")
        item = site.push(queue, "sh", "-c", f"echo {uuid.uuid4().hex}; exit 2")
        assert reached.wait(30)
        proxy.let_go()
        proxy.cut()
        proxy.mend()
        assert "exit code 2" in site.failed(item, within=60)
