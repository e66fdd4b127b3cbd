"""The agent's image, built without a daemon, run for real: it takes a job from a queue and runs it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from launch_agent.cli.image import push
from launch_agent.cli.image.daemonless import Wish, build
from launch_agent.clients.docker_engine import Engine
from launch_agent.images.agent import choose, needs
from launch_agent.images.agent import wheel as own
from launch_agent.images.agent.choose import Choices
from launch_agent.images.agent.needs import Needs
from launch_agent.images.agent.plan import Plan
from tests.fakes import image_parts, real_node
from tests.fakes.backend import Backend
from tests.fakes.control_plane import Cluster
from tests.fakes.docker_engine import TestEngine
from tests.fakes.eventually import eventually
from tests.fakes.kube import ApiError
from tests.fakes.real_node import Node
from tests.fakes.server_process import ServerProcess
from tests.fixtures.cluster import RESTRICTED

# The machine may be busy with the other tests.
pytestmark = [pytest.mark.xdist_group("real-node"), pytest.mark.timeout(600)]
_SECONDS = 300
_CONFIG = {
    "name": "imaged",
    "entity": "team",
    "queues": ["q"],
    "poll-interval": 0.2,
    "state-dir": "/var/lib/launch-agent",
    "runner": {"local-process": {"enabled": True, "work-dir": "/tmp/runs"}},
    "policy": {"allow": {"local-process": {"entry-point": True}}},
}


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return image_parts.python_layout(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return own.write(tmp_path_factory.mktemp("wheel"))


def plan_of(base: Path, needs: Needs | None = None) -> Plan:
    """What needs running (git) is not in the base, and not used here."""
    choices = Choices(
        base=str(base), platforms=(image_parts.OWN,), without=("git", "openssh-client", "buildctl")
    )
    return choose.make(needs or Needs(name="none"), choices)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path / "server") as found:
        yield found


def submitted(server: ServerProcess, words: str) -> tuple[Backend, str]:
    backend = Backend(url=server.url, api_key=server.api_key, entity="team")
    backend.create_queue("q", "local-process")
    spec = {"project": "p", "resource": "local-process", "overrides": {"entry_point": ["sh", "-c", words]}}
    return backend, backend.push("q", spec)


def finished(backend: Backend, item: str, said: Callable[[], str]) -> bool:
    found = backend.item(item)
    assert found["detailedState"] == "FINISHED", (found, said()[-3000:])
    return True


@pytest.mark.docker
def test_an_engine_runs_it_read_only_as_any_user_and_it_runs_a_job(
    docker_engine: TestEngine, layout: Path, wheel: Path, server: ServerProcess, tmp_path: Path
) -> None:
    archive, client = tmp_path / "agent.tar", docker_engine.client
    name = f"launch-agent-test/agent:{os.getpid()}"
    build(plan_of(layout), wheel, Wish(reference=name, to=f"docker-archive:{archive}"))
    backend, item = submitted(server, "id -u")
    config = tmp_path / "launch-config.yaml"
    config.write_text(json.dumps({**_CONFIG, "base_url": server.url}))
    with archive.open("rb") as content:
        list(client.load_image(content))
    archive.unlink()
    container = ""
    try:
        told = client.inspect_image(name)["Config"]
        assert told["User"] == "1000:0"
        assert told["Healthcheck"]["Test"][0] == "CMD"
        container = client.create_container(
            name,
            user="12345:0",
            environment={"WANDB_API_KEY": server.api_key},
            host_config=client.create_host_config(
                read_only=True,
                cap_drop=["ALL"],
                security_opt=["no-new-privileges"],
                network_mode="host",
                tmpfs={"/tmp": "", "/var/lib/launch-agent": ""},
                binds=[f"{config}:/home/launch_agent/.config/wandb/launch-config.yaml:ro"],
            ),
        )["Id"]
        client.start(container)
        said = lambda: client.logs(container).decode()  # noqa: E731 - read at each look
        eventually(lambda: finished(backend, item, said), within=_SECONDS, every=0.2)
    finally:
        if container:
            client.remove_container(container, force=True)
        client.remove_image(name, force=True)


# What an extra is for: if these can be imported, all that the agent needs of it is in the image.
_USES = {
    "aws": "environments.aws registries.ecr stores.s3 runners.sagemaker",
    "azure": "environments.azure registries.acr stores.azblob",
    "docker": "runners.docker builders.docker",
    "gcp": "environments.gcp registries.gar stores.gcs runners.vertex",
    "image": "builders.layers assembly.fetching",
    "kubernetes": "clients.kube.kubeconfig",
    "": "control.wiring runners.kubernetes runners.process",
}


@pytest.mark.docker
@pytest.mark.slow
def test_images_for_all_example_values_start(
    docker_engine: TestEngine, docker_registry: str, layout: Path, wheel: Path
) -> None:
    client, name = docker_engine.client, f"{docker_registry}/examples"
    based = run(push.command, str(layout), f"{name}/base:1").strip()
    found = {}
    for file in sorted((Path(__file__).parents[3] / "examples" / "values").glob("*.yaml")):
        needed = needs.read({str(file): file.read_bytes()})
        found.setdefault(tuple(sorted(needed.extras)), (file.stem, needed))
    for extras, (tag, needed) in found.items():
        made = build(plan_of(Path(based), needed), wheel, Wish(reference=f"{name}/agent:{tag}", quiet=True))
        modules = [f"launch_agent.{each}" for extra in ("", *extras) for each in _USES[extra].split()]
        said = started(client, made, ["-c", f"import {', '.join(modules)}; print('imported')"])
        assert said == "imported\n", f"{tag}: {said}"


def run(command: Any, *arguments: str) -> str:
    return CliRunner().invoke(command, list(arguments), catch_exceptions=False).stdout


def started(client: Engine, image: str, arguments: list[str]) -> str:
    """What the image's Python says, without network, user or a place to write to."""
    for _ in client.pull(image, stream=True):
        pass
    container = ""
    try:
        container = client.create_container(
            image,
            arguments,
            entrypoint=["/opt/launch-agent/bin/python"],
            user="12345:0",
            host_config=client.create_host_config(read_only=True, cap_drop=["ALL"], network_mode="none"),
        )["Id"]
        client.start(container)
        client.wait(container, timeout=60)
        return str(client.logs(container).decode())
    finally:
        if container:
            client.remove_container(container, force=True)
        client.remove_image(image, force=True)


@pytest.mark.slow
def test_a_restricted_namespace_admits_it_and_it_runs_a_job_there(
    cluster: Cluster, node: Node, node_registry: str, layout: Path, wheel: Path, tmp_path: Path
) -> None:
    name = build(plan_of(layout), wheel, Wish(reference=f"{node_registry}/launch-agent:1", plain=True))
    with (
        ServerProcess(tmp_path / "server", host=node.outside) as server,
        real_node.namespace(cluster.kube, RESTRICTED) as namespace,
    ):
        backend, item = submitted(server, "id -u")
        data = {"launch-config.yaml": json.dumps({**_CONFIG, "base_url": server.url})}
        meta = {"name": "agent", "namespace": namespace}
        cluster.kube.create(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}, namespace
        )
        cluster.kube.create(_pod(meta, name, server.api_key), namespace)

        def said() -> str:
            pod = cluster.kube.get("v1", "Pod", namespace, "agent")
            try:
                return cluster.kube.log(namespace, "agent")
            except ApiError as error:
                return f"{error}: {pod and pod['status']}"

        eventually(lambda: finished(backend, item, said), within=_SECONDS, every=0.25)


def _pod(meta: dict[str, Any], image: str, api_key: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta,
        "spec": {
            "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "agent",
                    "image": image,
                    "env": [{"name": "WANDB_API_KEY", "value": api_key}],
                    "securityContext": {
                        "readOnlyRootFilesystem": True,
                        "runAsUser": 1000990000,
                        "runAsGroup": 0,
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": [
                        {"name": "tmp", "mountPath": "/tmp"},
                        {"name": "state", "mountPath": "/var/lib/launch-agent"},
                        {"name": "config", "mountPath": "/home/launch_agent/.config/wandb"},
                    ],
                }
            ],
            "volumes": [
                {"name": "tmp", "emptyDir": {}},
                {"name": "state", "emptyDir": {}},
                {"name": "config", "configMap": {"name": "agent"}},
            ],
        },
    }
