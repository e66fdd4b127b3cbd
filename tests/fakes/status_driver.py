"""Plays the controllers of custom kinds: makes a workload's pods, and writes the status that theirs would.

The kinds are those of `tests/fixtures/crds`. A test says what has happened to a workload (`Phase`);
`custom_status` has the words in which that kind's controller says so. Field names and reasons are those of
Volcano 1.12, Kubeflow Trainer 2.0, the training operator 1.9, the MPI operator 0.6, JobSet 0.10, KubeRay 1.4,
AppWrapper 1.1 and the Spark operator 2.2.

Pods that are made in a `fake_namespace` run and end as their annotations ask; the workload's own status
changes only when the test says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.fakes.custom_status import Phase, status_of
from tests.fakes.kube import Kube, Object


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusDriver:
    """The controller of every custom kind, in one namespace."""

    kube: Kube
    namespace: str

    def start(self, workload: Object) -> list[str]:
        """Make what the controller makes of a workload (as the server returned it), owned by it, and say that
        it runs. Returns the names: of pods, of Jobs for a JobSet, of what an AppWrapper wraps."""
        names = []
        for child in children(workload):
            child["metadata"]["ownerReferences"] = [_owner(workload)]
            names.append(self.kube.create(child, self.namespace)["metadata"]["name"])
        self.say(workload, Phase.RUNNING)
        return names

    def say(
        self, workload: Object, phase: Phase, *, reason: str = "", message: str = "", stale: bool = False
    ) -> Object:
        """Write the workload's status; returns the workload. `reason` and `message` stand for the kind's
        usual ones. A `stale` status is about the generation before the present one."""
        meta = workload["metadata"]
        found = self.kube.get(workload["apiVersion"], workload["kind"], self.namespace, meta["name"])
        assert found is not None, f"{meta['name']} is gone"
        generation = found["metadata"].get("generation", 1) - int(stale)
        status = status_of(found, phase, generation=generation, reason=reason, message=message)
        where = (workload["apiVersion"], workload["kind"], self.namespace, meta["name"])
        return self.kube.patch(*where, {"status": status}, "status")

    def clear(self, workload: Object) -> None:
        """Take back all that was said, as a controller does that starts a workload afresh."""
        meta = workload["metadata"]
        where = (workload["apiVersion"], workload["kind"], self.namespace, meta["name"])
        self.kube.patch(*where, {"status": None}, "status")


def _owner(workload: Object) -> Object:
    meta = workload["metadata"]
    return {
        "apiVersion": workload["apiVersion"],
        "kind": workload["kind"],
        "name": meta["name"],
        "uid": meta["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def children(workload: Object) -> Iterator[Object]:
    """What the controller of a kind makes of a workload, without owners."""
    kind, spec, name = workload["kind"], workload["spec"], workload["metadata"]["name"]
    if kind == "AppWrapper":
        yield from (component["template"] for component in spec["components"])
    elif kind == "JobSet":
        for each in spec["replicatedJobs"]:
            for index in range(each.get("replicas", 1)):
                yield _job(f"{name}-{each['name']}-{index}", each["template"])
    else:
        yield from (_pod(f"{name}-{suffix}", template) for suffix, template in _TEMPLATES[kind](spec))


Templates = Iterator[tuple[str, Object]]
"""The end of a pod's name and its template, for each pod."""


def _of_tasks(spec: Object) -> Templates:
    for task in spec["tasks"]:
        for index in range(task.get("replicas", 1)):
            yield f"{task['name']}-{index}", task["template"]


def _of_roles(replicas: Object) -> Templates:
    for role, replica in replicas.items():
        for index in range(replica.get("replicas", 1)):
            yield f"{role.lower()}-{index}", replica["template"]


def _of_ray(spec: Object) -> Templates:
    cluster = spec["rayClusterSpec"]
    yield "head", cluster["headGroupSpec"]["template"]
    for group in cluster.get("workerGroupSpecs", []):
        for index in range(group.get("replicas", 1)):
            yield f"{group['groupName']}-worker-{index}", group["template"]
    if submitter := spec.get("submitterPodTemplate"):
        yield "submitter", submitter


def _of_training(spec: Object) -> Templates:
    for index in range(spec.get("trainer", {}).get("numNodes", 1)):
        yield f"node-0-{index}", _of_trainer(spec)


def _of_spark(spec: Object) -> Templates:
    yield "driver", _of_spark_part(spec, spec["driver"], "spark-kubernetes-driver")
    for index in range(spec["executor"].get("instances", 1)):
        yield f"exec-{index + 1}", _of_spark_part(spec, spec["executor"], "spark-kubernetes-executor")


_TEMPLATES: dict[str, Callable[[Object], Templates]] = {
    "Job": _of_tasks,
    "PyTorchJob": lambda spec: _of_roles(spec["pytorchReplicaSpecs"]),
    "MPIJob": lambda spec: _of_roles(spec["mpiReplicaSpecs"]),
    "RayJob": _of_ray,
    "TrainJob": _of_training,
    "SparkApplication": _of_spark,
    "Experiment": lambda spec: iter([("0", spec["template"])]),
}


def _of_trainer(spec: Object) -> Object:
    """The runtime's pod template with what the TrainJob changes in it."""
    trainer = spec.get("trainer", {})
    changed = {key: trainer[key] for key in ("command", "args", "env") if key in trainer}
    container = {"name": "node", "image": trainer.get("image", "runtime"), **changed}
    meta = {key: spec[key] for key in ("labels", "annotations") if key in spec}
    return {"metadata": meta, "spec": {"restartPolicy": "Never", "containers": [container]}}


def _of_spark_part(spec: Object, part: Object, container: str) -> Object:
    image = part.get("image", spec.get("image", "spark"))
    meta = {key: part[key] for key in ("labels", "annotations") if key in part}
    made = {"name": container, "image": image, "env": part.get("env", [])}
    return {"metadata": meta, "spec": {"restartPolicy": "Never", "containers": [made]}}


def _pod(name: str, template: Object) -> Object:
    meta = {**template.get("metadata", {}), "name": name}
    # The controllers of training jobs set the pods' policy from their own.
    spec: dict[str, Any] = {"restartPolicy": "Never", **template["spec"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


def _job(name: str, template: Object) -> Object:
    meta = {**template.get("metadata", {}), "name": name}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": template["spec"]}
