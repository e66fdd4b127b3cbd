"""Many roots in one document: in order, each with its own fate, all committed together."""

from __future__ import annotations

from tests.fakes.backend import PROJECT, Backend
from tests.fakes.wire import Wire

_WHERE = f'entityName: "team", projectName: "{PROJECT}"'


def test_pops_and_acks_of_one_document_run_in_order(wire: Wire, backend: Backend) -> None:
    backend.create_queue("q", "local-container")
    pushed = [backend.push("q", {"project": "p", "n": n}) for n in range(25)]
    pops = " ".join(
        f'p{n}: popFromRunQueue(input: {{{_WHERE}, queueName: "q"}}) {{ runQueueItemId runSpec }}'
        for n in range(26)
    )
    popped = wire.graphql(f"mutation {{ {pops} }}").data
    assert [popped[f"p{n}"]["runQueueItemId"] for n in range(25)] == pushed
    assert popped["p3"]["runSpec"]["n"] == 3
    assert popped["p25"] is None
    acks = " ".join(
        f'a{n}: ackRunQueueItem(input: {{runQueueItemId: "{item}", runName: "run{n:05}"}}) {{ success }}'
        for n, item in enumerate(pushed)
    )
    assert all(answer["success"] for answer in wire.graphql(f"mutation {{ {acks} }}").data.values())
    checks = " ".join(f'x{n}: run(name: "run{n:05}") {{ stopped }}' for n in range(26))
    stopped = wire.graphql(f'{{ r0: project(name: "p", entityName: "team") {{ {checks} }} }}').data["r0"]
    assert [stopped[f"x{n}"] for n in range(25)] == [{"stopped": False}] * 25
    assert stopped["x25"] is None


def test_the_failure_of_one_root_leaves_the_others_whole(wire: Wire, backend: Backend) -> None:
    backend.create_queue("q", "local-container")

    def push(queue: str, spec: str) -> str:
        given = f'{_WHERE}, queueName: "{queue}", runSpec: "{spec}"'
        return f"pushToRunQueueByName(input: {{{given}}}) {{ runQueueItemId }}"

    roots = {"a": push("q", "{}"), "b": push("nope", "{}"), "c": push("q", "["), "d": push("q", "{}")}
    answer = wire.graphql(
        "mutation { " + " ".join(f"{alias}: {root}" for alias, root in roots.items()) + " }"
    )
    assert answer.status == 200
    assert answer.data["b"] is None
    assert answer.data["c"] is None
    assert [error["path"] for error in answer.body["errors"]] == [["b"], ["c"]]
    items = [item["id"] for item in backend.items("q")]
    assert items == [answer.data["a"]["runQueueItemId"], answer.data["d"]["runQueueItemId"]]


def test_what_a_failed_root_had_written_is_undone(wire: Wire, backend: Backend) -> None:
    """The ack makes a run before it finds that the lease is lost."""
    backend.create_queue("q", "local-container")
    item = backend.push("q", {"project": "p"})
    query = """mutation($id: ID!) { ackRunQueueItem(input: {runQueueItemId: $id, runName: "aaaaaaaa"}) {
      success } }"""
    assert wire.graphql(query, {"id": item}).data == {"ackRunQueueItem": {"success": False}}
    assert backend.run("p", "aaaaaaaa") is None


def test_a_later_root_sees_what_an_earlier_one_did(wire: Wire) -> None:
    answer = wire.graphql(
        f"""mutation {{
          a: upsertRunQueue(input: {{{_WHERE}, queueName: "q", resourceType: "kubernetes",
               resourceConfig: "{{}}"}}) {{ success }}
          b: pushToRunQueueByName(input: {{{_WHERE}, queueName: "q", runSpec: "{{}}"}}) {{ runQueueItemId }}
          c: popFromRunQueue(input: {{{_WHERE}, queueName: "q"}}) {{ runQueueItemId }} }}"""
    )
    assert answer.data["c"] == answer.data["b"]


def test_our_features_are_told(wire: Wire) -> None:
    query = "query ServerFeaturesQuery { serverInfo { features { name isEnabled } } }"
    features = wire.graphql(query).data["serverInfo"]["features"]
    ours = {"LAUNCH_ITEM_OUTCOMES", "LAUNCH_LONG_POLL", "LAUNCH_ITEM_LIST", "LAUNCH_ITEM_REQUEUE"}
    assert {feature["name"] for feature in features if feature["isEnabled"]} == ours


def test_what_clients_ask_at_their_start_is_answered(wire: Wire) -> None:
    viewer = wire.graphql(
        "query Viewer { viewer { id entity username email flags teams { edges { node { name } } } } }",
        operation="Viewer",
    ).data["viewer"]
    assert viewer["teams"]["edges"] == [{"node": {"name": "team"}}]
    organisation = wire.graphql(
        """query OrganizationCoreWeaveOrganizationID($entityName: String!) {
             entity(name: $entityName) { organization { coreWeaveOrganizationId } } }""",
        {"entityName": "team"},
    )
    assert organisation.data["entity"]["organization"] == {"coreWeaveOrganizationId": ""}
    team = wire.graphql("query EntityIsTeam($e: String!) { entity(name: $e) { id isTeam } }", {"e": "team"})
    assert team.data["entity"]["isTeam"] is False
    project = wire.graphql(
        """mutation CreateProject($input: UpsertModelInput!) { result: upsertModel(input: $input) {
             project { id name entityName description access views }
             model { id name entityName description access views } inserted } }""",
        {"input": {"entityName": "team", "name": PROJECT}},
    ).data["result"]
    assert project["inserted"] is True
    assert project["project"] == project["model"]
    assert project["project"]["entityName"] == "team"
