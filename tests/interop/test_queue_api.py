"""`wandb.Api()`, unmodified, makes, reads and deletes our server's queues."""

from __future__ import annotations

import json

import pytest

from tests.fakes.backend import Backend
from tests.fakes.wandb_sandbox import WandbSandbox

pytestmark = [pytest.mark.interop]

_READ = """
import wandb
entity, name = sys.argv[1:]
queue = wandb.Api().run_queue(entity, name)
result({
    "id": queue.id, "name": queue.name, "entity": queue.entity, "type": queue.type, "access": queue.access,
    "mode": queue.prioritization_mode, "config": queue.default_resource_config,
    "variables": queue.template_variables, "links": queue.external_links,
})
"""


@pytest.mark.req("QUEUE-3", "QUEUE-5", "QUEUE-7", "QUEUE-8", "QUEUE-9")
@pytest.mark.parametrize("resource", ["local-container", "kubernetes", "sagemaker", "gcp-vertex"])
def test_a_queue_is_created_with_all_that_it_is_given(
    backend: Backend, sandbox: WandbSandbox, resource: str
) -> None:
    name = f"made-{resource}"
    sandbox.script(
        """
        import wandb
        entity, name, resource = sys.argv[1:]
        queue = wandb.Api().create_run_queue(
            name, resource, entity, prioritization_mode="V0", config={"size": "{{size}}"},
            template_variables={"size": {"schema": {"type": "string", "enum": ["s", "m"]}}},
        )
        result(queue.id)
        """,
        *(backend.entity, name, resource),
    )

    read = sandbox.script(_READ, backend.entity, name)

    assert read["type"] == resource
    assert (read["name"], read["entity"], read["access"]) == (name, backend.entity, "PROJECT")
    assert read["mode"] == "V0"
    assert _resource_config(read) == {resource: {"size": "{{size}}"}}
    assert [variable["name"] for variable in read["variables"]] == ["size"]


@pytest.mark.req("QUEUE-6", "QUEUE-17")
def test_upsert_changes_a_queue_in_place(backend: Backend, sandbox: WandbSandbox) -> None:
    upsert = """
        import wandb
        entity, namespace = sys.argv[1:]
        queue = wandb.Api().upsert_run_queue(
            name="cluster", entity=entity, resource_type="kubernetes",
            resource_config={"metadata": {"namespace": namespace}},
            external_links={"Grafana": "https://grafana.example/d/1"},
        )
        result(queue.id)
        """
    first = sandbox.script(upsert, backend.entity, "one")
    second = sandbox.script(upsert, backend.entity, "two")

    read = sandbox.script(_READ, backend.entity, "cluster")

    assert first == second == read["id"]
    assert _resource_config(read) == {"kubernetes": {"metadata": {"namespace": "two"}}}
    assert read["mode"] == "DISABLED"


def test_a_config_that_breaks_its_own_template_is_told(backend: Backend, sandbox: WandbSandbox) -> None:
    told = sandbox.script(
        """
        import wandb
        try:
            wandb.Api().upsert_run_queue(
                name="broken", entity=sys.argv[1], resource_type="local-container",
                resource_config={"memory": "{{memory}}"},
                template_variables={"memory": {"schema": {"type": "no such type"}}},
            )
        except Exception as error:
            result(str(error))
        else:
            result("")
        """,
        backend.entity,
    )
    names = backend.query(
        'query($e: String!) { project(name: "model-registry", entityName: $e) { runQueues { name } } }',
        e=backend.entity,
    )

    assert told
    assert {"name": "broken"} not in names["project"]["runQueues"]


@pytest.mark.req("QUEUE-4")
def test_items_are_listed_with_their_states(backend: Backend, sandbox: WandbSandbox) -> None:
    backend.create_queue("states", "local-container")
    spec = {"project": "vision", "docker": {"docker_image": "a/b:1"}}
    ids = {
        name: backend.push("states", spec) for name in ("failed", "finished", "claimed", "leased", "pending")
    }
    for name in ("failed", "finished", "claimed", "leased"):
        popped = backend.pop("states")
        assert popped is not None
        assert popped[0] == ids[name]
        if name != "leased":
            backend.ack(ids[name], f"run{name}"[:8])
    backend.fail(ids["failed"], "out of luck")
    backend.finish(ids["finished"], "finished")

    listed = sandbox.script(
        """
        import wandb
        result({item.id: item.state for item in wandb.Api().run_queue(sys.argv[1], "states").items})
        """,
        backend.entity,
    )

    # Official clients know four states; an item that ended well stays claimed for them.
    assert {name: listed[item] for name, item in ids.items()} == {
        "failed": "failed",
        "finished": "claimed",
        "claimed": "claimed",
        "leased": "leased",
        "pending": "pending",
    }


def test_an_item_is_read_without_its_queues_project(backend: Backend, sandbox: WandbSandbox) -> None:
    """`Api.queued_run` leaves the project null although its document says it may not be."""
    backend.create_queue("nameless", "local-container")
    item = backend.push("nameless", {"project": "vision", "docker": {"docker_image": "a/b:1"}})

    state = sandbox.script(
        """
        import wandb
        entity, item = sys.argv[1:]
        result(wandb.Api().queued_run(entity, "vision", "nameless", item).state)
        """,
        *(backend.entity, item),
    )

    assert state == "pending"


def test_items_and_queues_are_deleted(backend: Backend, sandbox: WandbSandbox) -> None:
    backend.create_queue("short-lived", "local-container")
    backend.push("short-lived", {"project": "vision", "docker": {"docker_image": "a/b:1"}})

    left = sandbox.script(
        """
        import wandb
        api = wandb.Api()
        queue = api.run_queue(sys.argv[1], "short-lived")
        for item in queue.items:
            item.delete()
        left = len(api.run_queue(sys.argv[1], "short-lived").items)
        queue.delete()
        result(left)
        """,
        backend.entity,
    )
    data = backend.query(
        """query($e: String!) { project(name: "model-registry", entityName: $e) {
             runQueue(name: "short-lived") { id } } }""",
        e=backend.entity,
    )

    assert left == 0
    assert data["project"]["runQueue"] is None


def _resource_config(read: dict[str, object]) -> object:
    """The map of resources to configurations, which the server may tell as a map or as a text."""
    config = read["config"]
    parsed = json.loads(config) if isinstance(config, str) else config
    assert isinstance(parsed, dict)
    return parsed["resource_args"]
