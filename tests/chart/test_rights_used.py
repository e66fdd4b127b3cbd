"""What the agent asks of a cluster in all that it can do there is what the chart lets it, and nothing more.

The API server's audit log tells what was asked and allowed; its rule review what would be.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launch_agent.server.serve import Server
from tests.fakes.backend import Backend
from tests.fakes.cluster_site import Site, site_on
from tests.fakes.control_plane import Cluster
from tests.fakes.eventually import eventually
from tests.fakes.fake_node import PodEnd
from tests.fakes.helm import CHART, Helm
from tests.fakes.kube import service_account

pytestmark = pytest.mark.timeout(300)
VOLCANO = {"apiVersion": "batch.volcano.sh/v1alpha1", "kind": "Job"}
SERVICE = {
    "name": "cache",
    "config": {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "cache-${run_id}"},
        "spec": {"ports": [{"port": 6379}]},
    },
}
# What anybody may ask about themselves.
REVIEWS = "authorization.k8s.io"
UNSEEN = {
    # To see whose an object is that is there already: after a crash between two requests.
    ("", "services", "", "get"),
    # Of the kinds that a job can bring beside itself, one stands for all here.
    ("", "pods", "", "create"),
    ("", "pods", "", "get"),
    ("apps", "deployments", "", "create"),
    ("apps", "deployments", "", "get"),
}


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Backend]:
    with Server(data_dir=tmp_path / "server", entity="team") as server:
        yield Backend(url=server.url, api_key=server.api_key, entity="team")


@pytest.fixture
def install(cluster_helm: Helm, fake_namespace: str) -> Iterator[Any]:
    """Installs the chart; the name of the agent's account."""
    release = f"gpu-{uuid.uuid4().hex[:6]}"

    def installed(**values: Any) -> str:
        agent = {"apiKey": "0" * 40, "image": "registry.example.com/launch-agent:1"}
        given = {"agent": agent, "launchConfig": {"queues": ["q"]}, **values}
        arguments = ("install", release, str(CHART), "-n", fake_namespace, "-f", "-")
        cluster_helm.run(*arguments, stdin=json.dumps(given))
        return f"{release}-launch-agent"

    yield installed
    cluster_helm.run("uninstall", release, "-n", fake_namespace)


def test_the_chart_gives_what_the_agent_uses(
    kwok_cluster: Cluster, fake_namespace: str, backend: Backend, install: Any, tmp_path: Path
) -> None:
    kinds = [{"apiGroup": "batch.volcano.sh", "resources": ["jobs"]}]
    account = install(rbac={"customResources": kinds, "additionalServices": True})
    policy = {"allow": {"kubernetes": {"additional_services": True}}}
    with site_on(kwok_cluster, fake_namespace, backend, tmp_path, account_name=account) as site:
        state = {"name": f"{fake_namespace}/{account}-state", "credentials": str(site.account)}
        agent = site.agent(policy=policy, **{"state-secret": state})
        agent.start()
        work(site)
        agent.kill()
        # What the next one finds, it adopts; what was asked for once is asked for again.
        site.agent("two", policy=policy, **{"state-secret": state}).start()
        assert "lacks" not in agent.log, agent.log
    user = service_account(fake_namespace, account)
    nobody = service_account(fake_namespace, "nobody")
    given = kwok_cluster.kube.rules(user, fake_namespace) - kwok_cluster.kube.rules(nobody, fake_namespace)
    # The audit log's rights have no names; of Secrets, the state's alone can be read.
    given = {
        (group, kind, "" if name == f"{account}-state" else name, verb) for group, kind, name, verb in given
    }
    asked = {right for right in kwok_cluster.calls(user) if right[0] != REVIEWS}
    assert asked <= given
    assert given - asked == UNSEEN


def work(site: Site) -> None:
    """Runs of all kinds, each to another end."""
    good, bad, stuck = site.push(), site.push(PodEnd.ERROR), site.push(PodEnd.CONFIG_ERROR)
    beside = site.push_manifest({}, additional_services=[SERVICE])
    volcano = site.push_manifest(
        {
            **VOLCANO,
            "spec": {
                "tasks": [{"name": "worker", "replicas": 1, "template": {"spec": {"containers": [{}]}}}]
            },
        }
    )
    site.await_state(good, "FINISHED")
    site.await_state(bad, "FAILED")
    site.await_state(beside, "FINISHED")
    eventually(lambda: site.of(VOLCANO["apiVersion"], "Job"), within=60, what="the Volcano job is there")
    for item in (stuck, volcano):
        site.backend.query(
            "mutation Stop($id: ID!) { stopRunQueueItem(input: {runQueueItemId: $id}) { success } }", id=item
        )
    site.await_state(stuck, "STOPPED")
    site.await_state(volcano, "STOPPED")
