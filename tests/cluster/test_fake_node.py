"""Pods on the fake node end as their annotations ask, with the status that a kubelet would set."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes import fake_node
from tests.fakes.control_plane import Cluster
from tests.fakes.eventually import eventually
from tests.fakes.fake_node import PodEnd
from tests.fakes.kube import Kube, Object
from tests.fakes.nodes import namespace_on

pytestmark = [pytest.mark.xdist_group("fake-node"), pytest.mark.timeout(300)]

WAITS = {
    PodEnd.IMAGE_PULL_BACK_OFF,
    PodEnd.ERR_IMAGE_PULL,
    PodEnd.INVALID_IMAGE_NAME,
    PodEnd.ERR_IMAGE_NEVER_PULL,
    PodEnd.CONFIG_ERROR,
    PodEnd.CREATE_ERROR,
    PodEnd.RUN_ERROR,
    PodEnd.CONTAINER_CREATING,
}
DISRUPTED = {PodEnd.PREEMPTED, PodEnd.EVICTED_BY_API, PodEnd.TAINT, PodEnd.NODE_GONE}
WHOLE = {PodEnd.EVICTED, PodEnd.DEADLINE_EXCEEDED, PodEnd.NODE_SHUTDOWN}


def name_of(end: PodEnd) -> str:
    return str(end).lower()


def template(end: PodEnd | None = None, **asked: Any) -> Object:
    init = [{"name": "first", "image": "i"}, {"name": "second", "image": "i"}]
    containers = [{"name": "main", "image": "i"}, {"name": "beside", "image": "i"}]
    meta = {"annotations": fake_node.ends_with(end, **asked)} if end else {}
    return {
        "metadata": meta,
        "spec": {"restartPolicy": "Never", "initContainers": init, "containers": containers},
    }


def pod(name: str, end: PodEnd | None = None, **asked: Any) -> Object:
    made = template(end, **asked)
    made["metadata"]["name"] = name
    return {"apiVersion": "v1", "kind": "Pod", **made}


def job(name: str, made: Object, **spec: Any) -> Object:
    whole = {"backoffLimit": 0, "template": made, **spec}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": whole}


@pytest.fixture(scope="module")
def played(kwok_cluster: Cluster) -> Iterator[tuple[Kube, str]]:
    """A namespace with a pod for each end, all at once: they take their time beside each other."""
    kube = kwok_cluster.kube
    with namespace_on(kube, fake_node.NAME, fake_node.TAINT) as namespace:
        for end in set(PodEnd) - DISRUPTED:
            kube.create(pod(name_of(end), end), namespace)
        yield kube, namespace


def status_of(kube: Kube, namespace: str, name: str) -> Object:
    found = kube.get("v1", "Pod", namespace, name)
    assert found is not None
    status: Object = found["status"]
    return status


def until(played: tuple[Kube, str], end: PodEnd, phase: str, reason: str = "") -> Object:
    """The pod's status once it has the phase, and where given a reason of the pod or its first container."""
    kube, namespace = played

    def has_come() -> Object | None:
        status = status_of(kube, namespace, name_of(end))
        reasons = {status.get("reason"), *_reasons(status, "containerStatuses")}
        reasons |= set(_reasons(status, "initContainerStatuses"))
        return status if status["phase"] == phase and (not reason or reason in reasons) else None

    found = eventually(has_come, within=60, every=0.1, what=f"{end}: {phase} {reason}")
    assert found
    return found


def _reasons(status: Object, field: str) -> list[str | None]:
    states = [next(iter(each["state"].values())) for each in status.get(field, [])]
    return [state.get("reason") for state in states]


def main(status: Object) -> Object:
    container: Object = status["containerStatuses"][0]
    return container


@pytest.mark.parametrize("end", sorted(WAITS))
def test_it_waits(played: tuple[Kube, str], end: PodEnd) -> None:
    status = until(played, end, "Pending", end)
    assert main(status)["state"]["waiting"]["message"]


def test_it_succeeds(played: tuple[Kube, str]) -> None:
    status = until(played, PodEnd.COMPLETED, "Succeeded")
    assert main(status)["state"]["terminated"]["exitCode"] == 0
    assert [each["ready"] for each in status["initContainerStatuses"]] == [True, True]


@pytest.mark.parametrize(("end", "code"), [(PodEnd.ERROR, 1), (PodEnd.OOM_KILLED, 137)])
def test_its_containers_fail(played: tuple[Kube, str], end: PodEnd, code: int) -> None:
    terminated = main(until(played, end, "Failed"))["state"]["terminated"]
    assert (terminated["reason"], terminated["exitCode"]) == (end, code)


@pytest.mark.parametrize("end", sorted(WHOLE | {PodEnd.ADMISSION_ERROR, PodEnd.OUT_OF_CPU}))
def test_the_kubelet_fails_it(played: tuple[Kube, str], end: PodEnd) -> None:
    status = until(played, end, "Failed")
    assert status["reason"] == end
    assert status["message"]
    disrupted = {each["reason"] for each in status["conditions"] if each["type"] == "DisruptionTarget"}
    assert disrupted == ({"TerminationByKubelet"} if end in {"Evicted", "Terminated"} else set())


def test_it_crashes_again_and_again(played: tuple[Kube, str]) -> None:
    container = main(until(played, PodEnd.CRASH_LOOP, "Running", "CrashLoopBackOff"))
    assert container["restartCount"] == 5
    assert container["lastState"]["terminated"]["exitCode"] == 1


@pytest.mark.parametrize("end", [PodEnd.INIT_ERROR, PodEnd.INIT_OOM_KILLED])
def test_an_init_container_fails(played: tuple[Kube, str], end: PodEnd) -> None:
    status = until(played, end, "Failed")
    first, second = status["initContainerStatuses"]
    assert first["state"]["terminated"]["reason"] == end.removeprefix("Init")
    assert second["state"]["waiting"]["reason"] == "PodInitializing"


@pytest.mark.parametrize("end", [PodEnd.INIT_CRASH_LOOP, PodEnd.INIT_IMAGE_PULL_BACK_OFF])
def test_an_init_container_waits(played: tuple[Kube, str], end: PodEnd) -> None:
    until(played, end, "Pending", end.removeprefix("Init"))


def test_it_runs_until_it_is_deleted(played: tuple[Kube, str]) -> None:
    kube, namespace = played
    until(played, PodEnd.NEVER, "Running")
    kube.delete("v1", "Pod", namespace, name_of(PodEnd.NEVER))
    eventually(
        lambda: kube.get("v1", "Pod", namespace, name_of(PodEnd.NEVER)) is None, within=60, what="it is gone"
    )


@pytest.mark.parametrize("end", [PodEnd.STUCK, PodEnd.NODE_LOST])
def test_it_stays_when_it_is_deleted(played: tuple[Kube, str], end: PodEnd) -> None:
    kube, namespace = played
    until(played, end, "Running", "NodeLost" if end is PodEnd.NODE_LOST else "")
    kube.delete("v1", "Pod", namespace, name_of(end), grace=1)
    left = kube.get("v1", "Pod", namespace, name_of(end))
    assert left
    assert left["metadata"]["deletionTimestamp"]


@pytest.mark.parametrize("end", sorted(DISRUPTED))
def test_a_disrupted_pod_is_gone_and_its_job_failed(
    kwok_cluster: Cluster, fake_namespace: str, end: PodEnd
) -> None:
    """A policy that does not count disruptions shows that the condition was there."""
    kube = kwok_cluster.kube
    rule = {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    made = job("disrupted", template(end), podFailurePolicy={"rules": [rule]}, backoffLimit=3)
    kube.create(made, fake_namespace)
    status = until_job(kube, fake_namespace, "disrupted", "Failed")
    assert "DisruptionTarget" in next(each["message"] for each in status if each["type"] == "Failed")


def until_job(kube: Kube, namespace: str, name: str, condition: str) -> list[Object]:
    def has_come() -> list[Object]:
        found = kube.get("batch/v1", "Job", namespace, name)
        assert found is not None
        conditions: list[Object] = found["status"].get("conditions", [])
        return conditions if condition in {each["type"] for each in conditions} else []

    return eventually(has_come, within=60, every=0.1, what=f"{name} is {condition}")


def test_jobs_complete_and_fail(kwok_cluster: Cluster, fake_namespace: str) -> None:
    kube = kwok_cluster.kube
    kube.create(job("good", template()), fake_namespace)
    kube.create(job("bad", template(PodEnd.ERROR, exit_code=3, container="main")), fake_namespace)
    until_job(kube, fake_namespace, "good", "Complete")
    until_job(kube, fake_namespace, "bad", "Failed")
    (failed,) = kube.items("v1", "Pod", fake_namespace, labelSelector="job-name=bad")
    codes = [each["state"]["terminated"]["exitCode"] for each in failed["status"]["containerStatuses"]]
    assert codes == [3, 0]


def test_it_starts_once_it_may(kwok_cluster: Cluster, fake_namespace: str) -> None:
    kube = kwok_cluster.kube
    kube.create(pod("later", PodEnd.CONFIG_ERROR, message='secret "key" not found'), fake_namespace)

    def waiting() -> bool:
        containers = status_of(kube, fake_namespace, "later").get("containerStatuses", [])
        return bool(containers) and containers[0]["state"]["waiting"]["message"] == 'secret "key" not found'

    eventually(waiting, within=60, every=0.1)
    kube.patch("v1", "Pod", fake_namespace, "later", {"metadata": {"annotations": None}})
    succeeded = lambda: status_of(kube, fake_namespace, "later")["phase"] == "Succeeded"  # noqa: E731
    eventually(succeeded, within=60, every=0.1)


def test_what_fits_no_node_is_not_scheduled(kwok_cluster: Cluster, fake_namespace: str) -> None:
    kube = kwok_cluster.kube
    large = pod("large")
    large["spec"]["containers"][0]["resources"] = {"limits": {"nvidia.com/gpu": "1000000"}}
    kube.create(large, fake_namespace)

    def reason() -> bool:
        conditions = status_of(kube, fake_namespace, "large").get("conditions", [])
        return any("Insufficient nvidia.com/gpu" in each.get("message", "") for each in conditions)

    eventually(reason, within=60, every=0.1, what="the scheduler says why")


def test_logs_are_served(kwok_cluster: Cluster, fake_namespace: str) -> None:
    kube = kwok_cluster.kube
    kube.create(pod("speaks", PodEnd.NEVER), fake_namespace)
    running = lambda: status_of(kube, fake_namespace, "speaks")["phase"] == "Running"  # noqa: E731
    eventually(running, within=60, every=0.1)
    assert kube.log(fake_namespace, "speaks", container="main", tailLines="2") == "line 299\nline 300\n"


def test_elsewhere_pods_stay_pending(kwok_cluster: Cluster, namespace: str) -> None:
    kube = kwok_cluster.kube
    restricted = {
        "allowPrivilegeEscalation": False,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    made = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "outside"},
        "spec": {"containers": [{"name": "main", "image": "i", "securityContext": restricted}]},
    }
    kube.create(made, namespace)

    def refused() -> bool:
        conditions = status_of(kube, namespace, "outside").get("conditions", [])
        return any(each.get("reason") == "Unschedulable" for each in conditions)

    eventually(refused, within=60, every=0.1, what="no node takes it")
