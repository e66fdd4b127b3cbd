"""The Kubernetes runner on a real API server, whose pods a fake node plays."""

from __future__ import annotations

import base64
import dataclasses
from concurrent.futures import ThreadPoolExecutor

import pytest

from launch_agent.errors import SubmitRejected
from launch_agent.spec.model import RunState
from tests.fakes.eventually import eventually
from tests.fakes.fake_node import PodEnd
from tests.runners.kubernetes.bench import KEY, PATIENCE, KubernetesBench, await_state, end_of, job, pod

pytestmark = pytest.mark.timeout(300)


@pytest.mark.req("K8S-1", "K8S-7")
def test_a_job_runs_to_its_good_end(bench: KubernetesBench) -> None:
    run = bench.runner().submit(bench.request(job()))
    assert run.id.startswith(f"{bench.namespace}/launch-")
    status = end_of(run)
    assert (status.state, status.exit_code) == (RunState.FINISHED, 0)


def test_a_job_that_fails_says_why(bench: KubernetesBench) -> None:
    run = bench.runner().submit(bench.request(job(PodEnd.OOM_KILLED)))
    status = end_of(run)
    assert (status.state, status.reason, status.exit_code) == (RunState.FAILED, "OOMKilled", 137)
    assert run.logs(3) == "line 298\nline 299\nline 300\n"


def test_a_pod_runs_too(bench: KubernetesBench) -> None:
    runner = bench.runner(ttl=0.0)
    good = runner.submit(bench.request(pod()))
    bad = runner.submit(bench.request(pod(PodEnd.ERROR, exit_code=3)))
    assert end_of(good).state is RunState.FINISHED
    assert end_of(bad).exit_code == 3
    for run in (good, bad):
        run.release()
    eventually(lambda: not bench.of("v1", "Pod"), within=PATIENCE, what="the pods are removed")


def test_running_is_told_apart_from_ended(bench: KubernetesBench) -> None:
    run = bench.runner().submit(bench.request(job(PodEnd.NEVER)))
    await_state(run, RunState.RUNNING)
    (found,) = bench.runner().adopt(bench.agent)
    await_state(found, RunState.RUNNING)


def test_submitting_twice_makes_one_run(bench: KubernetesBench) -> None:
    request = bench.request(job(PodEnd.NEVER))
    runners = [bench.runner() for _ in range(2)]
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda number: runners[number % 2].submit(request), range(8)))
    assert len({run.id for run in runs}) == 1
    assert all(run.identity == request.identity for run in runs)
    assert len(bench.jobs()) == 1


def test_the_api_key_is_in_a_secret_that_the_job_owns(bench: KubernetesBench) -> None:
    runner = bench.runner()
    run = runner.submit(bench.request(job(PodEnd.NEVER)))
    (made,) = bench.jobs()
    (secret,) = bench.secrets()
    assert KEY not in str(made)
    assert base64.b64decode(secret["data"]["WANDB_API_KEY"]).decode() == KEY
    assert [owner["uid"] for owner in secret["metadata"]["ownerReferences"]] == [made["metadata"]["uid"]]
    run.cancel()
    assert end_of(run).state is RunState.STOPPED
    eventually(lambda: not bench.secrets(), within=PATIENCE, what="the Secret goes with its owner")


def test_a_cancelled_run_takes_its_pods_along(bench: KubernetesBench) -> None:
    run = bench.runner().submit(bench.request(job(PodEnd.NEVER)))
    await_state(run, RunState.RUNNING)
    run.cancel()
    run.cancel()
    assert run.status().state in (RunState.STOPPING, RunState.STOPPED)
    assert end_of(run).state is RunState.STOPPED
    assert not bench.of("v1", "Pod")
    run.release()
    run.release()


def test_a_job_deleted_by_hand_failed(bench: KubernetesBench) -> None:
    run = bench.runner().submit(bench.request(job(PodEnd.NEVER)))
    await_state(run, RunState.RUNNING)
    bench.cluster.kube.delete("batch/v1", "Job", bench.namespace, run.id.partition("/")[2])
    status = end_of(run)
    assert (status.state, status.reason) == (RunState.FAILED, "Deleted")


@pytest.mark.req("K8S-10", "K8S-12")
def test_the_time_to_live_begins_with_the_report(bench: KubernetesBench) -> None:
    runner = bench.runner()
    args = job(spec={"ttlSecondsAfterFinished": 0})
    usual, soon = (runner.submit(bench.request(each)) for each in (job(), args))
    for run in (usual, soon):
        assert end_of(run).state is RunState.FINISHED
    assert len(bench.jobs()) == 2
    for run in (usual, soon):
        run.release()
    (left,) = eventually(
        lambda: found if len(found := bench.jobs()) == 1 else (), within=PATIENCE, what="one is gone"
    )
    assert left["spec"]["ttlSecondsAfterFinished"] == 60
    assert f"{bench.namespace}/{left['metadata']['name']}" == usual.id
    assert usual.status().state is RunState.FINISHED
    assert bench.runner().adopt(bench.agent) == []


def test_what_another_agent_made_of_the_item_is_left_to_it(bench: KubernetesBench) -> None:
    request = bench.request(job(PodEnd.NEVER))
    bench.runner().submit(request)
    other = dataclasses.replace(request.identity, agent="the other one")
    with pytest.raises(SubmitRejected, match=bench.agent):
        bench.runner().submit(dataclasses.replace(request, identity=other))
    assert len(bench.jobs()) == 1


def test_what_is_not_ours_is_left_alone(bench: KubernetesBench) -> None:
    request = bench.request(job(PodEnd.NEVER))
    run = bench.runner().submit(request)
    name = run.id.partition("/")[2]
    run.cancel()
    end_of(run)
    container = {"name": "x", "image": "x"}
    theirs = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [container]}}},
    }
    bench.cluster.kube.create(theirs, bench.namespace)
    with pytest.raises(SubmitRejected, match="already"):
        bench.runner().submit(request)
    assert bench.cluster.kube.get("batch/v1", "Job", bench.namespace, name)
    assert not bench.secrets()
