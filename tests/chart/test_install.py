"""Helm installs, upgrades, rolls back and removes the chart on a real API server, releases side by side."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.fakes.control_plane import Cluster
from tests.fakes.eventually import eventually
from tests.fakes.helm import CHART, Helm, HelmFailed
from tests.fakes.kube import Kube, Object
from tests.fakes.namespace_contents import OWN, contents

pytestmark = pytest.mark.timeout(300)


def values(**more: Any) -> str:
    given = {"agent": {"apiKey": "0" * 40}, "launchConfig": {"queues": ["gpu"]}, **more}
    return json.dumps(given)


def cluster_wide(kube: Kube, name: str) -> list[str]:
    """Cluster roles and their bindings whose name holds `name`."""
    kinds = ("ClusterRole", "ClusterRoleBinding")
    items = [item for kind in kinds for item in kube.items("rbac.authorization.k8s.io/v1", kind)]
    return [item["metadata"]["name"] for item in items if name in item["metadata"]["name"]]


def deployment(kube: Kube, namespace: str, release: str) -> Object:
    chosen = kube.items(
        "apps/v1", "Deployment", namespace, labelSelector=f"app.kubernetes.io/instance={release}"
    )
    assert len(chosen) == 1
    return chosen[0]


def queues(kube: Kube, namespace: str, release: str) -> list[str]:
    """The queues in the release's launch config, as it is stored in the cluster."""
    for item in kube.items(
        "v1", "ConfigMap", namespace, labelSelector=f"app.kubernetes.io/instance={release}"
    ):
        if text := item.get("data", {}).get("launch-config.yaml"):
            return list(yaml.safe_load(text)["queues"])
    raise AssertionError("no ConfigMap with a launch config")


@pytest.fixture
def second_namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace that jobs may go to; it enforces nothing."""
    name = f"test-jobs-{uuid.uuid4().hex[:10]}"
    cluster.kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield name
    cluster.kube.delete("v1", "Namespace", "", name)


@pytest.mark.req("CLI-9", "CHART-1", "CARD-7")
def test_the_life_of_a_release(cluster_helm: Helm, cluster: Cluster, namespace: str) -> None:
    kube = cluster.kube
    eventually(lambda: contents(kube, namespace) == OWN, within=60, every=0.5, what="the namespace is ready")
    place = ("-n", namespace)
    cluster_helm.run("install", "gpu", str(CHART), *place, "-f", "-", stdin=values())
    first = deployment(kube, namespace, "gpu")
    assert queues(kube, namespace, "gpu") == ["gpu"]
    # The pod itself: Pod Security judges it when the controller makes it, not when the Deployment is stored.
    eventually(
        lambda: kube.items("v1", "Pod", namespace), within=60, every=0.2, what="the agent's pod is admitted"
    )

    changed = values(launchConfig={"queues": ["gpu", "cpu"]})
    cluster_helm.run("upgrade", "gpu", str(CHART), *place, "-f", "-", stdin=changed)
    assert queues(kube, namespace, "gpu") == ["gpu", "cpu"]
    second = deployment(kube, namespace, "gpu")
    assert second["spec"]["template"] != first["spec"]["template"], "a changed config restarts nothing"
    assert second["spec"]["selector"] == first["spec"]["selector"]

    cluster_helm.run("rollback", "gpu", "1", *place)
    assert queues(kube, namespace, "gpu") == ["gpu"]
    assert deployment(kube, namespace, "gpu")["spec"]["template"] == first["spec"]["template"]

    cluster_helm.run("uninstall", "gpu", *place)
    eventually(lambda: contents(kube, namespace) == OWN, within=60, every=0.5, what="nothing is left behind")
    assert cluster_wide(kube, namespace) == []


def test_a_rotated_api_key_restarts_the_agent(cluster_helm: Helm, cluster: Cluster, namespace: str) -> None:
    place = ("-n", namespace)
    cluster_helm.run("install", "gpu", str(CHART), *place, "-f", "-", stdin=values())
    first = deployment(cluster.kube, namespace, "gpu")["spec"]["template"]
    rotated = values(agent={"apiKey": "1" * 40})
    cluster_helm.run("upgrade", "gpu", str(CHART), *place, "-f", "-", stdin=rotated)
    assert deployment(cluster.kube, namespace, "gpu")["spec"]["template"] != first
    cluster_helm.run("upgrade", "gpu", str(CHART), *place, "-f", "-", stdin=rotated)
    assert deployment(cluster.kube, namespace, "gpu")["metadata"]["generation"] == 2, (
        "it restarted for nothing"
    )


def test_two_releases_side_by_side(
    cluster_helm: Helm, cluster: Cluster, namespace: str, second_namespace: str
) -> None:
    """In one namespace, and both with jobs in the same other one; the first goes, the second stays whole."""
    kube = cluster.kube
    place = ("-n", namespace)
    targets = [second_namespace]
    secrets = {"additionalSecretEnvVars": {"TOKEN": "x"}, "gitCreds": "https://u:p@example.com\n"}
    for name in ("gpu", "cpu"):
        given = values(launchConfig={"queues": [name]}, additionalTargetNamespaces=targets, **secrets)
        cluster_helm.run("install", name, str(CHART), *place, "-f", "-", stdin=given)
    before = contents(kube, namespace) | contents(kube, second_namespace)
    assert (queues(kube, namespace, "gpu"), queues(kube, namespace, "cpu")) == (["gpu"], ["cpu"])
    selectors = [deployment(kube, namespace, name)["spec"]["selector"] for name in ("gpu", "cpu")]
    assert selectors[0] != selectors[1]

    cluster_helm.run("uninstall", "gpu", *place)
    after = contents(kube, namespace) | contents(kube, second_namespace)
    assert {each for each in before - after if "cpu" in each[1]} == set()
    assert queues(kube, namespace, "cpu") == ["cpu"]
    cluster_helm.run("uninstall", "cpu", *place)

    def left() -> set[tuple[str, str]]:
        return (contents(kube, namespace) | contents(kube, second_namespace)) - OWN

    eventually(lambda: not left(), within=60, every=0.5, what="nothing is left behind")


def test_the_same_name_in_two_namespaces_with_the_same_target(
    cluster_helm: Helm, cluster: Cluster, namespace: str, second_namespace: str
) -> None:
    """What a release makes in somebody else's namespace must not bear the release's name alone."""
    kube = cluster.kube
    pair = ((namespace, second_namespace), (second_namespace, namespace))
    for own, other in pair:
        given = values(additionalTargetNamespaces=[other])
        cluster_helm.run("install", "gpu", str(CHART), "-n", own, "-f", "-", stdin=given)
    cluster_helm.run("uninstall", "gpu", "-n", namespace)
    assert queues(kube, second_namespace, "gpu") == ["gpu"]
    user = kube.items("v1", "Pod", second_namespace) or deployment(kube, second_namespace, "gpu")
    assert user
    bindings = kube.items("rbac.authorization.k8s.io/v1", "RoleBinding", namespace)
    assert [each["subjects"][0]["namespace"] for each in bindings] == [second_namespace]
    cluster_helm.run("uninstall", "gpu", "-n", second_namespace)


@pytest.mark.req("CHART-10")
def test_the_namespace_value_goes_before_the_release_namespace(
    cluster_helm: Helm, cluster: Cluster, namespace: str, second_namespace: str
) -> None:
    given = values(namespace=second_namespace)
    cluster_helm.run("install", "gpu", str(CHART), "-n", namespace, "-f", "-", stdin=given)
    assert deployment(cluster.kube, second_namespace, "gpu")
    assert {kind for kind, _ in contents(cluster.kube, namespace) - OWN} == {"Secret"}, "Helm's record alone"
    cluster_helm.run("uninstall", "gpu", "-n", namespace)


@pytest.mark.req("CHART-2")
def test_the_notes_name_the_queues_and_the_logs(cluster_helm: Helm, namespace: str) -> None:
    place = ("-n", namespace)
    said = cluster_helm.run("install", "gpu", str(CHART), *place, "-f", "-", stdin=values())
    assert "gpu" in said
    assert "kubectl" in said
    assert "logs" in said
    assert "0" * 40 not in said
    cluster_helm.run("uninstall", "gpu", *place)


def as_user(kube: Kube, namespace: str, role: str) -> list[str]:
    """Flags that make Helm somebody who has one of Kubernetes' own roles in a namespace."""
    user = f"{role}-of-{namespace}"
    kube.create(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": user},
            "subjects": [{"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}],
            "roleRef": {"kind": "ClusterRole", "name": role, "apiGroup": "rbac.authorization.k8s.io"},
        },
        namespace,
    )
    return ["--kube-as-user", user, "--kube-as-group", "system:authenticated"]


@pytest.mark.req("K8S-19", "K8S-20")
def test_who_administers_the_namespace_can_install(
    cluster_helm: Helm, cluster: Cluster, namespace: str
) -> None:
    """Nothing that the chart makes by default needs rights in the whole cluster."""
    somebody = as_user(cluster.kube, namespace, "admin")
    place = ("-n", namespace, *somebody)
    cluster_helm.run("install", "gpu", str(CHART), *place, "-f", "-", stdin=values())
    changed = values(launchConfig={"queues": ["cpu"]})
    cluster_helm.run("upgrade", "gpu", str(CHART), *place, "-f", "-", stdin=changed)
    assert queues(cluster.kube, namespace, "gpu") == ["cpu"]
    cluster_helm.run("uninstall", "gpu", *place)


@pytest.mark.req("K8S-19")
def test_who_may_change_nothing_cannot(cluster_helm: Helm, cluster: Cluster, namespace: str) -> None:
    somebody = as_user(cluster.kube, namespace, "view")
    before = contents(cluster.kube, namespace)
    with pytest.raises(HelmFailed, match="forbidden"):
        cluster_helm.run("install", "gpu", str(CHART), "-n", namespace, *somebody, "-f", "-", stdin=values())
    assert contents(cluster.kube, namespace) == before
