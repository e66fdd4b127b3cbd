"""How runs end that do not end by themselves, and what is known of them then."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from launch_agent.errors import RunnerError
from launch_agent.runners.kubernetes import runner as module
from launch_agent.spec.model import RunState
from tests.fakes.eventually import eventually
from tests.fakes.fake_node import PodEnd
from tests.fakes.kube_proxy import Call, KubeProxy, Refusal
from tests.runners.kubernetes.bench import PATIENCE, KubernetesBench, await_state, end_of, job, pod

pytestmark = pytest.mark.timeout(300)


class Ahead:
    """A clock that can be put forward."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return time.time() + self.seconds


@pytest.mark.parametrize("args", [job(PodEnd.PREEMPTED), pod(PodEnd.PREEMPTED)])
def test_what_was_taken_away_is_preempted(bench: KubernetesBench, args: dict[str, object]) -> None:
    run = bench.runner().submit(bench.request(args))
    assert end_of(run).state is RunState.PREEMPTED


def test_the_log_of_a_pod_that_is_gone_is_kept(bench: KubernetesBench) -> None:
    run = bench.runner().submit(bench.request(job(PodEnd.ERROR)))
    end_of(run)
    (failed,) = bench.of("v1", "Pod")
    assert run.logs(1) == "line 300\n"
    bench.cluster.kube.delete("v1", "Pod", bench.namespace, failed["metadata"]["name"], grace=0)
    eventually(lambda: not bench.of("v1", "Pod"), within=PATIENCE)
    assert run.logs(2) == "line 299\nline 300\n"
    run.release()
    assert run.logs(2) == ""


def test_a_job_without_a_pod_is_explained_by_its_events(bench: KubernetesBench) -> None:
    utc = Ahead()
    runner = bench.runner(utc=utc)
    args = job(PodEnd.NEVER)
    args["spec"]["template"]["spec"] = {"serviceAccountName": "nobody"}
    run = runner.submit(bench.request(args))

    def explained() -> bool:
        return "nobody" in run.status().message

    assert eventually(explained, within=PATIENCE, every=0.2)
    assert run.status().state is RunState.PENDING
    utc.seconds += 3600
    status = end_of(run)
    assert status.state is RunState.FAILED
    assert status.hint
    assert bench.jobs()
    run.release()
    eventually(lambda: not bench.jobs(), within=PATIENCE, what="what cannot start is removed")


@pytest.mark.parametrize("end", [PodEnd.INVALID_IMAGE_NAME, PodEnd.CONFIG_ERROR])
def test_what_never_starts_fails_with_its_reason(bench: KubernetesBench, end: PodEnd) -> None:
    utc = Ahead()
    run = bench.runner(utc=utc).submit(bench.request(job(end)))
    eventually(lambda: run.status().reason, within=PATIENCE)
    utc.seconds += 3600
    status = end_of(run)
    assert (status.state, status.reason) == (RunState.FAILED, str(end))


def test_a_crash_loop_is_warned_of(bench: KubernetesBench) -> None:
    """Each start may be the one that works; the log is that of the start before."""
    run = bench.runner().submit(bench.request(job(PodEnd.CRASH_LOOP)))
    eventually(lambda: run.status().reason == "CrashLoopBackOff", within=PATIENCE)
    assert run.status().state is RunState.RUNNING
    assert run.logs(1) == "line 300\n"


def test_a_suspended_job_is_held_until_it_is_let_go(bench: KubernetesBench) -> None:
    run = bench.runner().submit(bench.request(job(PodEnd.NEVER, spec={"suspend": True})))
    assert await_state(run, RunState.PENDING).held
    name = run.id.partition("/")[2]
    bench.cluster.kube.patch("batch/v1", "Job", bench.namespace, name, {"spec": {"suspend": False}})
    assert not await_state(run, RunState.RUNNING).held


def test_retries_are_no_end(bench: KubernetesBench) -> None:
    run = bench.runner().submit(bench.request(job(PodEnd.ERROR, spec={"backoffLimit": 1})))
    status = end_of(run, within=90)
    assert status.state is RunState.FAILED
    assert len(bench.of("v1", "Pod")) == 2
    lines = run.logs(10).splitlines()
    assert len({line.partition(":")[0] for line in lines}) == 2


def test_what_another_agent_had_reported_and_not_removed_goes(bench: KubernetesBench) -> None:
    first = bench.runner(ttl=3600)
    run = first.submit(bench.request(pod()))
    end_of(run)
    run.release()
    first.close()
    assert bench.of("v1", "Pod")
    assert bench.runner(ttl=0).adopt(bench.agent) == []
    eventually(lambda: not bench.of("v1", "Pod"), within=PATIENCE)


def test_what_is_kept_stays(bench: KubernetesBench) -> None:
    first = bench.runner(keep=True)
    runs = [first.submit(bench.request(each)) for each in (job(), pod())]
    for run in runs:
        end_of(run)
        run.release()
        assert run.logs(1) == "line 300\n"
    first.close()
    assert bench.runner(keep=True).adopt(bench.agent) == []
    (made,) = bench.jobs()
    assert "ttlSecondsAfterFinished" not in made["spec"]
    assert len(bench.secrets()) == 2
    assert not [secret for secret in bench.secrets() if secret.get("data")]


def test_runs_of_other_names_are_not_ours(bench: KubernetesBench) -> None:
    bench.runner().submit(bench.request(job(PodEnd.NEVER)))
    assert bench.runner().adopt(f"{bench.agent}-other") == []


def test_a_launch_that_is_given_up_leaves_nothing(
    bench: KubernetesBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ABANDONED_AFTER", 0.5)

    def strike(call: Call) -> Refusal | None:
        return Refusal(status=503) if call.writes and "/secrets" in call.path else None

    with KubeProxy(bench.cluster.kube) as proxy:
        runner = bench.runner(bench.through(proxy))
        proxy.strike = strike
        with pytest.raises(RunnerError) as caught:
            runner.submit(bench.request(job(PodEnd.NEVER)))
        assert caught.value.retryable
        assert bench.jobs()
        eventually(lambda: not bench.jobs(), within=PATIENCE)


def test_a_stopped_pod_on_a_lost_node_is_given_up(bench: KubernetesBench) -> None:
    """It is deleted, and nobody is there to say that it has ended."""
    utc = Ahead()
    run = bench.runner(utc=utc).submit(bench.request(pod(PodEnd.STUCK)))
    await_state(run, RunState.RUNNING)
    run.cancel()
    await_state(run, RunState.STOPPING)
    (left,) = eventually(
        lambda: [each for each in bench.of("v1", "Pod") if each["metadata"].get("deletionTimestamp")],
        within=PATIENCE,
    )
    assert run.status().state is RunState.STOPPING
    utc.seconds += 600
    status = end_of(run)
    assert (status.state, status.reason) == (RunState.STOPPED, "Stopped")
    assert f"node {left['spec']['nodeName']} does not answer" in status.message
    run.release()
    assert bench.runner().adopt(bench.agent) == []


def test_a_pod_that_is_evicted_from_a_lost_node_goes_back(bench: KubernetesBench) -> None:
    utc = Ahead()
    run = bench.runner(utc=utc).submit(bench.request(pod(PodEnd.STUCK)))
    await_state(run, RunState.RUNNING)
    kube, name = bench.cluster.kube, run.id.partition("/")[2]
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    target = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "DeletionByTaintManager",
        "message": "Taint manager: deleting due to NoExecute taint",
        "lastTransitionTime": now,
    }
    (found,) = bench.of("v1", "Pod")
    conditions = [*found["status"]["conditions"], target]
    kube.patch("v1", "Pod", bench.namespace, name, {"status": {"conditions": conditions}}, sub="status")
    kube.delete("v1", "Pod", bench.namespace, name)
    await_state(run, RunState.STOPPING)
    utc.seconds += 600
    status = end_of(run)
    assert (status.state, status.reason) == (RunState.PREEMPTED, "Evicted")
