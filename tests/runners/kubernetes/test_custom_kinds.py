"""Runs of every custom kind, from the queue's configuration to the end that the kind's controller tells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from launch_agent.errors import SubmitRejected
from launch_agent.runners import Run
from launch_agent.spec.model import RunState
from tests.fakes.custom_status import Phase
from tests.fakes.eventually import eventually
from tests.fakes.fake_node import PodEnd, ends_with
from tests.fakes.kube import Object
from tests.fakes.status_driver import StatusDriver
from tests.runners.kubernetes.bench import PATIENCE, KubernetesBench, await_state, end_of

pytestmark = pytest.mark.timeout(300)

GOLDEN = Path(__file__).parents[2] / "golden" / "kubernetes"
CASES = (
    "app-wrapper",
    "jobset",
    "mpi-job",
    "pytorch-job",
    "ray-job",
    "spark",
    "train-job",
    "unknown-kind",
    "volcano-job",
)
EXPERIMENT = {
    "apiVersion": "tests.launch-agent.dev/v1",
    "kind": "Experiment",
    "spec": {"template": {"spec": {"containers": [{}]}}},
}
WORDS = {"Underway": "running", "Proven": "finished", "Refuted": "failed"}
RULES = [
    {
        "kind": "Experiment",
        "path": "status.phase",
        "equals": [word],
        "state": state,
        "message": "status.message",
    }
    for word, state in WORDS.items()
]


def queue(case: str) -> dict[str, Any]:
    if case == "unknown-kind":
        return EXPERIMENT
    found: dict[str, Any] = yaml.safe_load((GOLDEN / case / "queue.yaml").read_text())
    found.pop("namespace", None)
    found["spec"].pop("suspend", None)
    found["spec"].get("runPolicy", {}).pop("suspend", None)
    for replicated in found["spec"].get("replicatedJobs", ()):
        replicated["template"]["spec"]["template"]["spec"]["restartPolicy"] = "Never"
    return found


@pytest.fixture(params=CASES)
def args(request: pytest.FixtureRequest) -> dict[str, Any]:
    return queue(request.param)


def driver_of(bench: KubernetesBench) -> StatusDriver:
    return StatusDriver(kube=bench.cluster.kube, namespace=bench.namespace)


def object_of(bench: KubernetesBench, run: Run, args: dict[str, Any]) -> Object:
    name = run.id.partition("/")[2]
    found = bench.cluster.kube.get(args["apiVersion"], args["kind"], bench.namespace, name)
    assert found is not None
    return found


@pytest.mark.req("K8S-1", "K8S-2")
def test_it_runs_to_its_good_end(bench: KubernetesBench, args: dict[str, Any]) -> None:
    runner, driver = bench.runner(ttl=0.0, status=RULES), driver_of(bench)
    run = runner.submit(bench.request(args))
    made = object_of(bench, run, args)
    assert not run.status().state.is_terminal
    driver.start(made)
    if made["kind"] != "TrainJob":  # nothing in it says that it runs; its pods do
        await_state(run, RunState.RUNNING)
    driver.say(made, Phase.SUCCEEDED)
    assert end_of(run).state is RunState.FINISHED
    (adopted,) = bench.runner().adopt(bench.agent)
    assert adopted.id == run.id
    run.release()
    gone = lambda: not bench.of(args["apiVersion"], args["kind"]) and not bench.secrets()  # noqa: E731 - named for the reader
    if "ttlSecondsAfterFinished" not in str(made):
        eventually(gone, within=PATIENCE, what="nothing is left of it")


def test_it_fails_as_its_controller_says(bench: KubernetesBench, args: dict[str, Any]) -> None:
    runner, driver = bench.runner(status=RULES), driver_of(bench)
    run = runner.submit(bench.request(args))
    made = object_of(bench, run, args)
    driver.say(made, Phase.RUNNING)
    driver.say(made, Phase.FAILED, message="the third worker fell ill")
    status = end_of(run)
    assert status.state is RunState.FAILED
    assert status.reason
    assert status.message


def test_a_cancelled_one_is_stopped(bench: KubernetesBench, args: dict[str, Any]) -> None:
    runner, driver = bench.runner(), driver_of(bench)
    run = runner.submit(bench.request(args))
    driver.start(object_of(bench, run, args))
    run.status()
    run.cancel()
    assert end_of(run).state is RunState.STOPPED
    assert not bench.of(args["apiVersion"], args["kind"])


def test_a_pod_tells_why_it_failed(bench: KubernetesBench) -> None:
    """Its pods have the run's label, whatever made them."""
    runner, driver = bench.runner(), driver_of(bench)
    args = queue("volcano-job")
    for task in args["spec"]["tasks"]:
        task["template"].setdefault("metadata", {})["annotations"] = ends_with(PodEnd.OOM_KILLED)
    run = runner.submit(bench.request(args))
    made = object_of(bench, run, args)
    driver.start(made)
    eventually(lambda: [pod for pod in bench.of("v1", "Pod") if pod["status"]["phase"] == "Failed"])
    driver.say(made, Phase.FAILED)
    assert end_of(run).reason == "OOMKilled"
    assert "line 300" in run.logs(10)


def test_the_pods_of_a_train_job_are_those_of_its_job_set(bench: KubernetesBench) -> None:
    args = queue("train-job")
    run = bench.runner().submit(bench.request(args))
    made = object_of(bench, run, args)
    name = made["metadata"]["name"]
    meta = {
        "name": f"{name}-node-0",
        "labels": {"jobset.sigs.k8s.io/jobset-name": name},
        "annotations": ends_with(PodEnd.ERROR, exit_code=5),
    }
    spec = {"restartPolicy": "Never", "containers": [{"name": "node", "image": "x"}]}
    bench.cluster.kube.create(
        {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}, bench.namespace
    )
    eventually(lambda: "line 300" in run.logs(10), within=PATIENCE)
    driver_of(bench).say(made, Phase.FAILED)
    assert end_of(run).exit_code == 5


def test_a_suspended_one_is_held(bench: KubernetesBench) -> None:
    args = {**EXPERIMENT, "spec": {**EXPERIMENT["spec"], "suspend": True}}  # type: ignore[dict-item]  # a mapping
    run = bench.runner().submit(bench.request(args))
    status = await_state(run, RunState.PENDING)
    assert status.held
    (found,) = bench.runner().adopt(bench.agent)
    assert found.status().held


def test_a_kind_that_nobody_knows_is_refused(bench: KubernetesBench) -> None:
    args = {**EXPERIMENT, "kind": "Experimnt"}
    with pytest.raises(SubmitRejected) as caught:
        bench.runner().submit(bench.request(args))
    assert "Experiment" in caught.value.hint
    with pytest.raises(SubmitRejected, match="no namespace"):
        bench.runner().submit(bench.request({**EXPERIMENT, "kind": "Campaign"}))
