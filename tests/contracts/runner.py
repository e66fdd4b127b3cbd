"""What every runner must do, whatever it starts runs on.

A test module of a runner defines a fixture `bench` (see `Bench`) and a class that inherits from
`RunnerContract`. Runs are small shell scripts, so a bench's runs need `sh` and a few programs beside it.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
import threading
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import pytest

from launch_agent.errors import RunnerError, SubmitRejected
from launch_agent.runners import Run, Runner
from launch_agent.spec.model import RunIdentity, RunRequest, RunState, RunStatus
from launch_agent.spec.secret import Secret
from tests.fakes.eventually import eventually

# Seconds: an engine on a busy machine.
PATIENCE = 40.0
STUBBORN = "trap '' TERM; echo ready; while :; do sleep 0.1; done"
POLITE = "trap 'exit 0' TERM; echo ready; sleep 600 & wait"
# An agent that does nothing but submit what it is handed, and says when it begins to.
AGENT = """
import pickle, sys
request = pickle.load(sys.stdin.buffer)
runner = {runner}
runner.verify()
sys.stdout.write("submits\\n")
sys.stdout.flush()
runner.submit(request)
"""


class Bench(Protocol):
    """One target resource, and an agent's name of its own."""

    agent: str

    def runner(self, **options: Any) -> Runner:
        """A new runner on the same resource, as after a restart of the agent. `keep` is the one option that
        all have."""
        ...

    def in_another_process(self) -> str:
        """A Python expression that makes such a runner in another process."""
        ...

    def request(self, **fields: Any) -> RunRequest:
        """A request with the fields given; the bench fills in identity and image."""
        ...

    def stubborn_args(self) -> Mapping[str, Any]:
        """Resource args that make the time between the stop's signals short."""
        ...

    def half_start(self, request: RunRequest) -> None:
        """Do what a submit does, and stop dead before the run starts."""
        ...

    def remove_behind_our_back(self, run: Run) -> None: ...

    def left(self) -> Sequence[str]:
        """The names of what is still there of this agent's runs."""
        ...


def identity_for(agent: str, item: str = "") -> RunIdentity:
    item = item or uuid.uuid4().hex
    return RunIdentity(
        agent=agent,
        item_id=item,
        queue="gpu queue",
        queue_entity="acme",
        run_id=item[:8],
        entity="acme",
        project="Été 2026",
    )


def end_of(run: Run) -> RunStatus:
    def ended() -> RunStatus | None:
        status = run.status()
        return status if status.state.is_terminal else None

    status = eventually(ended, within=PATIENCE, every=0.05, what=f"{run.id} ends")
    assert status is not None
    return status


def wait_until_ready(run: Run) -> None:
    eventually(lambda: "ready" in run.logs(10), within=PATIENCE, every=0.05, what=f"{run.id} is ready")


class RunnerContract:
    """Inherit, and define the fixture `bench`."""

    @pytest.fixture
    def runner(self, bench: Bench) -> Any:
        made = bench.runner()
        made.verify()
        yield made
        made.close()

    @staticmethod
    def sh(bench: Bench, script: str, *args: str, **fields: Any) -> RunRequest:
        return bench.request(entry_point=["sh", "-c", script, "sh"], args=args, **fields)

    def test_a_run_that_ends_with_0_is_finished(self, bench: Bench, runner: Runner) -> None:
        run = runner.submit(self.sh(bench, "echo out; echo err >&2"))
        assert end_of(run) == RunStatus(state=RunState.FINISHED, exit_code=0)
        assert sorted(run.logs(10).splitlines()) == ["err", "out"]

    def test_a_run_that_ends_with_another_code_failed_with_it(self, bench: Bench, runner: Runner) -> None:
        status = end_of(runner.submit(self.sh(bench, "exit 7")))
        assert (status.state, status.reason, status.exit_code) == (RunState.FAILED, "Error", 7)
        assert "7" in status.message

    def test_a_run_that_a_signal_ends_failed_with_128_and_its_number(
        self, bench: Bench, runner: Runner
    ) -> None:
        run = runner.submit(self.sh(bench, "sh -c 'kill -SEGV $$'; exit $?"))
        status = end_of(run)
        assert status.exit_code == 128 + 11
        assert "SIGSEGV" in status.message

    def test_running_is_told_apart_from_ended(self, bench: Bench, runner: Runner) -> None:
        run = runner.submit(self.sh(bench, POLITE))
        assert run.status().state is RunState.RUNNING
        wait_until_ready(run)
        assert run.status().state is RunState.RUNNING
        run.cancel()
        end_of(run)

    def test_variables_arrive_as_they_are(self, bench: Bench, runner: Runner) -> None:
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
        assert run.logs(100) == "".join(f"<{value}>" for value in [*env.values(), "hush $x"])

    def test_no_variable_of_the_agent_arrives(
        self, bench: Bench, runner: Runner, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("WANDB_API_KEY", "the-agents-own-key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the-agents-own-key")
        run = runner.submit(self.sh(bench, "env"))
        end_of(run)
        assert "the-agents-own-key" not in run.logs(1000)

    def test_variables_of_the_resource_args_win_but_for_those_of_identity(
        self, bench: Bench, runner: Runner
    ) -> None:
        args = {"env": ["WANDB_MODE=offline", "WANDB_PROJECT=theirs", "MINE=1=2"]}
        env = {"WANDB_MODE": "online", "WANDB_PROJECT": "ours"}
        run = runner.submit(
            self.sh(bench, "echo $WANDB_MODE $WANDB_PROJECT $MINE", env=env, resource_args=args)
        )
        end_of(run)
        assert run.logs(1) == "offline ours 1=2\n"

    def test_arguments_arrive_as_they_are(self, bench: Bench, runner: Runner) -> None:
        args = [
            "",
            "a b",
            "'",
            '"',
            "$HOME `id` $(id)",
            "a\nb",
            "\\",
            "*",
            "--x=1",
            "ä漢🚀",
            "-",
            "; exit 3",
            "\t",
        ]
        run = runner.submit(self.sh(bench, "for a; do printf '<%s>' \"$a\"; done", *args))
        assert end_of(run).state is RunState.FINISHED
        assert run.logs(100) == "".join(f"<{arg}>" for arg in args)

    def test_the_log_is_its_end(self, bench: Bench, runner: Runner) -> None:
        run = runner.submit(self.sh(bench, "i=0; while [ $i -lt 300 ]; do echo line $i; i=$((i+1)); done"))
        end_of(run)
        assert run.logs(3) == "line 297\nline 298\nline 299\n"

    def test_a_log_of_one_endless_line_is_cut(self, bench: Bench, runner: Runner) -> None:
        run = runner.submit(self.sh(bench, "head -c 3000000 /dev/zero; echo end"))
        end_of(run)
        text = run.logs(10)
        assert text.endswith("end\n")
        assert len(text) <= 1_000_000

    def test_the_working_directory_is_the_jobs(self, bench: Bench, runner: Runner) -> None:
        run = runner.submit(self.sh(bench, "pwd", working_dir="/tmp"))
        end_of(run)
        assert run.logs(1) == "/tmp\n"

    def test_a_silent_run_can_be_cancelled(self, bench: Bench, runner: Runner) -> None:
        run = runner.submit(self.sh(bench, POLITE))
        wait_until_ready(run)
        run.cancel()
        run.cancel()
        eventually(lambda: run.status().state in (RunState.STOPPING, RunState.STOPPED))
        assert end_of(run).state is RunState.STOPPED

    def test_a_run_that_ignores_the_signal_is_killed(self, bench: Bench, runner: Runner) -> None:
        run = runner.submit(self.sh(bench, STUBBORN, resource_args=bench.stubborn_args()))
        wait_until_ready(run)
        run.cancel()
        status = end_of(run)
        assert (status.state, status.exit_code) == (RunState.STOPPED, 137)

    def test_a_cancel_after_the_end_changes_nothing(self, bench: Bench, runner: Runner) -> None:
        run = runner.submit(self.sh(bench, "echo ready"))
        wait_until_ready(run)
        end_of(run)
        run.cancel()
        assert run.status().state is RunState.FINISHED
        (adopted,) = bench.runner().adopt(bench.agent)
        adopted.cancel()
        assert end_of(adopted).state is RunState.FINISHED

    def test_what_is_submitted_twice_runs_once(self, bench: Bench, runner: Runner) -> None:
        request = self.sh(bench, "echo once")
        with ThreadPoolExecutor(8) as pool:
            runs = list(pool.map(lambda _: bench.runner().submit(request), range(8)))
        assert len({run.id for run in runs}) == 1
        assert all(run.identity == request.identity for run in runs)
        assert {end_of(run).state for run in runs} == {RunState.FINISHED}
        again = bench.runner().submit(request)
        assert end_of(again).state is RunState.FINISHED
        assert again.logs(10) == "once\n"
        assert len(bench.left()) == 1

    def test_runs_are_found_again_after_a_restart(self, bench: Bench, runner: Runner) -> None:
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
        assert end_of(found["exit 0"]).state is RunState.FINISHED
        assert end_of(found["exit 3"]).exit_code == 3
        assert found[POLITE].logs(10) == "ready\n"
        found[POLITE].cancel()
        assert end_of(found[POLITE]).state is RunState.STOPPED
        assert end_of(before[POLITE]).state in (RunState.STOPPED, RunState.FINISHED)

    def test_a_stop_is_still_a_stop_after_a_restart(self, bench: Bench, runner: Runner) -> None:
        run = runner.submit(self.sh(bench, POLITE))
        wait_until_ready(run)
        run.cancel()
        end_of(run)
        (adopted,) = bench.runner().adopt(bench.agent)
        assert end_of(adopted).state is RunState.STOPPED

    def test_the_runs_of_another_agent_are_not_adopted(self, bench: Bench, runner: Runner) -> None:
        end_of(runner.submit(self.sh(bench, "exit 0")))
        assert runner.adopt(f"{bench.agent}-other") in ([], ())

    def test_a_start_that_was_cut_off_is_made_good(self, bench: Bench, runner: Runner) -> None:
        request = self.sh(bench, "echo once")
        bench.half_start(request)
        run = runner.submit(request)
        assert end_of(run).state is RunState.FINISHED
        assert run.logs(10) == "once\n"

    @pytest.mark.parametrize("delay", [number * 0.025 for number in range(12)])
    def test_an_agent_killed_while_it_submits_starts_one_run(
        self, bench: Bench, runner: Runner, delay: float
    ) -> None:
        request = self.sh(bench, "echo once")
        agent = subprocess.Popen(
            [sys.executable, "-c", AGENT.format(runner=bench.in_another_process())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert agent.stdin is not None
        assert agent.stdout is not None
        with agent.stdin, agent.stdout:
            agent.stdin.write(pickle.dumps(request))
            agent.stdin.close()
            assert agent.stdout.readline() == b"submits\n"
            with contextlib.suppress(subprocess.TimeoutExpired):
                agent.wait(timeout=delay)
            agent.kill()
            agent.wait()
        run = runner.submit(request)
        assert end_of(run).state is RunState.FINISHED
        assert run.logs(10) == "once\n"
        assert [found.identity for found in bench.runner().adopt(bench.agent)] == [request.identity]

    def test_an_entry_point_that_is_not_there_is_refused(self, bench: Bench, runner: Runner) -> None:
        with pytest.raises(SubmitRejected, match="no-such-program"):
            runner.submit(bench.request(entry_point=["no-such-program"]))
        assert not bench.left()

    def test_an_unknown_resource_arg_is_refused(self, bench: Bench, runner: Runner) -> None:
        with pytest.raises(SubmitRejected, match="no-such-option"):
            runner.submit(self.sh(bench, "exit 0", resource_args={"no-such-option": 1}))
        assert not bench.left()

    def test_builder_settings_are_not_the_runners(self, bench: Bench, runner: Runner) -> None:
        args = {"builder": {"accelerator": {"base_image": "x"}}}
        assert end_of(runner.submit(self.sh(bench, "exit 0", resource_args=args))).exit_code == 0

    def test_a_variable_without_a_value_is_refused(self, bench: Bench, runner: Runner) -> None:
        with pytest.raises(SubmitRejected, match="env"):
            runner.submit(self.sh(bench, "exit 0", resource_args={"env": ["WANDB_API_KEY"]}))

    def test_a_released_run_leaves_nothing(self, bench: Bench, runner: Runner) -> None:
        run = runner.submit(self.sh(bench, "echo x"))
        end_of(run)
        run.release()
        run.release()
        assert not bench.left()
        assert run.logs(10) == ""
        assert run.status().state is RunState.FINISHED

    def test_a_run_that_is_kept_is_not_adopted_again(self, bench: Bench) -> None:
        run = bench.runner(keep=True).submit(self.sh(bench, "echo kept"))
        end_of(run)
        run.release()
        assert run.logs(1) == "kept\n"
        assert len(bench.left()) == 1
        assert bench.runner(keep=True).adopt(bench.agent) in ([], ())

    def test_a_run_that_runs_is_not_released(self, bench: Bench, runner: Runner) -> None:
        run = runner.submit(self.sh(bench, POLITE))
        wait_until_ready(run)
        with pytest.raises(RunnerError):
            run.release()
        run.cancel()
        end_of(run)

    def test_a_run_that_vanishes_failed(self, bench: Bench, runner: Runner) -> None:
        run = runner.submit(self.sh(bench, POLITE))
        wait_until_ready(run)
        bench.remove_behind_our_back(run)
        status = end_of(run)
        assert status.state is RunState.FAILED
        assert status.reason

    def test_what_a_run_leaves_running_ends_with_it(self, bench: Bench, runner: Runner) -> None:
        mark = f"17{uuid.uuid4().int % 10**9}"
        run = runner.submit(self.sh(bench, f"sleep {mark} & echo ready"))
        end_of(run)
        eventually(lambda: not processes_with(mark), within=PATIENCE, what="the run's child ends")

    @pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
    def test_no_secret_is_in_a_command_line(self, bench: Bench, runner: Runner) -> None:
        secret = uuid.uuid4().hex
        seen: list[str] = []
        over = threading.Event()

        def watch() -> None:
            while not over.is_set():
                seen.extend(processes_with(secret))

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            run = runner.submit(self.sh(bench, POLITE, secret_env={"WANDB_API_KEY": Secret(secret)}))
            wait_until_ready(run)
            run.cancel()
            end_of(run)
        finally:
            over.set()
            watcher.join()
        assert not seen

    @pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
    def test_no_secret_is_in_another_process(self, bench: Bench, runner: Runner) -> None:
        secret = uuid.uuid4().hex
        request = self.sh(bench, "exec sleep 600", secret_env={"WANDB_API_KEY": Secret(secret)})
        run = runner.submit(request)
        eventually(
            lambda: [line.strip() for line in processes_with(secret, "environ")] == ["sleep 600"],
            within=PATIENCE,
            what="only the run has the secret",
        )
        run.cancel()

    def test_fifty_at_once(self, bench: Bench, runner: Runner) -> None:
        requests = [self.sh(bench, f"exit {number}") for number in range(50)]
        with ThreadPoolExecutor(50) as pool:
            runs = list(pool.map(runner.submit, requests))
        assert [end_of(run).exit_code for run in runs] == list(range(50))

    def test_the_env_limit_can_be_used(self, bench: Bench, runner: Runner) -> None:
        value = "🚀" * runner.env_limit
        run = runner.submit(self.sh(bench, "echo ${#BIG}", env={"BIG": value}))
        assert end_of(run).state is RunState.FINISHED


def processes_with(text: str, part: str = "cmdline") -> list[str]:
    """The command lines of the processes whose `cmdline` or `environ` holds a text."""
    found = []
    for path in Path("/proc").glob(f"[0-9]*/{part}"):
        try:
            if text.encode() in path.read_bytes():
                found.append(
                    (path.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                )
        except OSError:
            continue
    return found
