"""Who may install the chart: an administrator of the namespace may; one who only edits is told why not."""

from __future__ import annotations

import json

import pytest

from tests.fakes.control_plane import Cluster
from tests.fakes.helm import CHART, Helm, HelmFailed

pytestmark = pytest.mark.timeout(300)

VALUES = json.dumps({"agent": {"apiKey": "0" * 40}, "launchConfig": {"queues": ["gpu"]}})


def grant(cluster: Cluster, namespace: str, role: str) -> tuple[str, ...]:
    """Give a role of Kubernetes to a user of its name; returns Helm's flags for acting as that user."""
    subject = {"kind": "User", "name": role, "apiGroup": "rbac.authorization.k8s.io"}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": role, "namespace": namespace},
        "subjects": [subject],
        "roleRef": {"kind": "ClusterRole", "name": role, "apiGroup": "rbac.authorization.k8s.io"},
    }
    cluster.kube.create(binding, namespace)
    return ("-n", namespace, "--kube-as-user", role)


@pytest.mark.req("K8S-19", "K8S-20")
def test_an_administrator_of_the_namespace_installs_upgrades_and_removes(
    cluster_helm: Helm, cluster: Cluster, namespace: str
) -> None:
    as_admin = grant(cluster, namespace, "admin")
    cluster_helm.run("install", "gpu", CHART, *as_admin, "-f", "-", stdin=VALUES)
    cluster_helm.run("upgrade", "gpu", CHART, *as_admin, "-f", "-", "--set", "commonLabels.a=b", stdin=VALUES)
    cluster_helm.run("uninstall", "gpu", *as_admin)


@pytest.mark.req("K8S-19")
def test_who_may_only_edit_is_told_what_is_missing(
    cluster_helm: Helm, cluster: Cluster, namespace: str
) -> None:
    as_editor = grant(cluster, namespace, "edit")
    with pytest.raises(HelmFailed, match=r"cannot (create|get|patch) resource \"role"):
        cluster_helm.run("install", "gpu", CHART, *as_editor, "-f", "-", stdin=VALUES)
