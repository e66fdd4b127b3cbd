"""Agents over HTTP: registration, heartbeats, the order to stop."""

from __future__ import annotations

from typing import Any

from tests.fakes.backend import PROJECT, Backend
from tests.fakes.clock import Clock
from tests.fakes.wire import Wire

_AGENT = """query LaunchAgent($agentId: ID!) { launchAgent(id: $agentId) {
  id name runQueues hostname agentStatus stopPolling heartbeatAt version agentConfig isLost entityName } }"""


def _create(wire: Wire, **more: Any) -> str:
    given = {"entityName": "team", "projectName": PROJECT, "runQueues": [], "hostname": "host"}
    return str(wire.mutate("createLaunchAgent", "launchAgentId", **{**given, **more})["launchAgentId"])


def _agent(wire: Wire, agent_id: str) -> Any:
    return wire.graphql(_AGENT, {"agentId": agent_id}).data["launchAgent"]


def test_an_agent_introduces_itself_with_its_queues(wire: Wire, backend: Backend) -> None:
    backend.create_queue("q", "kubernetes")
    queue_id = wire.graphql("{ launchQueues { id } }").data["launchQueues"][0]["id"]
    agent_id = _create(wire, runQueues=[queue_id], version="launch-agent@1", agentConfig='{"max_jobs": 1}')
    found = _agent(wire, agent_id)
    assert found["runQueues"] == [queue_id]
    assert (found["version"], found["agentConfig"]) == ("launch-agent@1", '{"max_jobs": 1}')
    assert (found["agentStatus"], found["stopPolling"], found["isLost"]) == ("POLLING", False, False)
    query = "{ launchQueues { agents { id } } launchAgents { id } }"
    listed = wire.graphql(query).data
    assert listed == {"launchQueues": [{"agents": [{"id": agent_id}]}], "launchAgents": [{"id": agent_id}]}


def test_an_unknown_queue_or_agent_is_named_or_null(wire: Wire) -> None:
    query = "mutation($input: CreateLaunchAgentInput!) { createLaunchAgent(input: $input) { launchAgentId } }"
    given = {"entityName": "team", "projectName": PROJECT, "runQueues": ["rq-no"], "hostname": "h"}
    assert "there is no queue 'rq-no'" in wire.graphql(query, {"input": given}).messages[0]
    assert _agent(wire, "agt-no") is None
    assert not wire.mutate("updateLaunchAgent", "success", launchAgentId="agt-no")["success"]
    assert not wire.mutate("stopLaunchAgent", "success", launchAgentId="agt-no")["success"]


def test_an_agent_without_a_name_gets_one_that_can_be_a_run_id(wire: Wire) -> None:
    name = _agent(wire, _create(wire, hostname="räck/7:a b"))["name"]
    assert name.startswith("r-ck-7-a-b-")


def test_an_agent_that_is_not_heard_of_is_lost_and_one_that_ended_is_not(wire: Wire, clock: Clock) -> None:
    silent, steady, ended = (_create(wire, name=name) for name in ("silent", "steady", "ended"))
    clock.forward(170)
    for agent_id, status in ((steady, "RUNNING"), (ended, "KILLED")):
        payload = wire.mutate("updateLaunchAgent", "success", launchAgentId=agent_id, agentStatus=status)
        assert payload["success"]
    clock.forward(20)
    assert _agent(wire, silent)["isLost"]
    assert _agent(wire, steady)["agentStatus"] == "RUNNING"
    assert not _agent(wire, steady)["isLost"]
    clock.forward(1000)
    assert not _agent(wire, ended)["isLost"]


def test_an_agent_that_is_to_stop_gets_no_more_items(wire: Wire, backend: Backend) -> None:
    backend.create_queue("q", "kubernetes")
    backend.push("q", {"project": "p"})
    agent_id = _create(wire)
    backend.stop_agent(agent_id)
    assert _agent(wire, agent_id)["stopPolling"]
    given = {"entityName": "team", "projectName": PROJECT, "queueName": "q"}
    assert wire.mutate("popFromRunQueue", "runQueueItemId", **given, launchAgentId=agent_id) is None
    assert wire.mutate("popFromRunQueue", "runQueueItemId", **given) is not None
