"""kill -9 of server and agent, again and again: nothing accepted is lost, nothing runs twice.

Jobs are real processes that append their item's id to one file when they start, or real containers whose
starts the engine tells: that is the truth that the tests judge by. `CHAOS_ROUNDS` sets the number of kills;
the containers' test makes a fifth of them.
"""

from __future__ import annotations

import os
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import urllib3

from launch_agent.clients.docker_engine import connect
from launch_agent.runners.docker.listing import list_containers
from tests.fakes.agent_process import AgentProcess
from tests.fakes.backend import Backend
from tests.fakes.docker_engine import TestEngine
from tests.fakes.eventually import eventually
from tests.fakes.server_process import ServerProcess

ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "50"))
JOBS_PER_ROUND = 3


class Submitter(threading.Thread):
    """Pushes jobs all the while; `accepted` are those that the server has answered for."""

    def __init__(self, backend: Backend, spec: Mapping[str, Any]) -> None:
        super().__init__(daemon=True)
        self._backend = backend
        self._spec = spec
        self._stop_asked = threading.Event()
        self.accepted: list[str] = []
        self.wanted = 0

    def run(self) -> None:
        while not self._stop_asked.is_set():
            if len(self.accepted) >= self.wanted:
                time.sleep(0.01)
                continue
            try:
                self.accepted.append(self._backend.push("q", self._spec))
            except (urllib3.exceptions.HTTPError, AssertionError, ValueError):
                time.sleep(0.05)  # the server is down; whether it took the push is not known

    def end(self) -> None:
        self._stop_asked.set()
        if self.is_alive():
            self.join(20)


class Starts(threading.Thread):
    """Counts how often the containers of each item of an agent were started, as the engine tells it. It
    listens all the while: an engine remembers its last 256 events only."""

    def __init__(self, host: str, agent: str) -> None:
        super().__init__(daemon=True)
        self._client = connect(host, silence=600)
        filters = {"type": "container", "event": "start", "label": f"launch-agent/agent={agent}"}
        self._events = self._client.events(decode=True, filters=filters)
        self.seen: Counter[str] = Counter()
        self.start()

    def run(self) -> None:
        for event in self._events:
            self.seen[event["Actor"]["Attributes"]["launch-agent/item-id"]] += 1

    def end(self, wanted: set[str]) -> None:
        """Listen until all that are wanted were told of, or for some seconds, and then no more."""
        with suppress(AssertionError):
            eventually(lambda: wanted <= self.seen.keys(), within=10)
        if self.is_alive():
            self._events.close()
            self.join(10)
            self._client.close()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.req("QUEUE-4")
def test_nothing_is_lost_and_nothing_runs_twice(tmp_path: Path) -> None:
    started = tmp_path / "started"
    started.touch()
    script = f'echo "$WANDB_LAUNCH_TRACE_ID" >> {started}; sleep 0.2'
    spec = {
        "project": "p",
        "resource": "local-process",
        "overrides": {"entry_point": ["sh", "-c", script]},
    }
    accepted, log = storm(tmp_path, spec, ROUNDS)
    judge(accepted, Counter(started.read_text().split()), log)


@pytest.mark.slow
@pytest.mark.docker
@pytest.mark.timeout(600)
@pytest.mark.req("QUEUE-4")
def test_no_container_is_lost_and_none_starts_twice(
    tmp_path: Path, docker_engine: TestEngine, tiny_image: str
) -> None:
    agent = f"chaos-{uuid.uuid4().hex[:8]}"
    spec = {
        "project": "p",
        "resource": "local-container",
        "docker": {"docker_image": tiny_image},
        "overrides": {"entry_point": ["sh", "-c", "sleep 0.2"]},
    }
    config = {"name": agent, "runner": {"local-container": {"host": docker_engine.host}}}
    starts = Starts(docker_engine.host, agent)
    try:
        accepted, log = storm(tmp_path, spec, max(1, ROUNDS // 5), **config)
        starts.end(set(accepted))
        judge(accepted, starts.seen, log)
        eventually(lambda: not list_containers(docker_engine.client, agent), what="no container is left")
    finally:
        starts.end(set())
        for container in list_containers(docker_engine.client, agent):
            docker_engine.client.remove_container(container, force=True, v=True)


def storm(folder: Path, spec: Mapping[str, Any], rounds: int, **config: Any) -> tuple[list[str], str]:
    """Push jobs while server and agent are killed, until every item has come to its end. Returns the items
    that the server has answered for, and the end of the agent's log."""
    dice = random.Random(int(os.environ.get("CHAOS_SEED", "7")))
    server = ServerProcess(folder / "server")
    backend = Backend(url=server.url, api_key=server.api_key, entity="team")
    agent = AgentProcess(folder, server.url, server.api_key, **{"max_jobs": 8, **config})
    submitter = Submitter(backend, spec)
    try:
        server.start()
        backend.create_queue("q", spec["resource"])
        agent.start(ready=False)
        submitter.start()
        for round_ in range(rounds):
            submitter.wanted = (round_ + 1) * JOBS_PER_ROUND
            time.sleep(dice.uniform(0.0, 1.2))
            victim = dice.choice(["agent", "server", "both"])
            if victim != "server":
                agent.kill()
            if victim != "agent":
                server.kill()
                server.start()
            if victim != "server":
                agent.start(ready=False)
        submitter.wanted = rounds * JOBS_PER_ROUND
        eventually(lambda: len(submitter.accepted) >= submitter.wanted, within=60)
        # A lease whose holder was killed before the ack comes back after a minute.
        eventually(lambda: _all_ended(backend), within=180, every=0.5, what="every item comes to its end")
    finally:
        submitter.end()
        agent.kill()
        server.kill()
    return submitter.accepted, agent.log[-5000:]


def judge(accepted: Sequence[str], starts: Counter[str], log: str) -> None:
    lost = [item for item in accepted if starts[item] == 0]
    twice = {item: count for item, count in starts.items() if count > 1}
    assert (lost, twice) == ([], {}), log


def _all_ended(backend: Backend) -> bool:
    counts = backend.query("{ launchQueues { counts { pending leased claimed finished failed } } }")
    (queue,) = counts["launchQueues"]
    assert queue["counts"]["failed"] == 0, [item["error"] for item in backend.items("q") if item["error"]]
    return not any(queue["counts"][state] for state in ("pending", "leased", "claimed"))
