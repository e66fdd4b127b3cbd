"""A runner that does not hear says so; a run is not ended by what its runner cannot see."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from launch_agent.errors import RunnerError
from launch_agent.runners import health_of
from launch_agent.runners.kubernetes import watching
from launch_agent.spec.model import RunState
from tests.fakes.eventually import eventually
from tests.fakes.fake_node import PodEnd
from tests.fakes.kube_proxy import KubeProxy, Refusal
from tests.runners.kubernetes.bench import PATIENCE, KubernetesBench, await_state, end_of, job, pod

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def proxy(bench: KubernetesBench) -> Iterator[KubeProxy]:
    with KubeProxy(bench.cluster.kube) as made:
        yield made


class Ahead:
    """A clock that can be put forward."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.seconds


def unknown(run: Callable[[], object]) -> Callable[[], RunnerError | None]:
    def probe() -> RunnerError | None:
        try:
            run()
        except RunnerError as error:
            return error
        return None

    return probe


def test_a_silent_server_leaves_runs_unknown(bench: KubernetesBench, proxy: KubeProxy) -> None:
    clock = Ahead()
    runner = bench.runner(bench.through(proxy), clock=clock)
    run = runner.submit(bench.request(job(PodEnd.NEVER)))
    await_state(run, RunState.RUNNING)
    assert all(watch.age < PATIENCE and not watch.error for watch in health_of(runner))
    assert len(health_of(runner)) == 2
    proxy.silence()
    assert run.status().state is RunState.RUNNING
    clock.seconds += 300
    with pytest.raises(RunnerError, match="nothing has been heard") as caught:
        run.status()
    assert caught.value.retryable
    assert max(watch.age for watch in health_of(runner)) > 120
    proxy.speak()
    proxy.cut()
    found = eventually(lambda: unknown(run.status)() is None, within=60, what="it hears again")
    assert found
    assert run.status().state is RunState.RUNNING


def test_watches_that_nobody_needs_end(bench: KubernetesBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_IDLE_AFTER", 10.0)
    clock = Ahead()
    runner = bench.runner(clock=clock)
    ended, lives = (runner.submit(bench.request(each)) for each in (job(), pod(PodEnd.NEVER)))
    end_of(ended)
    ended.release()
    clock.seconds += 20
    await_state(lives, RunState.RUNNING)
    runner.watching.stop_idle()
    (left,) = health_of(runner)
    assert left.name == f"pods in {bench.namespace}"
    assert lives.status().state is RunState.RUNNING
    assert end_of(runner.submit(bench.request(job()))).state is RunState.FINISHED


def test_what_happened_while_nothing_was_heard_is_told(bench: KubernetesBench, proxy: KubeProxy) -> None:
    runner = bench.runner(bench.through(proxy))
    good, gone = (runner.submit(bench.request(job(PodEnd.NEVER))) for _ in range(2))
    ends = runner.submit(bench.request(job(after="2s")))
    for run in (good, gone, ends):
        await_state(run, RunState.RUNNING)
    refusal = Refusal(status=503, reason="ServiceUnavailable")
    proxy.strike = lambda call: refusal
    proxy.cut()
    bench.cluster.kube.delete("batch/v1", "Job", bench.namespace, gone.id.partition("/")[2])
    eventually(lambda: [made for made in bench.jobs() if made["status"].get("succeeded")], within=PATIENCE)
    proxy.strike = lambda call: None
    assert end_of(ends).state is RunState.FINISHED
    assert end_of(gone).reason == "Deleted"
    assert good.status().state is RunState.RUNNING


def test_a_right_that_is_taken_away_leaves_runs_unknown(bench: KubernetesBench, proxy: KubeProxy) -> None:
    clock = Ahead()
    runner = bench.runner(bench.through(proxy), clock=clock)
    run = runner.submit(bench.request(job(PodEnd.NEVER)))
    await_state(run, RunState.RUNNING)
    refusal = Refusal(status=403, reason="Forbidden", message="pods is forbidden")
    proxy.strike = lambda call: refusal if "/pods" in call.path else None
    proxy.cut()
    eventually(lambda: [watch for watch in health_of(runner) if watch.error], within=PATIENCE)
    clock.seconds += 300

    def told() -> bool:
        error = unknown(run.status)()
        return error is not None and "pods is forbidden" in error.message

    assert eventually(told, within=PATIENCE)
    asked = len(proxy.calls)
    proxy.strike = lambda call: None
    assert asked < 40
