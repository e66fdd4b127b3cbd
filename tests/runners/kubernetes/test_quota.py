"""What Kueue says of a run's quota reaches the run's status, where Kueue is there and may be listened to."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from launch_agent.runners.kubernetes import quota
from launch_agent.spec.model import RunState, RunStatus
from tests.fakes.eventually import eventually
from tests.fakes.fake_node import PodEnd
from tests.fakes.kube_proxy import KubeProxy
from tests.runners.kubernetes.bench import PATIENCE, KubernetesBench, await_state, end_of, job

pytestmark = pytest.mark.timeout(300)
VERSION = "kueue.x-k8s.io/v1beta1"


class Kueue:
    """Plays the controller for one Job."""

    def __init__(self, bench: KubernetesBench) -> None:
        self.bench = bench
        (self.job,) = bench.jobs()
        meta = self.job["metadata"]
        self.name = f"job-{meta['name']}"
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": meta["name"], "uid": meta["uid"]}
        bench.cluster.kube.create(
            {
                "apiVersion": VERSION,
                "kind": "Workload",
                "metadata": {
                    "name": self.name,
                    "labels": {quota.JOB_UID: meta["uid"]},
                    "ownerReferences": [owner],
                },
            },
            bench.namespace,
        )

    def say(self, **conditions: tuple[str, str, str]) -> None:
        now = datetime.fromtimestamp(time.time(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        found = [
            {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": now}
            for kind, (status, reason, message) in conditions.items()
        ]
        self.bench.cluster.kube.patch(
            VERSION,
            "Workload",
            self.bench.namespace,
            self.name,
            {"status": {"conditions": found}},
            sub="status",
        )

    def suspend(self, suspended: bool) -> None:
        name = self.job["metadata"]["name"]
        self.bench.cluster.kube.patch(
            "batch/v1", "Job", self.bench.namespace, name, {"spec": {"suspend": suspended}}
        )


def queued() -> dict[str, object]:
    wanted = job(PodEnd.COMPLETED, {"suspend": True}, after="1s")
    return {**wanted, "metadata": {"labels": {"kueue.x-k8s.io/queue-name": "gpus"}}}


def test_waiting_and_eviction_are_told_with_their_reasons(bench: KubernetesBench) -> None:
    runner = bench.runner()
    run = runner.submit(bench.request(queued()))
    kueue = Kueue(bench)

    def says(words: str, reason: str) -> RunStatus:
        def said() -> RunStatus:
            status = run.status()
            assert words in status.message, status
            assert (status.reason, status.held) == (reason, True)
            return status

        return eventually(said, within=PATIENCE, every=0.05)

    kueue.say(
        QuotaReserved=("False", "Pending", "insufficient unused quota for nvidia.com/gpu: 8 more needed")
    )
    says("queue gpus: insufficient unused quota for nvidia.com/gpu", "WaitingForQuota")
    kueue.say(
        QuotaReserved=("True", "QuotaReserved", ""), Admitted=("False", "NoChecks", "a node is being made")
    )
    says("admission checks: a node is being made", "WaitingForAdmission")
    evicted = ("True", "Preempted", "preempted to accommodate a workload of higher priority")
    kueue.say(QuotaReserved=("False", "Pending", "preempted"), Evicted=evicted)
    says("workload of higher priority", "Evicted")

    # The next agent hears of it too.
    (found,) = bench.runner().adopt(bench.agent)
    eventually(lambda: "higher priority" in found.status().message, within=PATIENCE, every=0.05)

    kueue.say(QuotaReserved=("True", "QuotaReserved", ""), Admitted=("True", "Admitted", ""))
    kueue.suspend(False)
    await_state(run, RunState.RUNNING, RunState.FINISHED)
    assert end_of(run).state is RunState.FINISHED


def test_without_a_queue_kueue_is_not_asked(bench: KubernetesBench) -> None:
    with KubeProxy(bench.cluster.kube) as proxy:
        runner = bench.runner(bench.through(proxy))
        runner.submit(bench.request(job(PodEnd.NEVER)))
        assert not [call for call in proxy.calls if "kueue" in call.path]
        for _ in range(2):
            runner.submit(bench.request(queued()))
        lists = [call for call in proxy.calls if "/workloads?" in call.path and not call.is_watch]
        assert len(lists) <= 1
        runner.close()


def test_without_the_right_a_run_is_known_to_wait(
    bench: KubernetesBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quota, "workloads", lambda api, namespace: None)
    run = bench.runner().submit(bench.request(queued()))
    status = await_state(run, RunState.PENDING)
    assert (status.reason, status.held) == ("WaitingForQuota", True)
    assert status.message.endswith("queue gpus")


@pytest.mark.parametrize("obj", [{}, {"metadata": {"labels": {}}}, {"metadata": None, "status": 3}])
def test_what_is_for_no_object_is_not_kept(obj: dict[str, object]) -> None:
    assert quota.of(obj) is None
