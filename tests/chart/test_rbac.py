"""The agent may do what its features need, in the namespaces that the values name, and nothing more.

The authorizer of a real API server is asked, for what it says is what counts: it sees all roles and bindings.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from tests.fakes.control_plane import Cluster
from tests.fakes.eventually import eventually
from tests.fakes.helm import CHART, Helm
from tests.fakes.kube import ApiError, Kube, Right, service_account

pytestmark = pytest.mark.timeout(300)

# What the agent does on a cluster. `secrets`: it makes one for a run's API key and cannot read any.
NEEDED = {
    "batch/jobs": "create get list watch patch delete",
    "/pods": "list watch",
    "/pods/log": "get",
    "/events": "list",
    "/secrets": "create patch",
}
OURS = "registry.example.com/launch-agent:1"
LEASE = {"coordination.k8s.io/leases": "create"}
RELEASE = f"gpu-{uuid.uuid4().hex[:6]}"
# The one Secret that it can read: its own launches under way.
STATE = {("", "secrets", f"{RELEASE}-launch-agent-state", verb) for verb in ("get", "patch")}
JOB = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "run"},
    "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "run", "image": "x"}]}}},
}


def rights(table: dict[str, str], name: str = "") -> set[Right]:
    found = set()
    for place, verbs in table.items():
        group, _, resource = place.partition("/")
        found |= {(group, resource, name, verb) for verb in verbs.split()}
    return found


@pytest.fixture
def jobs_namespace(cluster: Cluster) -> Iterator[str]:
    name = f"test-jobs-{uuid.uuid4().hex[:10]}"
    cluster.kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield name
    cluster.kube.delete("v1", "Namespace", "", name)


@pytest.fixture
def installed(cluster_helm: Helm, cluster: Cluster, namespace: str) -> Iterator[Any]:
    """Installs with some values; the rights of the release's account in a namespace, above everybody's."""
    kube = cluster.kube
    release = RELEASE

    def install(**values: Any) -> Any:
        agent = {"apiKey": "0" * 40, "image": OURS, **values.pop("agent", {})}
        given = {"agent": agent, "launchConfig": {"queues": ["gpu"]}, **values}
        arguments = ("install", release, str(CHART), "-n", namespace, "-f", "-")
        cluster_helm.run(*arguments, stdin=json.dumps(given))
        user = service_account(namespace, f"{release}-launch-agent")
        nobody = service_account(namespace, "nobody")
        return lambda where: kube.rules(user, where) - kube.rules(nobody, where)

    yield install
    cluster_helm.run("uninstall", release, "-n", namespace)


@pytest.mark.req("SEC-9", "CARD-4")
def test_exactly_what_is_needed_where_jobs_may_go(
    installed: Any, namespace: str, jobs_namespace: str
) -> None:
    of = installed(additionalTargetNamespaces=[jobs_namespace])
    assert of(namespace) == rights(NEEDED) | STATE
    assert of(jobs_namespace) == rights(NEEDED)
    assert of("default") == set()
    assert of("kube-system") == set()


@pytest.mark.req("CHART-12")
def test_namespaces_of_the_launch_config_count(installed: Any, namespace: str, jobs_namespace: str) -> None:
    config = {"queues": ["gpu"], "runner": {"kubernetes": {"namespace": jobs_namespace}}}
    of = installed(launchConfig=config)
    assert of(jobs_namespace) == rights(NEEDED)
    assert of("default") == set()


def test_kinds_of_the_admin(installed: Any, namespace: str) -> None:
    kinds = [{"apiGroup": "batch.volcano.sh", "resources": ["jobs"]}]
    rules = [{"apiGroups": [""], "resources": ["services"], "verbs": ["create"]}]
    of = installed(rbac={"customResources": kinds, "rules": rules})
    more = {"batch.volcano.sh/jobs": "create get list watch patch delete", "/services": "create"}
    assert of(namespace) == rights(NEEDED | more) | STATE


def test_what_jobs_bring_beside_themselves(installed: Any, namespace: str) -> None:
    of = installed(rbac={"additionalServices": True})
    more = {"/pods": "create get", "/services": "create get", "apps/deployments": "create get"}
    assert of(namespace) - rights(NEEDED) - STATE == rights(more)


def test_wandbs_agent_deletes_what_it_leaves(installed: Any, namespace: str) -> None:
    of = installed(agent={"image": "wandb/launch-agent:latest"})
    assert of(namespace) - rights(NEEDED) - STATE == rights({"/secrets": "delete"})


def test_agents_that_stand_by_share_one_lease(installed: Any, namespace: str) -> None:
    of = installed(agent={"replicas": 2})
    more = of(namespace) - rights(NEEDED) - STATE
    names = {name for _, _, name, _ in more} - {""}
    assert len(names) == 1
    assert more == rights(LEASE) | rights({"coordination.k8s.io/leases": "get update"}, names.pop())


def test_none_where_the_admin_makes_them(installed: Any, namespace: str) -> None:
    of = installed(rbac={"create": False})
    assert of(namespace) == set()


def test_everywhere_only_where_asked_for(installed: Any, namespace: str) -> None:
    of = installed(rbac={"clusterWide": True})
    assert of("default") == rights(NEEDED)
    assert of(namespace) == rights(NEEDED) | STATE


@pytest.mark.req("SEC-9")
def test_the_server_does_as_the_authorizer_says(
    cluster: Cluster, installed: Any, cluster_helm: Helm, namespace: str, jobs_namespace: str
) -> None:
    """With a token of the agent's account: a Job starts, ends, and no Secret is read, not even its own."""
    installed(additionalTargetNamespaces=[jobs_namespace])
    (release,) = cluster_helm.json("list", "-n", namespace)
    account = f"{release['name']}-launch-agent"
    agent = cluster.kube.by_token(cluster.kube.token(namespace, account))
    try:
        agent.create(JOB, jobs_namespace)
        assert [each["metadata"]["name"] for each in agent.items("batch/v1", "Job", jobs_namespace)] == [
            "run"
        ]
        eventually(
            lambda: agent.items("v1", "Pod", jobs_namespace), within=60, every=0.2, what="the job's pod"
        )
        agent.delete("batch/v1", "Job", jobs_namespace, "run")
        for forbidden in ("Secret", "ConfigMap", "ServiceAccount"):
            assert is_forbidden(agent, "v1", forbidden, namespace), forbidden
        assert is_forbidden(agent, "batch/v1", "Job", "default")
        assert is_forbidden(agent, "v1", "Node", "")
    finally:
        agent.close()
    used = cluster.calls(service_account(namespace, account))
    assert used == rights({"batch/jobs": "create list delete", "/pods": "list"})


def is_forbidden(kube: Kube, version: str, kind: str, namespace: str) -> bool:
    try:
        kube.items(version, kind, namespace)
    except ApiError as error:
        return error.status == 403
    return False


FORBIDDEN = [
    ("", "secrets", "get"),
    ("", "secrets", "list"),
    ("", "secrets", "watch"),
    ("", "pods", "create"),
    ("", "secrets", "delete"),
    ("apps", "deployments", "create"),
    ("", "pods/exec", "create"),
    ("", "pods", "delete"),
    ("batch", "jobs", "update"),
    ("rbac.authorization.k8s.io", "rolebindings", "create"),
    ("", "serviceaccounts/token", "create"),
    ("", "configmaps", "get"),
]


@pytest.mark.req("SEC-9")
def test_what_would_make_it_dangerous_is_forbidden(
    cluster: Cluster, installed: Any, cluster_helm: Helm, namespace: str
) -> None:
    installed()
    (release,) = cluster_helm.json("list", "-n", namespace)
    user = service_account(namespace, f"{release['name']}-launch-agent")
    may = partial(cluster.kube.may, user, namespace=namespace)
    assert may("create", "jobs", group="batch")
    allowed = [(verb, kind) for group, kind, verb in FORBIDDEN if may(verb, kind, group=group)]
    assert allowed == []
