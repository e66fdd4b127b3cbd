"""Custom kinds are served, their pods made and owned, their status written as their controllers write it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fakes import fake_node
from tests.fakes.control_plane import Cluster
from tests.fakes.custom_status import Phase
from tests.fakes.eventually import eventually
from tests.fakes.fake_node import PodEnd
from tests.fakes.kube import ApiError, Object
from tests.fakes.status_driver import StatusDriver

pytestmark = [pytest.mark.xdist_group("fake-node"), pytest.mark.timeout(300)]

TEMPLATE: Object = {
    "metadata": {"labels": {"whose": "test"}, "annotations": fake_node.ends_with(PodEnd.NEVER)},
    "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "i"}]},
}
ROLE = {"replicas": 1, "template": TEMPLATE}
META = {"labels": {"whose": "test"}, "annotations": fake_node.ends_with(PodEnd.NEVER)}
POD = {"apiVersion": "v1", "kind": "Pod", **TEMPLATE, "metadata": {**TEMPLATE["metadata"], "name": "wrapped"}}
SPECS: dict[tuple[str, str], Object] = {
    ("batch.volcano.sh/v1alpha1", "Job"): {"tasks": [{"name": "work", "replicas": 2, "template": TEMPLATE}]},
    ("trainer.kubeflow.org/v1alpha1", "TrainJob"): {
        "runtimeRef": {"name": "torch"}, "trainer": {"image": "i", "numNodes": 2}, **META,
    },
    ("kubeflow.org/v1", "PyTorchJob"): {"pytorchReplicaSpecs": {"Master": ROLE, "Worker": ROLE}},
    ("kubeflow.org/v2beta1", "MPIJob"): {"mpiReplicaSpecs": {"Launcher": ROLE, "Worker": ROLE}},
    ("jobset.x-k8s.io/v1alpha2", "JobSet"): {
        "replicatedJobs": [{"name": "work", "replicas": 2, "template": {"spec": {"template": TEMPLATE}}}]
    },
    ("ray.io/v1", "RayJob"): {
        "entrypoint": "python x.py",
        "rayClusterSpec": {
            "headGroupSpec": {"template": TEMPLATE},
            "workerGroupSpecs": [{"groupName": "g", "replicas": 1, "template": TEMPLATE}],
        },
    },
    ("workload.codeflare.dev/v1beta2", "AppWrapper"): {"components": [{"template": POD}]},
    ("sparkoperator.k8s.io/v1beta2", "SparkApplication"): {
        "image": "i", "driver": dict(META), "executor": {"instances": 1, **META},
    },
    ("tests.launch-agent.dev/v1", "Experiment"): {"template": TEMPLATE},
}  # fmt: skip
SUCCEEDED: dict[str, Any] = {
    "Job": ("state", "phase", "Completed"),
    "RayJob": ("jobDeploymentStatus", "Complete"),
    "AppWrapper": ("phase", "Succeeded"),
    "SparkApplication": ("applicationState", "state", "COMPLETED"),
    "Experiment": ("phase", "Proven"),
    "TrainJob": "Complete",
    "JobSet": "Completed",
    "PyTorchJob": "Succeeded",
    "MPIJob": "Succeeded",
}


@pytest.mark.parametrize(("version", "kind"), SPECS, ids=[kind for _, kind in SPECS])
def test_a_workload_runs_and_succeeds(
    kwok_cluster: Cluster, fake_namespace: str, version: str, kind: str
) -> None:
    kube = kwok_cluster.kube
    driver = StatusDriver(kube=kube, namespace=fake_namespace)
    made = {"apiVersion": version, "kind": kind, "metadata": {"name": "w"}, "spec": SPECS[version, kind]}
    workload = kube.create(made, fake_namespace)
    assert driver.start(workload)

    def run() -> bool:
        pods = kube.items("v1", "Pod", fake_namespace, labelSelector="whose=test")
        return bool(pods) and all(pod["status"]["phase"] == "Running" for pod in pods)

    eventually(run, within=60, every=0.1, what="its pods run")
    if kind in {"TrainJob", "JobSet", "PyTorchJob", "MPIJob"}:
        driver.say(workload, Phase.SUSPENDED)
        driver.say(workload, Phase.RUNNING)
    status = driver.say(workload, Phase.SUCCEEDED)["status"]
    expected = SUCCEEDED[kind]
    if isinstance(expected, str):
        true = {each["type"] for each in status["conditions"] if each["status"] == "True"}
        assert expected in true
        assert not true & {"Suspended", "Running", "Failed"}
    else:
        for key in expected[:-1]:
            status = status[key]
        assert status == expected[-1]

    kube.delete(version, kind, fake_namespace, "w")
    gone = lambda: not kube.items("v1", "Pod", fake_namespace)  # noqa: E731
    eventually(gone, within=60, every=0.1, what="its pods went with it")


@pytest.mark.parametrize(("version", "kind"), SPECS, ids=[kind for _, kind in SPECS])
@pytest.mark.parametrize("phase", Phase)
def test_each_phase_can_be_said(
    kwok_cluster: Cluster, fake_namespace: str, version: str, kind: str, phase: Phase
) -> None:
    kube = kwok_cluster.kube
    made = {"apiVersion": version, "kind": kind, "metadata": {"name": "w"}, "spec": SPECS[version, kind]}
    workload = kube.create(made, fake_namespace)
    said = StatusDriver(kube=kube, namespace=fake_namespace).say(workload, phase, message="as asked")
    assert said["status"]


def test_a_field_that_a_kind_does_not_have_is_refused(kwok_cluster: Cluster, fake_namespace: str) -> None:
    made = {
        "apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": {"name": "w"}, "spec": {"entrypiont": "x"},
    }  # fmt: skip
    with pytest.raises(ApiError, match="entrypiont"):
        kwok_cluster.kube.create(made, fake_namespace)


def test_a_status_can_be_behind(kwok_cluster: Cluster, fake_namespace: str) -> None:
    kube = kwok_cluster.kube
    made = {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": {"name": "w"}, "spec": {"suspend": True}}
    workload = kube.create(made, fake_namespace)
    driver = StatusDriver(kube=kube, namespace=fake_namespace)
    changed = kube.patch("ray.io/v1", "RayJob", fake_namespace, "w", {"spec": {"suspend": False}})
    assert changed["metadata"]["generation"] == 2
    assert driver.say(workload, Phase.SUSPENDED, stale=True)["status"]["observedGeneration"] == 1
