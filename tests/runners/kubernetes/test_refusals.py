"""What is wrong with a job ends that job, with what to change; what passes is tried again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from launch_agent.errors import Refused, RunnerError, SubmitRejected
from launch_agent.spec.model import RunState
from tests.fakes.eventually import eventually
from tests.fakes.fake_node import PodEnd
from tests.fakes.kube_proxy import KubeProxy, Refusal
from tests.runners.kubernetes.bench import PATIENCE, KubernetesBench, await_state, end_of, job

pytestmark = pytest.mark.timeout(300)

SERVICE = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "tracker"}}


@pytest.fixture
def proxy(bench: KubernetesBench) -> Iterator[KubeProxy]:
    with KubeProxy(bench.cluster.kube) as made:
        yield made


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"spec": {"backoffLimit": -1}}, "spec.backoffLimit"),
        ({"spec": {"paralelism": 2}}, "spec.paralelism"),
        (
            {"spec": {"template": {"spec": {"containers": [{"imagePullPolicy": "Perhaps"}]}}}},
            "imagePullPolicy",
        ),
        ({"spec": {"template": {"spec": {"restartPolicy": "Always"}}}}, "restartPolicy"),
        ({"spec": {"completions": "many"}}, "completions"),
    ],
)
def test_what_the_server_does_not_take_is_named(
    bench: KubernetesBench, args: dict[str, Any], said: str
) -> None:
    with pytest.raises(SubmitRejected) as caught:
        bench.runner().submit(bench.request(args))
    assert said in caught.value.message
    assert caught.value.hint
    assert not caught.value.retryable
    assert not bench.jobs()
    assert not bench.secrets()


def test_a_service_that_the_server_does_not_take_is_found_before_anything_is_made(
    bench: KubernetesBench,
) -> None:
    wrong = {"name": "tracker", "config": {**SERVICE, "spec": {"ports": [{"port": 99999999}]}}}
    with pytest.raises(SubmitRejected, match="port"):
        bench.runner().submit(bench.request(job(), services=[wrong]))
    assert not bench.jobs()
    assert not bench.secrets()


def test_a_service_of_that_name_that_is_not_ours_is_left_alone(bench: KubernetesBench) -> None:
    theirs = {**SERVICE, "spec": {"ports": [{"port": 1}]}}
    bench.cluster.kube.create(theirs, bench.namespace)
    ours = {"name": "tracker", "config": {**SERVICE, "spec": {"ports": [{"port": 80}]}}}
    with pytest.raises(SubmitRejected, match="not this run's"):
        bench.runner().submit(bench.request(job(PodEnd.NEVER), services=[ours]))
    (left,) = bench.services()
    assert left["spec"]["ports"][0]["port"] == 1
    eventually(lambda: not [*bench.jobs(), *bench.secrets()], within=PATIENCE, what="nothing of it is left")


def test_a_namespace_that_is_not_there_is_named(bench: KubernetesBench) -> None:
    runner = bench.runner(**{"target-namespaces": ["nowhere-at-all"]})
    with pytest.raises(SubmitRejected) as caught:
        runner.submit(bench.request({"namespace": "nowhere-at-all"}))
    assert "nowhere-at-all" in caught.value.hint
    with pytest.raises(Refused):
        runner.submit(bench.request({"namespace": "kube-system"}))


def test_a_context_that_is_not_the_agents_is_refused(bench: KubernetesBench) -> None:
    with pytest.raises(SubmitRejected, match="elsewhere"):
        bench.runner().submit(bench.request({**job(), "context": "elsewhere"}))


def test_a_quota_is_waited_for(bench: KubernetesBench) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none"},
        "spec": {"hard": {"count/jobs.batch": "0"}},
    }
    bench.cluster.kube.create(quota, bench.namespace)
    runner, request = bench.runner(), bench.request(job())

    def refused() -> RunnerError | None:
        try:
            runner.submit(bench.request(job(PodEnd.NEVER)))
        except RunnerError as error:
            return error
        return None

    error = eventually(refused, within=PATIENCE, every=0.2, what="the quota holds")
    assert error is not None
    assert error.retryable
    assert "quota" in error.hint
    bench.cluster.kube.delete("v1", "ResourceQuota", bench.namespace, "none")

    def taken() -> bool:
        try:
            runner.submit(request)
        except RunnerError:
            return False
        return True

    assert eventually(taken, within=PATIENCE, every=0.2, what="the quota is gone")
    run = runner.submit(request)
    assert end_of(run).state is RunState.FINISHED


@pytest.mark.parametrize(
    ("refusal", "retryable"),
    [
        (Refusal(status=429, reason="TooManyRequests", retry_after="1"), True),
        (Refusal(status=503, reason="ServiceUnavailable"), True),
        (
            Refusal(
                status=500, reason="InternalError", message='failed calling webhook "policy.example.com"'
            ),
            True,
        ),
        (
            Refusal(status=403, reason="Forbidden", message="jobs.batch is forbidden: User cannot create"),
            False,
        ),
        (
            Refusal(
                status=403,
                reason="Forbidden",
                message='admission webhook "policy.example.com" denied the request: no team label',
            ),
            False,
        ),
        (Refusal(status=403, reason="Forbidden", message="x is forbidden: exceeded quota: gpus"), True),
    ],
)
def test_what_passes_is_told_from_what_does_not(
    bench: KubernetesBench, proxy: KubeProxy, refusal: Refusal, retryable: bool
) -> None:
    runner, request = bench.runner(bench.through(proxy)), bench.request(job())
    proxy.strike = lambda call: refusal if call.writes and "/jobs" in call.path else None
    with pytest.raises(RunnerError) as caught:
        runner.submit(request)
    assert caught.value.retryable is retryable
    assert isinstance(caught.value, SubmitRejected) is not retryable
    if not retryable:
        assert caught.value.hint
    proxy.strike = lambda call: None
    assert end_of(runner.submit(request)).state is RunState.FINISHED


def test_a_secret_that_is_refused_takes_the_job_back(bench: KubernetesBench, proxy: KubeProxy) -> None:
    runner = bench.runner(bench.through(proxy))
    refusal = Refusal(status=403, reason="Forbidden", message="secrets is forbidden")
    proxy.strike = lambda call: refusal if call.writes and "/secrets" in call.path else None
    with pytest.raises(SubmitRejected):
        runner.submit(bench.request(job(PodEnd.NEVER)))
    eventually(lambda: not bench.jobs(), within=PATIENCE, what="the Job is gone")


def test_a_namespace_that_is_deleted_ends_its_runs(bench: KubernetesBench) -> None:
    runner = bench.runner()
    run = runner.submit(bench.request(job(PodEnd.NEVER)))
    await_state(run, RunState.RUNNING)
    bench.cluster.kube.delete("v1", "Namespace", "", bench.namespace)
    status = end_of(run, within=60)
    assert status.state is RunState.FAILED
    assert status.reason in ("Deleted", "PodDeleted")  # whichever went first
    with pytest.raises(SubmitRejected) as caught:
        runner.submit(bench.request(job()))
    assert bench.namespace in caught.value.hint
