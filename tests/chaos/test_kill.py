"""kill -9 of server and agent, again and again: nothing accepted is lost, nothing runs twice.

Jobs are real processes that append their item's id to one file when they start, which is the truth that the
test judges by. `CHAOS_ROUNDS` sets the number of kills.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
import urllib3

from tests.fakes.agent_process import AgentProcess
from tests.fakes.backend import Backend
from tests.fakes.eventually import eventually
from tests.fakes.server_process import ServerProcess

ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "50"))
JOBS_PER_ROUND = 3


class Submitter(threading.Thread):
    """Pushes jobs all the while; `accepted` are those that the server has answered for."""

    def __init__(self, backend: Backend, started: Path) -> None:
        super().__init__(daemon=True)
        self._backend = backend
        self._marks = started
        self._stop_asked = threading.Event()
        self.accepted: list[str] = []
        self.wanted = 0

    def run(self) -> None:
        script = f'echo "$WANDB_LAUNCH_TRACE_ID" >> {self._marks}; sleep 0.2'
        spec = {
            "project": "p",
            "resource": "local-process",
            "overrides": {"entry_point": ["sh", "-c", script]},
        }
        while not self._stop_asked.is_set():
            if len(self.accepted) >= self.wanted:
                time.sleep(0.01)
                continue
            try:
                self.accepted.append(self._backend.push("q", spec))
            except (urllib3.exceptions.HTTPError, AssertionError, ValueError):
                time.sleep(0.05)  # the server is down; whether it took the push is not known

    def end(self) -> None:
        self._stop_asked.set()
        if self.is_alive():
            self.join(20)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.req("QUEUE-4")
def test_nothing_is_lost_and_nothing_runs_twice(tmp_path: Path) -> None:
    dice = random.Random(int(os.environ.get("CHAOS_SEED", "7")))
    started = tmp_path / "started"
    started.touch()
    server = ServerProcess(tmp_path / "server")
    backend = Backend(url=server.url, api_key=server.api_key, entity="team")
    agent = AgentProcess(tmp_path, server.url, server.api_key, max_jobs=8)
    submitter = Submitter(backend, started)
    try:
        server.start()
        backend.create_queue("q", "local-process")
        agent.start(ready=False)
        submitter.start()
        for round_ in range(ROUNDS):
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
        submitter.wanted = ROUNDS * JOBS_PER_ROUND
        eventually(lambda: len(submitter.accepted) >= submitter.wanted, within=60)
        # A lease whose holder was killed before the ack comes back after a minute.
        eventually(lambda: _all_ended(backend), within=180, every=0.5, what="every item comes to its end")
    finally:
        submitter.end()
        agent.kill()
        server.kill()
    starts = Counter(started.read_text().split())
    lost = [item for item in submitter.accepted if starts[item] == 0]
    twice = {item: count for item, count in starts.items() if count > 1}
    assert (lost, twice) == ([], {}), agent.log[-5000:]


def _all_ended(backend: Backend) -> bool:
    counts = backend.query("{ launchQueues { counts { pending leased claimed finished failed } } }")
    (queue,) = counts["launchQueues"]
    assert queue["counts"]["failed"] == 0, queue
    return not any(queue["counts"][state] for state in ("pending", "leased", "claimed"))
