"""Draining a node is never blocked by the chart, and a second agent is kept where there is one.

There are no nodes here, so the test itself says that pods run; the disruption controller and the eviction are
real.
"""

from __future__ import annotations

import json

import pytest

from tests.fakes.control_plane import Cluster
from tests.fakes.eventually import eventually
from tests.fakes.helm import CHART, Helm
from tests.fakes.kube import ApiError, Kube, Object

pytestmark = pytest.mark.timeout(300)

RUNNING = {
    "status": {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
    }
}


def running_pods(kube: Kube, namespace: str, number: int) -> list[Object]:
    """The agent's pods, once there are so many, said to be ready."""

    def pods() -> list[Object]:
        # Those of the Deployment; the test hook's pod comes with `helm test` only.
        found = kube.items("v1", "Pod", namespace)
        return found if len(found) == number else []

    found = eventually(pods, within=60, every=0.2, what=f"{number} pods of the agent")
    for pod in found:
        path = f"{kube.path('v1', 'Pod', namespace, pod['metadata']['name'])}/status"
        kube.call("PATCH", path, RUNNING, content="application/merge-patch+json")
    return found


def evict(kube: Kube, namespace: str, pod: Object) -> bool:
    """What `kubectl drain` does to a pod; False where a budget forbids it."""
    name = pod["metadata"]["name"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    try:
        kube.call("POST", f"{kube.path('v1', 'Pod', namespace, name)}/eviction", eviction)
    except ApiError as error:
        if error.status != 429:
            raise
        return False
    return True


@pytest.mark.parametrize(
    ("agent", "others", "number"),
    [
        ({}, {}, 1),
        ({"minAvailable": 1}, {}, 1),
        ({"replicas": 2}, {}, 2),
        ({"replicas": 2}, {"podDisruptionBudget": {"minAvailable": 1}}, 2),
    ],
    ids=["defaults", "the older value", "two agents", "two agents, one of which must stay"],
)
def test_a_drain_goes_on(
    cluster_helm: Helm, cluster: Cluster, namespace: str, agent: Object, others: Object, number: int
) -> None:
    kube = cluster.kube
    given = {"agent": {"apiKey": "0" * 40, **agent}, "launchConfig": {"queues": ["gpu"]}, **others}
    cluster_helm.run("install", "gpu", str(CHART), "-n", namespace, "-f", "-", stdin=json.dumps(given))
    try:
        pods = running_pods(kube, namespace, number)

        def allowed() -> bool:
            (budget,) = kube.items("policy/v1", "PodDisruptionBudget", namespace)
            status = budget.get("status", {})
            return bool(status.get("currentHealthy") == number and status["disruptionsAllowed"] >= 1)

        eventually(allowed, within=60, every=0.2, what="the budget allows one to go")
        assert evict(kube, namespace, pods[0])
        if number == 2:
            # The controller does not count the new pod as healthy, so there is no second one to give away.
            assert not evict(kube, namespace, pods[1])
    finally:
        cluster_helm.run("uninstall", "gpu", "-n", namespace)
