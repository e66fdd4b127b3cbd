"""The kinds of workload that are known by name: which of their pods lead, and which do not do the run's work.

A kind that is not here is no worse off: its pod templates are found by their shape (templates.py). The table
only says what shape cannot tell. Kinds are named `group/Kind`, since versions come and go; the core group is
`/Pod`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

JOB = "batch/Job"
POD = "/Pod"
TRAIN_JOB = "trainer.kubeflow.org/TrainJob"
SPARK = "sparkoperator.k8s.io/SparkApplication"
RAY_JOB = "ray.io/RayJob"
WORKFLOW = "argoproj.io/Workflow"
APP_WRAPPER = "workload.codeflare.dev/AppWrapper"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """`leaders` are the names of the roles whose pods come first, best first. `alone` says that a job's own
    command is for the leader only, even where the other roles have none of their own. `helpers` are keys of
    templates whose pods serve the run and do not do its work. `container` is the name that the kind's
    controller looks for, given to a container without one."""

    leaders: Sequence[str] = ()
    alone: bool = False
    helpers: frozenset[str] = frozenset()
    container: str = "main"


_PLAIN = Kind()


def _replicas(container: str) -> Kind:
    return Kind(leaders=("Master", "Chief", "Worker"), container=container)


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        JOB: _PLAIN,
        POD: _PLAIN,
        "batch.volcano.sh/Job": _PLAIN,
        "jobset.x-k8s.io/JobSet": _PLAIN,
        "kubeflow.org/PyTorchJob": _replicas("pytorch"),
        "kubeflow.org/TFJob": _replicas("tensorflow"),
        "kubeflow.org/XGBoostJob": _replicas("xgboost"),
        "kubeflow.org/PaddleJob": _replicas("paddle"),
        "kubeflow.org/JAXJob": _replicas("jax"),
        # Workers wait for the launcher to log in to them.
        "kubeflow.org/MPIJob": Kind(leaders=("Launcher",), alone=True),
        RAY_JOB: Kind(leaders=("headGroupSpec",), helpers=frozenset({"submitterPodTemplate"})),
        TRAIN_JOB: _PLAIN,
        SPARK: _PLAIN,
        # The first step is the job's; the others do what they are for.
        WORKFLOW: Kind(alone=True),
        APP_WRAPPER: _PLAIN,
    }
)
# What runs until somebody deletes it: a run made of it would never end.
ENDLESS = frozenset(
    {
        "apps/DaemonSet",
        "apps/Deployment",
        "apps/ReplicaSet",
        "apps/StatefulSet",
        "batch/CronJob",
        "/ReplicationController",
        "/Service",
        "ray.io/RayService",
    }
)


def kind_name(api_version: str, kind: str) -> str:
    """`group/Kind`, the name by which the tables know a kind."""
    group, slash, _ = api_version.rpartition("/")
    return f"{group if slash else ''}/{kind}"


def known(name: str) -> Kind:
    return KINDS.get(name, _PLAIN)
