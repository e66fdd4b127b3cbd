from __future__ import annotations

import gc
import os
import signal
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from launch_agent import plugins
from launch_agent.clients.docker_engine import connect
from launch_agent.control.targets import KINDS
from launch_agent.errors import ContainerCannotRun, RunnerError, SubmitRejected
from launch_agent.images.rootfs import image_from_host
from launch_agent.runners.docker import create
from launch_agent.runners.docker.run import end_of as end_from
from launch_agent.spec import identity
from launch_agent.spec.model import Resource, RunRequest, RunState
from launch_agent.spec.secret import Secret
from tests.contracts.runner import POLITE, RunnerContract, end_of, identity_for, wait_until_ready
from tests.fakes.docker_engine import pid_of, private_engine
from tests.fakes.eventually import eventually

pytestmark = pytest.mark.docker
Bench = Any  # tests.runners.docker.conftest.DockerBench, which is no module to import


class TestDockerRunner(RunnerContract):
    @pytest.mark.req("AGT-10", "QUEUE-18")
    def test_it_is_what_the_resource_local_container_names(self, bench: Bench) -> None:
        kind = plugins.load("runners", KINDS[Resource.LOCAL_CONTAINER])
        runner = kind.create({"host": bench.engine.host, "network": bench.engine.network})
        run = runner.submit(bench.request(entry_point=["true"]))
        assert end_of(run).state is RunState.FINISHED
        runner.close()

    def test_a_run_never_started_is_started_by_the_agent_that_finds_it(self, bench: Bench) -> None:
        bench.half_start(self.sh(bench, "exit 5"))
        (run,) = bench.runner().adopt(bench.agent)
        assert end_of(run).exit_code == 5

    def test_a_run_never_started_that_cannot_start_failed(self, bench: Bench) -> None:
        bench.half_start(bench.request(entry_point=["no-such-program"]))
        (run,) = bench.runner().adopt(bench.agent)
        status = run.status()
        assert (status.state, status.reason) == (RunState.FAILED, "ContainerCannotRun")

    def test_a_run_never_started_can_be_cancelled(self, bench: Bench) -> None:
        request = self.sh(bench, "exit 0")
        runner = bench.runner()
        bench.half_start(request)
        run = runner._run(identity.object_name(request.identity), "x", request.identity, adopted=True)
        runner.stopper.stop(run._container, asked=run._note_asked, failed=lambda: None)
        eventually(lambda: not bench.left())
        assert end_of(run).state is RunState.STOPPED

    def test_an_entry_point_that_is_not_there_has_a_reason(self, bench: Bench) -> None:
        with pytest.raises(ContainerCannotRun) as caught:
            bench.runner().submit(bench.request(entry_point=["no-such-program"]))
        assert "entry point" in caught.value.hint

    def test_a_name_that_is_taken_by_another_job_is_refused(self, bench: Bench) -> None:
        runner = bench.runner()
        name = f"mine-{uuid.uuid4().hex}"
        first = runner.submit(self.sh(bench, "exit 0", resource_args={"name": name}))
        assert first.id == name
        with pytest.raises(SubmitRejected) as caught:
            runner.submit(self.sh(bench, "exit 0", resource_args={"name": name}))
        assert "${run_id}" in caught.value.hint

    def test_memory_that_runs_out_is_named(self, bench: Bench) -> None:
        script = "x=$(yes | head -c 100000000)"
        args = {"memory": "16m", "memory-swap": "16m"}
        status = end_of(bench.runner().submit(self.sh(bench, script, resource_args=args)))
        if status.exit_code != 137:
            pytest.skip("this engine's machine does not limit memory")
        # A busy engine does not always notice; the hint is the same then.
        assert status.reason in ("OOMKilled", "Killed")
        assert "memory" in status.hint

    def test_limits_reach_the_container(self, bench: Bench) -> None:
        script = "ulimit -n; id -u; pwd; cat /proc/self/limits >/dev/null; echo x >/f || echo read-only"
        args = {"ulimit": "nofile=77", "user": 1234, "workdir": "/tmp", "read_only": True}
        run = bench.runner().submit(self.sh(bench, script, resource_args=args))
        end_of(run)
        assert [line for line in run.logs(9).splitlines() if "cannot" not in line] == [
            "77",
            "1234",
            "/tmp",
            "read-only",
        ]

    def test_a_gpu_that_is_not_there_is_refused(self, bench: Bench) -> None:
        if "nvidia" in bench.engine.client.info().get("Runtimes", {}):
            pytest.skip("this engine has GPUs")
        with pytest.raises(SubmitRejected, match="device driver") as caught:
            bench.runner().submit(self.sh(bench, "exit 0", resource_args={"gpus": "all"}))
        assert "NVIDIA" in caught.value.hint
        assert not bench.left()

    def test_a_network_that_is_not_there_is_refused(self, bench: Bench) -> None:
        with pytest.raises(SubmitRejected, match="no-such-network"):
            bench.runner().submit(self.sh(bench, "exit 0", resource_args={"network": "no-such-network"}))
        assert not bench.left()

    def test_an_argument_that_the_engine_refuses_is_the_jobs_fault(self, bench: Bench) -> None:
        with pytest.raises(SubmitRejected, match="refuses"):
            bench.runner().submit(self.sh(bench, "exit 0", resource_args={"memory": "1k"}))

    def test_a_paused_container_runs_and_says_so(self, bench: Bench) -> None:
        run = bench.runner().submit(self.sh(bench, POLITE))
        wait_until_ready(run)
        bench.engine.client.pause(run.id)
        status = eventually(lambda: run.status() if run.status().reason else None)
        assert (status.state, status.reason) == (RunState.RUNNING, "Paused")
        bench.engine.client.unpause(run.id)

    def test_a_paused_container_can_be_stopped(self, bench: Bench) -> None:
        run = bench.runner().submit(self.sh(bench, POLITE, resource_args=bench.stubborn_args()))
        wait_until_ready(run)
        bench.engine.client.pause(run.id)
        run.cancel()
        assert end_of(run).state is RunState.STOPPED

    def test_a_stop_asked_for_just_before_the_agent_ends_is_sent(self, bench: Bench) -> None:
        runner = bench.runner()
        runs = [runner.submit(self.sh(bench, POLITE)) for _ in range(3)]
        for run in runs:
            wait_until_ready(run)
        for run in runs:
            run.cancel()
        runner.close()
        assert {end_of(run).state for run in bench.runner().adopt(bench.agent)} == {RunState.STOPPED}

    def test_a_container_with_a_terminal_has_a_log(self, bench: Bench) -> None:
        run = bench.runner().submit(self.sh(bench, "echo hello", resource_args={"tty": True}))
        end_of(run)
        assert run.logs(1).split() == ["hello"]

    def test_a_read_only_container_stops_too(self, bench: Bench) -> None:
        run = bench.runner().submit(self.sh(bench, POLITE, resource_args={"read-only": True}))
        wait_until_ready(run)
        run.cancel()
        assert end_of(run).state is RunState.STOPPED

    def test_the_key_is_in_the_runs_own_container_alone(self, bench: Bench) -> None:
        secret = uuid.uuid4().hex
        runner = bench.runner()
        holder = runner.submit(self.sh(bench, "exit 0", secret_env={"WANDB_API_KEY": Secret(secret)}))
        other = runner.submit(self.sh(bench, "exit 0"))
        inspected = {run.id: str(bench.engine.client.inspect_container(run.id)) for run in (holder, other)}
        assert inspected[holder.id].count(secret) == 1
        assert secret not in inspected[other.id]
        assert secret not in str(bench.containers())

    def test_one_listing_serves_all_runs(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        now = 100.0
        runner = bench.runner()
        runner.listing._clock = runner._clock = lambda: now
        runs = [runner.submit(self.sh(bench, POLITE)) for _ in range(5)]
        engine = runner.engine()
        asked: list[str] = []
        real = engine.request
        monkeypatch.setattr(engine, "request", lambda *a, **k: (asked.append(a[1]), real(*a, **k))[1])
        now = 102.0
        for _ in range(3):
            assert {run.status().state for run in runs} == {RunState.RUNNING}
        assert len(asked) == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_runs_are_unknown_not_failed_while_the_engine_is_away(engine_folder: Path, tmp_path: Path) -> None:
    """The SDK leaves its socket open where nobody listens; hence the warning that is let pass."""
    archive = image_from_host(tmp_path / "i.tar", ["sh", "sleep"])
    with private_engine(engine_folder) as host, closing(connect(host)) as client:
        client.import_image(str(archive), repository="i")
        _lose_and_find(engine_folder, host)
    del client
    gc.collect()  # here, and not in the midst of another test


def _lose_and_find(engine_folder: Path, host: str) -> None:
    runner = create({"host": host, "network": "none"})
    run = runner.submit(RunRequest(identity=identity_for("a"), image="i", entry_point=["sleep", "600"]))
    assert run.status().state is RunState.RUNNING

    def is_unknown() -> bool:
        try:
            return run.status() is None
        except RunnerError as error:
            return error.retryable

    os.kill(pid_of(engine_folder), signal.SIGKILL)
    eventually(is_unknown, what="the run is unknown")
    with private_engine(engine_folder):
        eventually(lambda: not is_unknown(), what="the run is known again")
    runner.close()


def test_an_engine_that_is_not_there_is_named_with_a_cure(bench: Bench) -> None:
    runner = bench.runner(host="unix:///nonexistent/docker.sock")
    with pytest.raises(RunnerError, match=r"nonexistent/docker\.sock") as caught:
        runner.verify()
    assert "DOCKER_HOST" in caught.value.hint
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("state", "reason", "hint"),
    [
        ({"ExitCode": 137, "OOMKilled": True, "Error": ""}, "OOMKilled", "memory"),
        ({"ExitCode": 137, "OOMKilled": False, "Error": ""}, "Killed", "someone"),
        ({"ExitCode": 127, "OOMKilled": False, "Error": ""}, "Error", "127"),
        ({"ExitCode": 126, "OOMKilled": False, "Error": ""}, "Error", "126"),
        ({"ExitCode": 127, "OOMKilled": False, "Error": "exec: x"}, "ContainerCannotRun", ""),
        (None, "ContainerGone", "output"),
    ],
)
def test_each_bad_end_has_a_reason(state: dict[str, Any] | None, reason: str, hint: str) -> None:
    status = end_from(state)
    assert (status.state, status.reason) == (RunState.FAILED, reason)
    assert hint in status.hint


def test_a_kill_of_a_run_with_a_limit_is_most_likely_for_memory() -> None:
    status = end_from({"ExitCode": 137, "OOMKilled": False, "Error": ""}, memory_limit=512 << 20)
    assert "512 MiB" in status.hint


def test_a_signals_name_is_told() -> None:
    assert "SIGSEGV" in end_from({"ExitCode": 139, "OOMKilled": False, "Error": ""}).message


def test_labels_bring_the_identity_back(bench: Bench) -> None:
    whose = identity_for(bench.agent)
    bench.runner().submit(bench.request(identity=whose, entry_point=["true"]))
    (run,) = bench.runner().adopt(bench.agent)
    assert run.identity == whose
