"""Diagnoses of pods that really fail on a real node: the words of its kubelet, its runtime and its kernel."""

from __future__ import annotations

from typing import Any

import pytest

from launch_agent.runners.kubernetes import facts
from launch_agent.spec.model import RunState
from tests.fakes.control_plane import Cluster
from tests.fakes.kube_jobs import await_end, await_reason, await_running, start

pytestmark = [pytest.mark.xdist_group("real-node"), pytest.mark.timeout(300)]


def sh(script: str, image: str, **more: Any) -> dict[str, Any]:
    return {"image": image, "command": ["sh", "-c", script], **more}


def test_the_registry_has_no_such_image(cluster: Cluster, node_namespace: str, node_registry: str) -> None:
    start(cluster.kube, node_namespace, container={"image": f"{node_registry}/team/nothing:1"})
    diagnosis = await_reason(cluster.kube, node_namespace, "ImageNotFound")
    assert f"{node_registry}/team/nothing:1" in diagnosis.message


def test_the_registry_does_not_answer(cluster: Cluster, node_namespace: str) -> None:
    """Port 9 is nobody's: the node itself refuses the connection."""
    start(cluster.kube, node_namespace, container={"image": "127.0.0.1:9/team/train:1"})
    assert not await_reason(cluster.kube, node_namespace, "RegistryUnreachable").fatal


def test_the_name_is_none_of_an_image(cluster: Cluster, node_namespace: str) -> None:
    start(cluster.kube, node_namespace, container={"image": "https://registry.example/Train:1"})
    assert await_reason(cluster.kube, node_namespace, "InvalidImageName").fatal


def test_a_secret_is_missing(cluster: Cluster, node_namespace: str, node_image: str) -> None:
    env = [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "hf-token", "key": "token"}}}]
    start(cluster.kube, node_namespace, container=sh("true", node_image, env=env))
    diagnosis = await_reason(cluster.kube, node_namespace, "CreateContainerConfigError")
    assert 'Secret "hf-token" does not exist' in diagnosis.message


def test_a_volume_is_missing(cluster: Cluster, node_namespace: str, node_image: str) -> None:
    volume = {"name": "settings", "configMap": {"name": "nobody-made-it"}}
    mount = {"name": "settings", "mountPath": "/settings"}
    container = sh("true", node_image, volumeMounts=[mount])
    start(cluster.kube, node_namespace, container=container, pod={"volumes": [volume]})
    diagnosis = await_reason(cluster.kube, node_namespace, "FailedMount")
    assert 'ConfigMap "nobody-made-it" does not exist' in diagnosis.message
    assert "settings" in diagnosis.message


def test_the_entry_point_is_missing(cluster: Cluster, node_namespace: str, node_image: str) -> None:
    container = {"image": node_image, "command": ["train.py"]}
    start(cluster.kube, node_namespace, container=container)
    run = await_end(cluster.kube, node_namespace)
    assert (run.state, run.reason) == (RunState.FAILED, "ContainerCannotRun")
    assert "train.py" in run.message
    assert "entry point" in run.hint


def test_memory_runs_out(cluster: Cluster, node_namespace: str, node_image: str) -> None:
    limits = {"limits": {"memory": "24Mi"}, "requests": {"memory": "16Mi"}}
    script = "x=1234567890123456; while :; do x=$x$x; done"
    start(cluster.kube, node_namespace, container=sh(script, node_image, resources=limits))
    run = await_end(cluster.kube, node_namespace)
    assert (run.state, run.reason) == (RunState.FAILED, "OOMKilled")
    assert "24Mi" in run.message


@pytest.mark.parametrize(("code", "words"), [(3, "exit code 3"), (139, "SIGSEGV")])
def test_a_run_ends_with_a_code(
    cluster: Cluster, node_namespace: str, node_image: str, code: int, words: str
) -> None:
    start(cluster.kube, node_namespace, container=sh(f"exit {code}", node_image))
    run = await_end(cluster.kube, node_namespace)
    assert (run.state, run.reason, run.exit_code) == (RunState.FAILED, "Error", code)
    assert words in run.message


def test_an_init_container_fails(cluster: Cluster, node_namespace: str, node_image: str) -> None:
    fetch = {"name": "fetch", **sh("exit 4", node_image)}
    start(cluster.kube, node_namespace, container=sh("true", node_image), pod={"initContainers": [fetch]})
    run = await_end(cluster.kube, node_namespace)
    assert (run.reason, run.exit_code) == ("InitContainerFailed", 4)
    assert "fetch" in run.message


def test_a_run_takes_too_long(cluster: Cluster, node_namespace: str, node_image: str) -> None:
    container = sh("sleep 1000", node_image)
    pod = {"terminationGracePeriodSeconds": 1}
    start(cluster.kube, node_namespace, container=container, pod=pod, activeDeadlineSeconds=2)
    assert await_end(cluster.kube, node_namespace).reason == "DeadlineExceeded"


def test_a_run_is_evicted(cluster: Cluster, node_namespace: str, node_image: str) -> None:
    """As `kubectl drain` does it."""
    kube = cluster.kube
    pod = {"terminationGracePeriodSeconds": 1}
    start(kube, node_namespace, container=sh("sleep 1000", node_image), pod=pod)
    last: dict[str, facts.PodFacts] = {}
    name = await_running(kube, node_namespace, last)
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    kube.call("POST", f"{kube.path('v1', 'Pod', node_namespace, name)}/eviction", eviction)
    run = await_end(kube, node_namespace, last)
    assert (run.state, run.reason) == (RunState.PREEMPTED, "Evicted")


def test_a_pod_is_deleted_by_hand(cluster: Cluster, node_namespace: str, node_image: str) -> None:
    kube = cluster.kube
    pod = {"terminationGracePeriodSeconds": 1}
    start(kube, node_namespace, container=sh("sleep 1000", node_image), pod=pod)
    last: dict[str, facts.PodFacts] = {}
    kube.delete("v1", "Pod", node_namespace, await_running(kube, node_namespace, last))
    run = await_end(kube, node_namespace, last)
    assert (run.state, run.reason) == (RunState.FAILED, "PodDeleted")
