"""The agent as a process, against the real server: start, drain, outage, restart, refusal, stop."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3

from launch_agent.server.serve import Server
from tests.fakes.agent_process import AgentProcess
from tests.fakes.backend import Backend
from tests.fakes.eventually import eventually


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(data_dir=tmp_path / "server", entity="team") as server:
        yield server


@pytest.fixture
def backend(server: Server) -> Backend:
    backend = Backend(url=server.url, api_key=server.api_key, entity="team")
    backend.create_queue("q", "local-process")
    return backend


def agent_of(server: Server, tmp_path: Path, **config: Any) -> AgentProcess:
    return AgentProcess(tmp_path, server.url, server.api_key, **config)


def job(script: str, **overrides: Any) -> dict[str, Any]:
    return {
        "project": "p",
        "resource": "local-process",
        "overrides": {"entry_point": ["sh", "-c", script], **overrides},
    }


def ended(backend: Backend, item: str, state: str, within: float = 20.0) -> dict[str, Any]:
    def probe() -> dict[str, Any]:
        found = backend.item(item)
        assert found["detailedState"] == state, found
        return found

    return eventually(probe, within=within)


@pytest.mark.req("AGT-1", "AGT-2", "AGT-4", "CLI-6", "JOB-9", "QUEUE-4")
def test_jobs_run_to_their_ends(server: Server, backend: Backend, tmp_path: Path) -> None:
    with agent_of(server, tmp_path):
        good = backend.push("q", job("echo fine"))
        bad = backend.push("q", job("echo about to fail; exit 7"))
        ended(backend, good, "FINISHED")
        failed = ended(backend, bad, "FAILED")
    assert "exit code 7" in failed["error"]["message"]
    assert failed["error"]["stage"] == "run"
    assert [path.rpartition("/")[2] for path in failed["error"]["filePaths"]] == ["error.log"]
    assert backend.item(good)["deliveries"] == 1


@pytest.mark.req("QUEUE-1", "AGT-5")
def test_a_queue_is_worked_off_in_its_order(server: Server, backend: Backend, tmp_path: Path) -> None:
    order = tmp_path / "order"
    items = [backend.push("q", job(f"echo {number} >> {order}")) for number in range(6)]
    with agent_of(server, tmp_path, max_jobs=1):
        for item in items:
            ended(backend, item, "FINISHED", within=40)
    assert order.read_text().split() == [str(number) for number in range(6)]


@pytest.mark.req("QUEUE-2")
def test_higher_priority_goes_first(server: Server, backend: Backend, tmp_path: Path) -> None:
    backend.create_queue("ranked", "local-process", prioritised=True)
    order = tmp_path / "order"
    items = []
    for priority in (3, 1, 0, 2):
        data = backend.query(
            """mutation($input: PushToRunQueueByNameInput!) {
                 pushToRunQueueByName(input: $input) { runQueueItemId } }""",
            input={
                "entityName": "team",
                "projectName": "model-registry",
                "queueName": "ranked",
                "priority": priority,
                "runSpec": _text({"entity": "team", **job(f"echo {priority} >> {order}")}),
            },
        )
        items.append(data["pushToRunQueueByName"]["runQueueItemId"])
    with agent_of(server, tmp_path, max_jobs=1, queues=["ranked"]):
        for item in items:
            ended(backend, item, "FINISHED", within=40)
    assert order.read_text().split() == ["0", "1", "2", "3"]


def _text(value: dict[str, Any]) -> str:
    import json

    return json.dumps(value)


def test_what_builds_lack_is_told_at_the_start_and_stops_nothing(
    server: Server, backend: Backend, tmp_path: Path
) -> None:
    """A registry that nobody listens at: jobs that need no image run all the same."""
    nowhere = {"type": "layers", "destination": "127.0.0.1:9/jobs"}
    with agent_of(server, tmp_path, builder=nowhere) as agent:
        eventually(lambda: "cannot be built as things are" in agent.log, within=60)
        assert "127.0.0.1:9" in agent.log
        ended(backend, backend.push("q", job("true")), "FINISHED", within=40)


def test_a_user_stops_a_run(server: Server, backend: Backend, tmp_path: Path) -> None:
    with agent_of(server, tmp_path):
        item = backend.push("q", job("sleep 600"))
        ended(backend, item, "CLAIMED")
        backend.stop_item(item)
        ended(backend, item, "STOPPED")


def test_sigterm_drains_and_leaves_runs_running(server: Server, backend: Backend, tmp_path: Path) -> None:
    """openings L3: and the next start takes them up."""
    go = tmp_path / "go"
    agent = agent_of(server, tmp_path)
    with agent:
        item = backend.push("q", job(f"until [ -e {go} ]; do sleep 0.1; done"))
        eventually(lambda: "is started" in agent.log)
        agent.signal(signal.SIGTERM)
        assert agent.wait() == 0
    assert "1 runs go on" in agent.log
    assert [found["agentStatus"] for found in backend.agents()] == ["KILLED"]
    waiting = backend.push("q", job("true"))
    assert backend.item(waiting)["detailedState"] == "PENDING"
    go.touch()
    with agent_of(server, tmp_path):
        ended(backend, item, "FINISHED")
        ended(backend, waiting, "FINISHED")
    assert "is adopted" in agent.log


def test_a_second_signal_ends_at_once(server: Server, backend: Backend, tmp_path: Path) -> None:
    """openings L3: a launch that hangs does not hold the process."""
    config = {
        "runner": {"local-container": {"host": "tcp://127.0.0.1:9", "pull": "missing"}},
        "drain-timeout": 600,
    }
    backend.create_queue("c", "local-container")
    agent = agent_of(server, tmp_path, queues=["c"], **config)
    with agent:
        backend.push(
            "c", {"project": "p", "docker": {"docker_image": "img:1"}, "resource": "local-container"}
        )
        eventually(lambda: "cannot be started yet" in agent.log)
        agent.signal(signal.SIGINT)
        eventually(lambda: "draining" in agent.log)
        agent.signal(signal.SIGINT)
        agent.wait(10)


def test_a_user_stops_the_agent(server: Server, backend: Backend, tmp_path: Path) -> None:
    with agent_of(server, tmp_path) as agent:
        (found,) = backend.agents()
        backend.stop_agent(found["id"])
        assert agent.wait(30) == 0
    assert [found["agentStatus"] for found in backend.agents()] == ["KILLED"]


def test_an_outage_costs_time_and_nothing_else(tmp_path: Path) -> None:
    """openings L1: the server goes away under a running job and an unreported end."""
    go, data = tmp_path / "go", tmp_path / "server"
    with Server(data_dir=data, entity="team") as first:
        backend = Backend(url=first.url, api_key=first.api_key, entity="team")
        backend.create_queue("q", "local-process")
        port, key = first.port, first.api_key
        agent = AgentProcess(tmp_path, first.url, key, **{"ready-after": 1, "metrics": {"port": free_port()}})
        agent.start()
        item = backend.push("q", job(f"until [ -e {go} ]; do sleep 0.1; done"))
        eventually(lambda: "is started" in agent.log)
    try:
        eventually(lambda: "the backend cannot be used" in agent.log)
        go.touch()
        eventually(lambda: "cannot be reported yet" in agent.log, within=40)
        with Server(data_dir=data, entity="team", port=port, api_key=key):
            ended(backend, item, "FINISHED", within=60)
            later = backend.push("q", job("true"))
            ended(backend, later, "FINISHED", within=60)
    finally:
        agent.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_health_tells_of_the_polls(server: Server, backend: Backend, tmp_path: Path) -> None:
    port = free_port()
    with agent_of(server, tmp_path, **{"metrics": {"port": port}, "ready-after": 2}):
        eventually(lambda: get(port, "/readyz")[0] == 200)
        item = backend.push("q", job("true"))
        ended(backend, item, "FINISHED")
        assert get(port, "/livez")[0] == 200
        metrics = get(port, "/metrics")[1]
        assert 'launch_agent_jobs_ended_total{queue="q",reason="",state="finished"} 1.0' in metrics
        server.stop()
        eventually(lambda: get(port, "/readyz")[0] == 503, within=30)
        assert get(port, "/livez")[0] == 200


def get(port: int, path: str) -> tuple[int, str]:
    answer = urllib3.request("GET", f"http://127.0.0.1:{port}{path}", timeout=5.0, retries=False)
    return answer.status, answer.data.decode()


def test_the_key_is_in_no_log_and_no_command_line(server: Server, backend: Backend, tmp_path: Path) -> None:
    agent = agent_of(server, tmp_path, log={"level": "debug"})
    with agent:
        item = backend.push("q", job("cat /proc/$PPID/cmdline /proc/$$/cmdline; sleep 0.5; exit 1"))
        ended(backend, item, "FAILED")
        lines = Path(f"/proc/{agent.pid}/cmdline").read_bytes() if Path("/proc/self").exists() else b""
    assert server.api_key not in agent.log
    assert server.api_key.encode() not in lines
    (found,) = backend.agents()
    assert server.api_key not in str(found)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"queues": ["q", "typo"]}, "typo"),
        ({"entity": "strangers"}, "q"),
    ],
)
def test_a_start_that_cannot_work_says_why(
    server: Server, backend: Backend, tmp_path: Path, config: dict[str, Any], words: str
) -> None:
    agent = agent_of(server, tmp_path, **config)
    agent.start(ready=False)
    assert agent.wait() == 3
    assert words in agent.log
    assert "Traceback" not in agent.log


def test_a_key_that_is_not_accepted_ends_the_start(server: Server, backend: Backend, tmp_path: Path) -> None:
    agent = AgentProcess(tmp_path, server.url, "0" * 40)
    agent.start(ready=False)
    assert agent.wait() == 3
    assert "key" in agent.log
    assert "Traceback" not in agent.log


def test_two_agents_of_one_name_on_one_machine_are_refused(
    server: Server, backend: Backend, tmp_path: Path
) -> None:
    with agent_of(server, tmp_path):
        second = agent_of(server, tmp_path)
        second.log_file = tmp_path / "second.log"
        second.start(ready=False)
        assert second.wait() != 0
        assert "another agent of the same name" in second.log
