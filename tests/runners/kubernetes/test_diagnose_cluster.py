"""Diagnoses of what a real control plane writes: its Jobs, its events, its scheduler's words.

The pods run on a node that plays them; what the kubelet says of pods that really fail is for the tests on a
real node.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pytest

from launch_agent.runners.kubernetes import facts
from launch_agent.runners.kubernetes.diagnose import explain
from launch_agent.runners.kubernetes.status import status_of
from launch_agent.spec.model import RunState
from tests.fakes.control_plane import Cluster
from tests.fakes.eventually import eventually
from tests.fakes.fake_node import PodEnd, ends_with
from tests.fakes.kube import Kube
from tests.fakes.kube_jobs import SECONDS, await_end, await_reason, await_running, read, start


def test_pod_security_refuses_the_pod_of_a_job(cluster: Cluster, namespace: str) -> None:
    start(cluster.kube, namespace, container={"securityContext": {"privileged": True}})
    diagnosis = await_reason(cluster.kube, namespace, "PodSecurityViolation")
    assert diagnosis.fatal
    assert "restricted" in diagnosis.message
    assert "privileged" in diagnosis.message


def test_a_service_account_is_missing(cluster: Cluster, namespace: str) -> None:
    start(cluster.kube, namespace, pod={"serviceAccountName": "trainer"})
    diagnosis = await_reason(cluster.kube, namespace, "ServiceAccountNotFound")
    assert "trainer" in diagnosis.message


def test_a_quota_has_no_room(cluster: Cluster, namespace: str) -> None:
    quota(cluster.kube, namespace, {"pods": "0"})
    start(cluster.kube, namespace)
    diagnosis = await_reason(cluster.kube, namespace, "QuotaExceeded")
    assert not diagnosis.fatal
    assert "team-quota" in diagnosis.message
    assert "pods=1" in diagnosis.message


def test_a_quota_wants_limits(cluster: Cluster, namespace: str) -> None:
    quota(cluster.kube, namespace, {"limits.memory": "10Gi"})
    start(cluster.kube, namespace)
    assert "limits.memory" in await_reason(cluster.kube, namespace, "QuotaNeedsResources").message


def test_a_limit_range_forbids_it(cluster: Cluster, namespace: str) -> None:
    limits = [{"type": "Container", "max": {"memory": "1Gi"}}]
    meta = {"name": "limits", "namespace": namespace}
    cluster.kube.create(
        {"apiVersion": "v1", "kind": "LimitRange", "metadata": meta, "spec": {"limits": limits}}, namespace
    )
    start(cluster.kube, namespace, container={"resources": {"limits": {"memory": "4Gi"}}})
    assert "1Gi" in await_reason(cluster.kube, namespace, "LimitRangeViolation").message


def test_a_priority_class_is_missing(cluster: Cluster, namespace: str) -> None:
    start(cluster.kube, namespace, pod={"priorityClassName": "nobody-made-it"})
    assert "nobody-made-it" in await_reason(cluster.kube, namespace, "PriorityClassNotFound").message


def quota(kube: Kube, namespace: str, hard: Mapping[str, str]) -> None:
    """A quota, once the controller has counted what is there; before, it lets everything pass."""
    meta = {"name": "team-quota", "namespace": namespace}
    kube.create(
        {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": meta, "spec": {"hard": dict(hard)}},
        namespace,
    )

    def counted() -> bool:
        found = kube.get("v1", "ResourceQuota", namespace, "team-quota")
        return bool(found and found.get("status", {}).get("hard"))

    eventually(counted, within=SECONDS, every=0.1, what="the quota is counted")


@pytest.mark.parametrize(
    ("pod", "container", "words"),
    [
        ({}, {"resources": {"limits": {"nvidia.com/gpu": "90000"}}}, "nvidia.com/gpu"),
        ({"nodeSelector": {"nobody": "has-it"}}, {}, "node selector"),
    ],
)
def test_no_node_takes_it(
    kwok_cluster: Cluster, fake_namespace: str, pod: Any, container: Any, words: str
) -> None:
    start(kwok_cluster.kube, fake_namespace, pod=pod, container=container)
    diagnosis = await_reason(kwok_cluster.kube, fake_namespace, "Unschedulable")
    assert words in diagnosis.message
    assert not diagnosis.fatal


def test_nodes_have_a_taint(kwok_cluster: Cluster, namespace: str) -> None:
    start(kwok_cluster.kube, namespace)
    assert "taint" in await_reason(kwok_cluster.kube, namespace, "Unschedulable").message


@pytest.mark.parametrize(
    ("end", "state", "reason"),
    [
        (PodEnd.COMPLETED, RunState.FINISHED, ""),
        (PodEnd.ERROR, RunState.FAILED, "Error"),
        (PodEnd.OOM_KILLED, RunState.FAILED, "OOMKilled"),
        (PodEnd.DEADLINE_EXCEEDED, RunState.FAILED, "DeadlineExceeded"),
        (PodEnd.NODE_SHUTDOWN, RunState.PREEMPTED, "NodeShutdown"),
        (PodEnd.OUT_OF_CPU, RunState.PREEMPTED, "NodeRejected"),
        (PodEnd.PREEMPTED, RunState.PREEMPTED, "Preempted"),
        (PodEnd.EVICTED_BY_API, RunState.PREEMPTED, "Evicted"),
        (PodEnd.TAINT, RunState.PREEMPTED, "Evicted"),
        (PodEnd.NODE_GONE, RunState.PREEMPTED, "NodeLost"),
    ],
)
def test_how_a_job_ends(
    kwok_cluster: Cluster, fake_namespace: str, end: PodEnd, state: RunState, reason: str
) -> None:
    """The Job's controller decides and removes pods; what was last seen of them explains."""
    start(kwok_cluster.kube, fake_namespace, plays=ends_with(end))
    run = await_end(kwok_cluster.kube, fake_namespace)
    assert (run.state, run.reason) == (state, reason)


def test_a_job_that_may_fail_twice_goes_on_after_once(kwok_cluster: Cluster, fake_namespace: str) -> None:
    kube = kwok_cluster.kube
    start(kube, fake_namespace, plays=ends_with(PodEnd.ERROR, exit_code=3), backoffLimit=1)
    warned = await_reason(kube, fake_namespace, "Error")
    assert "exit code 3" in warned.message
    run = await_end(kube, fake_namespace)
    assert (run.state, run.reason, run.exit_code) == (RunState.FAILED, "Error", 3)
    found = kube.get("batch/v1", "Job", fake_namespace, "train")
    assert found is not None
    assert found["status"]["failed"] == 2


def test_a_job_is_not_over_before_all_completions(kwok_cluster: Cluster, fake_namespace: str) -> None:
    kube = kwok_cluster.kube
    start(kube, fake_namespace, plays=ends_with(PodEnd.COMPLETED), completions=3, parallelism=1)
    assert await_end(kube, fake_namespace).state is RunState.FINISHED
    found = kube.get("batch/v1", "Job", fake_namespace, "train")
    assert found is not None
    assert found["status"]["succeeded"] == 3


def test_a_suspended_job_is_held_until_it_is_let_go(kwok_cluster: Cluster, fake_namespace: str) -> None:
    kube = kwok_cluster.kube
    start(kube, fake_namespace, plays=ends_with(PodEnd.NEVER), suspend=True)

    def state() -> tuple[RunState, bool]:
        observed, _ = read(kube, fake_namespace)
        return observed.state, observed.held

    assert state() == (RunState.PENDING, True)
    path = kube.path("batch/v1", "Job", fake_namespace, "train")
    patch = "application/merge-patch+json"
    kube.call("PATCH", path, {"spec": {"suspend": False}}, content=patch)
    running = (RunState.RUNNING, False)
    eventually(lambda: state() == running, within=SECONDS, every=0.1, what="the run is running")
    kube.call("PATCH", path, {"spec": {"suspend": True}}, content=patch)
    assert state() == (RunState.PENDING, True)


def test_a_pod_that_is_deleted_by_hand(kwok_cluster: Cluster, fake_namespace: str) -> None:
    kube, last = kwok_cluster.kube, dict[str, facts.PodFacts]()
    start(kube, fake_namespace, plays=ends_with(PodEnd.NEVER))
    kube.delete("v1", "Pod", fake_namespace, await_running(kube, fake_namespace, last))
    run = await_end(kube, fake_namespace, last)
    assert (run.state, run.reason) == (RunState.FAILED, "PodDeleted")


@pytest.mark.parametrize(
    ("end", "message", "reason"),
    [
        (PodEnd.IMAGE_PULL_BACK_OFF, "example/train:1: not found", "ImageNotFound"),
        (PodEnd.INVALID_IMAGE_NAME, "", "InvalidImageName"),
        (PodEnd.CONFIG_ERROR, 'secret "hf" not found', "CreateContainerConfigError"),
    ],
)
def test_what_keeps_a_container_waiting(
    kwok_cluster: Cluster, fake_namespace: str, end: PodEnd, message: str, reason: str
) -> None:
    start(kwok_cluster.kube, fake_namespace, plays=ends_with(end, message=message))
    await_reason(kwok_cluster.kube, fake_namespace, reason)


def test_a_pod_whose_node_is_lost_holds_its_job_and_not_its_run(
    kwok_cluster: Cluster, fake_namespace: str
) -> None:
    """The Job's controller waits for the pod (FailureTarget) as long as the node is away."""
    kube, last = kwok_cluster.kube, dict[str, facts.PodFacts]()
    start(
        kube,
        fake_namespace,
        plays=ends_with(PodEnd.NODE_LOST),
        pod={"terminationGracePeriodSeconds": 1},
    )

    def is_lost() -> str:
        read(kube, fake_namespace, last)
        return next((one.name for one in last.values() if one.reason == "NodeLost"), "")

    name = eventually(is_lost, within=SECONDS, every=0.1, what="the node is lost")
    kube.delete("v1", "Pod", fake_namespace, name)

    def waits() -> bool:
        found = kube.get("batch/v1", "Job", fake_namespace, "train")
        assert found is not None
        return bool(facts.workload(found).condition("FailureTarget"))

    eventually(waits, within=SECONDS, every=0.1, what="the Job waits for its pod")
    observed, _ = read(kube, fake_namespace, last)
    assert not observed.state.is_terminal
    minutes_later = explain(observed, list(last.values()), [], time.time() + 120)
    run = status_of(observed, minutes_later)
    assert (run.state, run.reason) == (RunState.PREEMPTED, "Evicted")
