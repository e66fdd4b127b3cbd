"""Two agents that both believe to hold one item, on the real server: one of them is wrong, and hears so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from launch_agent.queues import Registration
from launch_agent.queues.wandb import WandbQueues
from launch_agent.server.serve import Server
from launch_agent.spec.identity import run_id_for
from launch_agent.spec.model import Lease, RunIdentity
from launch_agent.spec.secret import Secret
from tests.fakes.backend import Backend


def claim(lease: Lease, agent: str, run_id: str) -> RunIdentity:
    return RunIdentity(
        agent=agent,
        item_id=lease.item_id,
        queue=lease.queue,
        queue_entity=lease.entity,
        run_id=run_id,
        entity="team",
        project="p",
    )


@pytest.mark.req("QUEUE-4")
@pytest.mark.parametrize(
    "run_id",
    [run_id_for, lambda agent, item: "namedrun"],
    ids=["a run of its own", "a run that the spec names"],
)
def test_a_stalled_agent_does_not_take_back_what_another_has_claimed(
    tmp_path: Path, run_id: Callable[[str, str], str]
) -> None:
    now = [1_000_000.0]
    with Server(data_dir=tmp_path, entity="team", lease_seconds=60, clock=lambda: now[0]) as server:
        backend = Backend(url=server.url, api_key=server.api_key, entity="team")
        backend.create_queue("q", "local-container")
        backend.push("q", {"project": "p", "docker": {"docker_image": "img:1"}})
        stalled, quick = (WandbQueues(server.url, Secret(server.api_key)) for _ in range(2))
        for name, client in (("stalled", stalled), ("quick", quick)):
            client.register(Registration(entity="team", queues=["q"], name=name, version="1", config={}))
        (first,) = stalled.pop(["q"], 1).leases
        now[0] += 61
        (second,) = quick.pop(["q"], 1).leases
        assert first.item_id == second.item_id
        assert quick.ack([claim(second, "quick", run_id("quick", second.item_id))]) == {second.item_id}
        late = claim(first, "stalled", run_id("stalled", first.item_id))
        assert stalled.ack([late]) == set()
        assert not stalled.is_claimed(late)
        stalled.close()
        quick.close()
