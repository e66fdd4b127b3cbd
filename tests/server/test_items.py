"""Items over HTTP: the order in which they leave, and what becomes of them."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from launch_agent.server.serve import Server
from tests.fakes.backend import PROJECT, Backend
from tests.fakes.clock import Clock
from tests.fakes.wire import Wire

SPEC = {"project": "p", "docker": {"docker_image": "busybox"}}


def _push(wire: Wire, queue: str = "q", spec: dict[str, Any] | None = None, **more: Any) -> Any:
    return wire.mutate(
        "pushToRunQueueByName",
        "runQueueItemId runSpec clientMutationId",
        entityName="team",
        projectName=PROJECT,
        queueName=queue,
        runSpec=json.dumps(SPEC if spec is None else spec),
        **more,
    )


def _pop(wire: Wire, queue: str = "q", agent: str | None = None) -> Any:
    return wire.mutate(
        "popFromRunQueue",
        "runQueueItemId runSpec",
        entityName="team",
        projectName=PROJECT,
        queueName=queue,
        launchAgentId=agent,
    )


def _ack(wire: Wire, item: str, run: str, agent: str | None = None) -> bool:
    more = {"launchAgentId": agent} if agent else {}
    payload = wire.mutate("ackRunQueueItem", "success", runQueueItemId=item, runName=run, **more)
    assert isinstance(payload["success"], bool)
    return payload["success"]


@pytest.mark.req("QUEUE-1", "AGT-5", "CON-8")
def test_a_plain_queue_gives_the_oldest_first_whatever_the_priorities(wire: Wire, backend: Backend) -> None:
    backend.create_queue("q", "local-container")
    pushed = [_push(wire, priority=priority)["runQueueItemId"] for priority in (3, 0, 2, 1)]
    assert [_pop(wire)["runQueueItemId"] for _ in pushed] == pushed
    assert _pop(wire) is None


@pytest.mark.req("QUEUE-2", "AGT-5", "CON-8", "GAP-11")
def test_a_prioritised_queue_gives_0_first_and_equals_by_age(wire: Wire, backend: Backend) -> None:
    backend.create_queue("q", "local-container", prioritised=True)
    pushed = {}
    for name, priority in [("c", None), ("a", 0), ("d", 2), ("e", 3), ("b", 1), ("f", 3)]:
        more = {} if priority is None else {"priority": priority}
        pushed[_push(wire, **more)["runQueueItemId"]] = name
    assert [pushed[_pop(wire)["runQueueItemId"]] for _ in pushed] == list("abcdef")


@pytest.mark.req("GAP-11")
@pytest.mark.parametrize("priority", [-1, 101])
def test_a_priority_out_of_range_is_refused(wire: Wire, backend: Backend, priority: int) -> None:
    backend.create_queue("q", "local-container", prioritised=True)
    query = """mutation($input: PushToRunQueueByNameInput!) {
      pushToRunQueueByName(input: $input) { runQueueItemId } }"""
    given = {"entityName": "team", "projectName": PROJECT, "queueName": "q", "runSpec": "{}"}
    answer = wire.graphql(query, {"input": {**given, "priority": priority}})
    assert answer.data == {"pushToRunQueueByName": None}
    assert f"not {priority}" in answer.messages[0]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("[]", "must be a map"),
        ("{", "is not JSON"),
        ('"x"', "map"),
        # Could be read, and then not be written into the answer to any agent's poll.
        ('{"a":' * 970 + "1" + "}" * 970, "nested too deeply"),
    ],
    ids=["list", "half", "text", "deep"],
)
def test_a_spec_that_is_no_map_is_refused(wire: Wire, backend: Backend, spec: str, said: str) -> None:
    backend.create_queue("q", "local-container")
    query = """mutation($input: PushToRunQueueByNameInput!) {
      pushToRunQueueByName(input: $input) { runQueueItemId } }"""
    given = {"entityName": "team", "projectName": PROJECT, "queueName": "q", "runSpec": spec}
    answer = wire.graphql(query, {"input": given})
    assert "runSpec" in answer.messages[0]
    assert said in answer.messages[0]


def test_pushing_into_a_queue_that_is_not_there_names_it(wire: Wire) -> None:
    query = """mutation($input: PushToRunQueueByNameInput!) {
      pushToRunQueueByName(input: $input) { runQueueItemId } }"""
    given = {"entityName": "team", "projectName": PROJECT, "queueName": "nope", "runSpec": "{}"}
    answer = wire.graphql(query, {"input": given})
    assert answer.status == 200
    assert "there is no queue 'nope' in the entity 'team'" in answer.messages[0]


@pytest.mark.req("QUEUE-12", "QUEUE-13")
def test_the_agent_gets_the_queues_configuration_under_the_jobs_wishes(wire: Wire, backend: Backend) -> None:
    backend.create_queue("q", "local-container", {"cpus": 1, "env": ["A=1", "B=2"], "memory": "1g"})
    args = {"local-container": {"cpus": 4, "env": ["C=3"]}}
    pushed = _push(wire, spec={**SPEC, "resource": None, "resource_args": args})
    merged = json.loads(pushed["runSpec"])
    assert merged["resource"] == "local-container"
    assert merged["resource_args"] == {"local-container": {"cpus": 4, "env": ["C=3"], "memory": "1g"}}
    assert _pop(wire)["runSpec"] == merged


@pytest.mark.req("QUEUE-14", "JOB-10")
def test_an_override_of_one_job_leaves_the_queues_other_jobs_alone(wire: Wire, backend: Backend) -> None:
    machine = {"InstanceType": "ml.m4.xlarge", "InstanceCount": 1}
    backend.create_queue("q", "sagemaker", {"RoleArn": "r", "ResourceConfig": machine})
    bigger = {"sagemaker": {"ResourceConfig": {"InstanceType": "ml.p3.2xlarge"}}}
    _push(wire)
    _push(wire, spec={**SPEC, "resource_args": bigger})
    _push(wire)
    found = [_pop(wire)["runSpec"]["resource_args"]["sagemaker"]["ResourceConfig"] for _ in range(3)]
    assert [each["InstanceType"] for each in found] == ["ml.m4.xlarge", "ml.p3.2xlarge", "ml.m4.xlarge"]
    assert [each["InstanceCount"] for each in found] == [1, 1, 1]


@pytest.mark.req("QUEUE-15", "GAP-10")
def test_template_values_are_filled_and_checked_when_a_job_is_pushed(wire: Wire, backend: Backend) -> None:
    backend.create_queue(
        "q",
        "kubernetes",
        {"spec": {"cpu": "{{cpu}}", "label": "cpu-{{cpu}}-{{tier}}"}},
        variables={
            "cpu": {"schema": {"type": "integer", "minimum": 1, "maximum": 8}},
            "tier": {"schema": {"type": "string", "enum": ["a", "b"], "default": "a"}},
        },
    )
    filled = json.loads(_push(wire, templateVariableValues='{"cpu": 4}')["runSpec"])
    assert filled["resource_args"]["kubernetes"]["spec"].items() >= {"cpu": 4, "label": "cpu-4-a"}.items()
    query = """mutation($input: PushToRunQueueByNameInput!) {
      pushToRunQueueByName(input: $input) { runQueueItemId } }"""
    given = {"entityName": "team", "projectName": PROJECT, "queueName": "q", "runSpec": "{}"}
    for values, said in [
        ('{"cpu": 9}', "9 is greater than the maximum of 8"),
        ("{}", "'cpu' has no value"),
        ('{"cpu": 1, "tire": "a"}', "no template variable 'tire'"),
        ('{"cpu": 1, "tier": "c"}', "'c' is not one of ['a', 'b']"),
        ("[]", "must be a map"),
    ]:
        answer = wire.graphql(query, {"input": {**given, "templateVariableValues": values}})
        assert said in answer.messages[0], values


def test_a_key_that_travels_with_a_job_is_shown_to_its_agent_alone(wire: Wire, backend: Backend) -> None:
    backend.create_queue("q", "local-container")
    item = backend.push("q", {**SPEC, "_wandb_api_key": "k" * 40})
    assert backend.item(item)["runSpec"]["_wandb_api_key"] == "***"
    assert _pop(wire)["runSpec"]["_wandb_api_key"] == "k" * 40


def test_the_scheduler_of_a_sweep_goes_where_it_says(wire: Wire, backend: Backend) -> None:
    backend.create_queue("q", "kubernetes", {"kind": "Job"})
    spec = {**SPEC, "uri": "placeholder-uri-scheduler", "resource": "local-process"}
    assert json.loads(_push(wire, spec=spec)["runSpec"])["resource"] == "local-process"


def test_a_push_with_a_mutation_id_is_done_once(wire: Wire, backend: Backend) -> None:
    backend.create_queue("q", "local-container")
    first = _push(wire, clientMutationId="m1")
    again = _push(wire, clientMutationId="m1")
    other = _push(wire, clientMutationId="m2")
    assert first["runQueueItemId"] == again["runQueueItemId"] != other["runQueueItemId"]
    assert first["clientMutationId"] == "m1"
    assert len(backend.items("q")) == 2


def test_the_older_way_to_push_takes_the_queues_id(wire: Wire, backend: Backend) -> None:
    made = wire.mutate(
        "createRunQueue",
        "success queueID",
        entityName="team",
        projectName=PROJECT,
        queueName="default",
        access="PROJECT",
    )
    pushed = wire.mutate(
        "pushToRunQueue",
        "runQueueItemId",
        queueID=made["queueID"],
        runSpec=json.dumps({**SPEC, "entity": "me"}),
    )
    found = _pop(wire, "default")
    assert found["runQueueItemId"] == pushed["runQueueItemId"]
    assert found["runSpec"] == {**SPEC, "entity": "me"}


@pytest.mark.req("QUEUE-4")
def test_eight_threads_never_get_an_item_twice(wire: Wire, backend: Backend) -> None:
    backend.create_queue("q", "local-container", prioritised=True)
    pushed = {_push(wire, priority=number % 3)["runQueueItemId"] for number in range(80)}

    def drain(_: int) -> list[str]:
        mine = []
        while (popped := _pop(wire)) is not None:
            mine.append(popped["runQueueItemId"])
        return mine

    with ThreadPoolExecutor(8) as pool:
        got = [item for mine in pool.map(drain, range(8)) for item in mine]
    assert len(got) == 80
    assert set(got) == pushed


def test_a_lease_that_is_not_acked_goes_back_after_a_minute(
    wire: Wire, backend: Backend, clock: Clock
) -> None:
    backend.create_queue("q", "local-container")
    item = _push(wire)["runQueueItemId"]
    _push(wire)
    assert _pop(wire)["runQueueItemId"] == item
    assert backend.item(item)["state"] == "LEASED"
    clock.forward(59)
    assert _pop(wire)["runQueueItemId"] != item
    clock.forward(2)
    assert not _ack(wire, item, "aaaaaaaa")
    assert _pop(wire)["runQueueItemId"] == item
    assert backend.item(item)["deliveries"] == 2
    assert _ack(wire, item, "aaaaaaaa")


def test_an_ack_may_be_repeated_and_excludes_all_others(wire: Wire, backend: Backend, clock: Clock) -> None:
    backend.create_queue("q", "local-container")
    item = _push(wire)["runQueueItemId"]
    assert not _ack(wire, item, "aaaaaaaa"), "it was not leased"
    _pop(wire)
    assert _ack(wire, item, "aaaaaaaa")
    clock.forward(1000)
    assert _ack(wire, item, "aaaaaaaa")
    assert not _ack(wire, item, "bbbbbbbb")
    assert not _ack(wire, "rqi-unknown", "aaaaaaaa")
    found = backend.item(item)
    assert (found["state"], found["associatedRunId"]) == ("CLAIMED", "aaaaaaaa")
    assert _pop(wire) is None


def test_an_agent_cannot_take_anothers_claim_for_its_own(wire: Wire, backend: Backend, clock: Clock) -> None:
    """Both derive the run's name from the item; the first was too slow."""
    backend.create_queue("q", "local-container")
    item = _push(wire)["runQueueItemId"]
    slow, quick = (_agent(wire, name) for name in ("slow", "quick"))
    _pop(wire, agent=slow)
    clock.forward(61)
    _pop(wire, agent=quick)
    assert not _ack(wire, item, "derived0", slow)
    assert _ack(wire, item, "derived0", quick)
    assert not _ack(wire, item, "derived0", slow)
    assert _ack(wire, item, "derived0", quick)


def _agent(wire: Wire, name: str) -> str:
    payload = wire.mutate(
        "createLaunchAgent",
        "launchAgentId",
        entityName="team",
        projectName=PROJECT,
        runQueues=[],
        hostname="host",
        name=name,
    )
    return str(payload["launchAgentId"])


@pytest.mark.parametrize(
    ("outcome", "told", "run_state"),
    [
        ("finished", "CLAIMED", "finished"),
        ("stopped", "CLAIMED", "killed"),
        ("preempted", "CLAIMED", "preempted"),
        ("failed", "FAILED", "failed"),
    ],
)
def test_every_end_is_kept_and_told_to_official_clients_in_their_words(
    wire: Wire, backend: Backend, outcome: str, told: str, run_state: str
) -> None:
    backend.create_queue("q", "local-container")
    item = backend.push("q", SPEC)
    _pop(wire)
    _ack(wire, item, "aaaaaaaa")

    def finish(end: str) -> bool:
        payload = wire.mutate(
            "finishRunQueueItem", "success", runQueueItemId=item, outcome=end, message="why", stage="run"
        )
        return bool(payload["success"])

    assert finish(outcome)
    assert finish(outcome), "reporting twice is harmless"
    assert not finish("finished" if outcome != "finished" else "stopped"), "the first end stays"
    found = backend.item(item)
    assert (found["state"], found["detailedState"]) == (told, outcome.upper())
    run = backend.run("p", "aaaaaaaa")
    assert run is not None
    assert run["state"] == run_state


def test_an_outcome_that_is_none_is_refused(wire: Wire) -> None:
    query = (
        """mutation { finishRunQueueItem(input: {runQueueItemId: "x", outcome: "claimed"}) { success } }"""
    )
    assert "'claimed' is not an outcome" in wire.graphql(query).messages[0]


def test_a_failure_keeps_its_message_stage_and_files(wire: Wire, backend: Backend) -> None:
    backend.create_queue("q", "local-container")
    item = backend.push("q", SPEC)
    given = {"runQueueItemId": item, "stage": "build", "filePaths": ["i/error/error.log"]}
    assert wire.mutate("updateRunQueueItemWarning", "success", message="slow", **given)["success"]
    assert wire.mutate("failRunQueueItem", "success", message="no space", **given)["success"]
    assert wire.mutate("failRunQueueItem", "success", message="again", **given)["success"]
    found = backend.item(item)
    assert found["state"] == "FAILED"
    assert found["error"] == {"message": "no space", "stage": "build", "filePaths": ["i/error/error.log"]}
    assert found["warnings"] == [{"message": "slow", "stage": "build"}]
    assert _pop(wire) is None
    assert not wire.mutate("failRunQueueItem", "success", **{**given, "runQueueItemId": "no", "message": ""})[
        "success"
    ]


def test_a_pending_item_that_is_stopped_is_never_handed_out(wire: Wire, backend: Backend) -> None:
    backend.create_queue("q", "local-container")
    first, second = backend.push("q", SPEC), backend.push("q", SPEC)
    backend.stop_item(first)
    popped = backend.pop("q")
    assert popped is not None
    assert popped[0] == second
    assert backend.item(first)["detailedState"] == "STOPPED"


def test_a_leased_item_that_is_stopped_cannot_be_acked(wire: Wire, backend: Backend) -> None:
    backend.create_queue("q", "local-container")
    item = backend.push("q", SPEC)
    _pop(wire)
    backend.stop_item(item)
    assert not _ack(wire, item, "aaaaaaaa")


def test_a_claimed_item_that_is_stopped_stops_its_run_before_it_has_reported_itself(
    wire: Wire, backend: Backend
) -> None:
    backend.create_queue("q", "local-container")
    item = backend.push("q", SPEC)
    query = """query RunStoppedStatus($projectName: String, $entityName: String, $runId: String!) {
      project(name: $projectName, entityName: $entityName) { run(name: $runId) { stopped state } } }"""
    where = {"projectName": "p", "entityName": "team", "runId": "aaaaaaaa"}
    assert wire.graphql(query, where).data == {"project": None}
    _pop(wire)
    _ack(wire, item, "aaaaaaaa")
    assert wire.graphql(query, where).data["project"]["run"] == {"stopped": False, "state": "pending"}
    backend.stop_item(item)
    assert wire.graphql(query, where).data["project"]["run"] == {"stopped": True, "state": "pending"}
    assert backend.item(item)["stopRequested"]


def test_a_run_that_is_claimed_again_is_no_longer_stopped(wire: Wire, backend: Backend) -> None:
    backend.create_queue("q", "local-container")
    first = backend.push("q", SPEC)
    _pop(wire)
    _ack(wire, first, "aaaaaaaa")
    backend.stop_item(first)
    backend.finish(first, "stopped")
    second = backend.push("q", SPEC)
    _pop(wire)
    _ack(wire, second, "aaaaaaaa")
    run = backend.run("p", "aaaaaaaa")
    assert run is not None
    assert (run["stopped"], run["state"]) == (False, "pending")


def test_a_deleted_item_is_gone(wire: Wire, backend: Backend) -> None:
    backend.create_queue("q", "local-container")
    item = backend.push("q", SPEC)
    _pop(wire)
    queue_id = wire.graphql("{ launchQueues { id } }").data["launchQueues"][0]["id"]
    assert wire.mutate("deleteFromRunQueue", "success", queueID=queue_id, runQueueItemId=item)["success"]
    assert not _ack(wire, item, "aaaaaaaa")
    assert not wire.mutate("deleteFromRunQueue", "success", queueID=queue_id, runQueueItemId=item)["success"]


def test_official_clients_read_an_items_state_even_with_null_for_the_project(
    wire: Wire, backend: Backend
) -> None:
    backend.create_queue("q", "local-container")
    item = backend.push("q", SPEC)
    query = """query GetRunQueueItem($projectName: String!, $entityName: String!, $runQueue: String!,
      $itemId: ID!) { project(name: $projectName, entityName: $entityName) { runQueue(name: $runQueue) {
        runQueueItem(id: $itemId) { id state associatedRunId } } } }"""
    where = {"projectName": None, "entityName": "team", "runQueue": "q", "itemId": item}
    found = wire.graphql(query, where).data["project"]["runQueue"]["runQueueItem"]
    assert found == {"id": item, "state": "PENDING", "associatedRunId": None}


def test_all_of_an_item_can_be_asked_for_at_once(wire: Wire, backend: Backend, server: Server) -> None:
    backend.create_queue("q", "local-container")
    item = backend.push("q", {**SPEC, "author": "ann"})
    agent = _agent(wire, "a1")
    _pop(wire, agent=agent)
    _ack(wire, item, "aaaaaaaa")
    query = """query($id: ID!) { runQueueItem(id: $id) { queueName entityName author createdAt leasedAt
      claimedAt endedAt agent { name claimedItems } run { name project { name } } error { message } } }"""
    found = wire.graphql(query, {"id": item}).data["runQueueItem"]
    assert found["agent"] == {"name": "a1", "claimedItems": 1}
    assert found["run"] == {"name": "aaaaaaaa", "project": {"name": "p"}}
    assert (found["queueName"], found["entityName"], found["author"]) == ("q", server.entity, "ann")
    assert found["claimedAt"] is not None
    assert found["endedAt"] is None
    assert found["error"] is None
