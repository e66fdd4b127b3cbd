"""Jobs named `train` on the tests' cluster, and what is diagnosed of them, without an agent around it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from launch_agent.runners.kubernetes import facts
from launch_agent.runners.kubernetes.diagnose import explain
from launch_agent.runners.kubernetes.status import Diagnosis, Observed, observe, status_of
from launch_agent.spec.model import RunStatus
from tests.fakes.eventually import eventually
from tests.fakes.kube import Kube

# What Pod Security `restricted` asks for.
SECURE = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "seccompProfile": {"type": "RuntimeDefault"},
}
SECONDS = 60.0


def start(
    kube: Kube,
    namespace: str,
    *,
    plays: Mapping[str, str] | None = None,
    container: Mapping[str, Any] | None = None,
    pod: Mapping[str, Any] | None = None,
    **spec: Any,
) -> None:
    """A Job named `train`."""
    main = {"name": "main", "image": "example/train:1", "securityContext": SECURE, **(container or {})}
    template = {
        "metadata": {"annotations": dict(plays or {})},
        "spec": {"restartPolicy": "Never", "containers": [main], **(pod or {})},
    }
    kube.create(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "train", "namespace": namespace},
            "spec": {"backoffLimit": 0, "template": template, **spec},
        },
        namespace,
    )


def read(
    kube: Kube, namespace: str, last: dict[str, facts.PodFacts] | None = None
) -> tuple[Observed, Diagnosis | None]:
    """What is said of the Job now. `last` holds pods as they were seen last, by uid, and is brought up to
    date: a pod may be gone by the time that its Job has failed."""
    last = {} if last is None else last
    last.update({one.uid: one for one in map(facts.pod, kube.items("v1", "Pod", namespace))})
    found = kube.get("batch/v1", "Job", namespace, "train")
    assert found is not None
    pods = list(last.values())
    events = [facts.event(one) for one in kube.items("v1", "Event", namespace)]
    observed = observe(facts.workload(found), (), pods)
    return observed, explain(observed, pods, events, time.time())


def await_reason(kube: Kube, namespace: str, reason: str) -> Diagnosis:
    """The diagnosis, once it is this one."""

    def told() -> Diagnosis | None:
        _, diagnosis = read(kube, namespace)
        assert diagnosis is not None
        assert diagnosis.reason == reason, diagnosis
        return diagnosis

    found = eventually(told, within=SECONDS, every=0.2, what=f"the diagnosis is {reason}")
    assert found is not None
    return found


def await_end(kube: Kube, namespace: str, last: dict[str, facts.PodFacts] | None = None) -> RunStatus:
    """The run's status, once it is over."""
    last = {} if last is None else last

    def over() -> RunStatus | None:
        run = status_of(*read(kube, namespace, last))
        return run if run.state.is_terminal else None

    found = eventually(over, within=SECONDS, every=0.05, what="the run has ended")
    assert found is not None
    return found


def await_running(kube: Kube, namespace: str, last: dict[str, facts.PodFacts]) -> str:
    """The name of the Job's pod, once it runs."""

    def runs() -> str:
        read(kube, namespace, last)
        return next((one.name for one in last.values() if one.is_running), "")

    return eventually(runs, within=SECONDS, every=0.1, what="the pod runs")
