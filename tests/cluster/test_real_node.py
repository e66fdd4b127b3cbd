"""Pods really run on the node: their output, ends, tokens and limits; and nothing is left of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import node_machine, real_node
from tests.fakes.control_plane import Cluster, control_plane
from tests.fakes.eventually import eventually
from tests.fakes.kube import Kube, Object
from tests.fakes.real_node import Node

pytestmark = [pytest.mark.xdist_group("real-node"), pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
_SECONDS = 120
ASK_API = """
import json, ssl, urllib.request
folder = "/var/run/secrets/kubernetes.io/serviceaccount/"
context = ssl.create_default_context(cafile=folder + "ca.crt")
request = urllib.request.Request("https://10.96.0.1/version")
request.add_header("Authorization", "Bearer " + open(folder + "token").read())
print(json.load(urllib.request.urlopen(request, context=context, timeout=20))["gitVersion"])
"""


def pod(image: str, command: Sequence[str], **container: Any) -> Object:
    made = {"name": "main", "image": image, "command": list(command), **container}
    spec = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [made]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, "spec": spec}


def until(kube: Kube, namespace: str, *phases: str) -> Object:
    """The pod's only container status once the pod has one of the phases."""

    def has_come() -> Object | None:
        found = kube.get("v1", "Pod", namespace, "one")
        assert found is not None
        assert found["status"]["phase"] in phases, found["status"]
        statuses: list[Object] = found["status"].get("containerStatuses", [])
        assert statuses, found["status"]
        return statuses[0]

    found = eventually(has_come, within=_SECONDS, every=0.1, what=f"the pod is {' or '.join(phases)}")
    assert found
    return found


def test_a_job_runs_to_its_end_and_its_output_is_kept(
    cluster: Cluster, node_namespace: str, node_image: str
) -> None:
    template = pod(node_image, ["sh", "-c", "echo out; echo err >&2"])
    spec = {"backoffLimit": 0, "template": {"spec": template["spec"]}}
    made = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "one"}, "spec": spec}
    cluster.kube.create(made, node_namespace)

    def complete() -> bool:
        job = cluster.kube.get("batch/v1", "Job", node_namespace, "one")
        assert job is not None
        return any(each["type"] == "Complete" for each in job["status"].get("conditions", []))

    eventually(complete, within=_SECONDS, every=0.1, what="the Job is complete")
    (ran,) = cluster.kube.items("v1", "Pod", node_namespace)
    assert sorted(cluster.kube.log(node_namespace, ran["metadata"]["name"]).split()) == ["err", "out"]


def test_an_exit_code_arrives(cluster: Cluster, node_namespace: str, node_image: str) -> None:
    cluster.kube.create(pod(node_image, ["sh", "-c", "exit 7"]), node_namespace)
    assert until(cluster.kube, node_namespace, "Failed")["state"]["terminated"]["exitCode"] == 7


def test_too_much_memory_is_fatal(cluster: Cluster, node_namespace: str, node_image: str) -> None:
    limits = {"resources": {"limits": {"memory": "20Mi"}}}
    cluster.kube.create(pod(node_image, ["tail", "/dev/zero"], **limits), node_namespace)
    terminated = until(cluster.kube, node_namespace, "Failed")["state"]["terminated"]
    assert (terminated["reason"], terminated["exitCode"]) == ("OOMKilled", 137)


def test_an_image_that_is_not_there(cluster: Cluster, node_namespace: str, node_registry: str) -> None:
    cluster.kube.create(pod(f"{node_registry}/nowhere:1", ["sh"]), node_namespace)

    def backs_off() -> bool:
        waiting = until(cluster.kube, node_namespace, "Pending")["state"]["waiting"]
        return waiting["reason"] == "ImagePullBackOff" and "not found" in waiting.get("message", "")

    eventually(backs_off, within=_SECONDS, every=0.1, what="the kubelet gives up for a while")


def test_an_image_of_a_registry(
    cluster: Cluster, node: Node, node_namespace: str, node_image: str, node_registry: str
) -> None:
    name = f"{node_registry}/pushed:1"
    node.ctr("images", "tag", "--force", node_image, name)
    node.ctr("images", "push", "--plain-http", name)
    node.ctr("images", "remove", name)
    cluster.kube.create(pod(name, ["true"], imagePullPolicy="Always"), node_namespace)
    assert until(cluster.kube, node_namespace, "Succeeded")["state"]["terminated"]["exitCode"] == 0


def test_a_secret_that_is_missing(cluster: Cluster, node_namespace: str, node_image: str) -> None:
    env = [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "nowhere", "key": "k"}}}]
    cluster.kube.create(pod(node_image, ["true"], env=env), node_namespace)

    def says_which() -> bool:
        waiting = until(cluster.kube, node_namespace, "Pending")["state"]["waiting"]
        return waiting["reason"] == "CreateContainerConfigError" and '"nowhere"' in waiting.get("message", "")

    eventually(says_which, within=_SECONDS, every=0.1, what="the kubelet says what is missing")


def test_a_pod_reaches_the_api_server_with_its_token(
    cluster: Cluster, node_namespace: str, node_python_image: str
) -> None:
    cluster.kube.create(pod(node_python_image, ["python3", "-c", ASK_API]), node_namespace)
    until(cluster.kube, node_namespace, "Succeeded")
    assert cluster.kube.log(node_namespace, "one").strip() == f"v{cluster.version}"


def test_a_restricted_pod_runs(cluster: Cluster, node_namespace: str, node_image: str) -> None:
    """With a seccomp profile, as another user, and with no way to more rights."""
    context = {
        "allowPrivilegeEscalation": False,
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    cluster.kube.create(pod(node_image, ["id", "-u"], securityContext=context), node_namespace)
    until(cluster.kube, node_namespace, "Succeeded")
    assert cluster.kube.log(node_namespace, "one").strip() == "1000"


def test_a_deleted_pod_is_killed(cluster: Cluster, node_namespace: str, node_image: str) -> None:
    cluster.kube.create(pod(node_image, ["sleep", "600"]), node_namespace)
    until(cluster.kube, node_namespace, "Running")
    cluster.kube.delete("v1", "Pod", node_namespace, "one")
    gone = lambda: cluster.kube.get("v1", "Pod", node_namespace, "one") is None  # noqa: E731
    eventually(gone, within=_SECONDS, every=0.1, what="the pod is gone")


def test_an_evicted_pod_says_so(cluster: Cluster, node_namespace: str, node_image: str) -> None:
    """By the API, as a drain does it; a finalizer keeps the pod for a look at its condition."""
    made = pod(node_image, ["sleep", "600"])
    made["metadata"]["finalizers"] = ["test.launch-agent/look"]
    cluster.kube.create(made, node_namespace)
    until(cluster.kube, node_namespace, "Running")
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "one"}}
    where = cluster.kube.path("v1", "Pod", node_namespace, "one")
    cluster.kube.call("POST", f"{where}/eviction", eviction)
    until(cluster.kube, node_namespace, "Failed")
    found = cluster.kube.get("v1", "Pod", node_namespace, "one")
    assert found is not None
    reasons = [each["reason"] for each in found["status"]["conditions"] if each["type"] == "DisruptionTarget"]
    assert reasons == ["EvictionByEvictionAPI"]
    cluster.kube.patch("v1", "Pod", node_namespace, "one", {"metadata": {"finalizers": None}})


SESSION = """
import os, signal, sys
from pathlib import Path
from tests.fakes.control_plane import control_plane
from tests.fakes.real_node import node
with control_plane(Path(sys.argv[1])) as cluster:
    node(cluster.folder, cluster.kube)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_nothing_is_left_of_a_node(node: Node) -> None:
    """Of one that a killed session has left, with a pod on it, and with a program missing."""
    with tempfile.TemporaryDirectory(prefix="node-") as root:
        session = subprocess.run(
            [sys.executable, "-c", SESSION, root],
            check=False,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": "agent:."},
            timeout=200,
        )
        assert session.returncode == -signal.SIGKILL
        (first,) = node_machine.processes("kubelet", Path(root))
        with control_plane(Path(root)) as cluster:
            made = real_node.node(cluster.folder, cluster.kube)
            image = made.import_image("test.invalid/tiny:1")
            with real_node.namespace(cluster.kube) as namespace:
                cluster.kube.create(pod(image, ["sleep", "600"]), namespace)
                until(cluster.kube, namespace, "Running")
                assert node_machine.processes("kubelet", made.folder) == [first]
                groups = list(Path("/sys/fs/cgroup").glob(f"*{node_machine.group(made.folder)}"))
                assert groups
                assert made.link.interface in _interfaces()
                assert made.link.interface != node.link.interface
                made.stop_kubelet()
        assert not [group for group in groups if group.exists()]
        assert made.link.interface not in _interfaces()
        assert root not in Path("/proc/self/mounts").read_text()
        for program in ("kubelet", "containerd", "kube-proxy", "socat", "unshare", "containerd-shim-runc-v2"):
            assert not node_machine.processes(program, made.folder)
        assert list(Path(root).iterdir()) == []


def _interfaces() -> str:
    return subprocess.run(["ip", "-o", "link"], check=True, capture_output=True, text=True).stdout
