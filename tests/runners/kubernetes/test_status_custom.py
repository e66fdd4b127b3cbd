"""Where a custom resource is, by the fields that its controller sets; and by the administrator's rules."""

from __future__ import annotations

from typing import Any

import pytest

from launch_agent.runners.kubernetes import facts, status
from launch_agent.runners.kubernetes.status import rules
from launch_agent.spec.model import RunState
from tests.fakes import kube_objects as objects
from tests.fakes.kube_objects import T0, condition, running, terminated, waiting

JOBSET = ("jobset.x-k8s.io/v1alpha2", "JobSet")
TRAINJOB = ("trainer.kubeflow.org/v1alpha1", "TrainJob")
PYTORCH = ("kubeflow.org/v1", "PyTorchJob")
MPI = ("kubeflow.org/v2beta1", "MPIJob")
RAY = ("ray.io/v1", "RayJob")
VOLCANO = ("batch.volcano.sh/v1alpha1", "Job")
SPARK = ("sparkoperator.k8s.io/v1beta2", "SparkApplication")
APPWRAPPER = ("workload.codeflare.dev/v1beta2", "AppWrapper")
ARGO = ("argoproj.io/v1alpha1", "Workflow")
TEKTON = ("tekton.dev/v1", "PipelineRun")
UNKNOWN = ("example.com/v1", "Training")

Kind = tuple[str, str]


def custom(
    kind: Kind,
    found: Any,
    *,
    spec: Any = None,
    generation: int = 1,
    entries: Any = (),
    pods: Any = (),
    **meta: Any,
) -> status.Observed:
    made = rules.make(entries)
    obj = {
        "apiVersion": kind[0],
        "kind": kind[1],
        "metadata": {"name": "train", "generation": generation, **meta},
        "spec": spec or {},
        "status": found,
    }
    return status.observe(facts.workload(obj, rules.paths(made)), made, [facts.pod(one) for one in pods])


def conditions(*types: str) -> dict[str, Any]:
    return {"conditions": [condition(type_, "True", f"{type_}Reason", f"it is {type_}") for type_ in types]}


@pytest.mark.parametrize(
    ("kind", "found", "state"),
    [
        (JOBSET, {}, RunState.PENDING),
        (JOBSET, {"restarts": 1}, RunState.RUNNING),
        (JOBSET, conditions("StartupPolicyCompleted"), RunState.PENDING),
        (JOBSET, conditions("Completed") | {"terminalState": "Completed"}, RunState.FINISHED),
        (JOBSET, conditions("Failed"), RunState.FAILED),
        (TRAINJOB, conditions("Complete"), RunState.FINISHED),
        (TRAINJOB, conditions("Failed"), RunState.FAILED),
        (PYTORCH, conditions("Created"), RunState.STARTING),
        (PYTORCH, conditions("Created", "Running"), RunState.RUNNING),
        (PYTORCH, conditions("Created", "Restarting"), RunState.RUNNING),
        (PYTORCH, conditions("Created", "Succeeded"), RunState.FINISHED),
        (PYTORCH, conditions("Created", "Failed"), RunState.FAILED),
        (MPI, conditions("Created", "Running", "Succeeded"), RunState.FINISHED),
        (RAY, {}, RunState.PENDING),
        (RAY, {"jobDeploymentStatus": "Initializing"}, RunState.STARTING),
        (RAY, {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}, RunState.RUNNING),
        (RAY, {"jobDeploymentStatus": "Running", "jobStatus": "SUCCEEDED"}, RunState.RUNNING),
        (RAY, {"jobDeploymentStatus": "Retrying", "jobStatus": "FAILED", "failed": 1}, RunState.RUNNING),
        (RAY, {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}, RunState.FINISHED),
        (RAY, {"jobDeploymentStatus": "Complete", "jobStatus": "FAILED"}, RunState.FAILED),
        (RAY, {"jobDeploymentStatus": "Complete", "jobStatus": "STOPPED"}, RunState.STOPPED),
        (RAY, {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED"}, RunState.FAILED),
        (RAY, {"jobDeploymentStatus": "Failed", "reason": "DeadlineExceeded"}, RunState.FAILED),
        (VOLCANO, {"state": {"phase": "Pending"}}, RunState.PENDING),
        (VOLCANO, {"state": {"phase": "Running"}, "running": 2}, RunState.RUNNING),
        (VOLCANO, {"state": {"phase": "Restarting"}}, RunState.RUNNING),
        (VOLCANO, {"state": {"phase": "Terminating"}}, RunState.STOPPING),
        (VOLCANO, {"state": {"phase": "Completed"}}, RunState.FINISHED),
        (VOLCANO, {"state": {"phase": "Failed"}}, RunState.FAILED),
        (VOLCANO, {"state": {"phase": "Terminated"}}, RunState.FAILED),
        (VOLCANO, {"state": {"phase": "Aborted"}}, RunState.FAILED),
        (SPARK, {"applicationState": {"state": "SUBMITTED"}}, RunState.STARTING),
        (SPARK, {"applicationState": {"state": "RUNNING"}}, RunState.RUNNING),
        (SPARK, {"applicationState": {"state": "FAILING"}}, RunState.RUNNING),
        (SPARK, {"applicationState": {"state": "PENDING_RERUN"}}, RunState.RUNNING),
        (SPARK, {"applicationState": {"state": "COMPLETED"}}, RunState.FINISHED),
        (SPARK, {"applicationState": {"state": "FAILED", "errorMessage": "boom"}}, RunState.FAILED),
        (APPWRAPPER, {"phase": "Resuming"}, RunState.STARTING),
        (APPWRAPPER, {"phase": "Running", **conditions("QuotaReserved", "PodsReady")}, RunState.RUNNING),
        (APPWRAPPER, {"phase": "Resetting"}, RunState.RUNNING),
        (APPWRAPPER, {"phase": "Succeeded"}, RunState.FINISHED),
        (APPWRAPPER, {"phase": "Completed"}, RunState.FINISHED),
        (VOLCANO, {"state": {"phase": "Pending"}, "retryCount": 1}, RunState.RUNNING),
        (APPWRAPPER, {"phase": "Failed"}, RunState.FAILED),
        (ARGO, {"phase": "Succeeded", "progress": "2/2"}, RunState.FINISHED),
        (ARGO, {"phase": "Error", "message": "no such template"}, RunState.FAILED),
        (TEKTON, {"conditions": [condition("Succeeded", "Unknown", "Running")]}, RunState.PENDING),
        (TEKTON, {"conditions": [condition("Succeeded", "False", "Failed")]}, RunState.FAILED),
        (TEKTON, {"conditions": [condition("Succeeded", "True", "Completed")]}, RunState.FINISHED),
        (UNKNOWN, {}, RunState.PENDING),
        (UNKNOWN, {"phase": "Succeeded"}, RunState.FINISHED),
        (UNKNOWN, {"phase": "Failed", "message": "boom"}, RunState.FAILED),
        (UNKNOWN, {"phase": "Exploring"}, RunState.PENDING),
        (UNKNOWN, conditions("Running"), RunState.RUNNING),
        (UNKNOWN, conditions("Completed"), RunState.FINISHED),
        (UNKNOWN, {"conditions": [condition("Failed", "False")], "phase": "Running"}, RunState.RUNNING),
    ],
)
def test_each_kind_ends_as_its_controller_says(kind: Kind, found: Any, state: RunState) -> None:
    assert custom(kind, found).state is state


@pytest.mark.parametrize(
    ("kind", "found", "reason", "message"),
    [
        (JOBSET, conditions("Failed"), "FailedReason", "it is Failed"),
        (
            RAY,
            {"jobDeploymentStatus": "Failed", "reason": "AppFailed", "message": "boom"},
            "AppFailed",
            "boom",
        ),
        (
            VOLCANO,
            {"state": {"phase": "Aborted", "reason": "R", "message": "m"}},
            "R",
            "m",
        ),
        (SPARK, {"applicationState": {"state": "FAILED", "errorMessage": "boom"}}, "", "boom"),
        (APPWRAPPER, {"phase": "Failed"}, "", "the AppWrapper is in phase Failed"),
    ],
)
def test_a_failure_brings_its_controllers_words(kind: Kind, found: Any, reason: str, message: str) -> None:
    observed = custom(kind, found)
    assert (observed.reason, observed.message) == (reason, message)


@pytest.mark.parametrize(
    ("kind", "found", "spec"),
    [
        (JOBSET, {}, {"suspend": True}),
        (JOBSET, conditions("Suspended"), {}),
        (PYTORCH, conditions("Created"), {"runPolicy": {"suspend": True}}),
        (PYTORCH, conditions("Created", "Suspended"), {}),
        (RAY, {"jobDeploymentStatus": "Suspended", "jobStatus": "STOPPED"}, {}),
        (SPARK, {"applicationState": {"state": "SUSPENDED"}}, {}),
        (APPWRAPPER, {"phase": "Suspended"}, {}),
        (APPWRAPPER, {"conditions": [condition("QuotaReserved", "False", "Evicted", "preempted")]}, {}),
        (UNKNOWN, {}, {"suspend": True}),
    ],
)
def test_what_waits_for_quota_is_held_and_did_not_fail(kind: Kind, found: Any, spec: Any) -> None:
    observed = custom(kind, found, spec=spec, labels={facts.KUEUE_QUEUE: "gpus"})
    assert (observed.state, observed.held) == (RunState.PENDING, True)
    assert "waits for quota" in observed.message
    run = status.status_of(observed, None)
    assert (run.held, run.message) == (True, observed.message)


def test_an_eviction_by_kueue_is_not_a_failure() -> None:
    """Kueue suspends what it evicts; the run had begun, and its pods may still be ending."""
    pods = [objects.pod(objects.status("main", running()), phase="Running", deleted=5)]
    observed = custom(JOBSET, {"restarts": 0}, spec={"suspend": True}, pods=pods)
    assert (observed.state, observed.held) == (RunState.PENDING, True)


def test_an_end_of_an_older_generation_does_not_count() -> None:
    """The status is that of the spec before: what it says of an end is not about this one."""
    done = conditions("Completed") | {"observedGeneration": 1}
    assert custom(UNKNOWN, done, generation=2).state is RunState.PENDING
    assert custom(UNKNOWN, done, generation=1).state is RunState.FINISHED
    # KubeRay sets observedGeneration at the beginning only, and Kueue changes the spec after that.
    ray = {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED", "observedGeneration": 1}
    assert custom(RAY, ray, generation=2).state is RunState.FINISHED


def test_pods_tell_that_a_run_has_begun_where_its_object_does_not() -> None:
    begun = objects.pod(objects.status("main", running()), phase="Running")
    assert custom(JOBSET, {}, pods=[begun]).state is RunState.RUNNING
    pulling = objects.pod(objects.status("main", waiting("ContainerCreating")))
    assert custom(JOBSET, {}, pods=[pulling]).state is RunState.STARTING
    nowhere = objects.pod(objects.status("main", {}), node="")
    assert custom(JOBSET, {}, pods=[nowhere]).state is RunState.PENDING
    over = objects.pod(objects.status("main", terminated(0, "Completed")), phase="Succeeded")
    assert custom(JOBSET, {}, pods=[over]).state is RunState.RUNNING


def test_pods_behind_a_scheduling_gate_are_held() -> None:
    gated = objects.pod(node="", spec={"schedulingGates": [{"name": "kueue.x-k8s.io/admission"}]})
    observed = custom(UNKNOWN, {}, pods=[gated])
    assert (observed.state, observed.held) == (RunState.PENDING, True)
    assert "kueue.x-k8s.io/admission" in observed.message


def test_what_is_being_deleted_is_stopping() -> None:
    assert (
        custom(PYTORCH, conditions("Running"), deletionTimestamp=objects.stamp(1)).state is RunState.STOPPING
    )
    assert custom(PYTORCH, conditions("Failed"), deletionTimestamp=objects.stamp(1)).state is RunState.FAILED


RULES = [
    {"kind": "Training", "path": "status.stage", "equals": ["Done", "Perfect"], "state": "finished"},
    {
        "kind": "example.com/Training",
        "path": "status.conditions[Ready].status",
        "equals": ["False"],
        "state": "failed",
        "message": "status.why",
    },
    {"kind": "Training", "path": "status.queue[0].waiting", "equals": ["true"], "state": "held"},
    {"kind": "other.io/Training", "path": "status.phase", "equals": ["Succeeded"], "state": "failed"},
]


@pytest.mark.parametrize(
    ("found", "state", "held"),
    [
        ({"stage": "Done"}, RunState.FINISHED, False),
        ({"stage": "Perfect"}, RunState.FINISHED, False),
        ({"stage": "Doing"}, RunState.PENDING, False),
        ({"conditions": [condition("Ready", "False")], "why": "boom"}, RunState.FAILED, False),
        ({"queue": [{"waiting": True}]}, RunState.PENDING, True),
        ({"phase": "Succeeded"}, RunState.FINISHED, False),
        ("junk", RunState.PENDING, False),
    ],
)
def test_the_administrators_rules_come_first(found: Any, state: RunState, held: bool) -> None:
    observed = custom(UNKNOWN, found, entries=RULES)
    assert (observed.state, observed.held) == (state, held)
    if state is RunState.FAILED:
        assert observed.message == "boom"


def test_a_failed_job_tells_when_it_failed() -> None:
    observed = custom(JOBSET, {"conditions": [condition("Failed", at=30)]})
    assert observed.since == T0 + 30
