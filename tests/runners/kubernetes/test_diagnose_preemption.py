"""What the platform takes away is preempted; what a run does to itself never is."""

from __future__ import annotations

from typing import Any

import pytest

from launch_agent.runners.kubernetes import facts
from launch_agent.runners.kubernetes.diagnose import explain
from launch_agent.runners.kubernetes.status import Observed, gone, status_of
from launch_agent.spec.model import RunState, RunStatus
from tests.fakes import kube_objects as objects
from tests.fakes.kube_objects import T0, condition, event, pod, running, status, terminated

FAILED = Observed(state=RunState.FAILED, kind="Job", reason="BackoffLimitExceeded")
GONE = gone("Pod")


def end(observed: Observed, *pods: objects.Object, events: Any = ()) -> RunStatus:
    """The end of a run whose pods were last seen so."""
    diagnosis = explain(
        observed, [facts.pod(one) for one in pods], [facts.event(one) for one in events], T0 + 100
    )
    return status_of(observed, diagnosis)


def target(reason: str, message: str = "", at: float = 50) -> objects.Object:
    return condition("DisruptionTarget", "True", reason, message, at)


def lost(*conditions: objects.Object, **more: Any) -> objects.Object:
    return pod(status("main", terminated(143, at=55)), phase="Failed", conditions=conditions, **more)


@pytest.mark.parametrize(
    ("taken", "reason"),
    [
        (lost(target("PreemptionByScheduler"), deleted=50), "Preempted"),
        (lost(target("DeletionByTaintManager"), deleted=50), "Evicted"),
        (lost(target("EvictionByEvictionAPI"), deleted=50), "Evicted"),
        (lost(target("DeletionByPodGC"), deleted=50), "NodeLost"),
        (lost(target("DeletionByDeviceTaintManager"), deleted=50), "Evicted"),
        (lost(target("TerminationByKubelet", "The node was low on resource: memory."),
              reason="Evicted"), "Evicted"),
        (lost(target("TerminationByKubelet", "Pod was terminated in response to imminent node shutdown."),
              reason="Terminated"), "NodeShutdown"),
        (lost(target("TerminationByKubelet"), reason="Preempting"), "Preempted"),
        (lost(target("SomethingNew", "as of tomorrow")), "Evicted"),
        (lost(condition("TerminationTarget", "True", "WorkloadEvictedDueToPreempted", at=50),
              deleted=50), "Preempted"),
        (lost(condition("Ready", "False", "Evict", "preempt", at=50), deleted=50), "Preempted"),
        (lost(reason="Evicted", message="The node was low on resource: memory. "), "Evicted"),
        (lost(reason="NodeLost"), "NodeLost"),
        (pod(phase="Failed", reason="Shutdown"), "NodeShutdown"),
        (pod(phase="Failed", reason="NodeShutdown"), "NodeShutdown"),
        (pod(phase="Failed", reason="OutOfcpu"), "NodeRejected"),
        (pod(phase="Failed", reason="UnexpectedAdmissionError"), "NodeRejected"),
    ],
)  # fmt: skip
def test_all_that_the_platform_does_is_preemption(taken: objects.Object, reason: str) -> None:
    run = end(FAILED, taken)
    assert (run.state, run.reason) == (RunState.PREEMPTED, reason)
    assert run.message
    assert run.hint


@pytest.mark.parametrize("reason", ["PreemptionByScheduler", "DeletionByTaintManager", "DeletionByPodGC"])
def test_a_pod_that_is_gone_was_preempted_where_it_was_last_seen_so(reason: str) -> None:
    last = pod(status("main", running()), phase="Running", conditions=[target(reason)], deleted=50)
    assert end(GONE, last).state is RunState.PREEMPTED


@pytest.mark.parametrize(
    ("reason", "message", "state"),
    [
        ("Preempted", "Preempted by pod x on node n", RunState.PREEMPTED),
        ("TaintManagerEviction", "Marking for deletion Pod team/train", RunState.PREEMPTED),
        ("TaintManagerEviction", "Cancelling deletion of Pod team/train", RunState.FAILED),
        ("Evicted", "The node had condition: [DiskPressure]. ", RunState.PREEMPTED),
        ("Evicted", "Usage of EmptyDir volume \"tmp\" exceeds the limit \"1Gi\". ", RunState.FAILED),
        ("Killing", "Stopping container main", RunState.FAILED),
    ],
)  # fmt: skip
def test_events_tell_of_a_pod_that_nobody_saw_go(reason: str, message: str, state: RunState) -> None:
    assert end(GONE, events=[event(reason, message, at=90)]).state is state


def test_an_event_of_long_ago_tells_nothing() -> None:
    assert end(GONE, events=[event("Preempted", "Preempted by pod x", at=-700)]).state is RunState.FAILED


@pytest.mark.parametrize(
    ("own", "reason"),
    [
        (pod(status("main", terminated(1)), phase="Failed"), "Error"),
        (pod(status("main", terminated(137, "OOMKilled")), phase="Failed"), "OOMKilled"),
        (pod(status("main", terminated(1)), phase="Failed",
             conditions=[condition("DisruptionTarget", "False", "EvictionByEvictionAPI")]), "Error"),
        # It had failed by itself when its node was drained.
        (lost(target("EvictionByEvictionAPI", at=90)), "Error"),
        # Its own limits, which the kubelet calls an eviction as well.
        (lost(reason="Evicted", message='Usage of EmptyDir volume "tmp" exceeds the limit "1Gi". '),
         "StorageLimitExceeded"),
        (pod(phase="Failed", reason="NodeAffinity"), "NodeRejected"),
        (lost(condition("TerminationTarget", "True", "WorkloadDeleted"), deleted=50), "PodDeleted"),
    ],
)  # fmt: skip
def test_a_runs_own_failure_is_never_preemption(own: objects.Object, reason: str) -> None:
    run = end(FAILED, own)
    assert (run.state, run.reason) == (RunState.FAILED, reason)


def test_workers_that_fail_after_one_was_taken_do_not_change_that() -> None:
    """The others of a distributed run fail when a neighbour goes, and their controller deletes the rest."""
    taken = lost(target("EvictionByEvictionAPI"), name="worker-0", deleted=50)
    crashed = pod(status("main", terminated(1, at=58)), phase="Failed", name="worker-1")
    tidied = pod(status("main", terminated(143, at=60)), phase="Failed", name="worker-2", deleted=60)
    assert end(FAILED, crashed, taken, tidied).state is RunState.PREEMPTED


def test_a_worker_that_failed_first_decides() -> None:
    crashed = pod(status("main", terminated(1, at=20)), phase="Failed", name="worker-1")
    taken = lost(target("EvictionByEvictionAPI"), name="worker-0", deleted=50)
    run = end(FAILED, taken, crashed)
    assert (run.state, run.reason) == (RunState.FAILED, "Error")


def test_the_last_attempt_decides() -> None:
    taken = lost(target("EvictionByEvictionAPI"), name="a", deleted=50)
    again = pod(status("main", terminated(1, at=90)), phase="Failed", name="b", created=56)
    assert end(FAILED, taken, again).state is RunState.FAILED
    failed = pod(status("main", terminated(1, at=30)), phase="Failed", name="a")
    evicted = lost(target("EvictionByEvictionAPI"), name="b", created=40, deleted=50)
    assert end(FAILED, failed, evicted).state is RunState.PREEMPTED


def test_a_preempted_pod_of_a_job_that_tries_again_is_a_warning() -> None:
    taken = lost(target("PreemptionByScheduler"), name="a", deleted=50)
    again = pod(status("main", running(60)), phase="Running", name="b", created=56)
    run = end(Observed(state=RunState.RUNNING, kind="Job"), taken, again)
    assert (run.state, run.reason) == (RunState.RUNNING, "Preempted")


def test_a_run_that_ended_well_although_it_was_to_be_evicted_ended_well() -> None:
    done = Observed(state=RunState.FINISHED, kind="Job")
    taken = pod(status("main", terminated(0, "Completed")), phase="Succeeded",
                conditions=[target("EvictionByEvictionAPI")])  # fmt: skip
    assert end(done, taken).state is RunState.FINISHED


def lost_node(**more: Any) -> objects.Object:
    """As the node controller leaves a pod whose node does not answer: it stays as it was."""
    return pod(status("main", running()), phase="Running", reason="NodeLost", **more)


@pytest.mark.parametrize("state", [RunState.RUNNING, RunState.STOPPING])
def test_a_pod_on_a_lost_node_is_given_up_a_minute_after_it_should_have_gone(state: RunState) -> None:
    """Its Job waits for it (FailureTarget) for as long as the node is away, and so would the run."""
    observed = Observed(state=state, kind="Job")
    taken = target("DeletionByTaintManager", at=-60)
    late = lost_node(conditions=[taken], deleted=-60, grace=30)
    run = end(observed, late)
    assert (run.state, run.reason) == (RunState.PREEMPTED, "Evicted")
    assert end(observed, lost_node(conditions=[taken], deleted=20, grace=30)).state is state
    assert end(observed, lost_node(conditions=[taken], deleted=-60, grace=600)).state is state


def test_a_pod_that_cannot_be_deleted_ends_nothing_beside_one_that_runs() -> None:
    again = pod(status("main", running()), phase="Running", name="b")
    run = end(Observed(state=RunState.RUNNING, kind="Job"), lost_node(deleted=-60, name="a"), again)
    assert (run.state, run.reason) == (RunState.RUNNING, "NodeLost")


def test_a_pod_that_was_deleted_by_hand_on_a_node_that_is_away_was_not_preempted() -> None:
    stuck = pod(status("main", running()), phase="Running", deleted=-60)
    run = end(Observed(state=RunState.RUNNING, kind="Job"), stuck)
    assert (run.state, run.reason) == (RunState.FAILED, "PodDeleted")
