"""The API server dies, forgets its history, or falls silent: no run is lost, none is started twice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from launch_agent.clients.kube.api import KubeApi
from launch_agent.errors import RunnerError
from launch_agent.runners.kubernetes.options import Options
from launch_agent.runners.kubernetes.runner import KubernetesRunner
from launch_agent.spec.model import RunRequest, RunState
from tests.fakes import fake_node
from tests.fakes.cluster_faults import forget, kill, own_cluster, paused
from tests.fakes.control_plane import Cluster, NoCluster
from tests.fakes.eventually import eventually
from tests.fakes.fake_node import PodEnd
from tests.fakes.nodes import await_ready, namespace_on
from tests.runners.kubernetes.bench import KubernetesBench, access_to, await_state, end_of, job

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(300)]
# Seconds until all that was cut off has found its way back.
RECOVERY = 90.0


@pytest.fixture(scope="module")
def own() -> Iterator[Cluster]:
    try:
        with own_cluster() as cluster:
            if not cluster.has_fake_node:
                pytest.skip("kwok is not built (`make tools`)")
            await_ready(cluster.kube, fake_node.NAME)
            yield cluster
    except NoCluster as reason:
        pytest.skip(str(reason))


@pytest.fixture
def bench(own: Cluster) -> Iterator[KubernetesBench]:
    with namespace_on(own.kube, fake_node.NAME, fake_node.TAINT) as namespace:
        made = KubernetesBench(own, namespace)
        yield made
        made.close()


def impatient(bench: KubernetesBench) -> KubernetesRunner:
    def connect(options: Options) -> KubeApi:
        return KubeApi(
            access_to(bench.cluster.kube), qps=options.qps, burst=options.burst, timeout=2.0, patience=2.0
        )

    return bench.runner(connect)


def is_taken(runner: KubernetesRunner, request: RunRequest) -> bool:
    try:
        runner.submit(request)
    except RunnerError as error:
        if not error.retryable:
            raise
        return False
    return True


def test_an_api_server_that_is_killed_comes_back_to_the_same_runs(bench: KubernetesBench) -> None:
    runner = impatient(bench)
    lives, ends = (runner.submit(bench.request(each)) for each in (job(PodEnd.NEVER), job(after="8s")))
    for run in (lives, ends):
        await_state(run, RunState.RUNNING)
    late = bench.request(job())
    kill(bench.cluster, "kube-apiserver")
    assert not is_taken(runner, late)
    assert not lives.status().state.is_terminal
    bench.cluster.start("kube-apiserver")
    assert eventually(lambda: is_taken(runner, late), within=RECOVERY)
    assert end_of(runner.submit(late), within=RECOVERY).state is RunState.FINISHED
    assert end_of(ends, within=RECOVERY).state is RunState.FINISHED
    assert lives.status().state is RunState.RUNNING
    assert len(bench.jobs()) == 3
    lives.cancel()
    assert end_of(lives).state is RunState.STOPPED


def test_history_that_is_forgotten_is_listed_anew(bench: KubernetesBench) -> None:
    runner = impatient(bench)
    lives = runner.submit(bench.request(job(PodEnd.NEVER)))
    gone = runner.submit(bench.request(job(PodEnd.NEVER)))
    for run in (lives, gone):
        await_state(run, RunState.RUNNING)
    forget(bench.cluster)
    bench.cluster.kube.delete("batch/v1", "Job", bench.namespace, gone.id.partition("/")[2])
    assert end_of(gone, within=RECOVERY).reason == "Deleted"
    assert lives.status().state is RunState.RUNNING
    assert end_of(runner.submit(bench.request(job())), within=RECOVERY).state is RunState.FINISHED


def test_a_server_that_falls_silent_is_waited_for(bench: KubernetesBench) -> None:
    runner = impatient(bench)
    lives = runner.submit(bench.request(job(PodEnd.NEVER)))
    await_state(lives, RunState.RUNNING)
    late = bench.request(job())
    with paused(bench.cluster, "kube-apiserver"):
        assert not is_taken(runner, late)
        assert lives.status().state is RunState.RUNNING
    assert eventually(lambda: is_taken(runner, late), within=RECOVERY)
    assert end_of(runner.submit(late), within=RECOVERY).state is RunState.FINISHED
    assert len(bench.jobs()) == 2
