"""An agent that dies between two of its requests leaves one run or none, and nothing that nobody owns."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from launch_agent.errors import RunnerError
from launch_agent.runners.kubernetes import adoption
from launch_agent.spec.model import Credentials, RunRequest, RunState
from launch_agent.spec.secret import Secret
from tests.fakes.eventually import eventually
from tests.fakes.fake_node import PodEnd
from tests.fakes.kube_proxy import Call, Fault, KubeProxy
from tests.runners.kubernetes.bench import PATIENCE, KubernetesBench, await_state, end_of, job

pytestmark = pytest.mark.timeout(300)

CREDENTIALS = Credentials(host="registry.example.com", username="puller", password=Secret("hush"))
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "tracker"},
    "spec": {"ports": [{"port": 80}]},
}
# The run's object, its Secret, its pull Secret, its service.
WRITES = 4


@pytest.fixture
def proxy(bench: KubernetesBench) -> Iterator[KubeProxy]:
    with KubeProxy(bench.cluster.kube) as made:
        yield made


def everything(bench: KubernetesBench) -> RunRequest:
    """A request that takes every step."""
    return bench.request(
        job(PodEnd.NEVER),
        pull_credentials=lambda: CREDENTIALS,
        services=[{"name": "tracker", "config": SERVICE}],
    )


def dies_at(number: int, fault: Fault) -> Callable[[Call], Fault | None]:
    """The agent ends at its n-th change of the cluster: nothing of what it asks after that arrives."""
    writes = 0

    def strike(call: Call) -> Fault | None:
        nonlocal writes
        writes += call.writes
        if writes < number:
            return None
        return fault if writes == number and call.writes else Fault.UNSEEN

    return strike


def check_owned(bench: KubernetesBench) -> None:
    """Whatever there is belongs to the one Job."""
    owners = {made["metadata"]["uid"] for made in bench.jobs()}
    assert len(owners) <= 1
    for found in (*bench.secrets(), *bench.services()):
        assert {owner["uid"] for owner in found["metadata"]["ownerReferences"]} == owners


@pytest.mark.parametrize("fault", [Fault.UNSEEN, Fault.LOST])
@pytest.mark.parametrize("number", range(1, WRITES + 2))
def test_a_launch_that_is_cut_off_is_made_good(
    bench: KubernetesBench, proxy: KubeProxy, number: int, fault: Fault
) -> None:
    request = everything(bench)
    first = bench.runner(bench.through(proxy))
    proxy.strike = dies_at(number, fault)
    if number <= WRITES:
        with pytest.raises(RunnerError) as caught:
            first.submit(request)
        assert caught.value.retryable
    else:
        first.submit(request)
    first.close()
    check_owned(bench)
    there = len(bench.jobs())
    assert there == (0 if (number, fault) == (1, Fault.UNSEEN) else 1)

    second = bench.runner()
    assert [run.identity for run in second.adopt(bench.agent)] == [request.identity] * there
    run = second.submit(request)
    assert [found.id for found in bench.runner().adopt(bench.agent)] == [run.id]
    check_owned(bench)
    assert len(bench.jobs()) == 1
    assert len(bench.secrets()) == 2
    assert len(bench.services()) == 1
    await_state(run, RunState.RUNNING)
    run.cancel()
    assert end_of(run).state is RunState.STOPPED
    left = lambda: [*bench.jobs(), *bench.secrets(), *bench.services(), *bench.of("v1", "Pod")]  # noqa: E731 - named for the reader
    eventually(lambda: not left(), within=PATIENCE, what="nothing is left")


def test_the_steps_are_as_many_as_are_tried(bench: KubernetesBench, proxy: KubeProxy) -> None:
    bench.runner(bench.through(proxy)).submit(everything(bench))
    assert len(proxy.writes) == WRITES


def test_a_launch_that_nobody_can_finish_goes_back(
    bench: KubernetesBench, proxy: KubeProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent's memory of the launch went with its pod, before the Secret was made."""
    monkeypatch.setattr(adoption, "_SETTLE_AFTER", 0.2)
    waits = {"starts_after": "1h"}
    first = bench.runner(bench.through(proxy))
    whole = first.submit(bench.request(job(PodEnd.NEVER, **waits)))
    proxy.strike = dies_at(2, Fault.UNSEEN)
    with pytest.raises(RunnerError):
        first.submit(bench.request(job(PodEnd.NEVER, **waits)))
    first.close()
    runner = bench.runner()
    adopted = {run.id: run for run in runner.adopt(bench.agent)}
    assert len(adopted) == 2
    other = adopted.pop(whole.id)
    (half,) = adopted.values()
    status = end_of(half)
    assert (status.state, status.reason) == (RunState.PREEMPTED, "LaunchCutOff")
    half.release()
    eventually(lambda: len(bench.jobs()) == 1, within=PATIENCE)
    assert not other.status().state.is_terminal
    assert not bench.runner().adopt(bench.agent)[0].status().state.is_terminal


@pytest.mark.parametrize("fault", [Fault.UNSEEN, Fault.LOST])
def test_a_release_that_is_cut_off_is_made_good(
    bench: KubernetesBench, proxy: KubeProxy, fault: Fault
) -> None:
    first = bench.runner(bench.through(proxy))
    run = first.submit(bench.request(job()))
    assert end_of(run).state is RunState.FINISHED
    proxy.strike = dies_at(1, fault)
    with pytest.raises(RunnerError):
        run.release()
    first.close()
    adopted = bench.runner().adopt(bench.agent)
    if fault is Fault.LOST:
        assert adopted == []
        return
    (found,) = adopted
    assert end_of(found).state is RunState.FINISHED
    found.release()
    assert bench.runner().adopt(bench.agent) == []


def test_a_stop_is_still_a_stop_after_a_crash(bench: KubernetesBench, proxy: KubeProxy) -> None:
    """The mark arrives, the deletion does not: whoever stops it again makes a stop of it."""
    first = bench.runner(bench.through(proxy))
    run = first.submit(bench.request(job(PodEnd.NEVER)))
    await_state(run, RunState.RUNNING)
    proxy.strike = dies_at(2, Fault.UNSEEN)
    with pytest.raises(RunnerError):
        run.cancel()
    first.close()
    (found,) = bench.runner().adopt(bench.agent)
    assert end_of(found).state is RunState.STOPPED
