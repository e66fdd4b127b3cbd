"""What every runner must do, on a server of Vertex AI's API whose jobs really run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from launch_agent.errors import SubmitRejected
from launch_agent.runners import Runner
from launch_agent.spec.model import RunState, RunStatus
from launch_agent.spec.secret import Secret
from tests.contracts.runner import POLITE, STUBBORN, RunnerContract, end_of, wait_until_ready
from tests.fakes.custom_jobs import CustomJobs
from tests.fakes.eventually import eventually
from tests.fakes.google_tokens import GoogleTokens
from tests.runners.vertex.bench import VertexBench

pytestmark = pytest.mark.timeout(180)
DELAYS = (0.0, 0.1, 0.4)


@pytest.fixture
def bench(tokens: GoogleTokens, tmp_path: Path) -> Iterator[VertexBench]:
    with CustomJobs(token="ya29.", runs=True) as server:
        made = VertexBench(server, tokens, tmp_path)
        yield made
        made.close()


class TestVertex(RunnerContract):
    """Where Vertex AI does otherwise than a container engine, the test says how."""

    def test_running_is_told_apart_from_ended(self, bench: VertexBench, runner: Runner) -> None:
        """A job is heard of with the next round."""
        run = runner.submit(self.sh(bench, POLITE))
        eventually(lambda: run.status().state is RunState.RUNNING, within=20)
        run.cancel()
        end_of(run)

    def test_variables_arrive_as_they_are(self, bench: VertexBench, runner: Runner) -> None:
        """Logs are lines, whatever ends them."""
        env = {
            "PLAIN": "x",
            "SPACES": "  a  b ",
            "QUOTES": "\"'`$HOME\\",
            "LINES": "a\nb",
            "UMLAUT": "ä 漢 🚀",
        }
        script = (
            'for n in PLAIN SPACES QUOTES LINES UMLAUT TOKEN; do eval "printf \'<%s>\' \\"\\$$n\\""; done'
        )
        run = runner.submit(self.sh(bench, script, env=env, secret_env={"TOKEN": Secret("hush $x")}))
        assert end_of(run).state is RunState.FINISHED
        assert run.logs(100) == "".join(f"<{value}>" for value in [*env.values(), "hush $x"]) + "\n"

    def test_arguments_arrive_as_they_are(self, bench: VertexBench, runner: Runner) -> None:
        args = ["", "a b", "'", '"', "$HOME `id` $(id)", "a\nb", "\\", "*", "--x=1", "ä漢🚀", "-", "\t"]
        run = runner.submit(self.sh(bench, "for a; do printf '<%s>' \"$a\"; done", *args))
        assert end_of(run).state is RunState.FINISHED
        assert run.logs(100) == "".join(f"<{arg}>" for arg in args) + "\n"

    def test_a_run_that_ignores_the_signal_is_killed(self, bench: VertexBench, runner: Runner) -> None:
        """A job that was cancelled has no exit code."""
        run = runner.submit(self.sh(bench, STUBBORN, resource_args=bench.stubborn_args()))
        wait_until_ready(run)
        run.cancel()
        assert end_of(run) == RunStatus(state=RunState.STOPPED, reason="Cancelled")

    def test_what_is_submitted_twice_runs_once(self, bench: VertexBench, runner: Runner) -> None:
        """The API has no names to collide on: later jobs are cancelled while they wait for a machine."""
        bench.server.startup = 3.0
        super().test_what_is_submitted_twice_runs_once(bench, runner)
        assert len(bench.server.began) == 1

    def test_runs_are_found_again_after_a_restart(self, bench: VertexBench, runner: Runner) -> None:
        """As everywhere, but that a stop is heard of a round later."""
        requests = {script: self.sh(bench, script) for script in (POLITE, "exit 0", "exit 3")}
        before = {script: runner.submit(request) for script, request in requests.items()}
        wait_until_ready(before[POLITE])
        end_of(before["exit 0"])
        end_of(before["exit 3"])
        after = {run.identity.item_id: run for run in bench.runner().adopt(bench.agent)}
        assert {run.identity for run in after.values()} == {r.identity for r in requests.values()}
        found = {script: after[request.identity.item_id] for script, request in requests.items()}
        assert {run.id for run in after.values()} == {run.id for run in before.values()}
        assert found[POLITE].status().state is RunState.RUNNING
        assert found["exit 0"].status().state is RunState.FINISHED
        assert found["exit 3"].status().exit_code == 3
        found[POLITE].cancel()
        assert end_of(found[POLITE]).state is RunState.STOPPED
        assert end_of(before[POLITE]).state is RunState.STOPPED

    @pytest.mark.parametrize("delay", DELAYS)
    def test_an_agent_killed_while_it_submits_starts_one_run(
        self, bench: VertexBench, runner: Runner, delay: float
    ) -> None:
        super().test_an_agent_killed_while_it_submits_starts_one_run(bench, runner, delay)

    def test_an_entry_point_that_is_not_there_is_refused(self, bench: VertexBench, runner: Runner) -> None:
        """Nobody knows before the job has begun."""
        status = end_of(runner.submit(bench.request(entry_point=["no-such-program"])))
        assert (status.state, status.exit_code) == (RunState.FAILED, 127)
        assert "no-such-program" in status.message

    def test_a_variable_without_a_value_is_refused(self, bench: VertexBench, runner: Runner) -> None:
        with pytest.raises(SubmitRejected, match=r"env\[0\]"):
            runner.submit(self.sh(bench, "exit 0", resource_args={"env": ["WANDB_API_KEY"]}))
