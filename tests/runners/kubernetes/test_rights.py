"""What the account may do is known before the first run; what it lacks is named."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from launch_agent.clients.kube.api import KubeApi
from launch_agent.errors import ConfigError, LaunchError, RightMissing, RunnerError
from launch_agent.runners.kubernetes.connection import connecting
from launch_agent.runners.kubernetes.options import Options
from launch_agent.runners.kubernetes.runner import KubernetesRunner
from launch_agent.spec.model import RunState
from tests.fakes.eventually import eventually
from tests.fakes.fake_node import PodEnd
from tests.runners.kubernetes.bench import PATIENCE, KubernetesBench, access_to, end_of, job

pytestmark = pytest.mark.timeout(300)

ACCOUNT = "runner"
# What the chart gives, without what can be done without.
LEAST = {
    "batch/jobs": "create get list watch delete",
    "/pods": "list watch",
    "/secrets": "create patch",
}


def grant(bench: KubernetesBench, rights: dict[str, str]) -> None:
    """Let the account do just this in the bench's namespace."""
    kube, namespace = bench.cluster.kube, bench.namespace
    rules: list[dict[str, Sequence[str]]] = []
    for key, verbs in rights.items():
        group, _, resource = key.partition("/")
        rules.append({"apiGroups": [group], "resources": [resource], "verbs": verbs.split()})
    version = "rbac.authorization.k8s.io/v1"
    meta = {"name": ACCOUNT}
    kube.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}, namespace)
    kube.create({"apiVersion": version, "kind": "Role", "metadata": meta, "rules": rules}, namespace)
    binding = {
        "apiVersion": version,
        "kind": "RoleBinding",
        "metadata": meta,
        "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": ACCOUNT},
    }
    kube.create(binding, namespace)


def runner_of_account(bench: KubernetesBench, **options: Any) -> KubernetesRunner:
    kube = bench.cluster.kube.by_token(bench.cluster.kube.token(bench.namespace, ACCOUNT))

    def connect(chosen: Options) -> KubeApi:
        return KubeApi(access_to(kube), qps=chosen.qps, burst=chosen.burst, timeout=chosen.timeout)

    return bench.runner(connect, verify=False, **options)


@pytest.mark.req("SEC-9")
def test_what_is_missing_is_named(bench: KubernetesBench) -> None:
    grant(bench, {**LEAST, "/secrets": "create"})
    with pytest.raises(RunnerError, match=f"{bench.namespace}: it lacks patch secrets") as caught:
        runner_of_account(bench).verify()
    assert "Role" in caught.value.hint


def test_another_namespace_that_cannot_be_used_is_told_and_left_out(
    bench: KubernetesBench, caplog: pytest.LogCaptureFixture
) -> None:
    grant(bench, LEAST)
    runner = runner_of_account(bench, **{"target-namespaces": ["default"]})
    runner.verify()
    assert "in namespace default: it lacks list pods" in caplog.text
    run = runner.submit(bench.request(job(PodEnd.NEVER)))
    again = runner_of_account(bench, **{"target-namespaces": ["default"]})
    again.verify()
    assert [found.id for found in again.adopt(bench.agent)] == [run.id]
    with pytest.raises(RightMissing, match="cannot create resource") as caught:
        runner.submit(bench.request({**job(), "namespace": "default"}))
    assert "Role" in caught.value.hint


def test_the_least_rights_are_enough(bench: KubernetesBench, caplog: pytest.LogCaptureFixture) -> None:
    """Without the right to change Jobs, they have their time to live from the start."""
    grant(bench, LEAST)
    runner = runner_of_account(bench)
    runner.verify()
    assert "it lacks" not in caplog.text
    assert "lacks patch jobs.batch" in caplog.text
    run = runner.submit(bench.request(job(PodEnd.ERROR, exit_code=4)))
    (made,) = bench.jobs()
    assert made["spec"]["ttlSecondsAfterFinished"] == 60
    status = end_of(run)
    assert (status.state, status.exit_code) == (RunState.FAILED, 4)
    run.release()
    assert [found.id for found in runner_of_account(bench).adopt(bench.agent)] == [run.id]


def test_a_time_to_live_of_zero_hides_no_end(bench: KubernetesBench) -> None:
    grant(bench, {**LEAST, "/pods/log": "get"})
    runner = runner_of_account(bench)
    runner.verify()
    spec = {"ttlSecondsAfterFinished": 0}
    good = runner.submit(bench.request(job(spec=spec)))
    bad = runner.submit(bench.request(job(PodEnd.ERROR, spec=spec, exit_code=4)))
    eventually(lambda: not bench.jobs(), within=PATIENCE, what="both are gone")
    assert end_of(good).state is RunState.FINISHED
    assert end_of(bad).exit_code == 4
    for run in (good, bad):
        run.release()


def test_no_cluster_is_said_so(monkeypatch: pytest.MonkeyPatch, bench: KubernetesBench) -> None:
    monkeypatch.setenv("KUBECONFIG", "/nowhere/config")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    nowhere = Options()
    with pytest.raises(LaunchError):
        KubernetesRunner(nowhere, connecting(nowhere)).verify()
    monkeypatch.setenv("KUBECONFIG", str(bench.cluster.kubeconfig))
    chosen = Options(namespace=bench.namespace)
    runner = KubernetesRunner(chosen, connecting(chosen))
    runner.verify()
    runner.close()
    other = Options(context="elsewhere")
    with pytest.raises(ConfigError, match="elsewhere"):
        KubernetesRunner(other, connecting(other)).verify()
