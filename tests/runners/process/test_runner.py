from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from launch_agent.errors import RunnerError, SubmitRejected
from launch_agent.runners import Run
from launch_agent.runners.process import ProcessRunner, create, default_work_dir, supervise
from launch_agent.spec import identity
from launch_agent.spec.model import RunRequest, RunState
from launch_agent.spec.secret import Secret
from tests.contracts.runner import (
    POLITE,
    RunnerContract,
    end_of,
    identity_for,
    processes_with,
    wait_until_ready,
)
from tests.fakes.eventually import eventually


class ProcessBench:
    def __init__(self, work: Path) -> None:
        self.agent = f"agent-{uuid.uuid4().hex[:8]}"
        self.work = work

    def runner(self, **options: Any) -> ProcessRunner:
        return ProcessRunner(self.work, **{"keep": False, "grace": 1, **options})

    def in_another_process(self) -> str:
        options = {"work-dir": str(self.work)}
        return f"__import__('launch_agent.runners.process', fromlist=['create']).create({options!r})"

    def request(self, **fields: Any) -> RunRequest:
        return RunRequest(identity=identity_for(self.agent), image="", **fields)

    def stubborn_args(self) -> Mapping[str, Any]:
        return {}

    def half_start(self, request: RunRequest) -> None:
        half = self.work / f"{identity.object_name(request.identity)}.new-1"
        half.mkdir(parents=True)
        (half / "run.json").write_text('{"labels"')

    def remove_behind_our_back(self, run: Run) -> None:
        os.kill(self.supervisor(run), signal.SIGKILL)

    def supervisor(self, run: Run) -> int:
        return int((self.work / run.id / "lock").read_text())

    def left(self) -> Sequence[str]:
        return [path.name for path in self.work.iterdir()] if self.work.exists() else []


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[ProcessBench]:
    made = ProcessBench(tmp_path / "runs")
    yield made
    for run in made.runner().adopt(made.agent):
        run.cancel()
        eventually(lambda run=run: run.status().state.is_terminal)  # type: ignore[misc]
        shutil.rmtree(made.work / run.id)


class TestProcessRunner(RunnerContract):
    pass


def sh(bench: ProcessBench, script: str, **fields: Any) -> RunRequest:
    return bench.request(entry_point=["sh", "-c", script], **fields)


AGENT = """
import os, sys
from pathlib import Path
from launch_agent.runners.process import ProcessRunner
from launch_agent.spec.model import RunRequest
from tests.contracts.runner import identity_for
script = "mkfifo go; echo ready; read line < go; echo $line; exit 9"
request = RunRequest(identity=identity_for(sys.argv[2]), image="", entry_point=["sh", "-c", script])
ProcessRunner(Path(sys.argv[1]), keep=False).submit(request)
os.kill(os.getpid(), 9)
"""


def test_a_run_outlives_the_agent_and_its_exit_code_is_known_to_the_next(bench: ProcessBench) -> None:
    done = subprocess.run(
        [sys.executable, "-c", AGENT, str(bench.work), bench.agent],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL
    (run,) = bench.runner().adopt(bench.agent)
    wait_until_ready(run)
    assert run.status().state is RunState.RUNNING
    (bench.work / run.id / "work/go").write_text("went on\n")
    assert end_of(run).exit_code == 9
    assert run.logs(1) == "went on\n"


def test_an_agent_that_dies_while_it_hands_over_starts_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    whole = "\0".join(["6", "{}", "", "2", "touch", str(tmp_path / "ran"), "A=1"]).encode()
    for cut in range(0, len(whole), 9):
        subprocess.run(
            [sys.executable, "-I", "-S", supervise.__file__, str(folder), "1"],
            input=whole[:cut],
            check=False,
            capture_output=True,
            timeout=30,
        )
    assert list(tmp_path.iterdir()) == []


def test_a_supervisor_that_is_killed_takes_its_run_along(bench: ProcessBench) -> None:
    mark = f"17{uuid.uuid4().int % 10**9}"
    run = bench.runner().submit(sh(bench, f"echo ready; sleep {mark} & wait"))
    wait_until_ready(run)
    os.kill(bench.supervisor(run), signal.SIGKILL)
    status = end_of(run)
    assert (status.state, status.reason) == (RunState.FAILED, "SupervisorLost")
    eventually(lambda: not processes_with(mark), what="the run is gone")


def test_a_machine_that_shuts_down_is_no_stop(bench: ProcessBench) -> None:
    run = bench.runner().submit(sh(bench, POLITE.replace("exit 0", "exit 4")))
    wait_until_ready(run)
    os.kill(bench.supervisor(run), signal.SIGTERM)
    status = end_of(run)
    assert (status.state, status.exit_code) == (RunState.FAILED, 4)


def test_the_state_holds_no_secret_and_is_the_users_own(bench: ProcessBench) -> None:
    secret = uuid.uuid4().hex
    run = bench.runner().submit(sh(bench, "exit 0", secret_env={"WANDB_API_KEY": Secret(secret)}))
    end_of(run)
    folder = bench.work / run.id
    assert folder.stat().st_mode & 0o077 == 0
    assert all(secret.encode() not in path.read_bytes() for path in folder.iterdir() if path.is_file())
    assert json.loads((folder / "run.json").read_text())["labels"]


def test_the_environment_is_small_and_nothing_of_pythons(bench: ProcessBench) -> None:
    run = bench.runner().submit(bench.request(entry_point=["env"], env={"MINE": "1"}))
    end_of(run)
    names = {line.partition("=")[0] for line in run.logs(100).splitlines()}
    assert names >= {"PATH", "MINE"}
    assert names <= {"PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "TZ", "MINE"}


def test_signals_are_as_at_a_shell(bench: ProcessBench) -> None:
    """Python ignores SIGPIPE, which its children would inherit: `yes | head` would complain, or not end."""
    run = bench.runner().submit(sh(bench, "yes | head -1; trap"))
    assert end_of(run).exit_code == 0
    assert run.logs(10) == "y\n"


def test_without_an_entry_point_there_is_nothing_to_run(bench: ProcessBench) -> None:
    with pytest.raises(SubmitRejected) as caught:
        bench.runner().submit(bench.request())
    assert "entry_point" in caught.value.hint


def test_a_program_that_may_not_be_executed_is_refused(bench: ProcessBench, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("x")
    with pytest.raises(SubmitRejected, match="Permission denied"):
        bench.runner().submit(bench.request(entry_point=[str(tmp_path / "data")]))


def test_a_working_directory_that_is_not_there_is_refused(bench: ProcessBench) -> None:
    with pytest.raises(SubmitRejected, match="no/such"):
        bench.runner().submit(bench.request(entry_point=["true"], working_dir="/no/such"))


def test_a_variable_without_a_name_is_refused(bench: ProcessBench) -> None:
    with pytest.raises(SubmitRejected, match="variable"):
        bench.runner().submit(bench.request(entry_point=["true"], env={"": "x"}))
    assert not bench.left()


def test_more_than_the_machine_takes_is_refused(bench: ProcessBench) -> None:
    with pytest.raises(SubmitRejected, match="too long"):
        bench.runner().submit(bench.request(entry_point=["true"], args=["x" * 200_000]))
    assert not bench.left()


def test_a_nul_is_refused(bench: ProcessBench) -> None:
    with pytest.raises(SubmitRejected, match="NUL"):
        bench.runner().submit(bench.request(entry_point=["echo", "a\0b"]))


def test_half_made_folders_are_swept_when_they_are_old(bench: ProcessBench) -> None:
    for name, age in (("old.new-1", 3600), ("young.new-2", 0)):
        path = bench.work / name
        path.mkdir(parents=True)
        os.utime(path, (time.time() - age,) * 2)
    assert bench.runner().adopt(bench.agent) == []
    assert bench.left() == ["young.new-2"]
    shutil.rmtree(bench.work)


def test_folders_that_are_no_runs_are_left_alone(bench: ProcessBench) -> None:
    (bench.work / "mine").mkdir(parents=True)
    (bench.work / "run").mkdir()
    (bench.work / "run/run.json").write_text("[]")
    assert bench.runner().adopt(bench.agent) == []
    assert sorted(bench.left()) == ["mine", "run"]


def test_verify_changes_nothing(tmp_path: Path) -> None:
    ProcessRunner(tmp_path / "a/b", keep=False).verify()
    assert list(tmp_path.iterdir()) == []


def test_a_work_dir_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    runner = create({"work-dir": str(tmp_path / "file/runs")})
    with pytest.raises(RunnerError, match="file") as caught:
        runner.verify()
    assert "work-dir" in caught.value.hint


def test_runs_live_in_the_users_folder_for_state() -> None:
    assert default_work_dir({"XDG_STATE_HOME": "/s"}) == Path("/s/launch-agent/runs")
