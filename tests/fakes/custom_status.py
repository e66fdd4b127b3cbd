"""What the controllers of custom kinds write into a status: one function for each kind, for each phase.

Statuses build on what is there: a condition of the same type is replaced, others stay, as with the real ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from tests.fakes.kube import Object


class Phase(StrEnum):
    """What has happened to a workload, whatever its kind calls it."""

    PENDING = "pending"
    SUSPENDED = "suspended"
    RUNNING = "running"
    RESTARTING = "restarting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """One thing to say about a workload."""

    workload: Object
    phase: Phase
    generation: int
    reason: str
    message: str
    now: str

    @property
    def before(self) -> list[Object]:
        conditions: list[Object] = self.workload.get("status", {}).get("conditions", [])
        return conditions

    def conditions(self, *changed: tuple[str, bool, str, str], observed: bool = True) -> list[Object]:
        """The conditions (type, status, reason, message), put into those that were there."""
        made = {each["type"]: each for each in self.before}
        for kind, holds, reason, message in changed:
            made[kind] = {
                "type": kind,
                "status": str(holds),
                "reason": self.reason or reason,
                "message": self.message or message,
                "lastTransitionTime": self.now,
                **({"observedGeneration": self.generation} if observed else {}),
            }
        return list(made.values())

    def counts(self, pods: int) -> Object:
        active = pods if self.phase in {Phase.PENDING, Phase.RUNNING, Phase.RESTARTING} else 0
        return {
            "ready": pods if self.phase is Phase.RUNNING else 0,
            "active": active,
            "succeeded": pods if self.phase is Phase.SUCCEEDED else 0,
            "failed": int(self.phase is Phase.FAILED),
            "suspended": pods if self.phase is Phase.SUSPENDED else 0,
        }


def status_of(workload: Object, phase: Phase, *, generation: int, reason: str, message: str) -> Object:
    """The status that says so, to be merged into the one that is there."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    said = _Said(
        workload=workload, phase=phase, generation=generation, reason=reason, message=message, now=now
    )
    return _KINDS[workload["kind"]](said)


def _volcano(said: _Said) -> Object:
    phases = {
        Phase.PENDING: "Pending",
        Phase.SUSPENDED: "Aborted",
        Phase.RUNNING: "Running",
        Phase.RESTARTING: "Restarting",
        Phase.SUCCEEDED: "Completed",
        Phase.FAILED: "Failed",
    }
    pods = sum(task.get("replicas", 1) for task in said.workload["spec"]["tasks"])
    counts = said.counts(pods)
    state = {
        "phase": phases[said.phase],
        "reason": said.reason,
        "message": said.message,
        "lastTransitionTime": said.now,
    }
    return {
        "state": {key: value for key, value in state.items() if value},
        "minAvailable": said.workload["spec"].get("minAvailable", pods),
        "running": counts["ready"],
        "succeeded": counts["succeeded"],
        "failed": counts["failed"],
    }


def _job_set(said: _Said) -> Object:
    changed = {
        Phase.SUSPENDED: ("Suspended", True, "SuspendedJobs", "jobset is suspended"),
        Phase.SUCCEEDED: ("Completed", True, "AllJobsCompleted", "jobset completed successfully"),
        Phase.FAILED: ("Failed", True, "FailedJobs", "jobset failed due to one or more job failures"),
    }.get(said.phase)
    if changed is None and any(each["type"] == "Suspended" for each in said.before):
        changed = ("Suspended", False, "ResumeJobs", "jobset is resumed")
    ends = {Phase.SUCCEEDED: "Completed", Phase.FAILED: "Failed"}
    return {
        "conditions": said.conditions(*([changed] if changed else []), observed=False),
        "restarts": int(said.phase is Phase.RESTARTING),
        "terminalState": ends.get(said.phase, ""),
        "replicatedJobsStatus": [
            {"name": each["name"], **said.counts(each.get("replicas", 1))}
            for each in said.workload["spec"]["replicatedJobs"]
        ],
    }


def _train_job(said: _Said) -> Object:
    changed = {
        Phase.SUSPENDED: ("Suspended", True, "Suspended", "TrainJob is suspended"),
        Phase.SUCCEEDED: ("Complete", True, "AllJobsCompleted", "jobset completed successfully"),
        Phase.FAILED: ("Failed", True, "FailedJobs", "jobset failed due to one or more job failures"),
    }.get(said.phase)
    if changed is None and any(each["type"] == "Suspended" for each in said.before):
        changed = ("Suspended", False, "Resumed", "TrainJob is resumed")
    return {
        "conditions": said.conditions(*([changed] if changed else [])),
        "jobsStatus": [{"name": "node", **said.counts(1)}],
    }


def _training(said: _Said) -> Object:
    """Of the training operator and the MPI operator, which share their status."""
    kind = said.workload["kind"]
    name = said.workload["metadata"]["name"]
    word = {
        Phase.PENDING: "Created",
        Phase.SUSPENDED: "Suspended",
        Phase.RUNNING: "Running",
        Phase.RESTARTING: "Restarting",
        Phase.SUCCEEDED: "Succeeded",
        Phase.FAILED: "Failed",
    }[said.phase]
    changed = [(word, True, f"{kind}{word}", f"{kind} {name} is {word.lower()}.")]
    was = {each["type"] for each in said.before if each["status"] == "True"}
    changed += [
        (other, False, f"{kind}{other}", f"{kind} {name} is not {other.lower()} any more.")
        for other in ("Running", "Restarting", "Suspended")
        if other in was and other != word
    ]
    replicas = said.workload["spec"]["mpiReplicaSpecs" if kind == "MPIJob" else "pytorchReplicaSpecs"]
    status: Object = {
        "conditions": said.conditions(*changed, observed=False),
        "replicaStatuses": {
            role: {
                key: count
                for key, count in said.counts(replica.get("replicas", 1)).items()
                if key in {"active", "succeeded", "failed"} and count
            }
            for role, replica in replicas.items()
        },
    }
    if said.phase is Phase.SUCCEEDED:
        status["completionTime"] = said.now
    return status


def _ray_job(said: _Said) -> Object:
    deployment, job = {
        Phase.PENDING: ("Initializing", ""),
        Phase.SUSPENDED: ("Suspended", ""),
        Phase.RUNNING: ("Running", "RUNNING"),
        Phase.RESTARTING: ("Retrying", ""),
        Phase.SUCCEEDED: ("Complete", "SUCCEEDED"),
        Phase.FAILED: ("Failed", "FAILED"),
    }[said.phase]
    failed = said.phase is Phase.FAILED
    name = said.workload["metadata"]["name"]
    return {
        "jobId": f"{name}-id",
        "rayClusterName": f"{name}-cluster",
        "jobDeploymentStatus": deployment,
        "jobStatus": job or None,
        "reason": said.reason or ("AppFailed" if failed else None),
        "message": said.message or ("Job entrypoint command failed with exit code 1" if failed else None),
        "succeeded": int(said.phase is Phase.SUCCEEDED),
        "failed": int(failed),
        "observedGeneration": said.generation,
    }


def _app_wrapper(said: _Said) -> Object:
    phase = {
        Phase.PENDING: "Resuming",
        Phase.SUSPENDED: "Suspended",
        Phase.RUNNING: "Running",
        Phase.RESTARTING: "Resetting",
        Phase.SUCCEEDED: "Succeeded",
        Phase.FAILED: "Failed",
    }[said.phase]
    deployed = said.phase is not Phase.SUSPENDED
    active = said.phase in {Phase.PENDING, Phase.RUNNING, Phase.RESTARTING}
    changed = [
        ("QuotaReserved", active, phase, f"Suspend is {str(not active).lower()}"),
        ("ResourcesDeployed", deployed, phase, "Resources are deployed" if deployed else "None are"),
        ("PodsReady", said.phase is Phase.RUNNING, phase, "Pods are counted"),
    ]
    if said.phase is Phase.FAILED:
        changed.append(("Unhealthy", True, "FailedComponent", "Found 1 failed pods"))
    return {"phase": phase, "conditions": said.conditions(*changed)}


def _spark(said: _Said) -> Object:
    state = {
        Phase.PENDING: "SUBMITTED",
        Phase.SUSPENDED: "SUSPENDED",
        Phase.RUNNING: "RUNNING",
        Phase.RESTARTING: "PENDING_RERUN",
        Phase.SUCCEEDED: "COMPLETED",
        Phase.FAILED: "FAILED",
    }[said.phase]
    name = said.workload["metadata"]["name"]
    over = said.phase in {Phase.SUCCEEDED, Phase.FAILED}
    failure = "driver container failed with ExitCode: 1, Reason: Error"
    return {
        "applicationState": {
            "state": state,
            "errorMessage": said.message or (failure if said.phase is Phase.FAILED else None),
        },
        "driverInfo": {"podName": f"{name}-driver"},
        "sparkApplicationId": f"spark-{name}",
        "submissionAttempts": 1,
        "executionAttempts": 1 + int(said.phase is Phase.RESTARTING),
        "lastSubmissionAttemptTime": said.now,
        "terminationTime": said.now if over else None,
    }


def _experiment(said: _Said) -> Object:
    phase = {
        Phase.PENDING: "Planned",
        Phase.SUSPENDED: "Shelved",
        Phase.RUNNING: "Underway",
        Phase.RESTARTING: "Repeated",
        Phase.SUCCEEDED: "Proven",
        Phase.FAILED: "Refuted",
    }[said.phase]
    return {"phase": phase, "message": said.message or None, "observedGeneration": said.generation}


_KINDS: dict[str, Callable[[_Said], Object]] = {
    "Job": _volcano,
    "JobSet": _job_set,
    "TrainJob": _train_job,
    "PyTorchJob": _training,
    "MPIJob": _training,
    "RayJob": _ray_job,
    "AppWrapper": _app_wrapper,
    "SparkApplication": _spark,
    "Experiment": _experiment,
}
