"""Queues and their configurations over HTTP, as clients make, read and delete them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from launch_agent.spec.kubernetes.defaults import with_defaults
from tests.fakes.backend import PROJECT, Backend
from tests.fakes.clock import Clock
from tests.fakes.wire import Wire

_QUEUE = """query($name: String!) {
  project(name: "model-registry", entityName: "team") { runQueue(name: $name) {
  id name access createdBy entityName resource prioritizationMode externalLinks defaultResourceConfigID
  defaultResourceConfig { id resource config templateVariables { name schema description } }
  counts { pending leased claimed finished failed stopped preempted } } } }"""


def _queue(wire: Wire, name: str) -> Any:
    return wire.graphql(_QUEUE, {"name": name}).data["project"]["runQueue"]


def _upsert(wire: Wire, name: str, resource: str, config: str, **more: Any) -> Any:
    return wire.mutate(
        "upsertRunQueue",
        "success configSchemaValidationErrors queueID",
        entityName="team",
        projectName=PROJECT,
        queueName=name,
        resourceType=resource,
        resourceConfig=config,
        **more,
    )


@pytest.mark.req("QUEUE-5", "QUEUE-7", "QUEUE-8", "QUEUE-9")
def test_a_queue_is_made_with_resource_and_configuration_and_belongs_to_an_entity(wire: Wire) -> None:
    config = wire.mutate(
        "createDefaultResourceConfig",
        "success defaultResourceConfigID",
        entityName="team",
        resource="sagemaker",
        config=json.dumps({"resource_args": {"sagemaker": {"RoleArn": "r"}}}),
        templateVariables=json.dumps({"size": {"schema": {"type": "integer"}, "description": "how big"}}),
    )
    made = wire.mutate(
        "createRunQueue",
        "success queueID",
        entityName="team",
        projectName=PROJECT,
        queueName="gpus",
        access="PROJECT",
        prioritizationMode="V0",
        defaultResourceConfigID=config["defaultResourceConfigID"],
    )
    assert made["success"]
    queue = _queue(wire, "gpus")
    assert queue["id"] == made["queueID"]
    assert (queue["entityName"], queue["name"], queue["resource"]) == ("team", "gpus", "sagemaker")
    assert queue["prioritizationMode"] == "V0"
    assert json.loads(queue["externalLinks"]) == {"links": []}
    stored = queue["defaultResourceConfig"]
    assert json.loads(stored["config"]) == {"resource_args": {"sagemaker": {"RoleArn": "r"}}}
    variable = stored["templateVariables"][0]
    assert (variable["name"], variable["description"]) == ("size", "how big")
    assert json.loads(variable["schema"]) == {"type": "integer"}
    by_id = wire.graphql(
        'query($id: ID!) { entity(name: "team") { defaultResourceConfig(id: $id) { config resource } } }',
        {"id": stored["id"]},
    )
    assert by_id.data["entity"]["defaultResourceConfig"]["resource"] == "sagemaker"


@pytest.mark.req("QUEUE-7", "QUEUE-18")
@pytest.mark.parametrize(
    "resource", ["local-container", "local-process", "kubernetes", "sagemaker", "gcp-vertex", "vertex"]
)
def test_every_target_resource_has_queues(wire: Wire, resource: str) -> None:
    assert _upsert(wire, "q", resource, "{}")["success"]
    assert _queue(wire, "q")["resource"] == resource


@pytest.mark.req("QUEUE-16")
@pytest.mark.parametrize(
    "text",
    [
        '{"resource_args": {"kubernetes": {"kind": "Job", "spec": {"backoffLimit": 0}}}}',
        '{"kind": "Job", "spec": {"backoffLimit": 0}}',
        "kind: Job\nspec:\n  backoffLimit: 0\n",
        "resource_args:\n  kubernetes:\n    kind: Job\n    spec: {backoffLimit: 0}\n",
    ],
    ids=["json", "json-bare", "yaml-bare", "yaml"],
)
def test_a_configuration_is_json_or_yaml_with_or_without_its_frame(wire: Wire, text: str) -> None:
    assert _upsert(wire, "q", "kubernetes", text)["success"]
    stored = json.loads(_queue(wire, "q")["defaultResourceConfig"]["config"])
    wanted = with_defaults({"kind": "Job", "spec": {"backoffLimit": 0}})
    assert stored == {"resource_args": {"kubernetes": wanted}}


@pytest.mark.req("K8S-18")
def test_what_agents_add_to_a_queue_shows_in_its_configuration(wire: Wire) -> None:
    text = "spec: {template: {spec: {containers: [{securityContext: {runAsUser: 1000}}]}}}"
    assert _upsert(wire, "q", "kubernetes", text)["success"]
    stored = json.loads(_queue(wire, "q")["defaultResourceConfig"]["config"])["resource_args"]["kubernetes"]
    assert (stored["spec"]["backoffLimit"], stored["spec"]["ttlSecondsAfterFinished"]) == (0, 60)
    assert stored["spec"]["template"]["spec"]["containers"][0]["securityContext"] == {
        "runAsUser": 1000,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


@pytest.mark.parametrize("text", ['{"metadata": {"namespace": "two"}}', '{"spec": {"template": "{{all}}"}}'])
def test_a_configuration_without_pods_is_kept_as_it_is(wire: Wire, text: str) -> None:
    assert _upsert(wire, "q", "kubernetes", text)["success"]
    stored = json.loads(_queue(wire, "q")["defaultResourceConfig"]["config"])
    assert stored == {"resource_args": {"kubernetes": json.loads(text)}}


@pytest.mark.req("QUEUE-17")
@pytest.mark.parametrize(
    ("resource", "config", "said"),
    [
        (
            "kubernetes",
            '{"resource_args": {"sagemaker": {}}}',
            "is for sagemaker, the queue is for kubernetes",
        ),
        ("slurm", "{}", "'slurm' is not a target resource"),
        ("kubernetes", "[1]", "must be a map"),
        ("kubernetes", "just text", "must be a map"),
        ("kubernetes", "a: {b", "configuration"),
        ("kubernetes", '{"resource_args": {"kubernetes": 3}}', "must be a map"),
        (
            "kubernetes",
            "a: &a [1,1]\nb: &b [*a,*a,*a,*a]\n"
            + "".join(
                f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n"
                for old, new in zip("bcdefg", "cdefgh", strict=True)
            ),
            "configuration",
        ),
    ],
    ids=["other-resource", "no-resource", "list", "text", "broken", "number", "exploding-aliases"],
)
def test_a_configuration_that_cannot_be_is_refused_with_the_reason(
    wire: Wire, resource: str, config: str, said: str
) -> None:
    answer = _upsert(wire, "q", resource, config)
    assert not answer["success"]
    assert said in answer["configSchemaValidationErrors"][0]
    project = wire.graphql(_QUEUE, {"name": "q"}).data["project"]
    assert project is None or project["runQueue"] is None


def test_a_variable_with_a_schema_that_is_none_is_refused(wire: Wire) -> None:
    answer = _upsert(wire, "q", "kubernetes", "{}", templateVariables='{"n": {"schema": {"type": "whole"}}}')
    assert not answer["success"]
    assert "template variables.n.schema" in answer["configSchemaValidationErrors"][0]


@pytest.mark.req("QUEUE-3")
def test_prioritisation_is_off_unless_it_is_chosen(wire: Wire) -> None:
    _upsert(wire, "plain", "kubernetes", "{}")
    _upsert(wire, "ranked", "kubernetes", "{}", prioritizationMode="V0")
    assert _queue(wire, "plain")["prioritizationMode"] == "DISABLED"
    assert _queue(wire, "ranked")["prioritizationMode"] == "V0"


def test_upserting_again_changes_the_queue_and_keeps_what_is_not_named(wire: Wire) -> None:
    first = _upsert(
        wire, "q", "kubernetes", "{}", prioritizationMode="V0", externalLinks='{"links": [{"url": "u"}]}'
    )
    second = _upsert(wire, "q", "sagemaker", "{}")
    assert first["queueID"] == second["queueID"]
    queue = _queue(wire, "q")
    assert queue["resource"] == "sagemaker"
    assert queue["prioritizationMode"] == "V0"
    assert json.loads(queue["externalLinks"]) == {"links": [{"url": "u"}]}


def test_creating_a_queue_twice_is_an_error_that_names_it(wire: Wire) -> None:
    given = {"entityName": "team", "projectName": PROJECT, "queueName": "default", "access": "PROJECT"}
    wire.mutate("createRunQueue", "success queueID", **given)
    query = "mutation($input: CreateRunQueueInput!) { createRunQueue(input: $input) { success queueID } }"
    answer = wire.graphql(query, {"input": given})
    assert answer.data == {"createRunQueue": None}
    assert "team/default exists already" in answer.messages[0]


@pytest.mark.parametrize("name", ["", "  ", "a/b", "x" * 65, "a\nb"])
def test_a_name_that_cannot_be_is_refused(wire: Wire, name: str) -> None:
    query = "mutation($input: CreateRunQueueInput!) { createRunQueue(input: $input) { success } }"
    given = {"entityName": "team", "projectName": PROJECT, "queueName": name, "access": "PROJECT"}
    answer = wire.graphql(query, {"input": given})
    assert "cannot be the name of a queue" in answer.messages[0]


def test_queues_are_listed_as_agents_ask_for_them(wire: Wire, backend: Backend) -> None:
    query = """query ProjectRunQueues($entity: String!, $projectName: String!) {
      project(entityName: $entity, name: $projectName) { runQueues { id name createdBy access } } }"""
    where = {"entity": "team", "projectName": PROJECT}
    assert wire.graphql(query, where).data["project"] is None
    backend.create_queue("b", "kubernetes")
    backend.create_queue("a", "kubernetes")
    queues = wire.graphql(query, where).data["project"]["runQueues"]
    assert [(queue["name"], queue["access"]) for queue in queues] == [("a", "PROJECT"), ("b", "PROJECT")]
    ours = wire.graphql("{ launchQueues { name entityName resource } launchEntities }").data
    assert [queue["name"] for queue in ours["launchQueues"]] == ["a", "b"]
    assert ours["launchEntities"] == ["team"]


def test_deleting_a_queue_takes_its_items_along(wire: Wire, backend: Backend) -> None:
    backend.create_queue("q", "kubernetes")
    item = backend.push("q", {"project": "p"})
    queue_id = _queue(wire, "q")["id"]
    assert wire.mutate("deleteRunQueues", "success", queueIDs=[queue_id])["success"]
    assert _queue(wire, "q") is None
    assert wire.graphql("query($id: ID!) { runQueueItem(id: $id) { id } }", {"id": item}).data == {
        "runQueueItem": None
    }
    assert not wire.mutate("deleteRunQueues", "success", queueIDs=[queue_id])["success"]


def test_items_are_listed_by_page_and_state(wire: Wire, backend: Backend, clock: Clock) -> None:
    backend.create_queue("q", "kubernetes")
    pushed = []
    for _ in range(5):
        clock.forward(1)
        pushed.append(backend.push("q", {"project": "p"}))
    backend.pop("q")
    query = """query($after: String, $states: [RunQueueItemDetailedState!]) {
      project(entityName: "team", name: "model-registry") { runQueue(name: "q") {
        items(first: 2, after: $after, states: $states) {
          edges { node { id detailedState createdAt } } pageInfo { endCursor hasNextPage } } } } }"""
    seen: list[str] = []
    after, has_next = None, True
    while has_next:
        page = wire.graphql(query, {"after": after}).data["project"]["runQueue"]["items"]
        seen += [edge["node"]["id"] for edge in page["edges"]]
        after, has_next = page["pageInfo"]["endCursor"], page["pageInfo"]["hasNextPage"]
    assert seen == pushed[::-1]
    leased = wire.graphql(query, {"states": ["LEASED"]}).data["project"]["runQueue"]["items"]["edges"]
    assert [edge["node"]["id"] for edge in leased] == pushed[:1]
    assert leased[0]["node"]["createdAt"] == "2023-11-14T22:13:21.000Z"
    counts = _queue(wire, "q")["counts"]
    assert (counts["pending"], counts["leased"], counts["claimed"]) == (4, 1, 0)
