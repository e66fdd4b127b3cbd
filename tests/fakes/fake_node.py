"""A node that runs nothing: kwok plays the pods on it, and a pod's annotations say how its play ends.

`PodEnd` lists the ends, `ends_with` asks for one. A pod that asks for none starts at once and succeeds
after half a second, unless its restart policy is `Always`. The stages are in `kwok/stages.yaml`.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any

NAME = "fake"
TAINT = "test.launch-agent/fake"
_PREFIX = "test.launch-agent/"
_STAGES = Path(__file__).with_name("kwok") / "stages.yaml"
_SIZE = {"cpu": "100000", "memory": "400Ti", "pods": "100000", "nvidia.com/gpu": "80000"}
_LOG_LINES = 300

NODE: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {
        "name": NAME,
        "annotations": {"kwok.x-k8s.io/node": "fake"},
        "labels": {"kubernetes.io/hostname": NAME, "kubernetes.io/os": "linux"},
    },
    "spec": {"taints": [{"key": TAINT, "effect": "NoSchedule"}]},
    "status": {"allocatable": _SIZE, "capacity": _SIZE},
}


class PodEnd(StrEnum):
    """How a pod on the fake node ends, or where it hangs, in the words of Kubernetes where it has some."""

    COMPLETED = "Completed"
    ERROR = "Error"
    OOM_KILLED = "OOMKilled"
    NEVER = "Never"
    """Runs until it is deleted."""
    STUCK = "Stuck"
    """Runs, and stays there when it is deleted, as with a finalizer of somebody who is gone."""

    # It waits, and does not start. Taking the annotation away lets it start.
    IMAGE_PULL_BACK_OFF = "ImagePullBackOff"
    """ErrImagePull for a second before."""
    ERR_IMAGE_PULL = "ErrImagePull"
    INVALID_IMAGE_NAME = "InvalidImageName"
    ERR_IMAGE_NEVER_PULL = "ErrImageNeverPull"
    CONFIG_ERROR = "CreateContainerConfigError"
    CREATE_ERROR = "CreateContainerError"
    RUN_ERROR = "RunContainerError"
    CONTAINER_CREATING = "ContainerCreating"

    # Its init containers fail.
    INIT_ERROR = "InitError"
    INIT_OOM_KILLED = "InitOOMKilled"
    INIT_CRASH_LOOP = "InitCrashLoopBackOff"
    INIT_IMAGE_PULL_BACK_OFF = "InitImagePullBackOff"

    CRASH_LOOP = "CrashLoopBackOff"
    """Fails, is started again, and waits for the next start."""

    # The kubelet fails the whole pod: `status.reason`.
    EVICTED = "Evicted"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    NODE_SHUTDOWN = "Terminated"
    NODE_LOST = "NodeLost"
    """Its node does not answer any more, so it stays when it is deleted, until by force."""
    ADMISSION_ERROR = "UnexpectedAdmissionError"
    OUT_OF_CPU = "OutOfcpu"

    # The condition DisruptionTarget with this reason; then the pod is deleted.
    PREEMPTED = "PreemptionByScheduler"
    EVICTED_BY_API = "EvictionByEvictionAPI"
    TAINT = "DeletionByTaintManager"
    NODE_GONE = "DeletionByPodGC"


def ends_with(
    end: PodEnd,
    *,
    after: str = "",
    starts_after: str = "",
    exit_code: int | None = None,
    message: str = "",
    container: str = "",
) -> dict[str, str]:
    """What to write into a pod (template)'s `metadata.annotations`.

    `after` is how long it runs until it ends so (0.5 s where empty), `starts_after` how long it is pending
    before; both as Go writes durations: "1m30s". `exit_code` is of the container that fails: 1 where nothing
    else follows from the end. `container` is the one that ends so; the others of the pod then succeed. All do
    where it is empty.
    """
    asked = {
        "ends": str(end),
        "after": after,
        "starts-after": starts_after,
        "exit-code": "" if exit_code is None else str(exit_code),
        "message": message,
        "container": container,
    }
    return {f"{_PREFIX}{key}": value for key, value in asked.items() if value}


def write_logs(folder: Path) -> None:
    """What every container on the fake node has said: `line 1` to `line 300`, in the kubelet's own format."""
    lines = [f"2026-01-01T00:00:00.{n:09}Z stdout F line {n}\n" for n in range(1, _LOG_LINES + 1)]
    (folder / "fake.log").write_text("".join(lines))
    (folder / "logs.yaml").write_text(
        "apiVersion: kwok.x-k8s.io/v1alpha1\nkind: ClusterLogs\nmetadata: {name: logs}\n"
        f"spec: {{logs: [{{logsFile: {folder}/fake.log, previousLogsFile: {folder}/fake.log}}]}}\n"
    )


def flags(folder: Path, port: int) -> list[str]:
    """kwok's command line. The API server asks it for logs at that port, as it would ask a kubelet."""
    return [
        f"--kubeconfig={folder}/admin.kubeconfig",
        "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
        f"--config={_STAGES}", f"--config={folder}/logs.yaml", "--node-lease-duration-seconds=40",
        "--node-ip=127.0.0.1", f"--node-port={port}", f"--server-address=127.0.0.1:{port}",
    ]  # fmt: skip
