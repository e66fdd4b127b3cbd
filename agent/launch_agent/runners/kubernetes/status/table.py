"""Which field or condition of which kind tells that a run has ended, runs, or is held back.

Each row names where its facts come from. Words that a row does not list mean that the run goes on: a new
version of a controller may bring new words, and a run must not be ended by a word that nobody knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from launch_agent.spec.model import RunState

FINISHED, FAILED, RUNNING, STARTING, PENDING, STOPPED = (
    RunState.FINISHED,
    RunState.FAILED,
    RunState.RUNNING,
    RunState.STARTING,
    RunState.PENDING,
    RunState.STOPPED,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One family of kinds.

    `kinds` is empty for every kind of the group. `conditions` are looked at in their order, those with status
    True count. `refuted` are the same for status False. `phase` is a path below `status`, `phases` what its
    words mean; where that is FINISHED, `verdict` is the path of a word that may tell otherwise. `reason` and
    `message` are paths of the explanation; conditions bring their own. `held` are words of the phase, and
    types of conditions, that mean waiting for a queueing controller. `attempts` is the path of a number that
    says whether there were attempts before this one: a run that has begun has begun. `lags` says that the
    controller does not keep `observedGeneration` up to date, so that it cannot be believed.
    """

    group: str
    kinds: frozenset[str] = frozenset()
    conditions: Mapping[str, RunState] = field(default_factory=dict)
    refuted: Mapping[str, RunState] = field(default_factory=dict)
    phase: str = ""
    phases: Mapping[str, RunState] = field(default_factory=dict)
    verdict: str = ""
    verdicts: Mapping[str, RunState] = field(default_factory=dict)
    reason: str = ""
    message: str = ""
    held: frozenset[str] = frozenset()
    attempts: str = ""
    lags: bool = False
    source: str

    def covers(self, group: str, kind: str) -> bool:
        return group == self.group and (not self.kinds or kind in self.kinds)


SUSPENDED = frozenset({"Suspended", "Suspending"})

ROWS: tuple[Row, ...] = (
    Row(
        group="jobset.x-k8s.io",
        kinds=frozenset({"JobSet"}),
        conditions={"Completed": FINISHED, "Failed": FAILED},
        held=SUSPENDED,
        attempts="restarts",
        source="kubernetes-sigs/jobset api/jobset/v1alpha2/jobset_types.go, JobSetConditionType",
    ),
    Row(
        group="trainer.kubeflow.org",
        kinds=frozenset({"TrainJob"}),
        conditions={"Complete": FINISHED, "Failed": FAILED},
        held=SUSPENDED,
        source="kubeflow/trainer pkg/apis/trainer/v1alpha1/trainjob_types.go",
    ),
    # PyTorchJob, MPIJob, TFJob, XGBoostJob, PaddleJob, JAXJob. Restarting and Running exclude each other.
    Row(
        group="kubeflow.org",
        conditions={
            "Succeeded": FINISHED,
            "Failed": FAILED,
            "Running": RUNNING,
            "Restarting": RUNNING,
            "Created": STARTING,
        },
        held=SUSPENDED,
        source="kubeflow/trainer (release-1.9) pkg/apis/kubeflow.org/v1/common_types.go, JobConditionType; "
        "kubeflow/mpi-operator pkg/apis/kubeflow/v2beta1/types.go",
    ),
    # jobStatus is what Ray says of an attempt, and FAILED may be retried; jobDeploymentStatus is the whole.
    # Before KubeRay 1.2 it was Complete however the attempt ended.
    Row(
        group="ray.io",
        kinds=frozenset({"RayJob"}),
        phase="jobDeploymentStatus",
        phases={
            "Complete": FINISHED,
            "Failed": FAILED,
            "Running": RUNNING,
            "Retrying": RUNNING,
            "Initializing": STARTING,
            "Waiting": STARTING,
            "Scheduling": STARTING,
            "Scheduled": STARTING,
        },
        verdict="jobStatus",
        verdicts={"FAILED": FAILED, "STOPPED": STOPPED},
        reason="reason",
        message="message",
        held=SUSPENDED,
        attempts="failed",
        lags=True,
        source="ray-project/kuberay ray-operator/apis/ray/v1/rayjob_types.go, JobDeploymentStatus",
    ),
    # Aborted can be resumed by a command of Volcano's; nobody who waits for a run will give one.
    Row(
        group="batch.volcano.sh",
        kinds=frozenset({"Job"}),
        phase="state.phase",
        phases={
            "Completed": FINISHED,
            "Failed": FAILED,
            "Terminated": FAILED,
            "Aborted": FAILED,
            "Running": RUNNING,
            "Restarting": RUNNING,
            "Completing": RUNNING,
            "Terminating": RunState.STOPPING,
            "Aborting": RunState.STOPPING,
            "Pending": PENDING,
        },
        reason="state.reason",
        message="state.message",
        attempts="retryCount",
        source="volcano-sh/apis pkg/apis/batch/v1alpha1/job.go, JobPhase",
    ),
    # SUBMISSION_FAILED and FAILING may be retried, and become FAILED where they are not.
    Row(
        group="sparkoperator.k8s.io",
        kinds=frozenset({"SparkApplication"}),
        phase="applicationState.state",
        phases={
            "COMPLETED": FINISHED,
            "FAILED": FAILED,
            "RUNNING": RUNNING,
            "SUCCEEDING": RUNNING,
            "FAILING": RUNNING,
            "PENDING_RERUN": RUNNING,
            "INVALIDATING": RUNNING,
            "SUBMITTED": STARTING,
            "SUBMISSION_FAILED": STARTING,
            "RESUMING": STARTING,
        },
        message="applicationState.errorMessage",
        held=frozenset({"SUSPENDED", "SUSPENDING"}),
        source="kubeflow/spark-operator api/v1beta2/sparkapplication_types.go, ApplicationStateType",
    ),
    # Deploying, Deleting and Completed are words of its first versions.
    Row(
        group="workload.codeflare.dev",
        kinds=frozenset({"AppWrapper"}),
        phase="phase",
        phases={
            "Completed": FINISHED,
            "Succeeded": FINISHED,
            "Failed": FAILED,
            "Running": RUNNING,
            "Resetting": RUNNING,
            "Deploying": STARTING,
            "Resuming": STARTING,
            "Deleting": RunState.STOPPING,
            "Terminating": RunState.STOPPING,
        },
        held=SUSPENDED,
        source="project-codeflare/appwrapper api/v1beta2/appwrapper_types.go, AppWrapperPhase",
    ),
    Row(
        group="argoproj.io",
        kinds=frozenset({"Workflow"}),
        phase="phase",
        phases={
            "Succeeded": FINISHED,
            "Failed": FAILED,
            "Error": FAILED,
            "Running": RUNNING,
            "Pending": PENDING,
        },
        message="message",
        source="argoproj/argo-workflows pkg/apis/workflow/v1alpha1/workflow_types.go, WorkflowPhase",
    ),
    Row(
        group="tekton.dev",
        kinds=frozenset({"PipelineRun", "TaskRun"}),
        conditions={"Succeeded": FINISHED},
        refuted={"Succeeded": FAILED},
        source="tektoncd/pipeline docs/pipelineruns.md, Monitoring execution status",
    ),
)

# For kinds that no row covers. Words that controllers use for other things too (Complete of one step, Ready,
# Error of one attempt) are left out: an admin's rule says it where it is so.
GENERIC = Row(
    group="",
    conditions={
        "Completed": FINISHED,
        "Complete": FINISHED,
        "Succeeded": FINISHED,
        "Failed": FAILED,
        "Running": RUNNING,
    },
    phase="phase",
    phases={
        "Succeeded": FINISHED,
        "Completed": FINISHED,
        "Complete": FINISHED,
        "Failed": FAILED,
        "Running": RUNNING,
        "Pending": PENDING,
    },
    reason="reason",
    message="message",
    held=SUSPENDED,
    source="the words that most of the above share",
)


def row_for(group: str, kind: str) -> Row:
    """The row of a kind, or the generic one."""
    return next((row for row in ROWS if row.covers(group, kind)), GENERIC)
