"""What was accepted is there after a restart, and after `kill -9` in the middle of everything."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest
import urllib3

from launch_agent.server.serve import Server
from tests.fakes.backend import PROJECT, Backend
from tests.fakes.eventually import eventually
from tests.fakes.wire import Wire

_KEY = "0123456789abcdef" * 2 + "01234567"

# More rounds: LAUNCH_AGENT_KILL_ROUNDS=50.
_ROUNDS = int(os.environ.get("LAUNCH_AGENT_KILL_ROUNDS", "4"))


def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    with Server(data_dir=tmp_path, entity="team", api_key=_KEY) as first:
        backend = Backend(url=first.url, api_key=_KEY, entity="team")
        backend.create_queue("q", "kubernetes", {"kind": "Job"}, prioritised=True)
        pushed = [backend.push("q", {"project": "p", "n": n}) for n in range(4)]
        backend.pop("q")
        backend.pop("q")
        backend.ack(pushed[0], "aaaaaaaa")
        backend.fail(pushed[2], "why")
        before = backend.items("q")
        wire = Wire(url=first.url, api_key=_KEY)
        given = {"projectName": "p", "runName": "aaaaaaaa", "files": ["f"]}
        url = wire.mutate("createRunFiles", "files { uploadUrl }", **given)["files"][0]["uploadUrl"]
        wire.close()
    with Server(data_dir=tmp_path, entity="team", api_key=_KEY) as second:
        backend = Backend(url=second.url, api_key=_KEY, entity="team")
        assert backend.items("q") == before
        assert [item["state"] for item in before] == ["CLAIMED", "LEASED", "FAILED", "PENDING"]
        popped = backend.pop("q")
        assert popped is not None
        assert popped[0] == pushed[3]
        moved = url.replace(first.url, second.url)
        assert urllib3.request("PUT", moved, body=b"x", retries=False, timeout=10).status == 200


class _Process:
    """`launch-agent server` as a process that can be killed."""

    def __init__(self, data_dir: Path) -> None:
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "launch_agent",
                "server",
                "--port",
                "0",
                "--data-dir",
                str(data_dir),
                "--entity",
                "team",
            ],
            env={**os.environ, "WANDB_API_KEY": _KEY},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        greeting = self._process.stdout.readline()
        self.url = greeting.split(" at ")[1].split(" ")[0]

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(10)
        assert self._process.stdout is not None
        self._process.stdout.close()


class _Load:
    """Submitters and agents that work until they are told to stop, or their server is gone; they write down
    what the server told them."""

    def __init__(self) -> None:
        self.accepted: set[str] = set()
        self.claimed: Counter[str] = Counter()
        self._number = 0
        self._lock = threading.Lock()

    def run(self, url: str, until: threading.Event) -> list[threading.Thread]:
        threads = [threading.Thread(target=self._submit, args=(url, until)) for _ in range(2)]
        threads += [threading.Thread(target=self._work, args=(url, until, number)) for number in range(3)]
        for thread in threads:
            thread.start()
        return threads

    def _submit(self, url: str, until: threading.Event) -> None:
        backend = Backend(url=url, api_key=_KEY, entity="team")
        while not until.is_set():
            try:
                item = backend.push("q", {"project": "p"})
            except (urllib3.exceptions.HTTPError, OSError):
                return
            with self._lock:
                self.accepted.add(item)

    def _work(self, url: str, until: threading.Event, number: int) -> None:
        wire = Wire(url=url, api_key=_KEY)
        while not until.is_set():
            try:
                popped = wire.mutate(
                    "popFromRunQueue",
                    "runQueueItemId",
                    entityName="team",
                    projectName=PROJECT,
                    queueName="q",
                )
                if popped is None:
                    continue
                item = popped["runQueueItemId"]
                with self._lock:
                    self._number += 1
                    run = f"r{self._number:07}"
                acked = wire.mutate("ackRunQueueItem", "success", runQueueItemId=item, runName=run)
            except (urllib3.exceptions.HTTPError, OSError):
                break
            if acked["success"]:
                with self._lock:
                    self.claimed[item] += 1
        wire.close()


@pytest.mark.req("QUEUE-4")
@pytest.mark.slow
@pytest.mark.timeout(60 + 10 * _ROUNDS)
def test_kill_9_loses_no_accepted_item_and_claims_none_twice(tmp_path: Path) -> None:
    load, chance = _Load(), random.Random(7)
    process = _Process(tmp_path)
    Backend(url=process.url, api_key=_KEY, entity="team").create_queue("q", "local-process")
    for _ in range(_ROUNDS):
        until = threading.Event()
        goal = len(load.accepted) + chance.randint(5, 60)
        threads = load.run(process.url, until)
        eventually(lambda goal=goal: len(load.accepted) >= goal, within=30, every=0.005)
        process.kill()
        for thread in threads:
            thread.join(30)
        process = _Process(tmp_path)
    wire = Wire(url=process.url, api_key=_KEY)
    states = _states(wire)
    wire.close()
    process.kill()
    assert load.accepted <= set(states), "an item that was accepted is lost"
    assert max(load.claimed.values()) == 1, "an item was claimed twice"
    assert {item for item in load.claimed if states[item] != "CLAIMED"} == set()
    # A push or an ack may have been done although the answer got lost: at most one for each thread and round.
    assert len(set(states) - load.accepted) <= 2 * _ROUNDS
    claimed = {item for item, state in states.items() if state == "CLAIMED"}
    assert len(claimed - set(load.claimed)) <= 3 * _ROUNDS


def _states(wire: Wire) -> dict[str, str]:
    query = """query($after: String) { project(name: "model-registry", entityName: "team") {
      runQueue(name: "q") { runQueueItems(first: 1000, after: $after) {
        edges { node { id state } } pageInfo { endCursor hasNextPage } } } } }"""
    states: dict[str, str] = {}
    after, has_next = None, True
    while has_next:
        page = wire.graphql(query, {"after": after}).data["project"]["runQueue"]["runQueueItems"]
        states.update({edge["node"]["id"]: edge["node"]["state"] for edge in page["edges"]})
        after, has_next = page["pageInfo"]["endCursor"], page["pageInfo"]["hasNextPage"]
    return states
