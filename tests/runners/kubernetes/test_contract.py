"""What every runner must do, on a real node: containers that really run, print, fail and are killed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from launch_agent.errors import SubmitRejected
from launch_agent.runners import Run, Runner
from launch_agent.runners.kubernetes import submission
from launch_agent.runners.kubernetes.manifest import compose
from launch_agent.runners.kubernetes.namespaces import Namespaces
from launch_agent.runners.kubernetes.options import Options
from launch_agent.runners.kubernetes.runner import KubernetesRunner
from launch_agent.spec.model import RunRequest, RunState
from tests.contracts.runner import POLITE, STUBBORN, Bench, RunnerContract, end_of, wait_until_ready
from tests.fakes.control_plane import Cluster
from tests.fakes.eventually import eventually
from tests.runners.kubernetes.bench import KubernetesBench

pytestmark = [pytest.mark.xdist_group("real-node"), pytest.mark.timeout(300), pytest.mark.slow]
# Three of the contract's twelve: an agent starts here about as slowly as anywhere.
DELAYS = (0.0, 0.075, 0.2)


class NodeBench:
    """A namespace on the real node. Objects go at once after their release."""

    def __init__(self, cluster: Cluster, namespace: str, image: str) -> None:
        self._bench = KubernetesBench(cluster, namespace)
        self._image = image
        self.agent = self._bench.agent

    def runner(self, **options: Any) -> KubernetesRunner:
        return self._bench.runner(**options)

    def in_another_process(self) -> str:
        options = {"namespace": self._bench.namespace}
        kubeconfig = str(self._bench.cluster.kubeconfig)
        return (
            f"(__import__('os').environ.__setitem__('KUBECONFIG', {kubeconfig!r}), "
            f"__import__('launch_agent.runners.kubernetes', fromlist=['create']).create({options!r}))[1]"
        )

    def request(self, **fields: Any) -> RunRequest:
        given = dict(fields.pop("resource_args", {}))
        pod = {
            "terminationGracePeriodSeconds": given.pop("grace", 30),
            "containers": [{"env": variables(given.pop("env", ()))}],
        }
        spec = {"ttlSecondsAfterFinished": 0, "template": {"spec": pod}}
        usual = {"image": self._image, "env": {}, "secret_env": {}}
        return self._bench.request({"spec": spec, **given}, **{**usual, **fields})

    def stubborn_args(self) -> Mapping[str, Any]:
        return {"grace": 1}

    def half_start(self, request: RunRequest) -> None:
        """The object is there, what belongs to it is not."""
        api = self._bench.connect(Options())
        made = compose(request, allowed=Namespaces(default=self._bench.namespace))
        submission.make_object(api, made, hold_ttl=True)
        api.close()

    def remove_behind_our_back(self, run: Run) -> None:
        name = run.id.partition("/")[2]
        self._bench.cluster.kube.delete("batch/v1", "Job", self._bench.namespace, name)

    def left(self) -> Sequence[str]:
        return [made["metadata"]["name"] for made in self._bench.jobs()]

    def close(self) -> None:
        self._bench.close()


def variables(pairs: Sequence[str]) -> list[dict[str, str]]:
    found = (pair.partition("=") for pair in pairs)
    return [{"name": name, "value": value} for name, _, value in found]


@pytest.fixture
def bench(cluster: Cluster, node_namespace: str, node_image: str) -> Iterator[NodeBench]:
    made = NodeBench(cluster, node_namespace, node_image)
    yield made
    made.close()


class TestKubernetes(RunnerContract):
    """Where Kubernetes does otherwise than a container engine, the test says how."""

    def test_running_is_told_apart_from_ended(self, bench: Bench, runner: Runner) -> None:
        """A pod begins some time after it was asked for."""
        run = runner.submit(self.sh(bench, POLITE))
        assert not run.status().state.has_started
        wait_until_ready(run)
        eventually(lambda: run.status().state is RunState.RUNNING, within=20)
        run.cancel()
        end_of(run)

    def test_a_run_that_ignores_the_signal_is_killed(self, bench: Bench, runner: Runner) -> None:
        """Its pod goes with its exit code."""
        run = runner.submit(self.sh(bench, STUBBORN, resource_args=bench.stubborn_args()))
        wait_until_ready(run)
        run.cancel()
        assert end_of(run).state is RunState.STOPPED

    def test_runs_are_found_again_after_a_restart(self, bench: Bench, runner: Runner) -> None:
        requests = {script: self.sh(bench, script) for script in (POLITE, "exit 0", "exit 3")}
        before = {script: runner.submit(request) for script, request in requests.items()}
        wait_until_ready(before[POLITE])
        end_of(before["exit 0"])
        end_of(before["exit 3"])
        after = {run.identity.item_id: run for run in bench.runner().adopt(bench.agent)}
        found = {script: after[request.identity.item_id] for script, request in requests.items()}
        assert {run.id for run in after.values()} == {run.id for run in before.values()}
        eventually(lambda: found[POLITE].status().state is RunState.RUNNING, within=20)
        assert end_of(found["exit 0"]).state is RunState.FINISHED
        assert end_of(found["exit 3"]).exit_code == 3
        assert found[POLITE].logs(10) == "ready\n"
        found[POLITE].cancel()
        assert end_of(found[POLITE]).state is RunState.STOPPED

    def test_a_stop_is_still_a_stop_after_a_restart(self, bench: Bench, runner: Runner) -> None:
        """What was stopped is gone; it is not found, and not started again."""
        run = runner.submit(self.sh(bench, POLITE))
        wait_until_ready(run)
        run.cancel()
        assert end_of(run).state is RunState.STOPPED
        assert bench.runner().adopt(bench.agent) == []

    @pytest.mark.parametrize("delay", DELAYS)
    def test_an_agent_killed_while_it_submits_starts_one_run(
        self, bench: Bench, runner: Runner, delay: float
    ) -> None:
        super().test_an_agent_killed_while_it_submits_starts_one_run(bench, runner, delay)

    def test_an_entry_point_that_is_not_there_is_refused(self, bench: Bench, runner: Runner) -> None:
        """Nobody knows before the node tries it."""
        status = end_of(runner.submit(bench.request(entry_point=["no-such-program"])))
        assert status.state is RunState.FAILED
        assert "no-such-program" in status.message

    def test_a_variable_without_a_value_is_refused(self, bench: Bench, runner: Runner) -> None:
        """In a manifest it is an empty one."""
        args = {"env": ["EMPTY"]}
        run = runner.submit(self.sh(bench, 'echo "<$EMPTY>"', resource_args=args))
        end_of(run)
        assert run.logs(1) == "<>\n"

    def test_a_released_run_leaves_nothing(self, bench: Bench, runner: Runner) -> None:
        """Its time to live, which is none here, begins with the release."""
        run = runner.submit(self.sh(bench, "echo x"))
        end_of(run)
        run.release()
        run.release()
        eventually(lambda: not bench.left(), within=20)
        assert run.logs(10) == ""
        assert run.status().state is RunState.FINISHED

    def test_an_unknown_resource_arg_is_refused(self, bench: Bench, runner: Runner) -> None:
        with pytest.raises(SubmitRejected, match="no-such-option"):
            runner.submit(self.sh(bench, "exit 0", resource_args={"no-such-option": 1}))
        assert not bench.left()

    def test_fifty_at_once(self, bench: Bench, runner: Runner) -> None:
        """Fewer: this node has two cores, and the fake one takes thousands."""
        runs = [runner.submit(self.sh(bench, f"exit {number}")) for number in range(8)]
        assert [end_of(run).exit_code for run in runs] == list(range(8))
