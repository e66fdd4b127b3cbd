"""Starts runs as supervised processes, and finds those of an earlier agent again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from launch_agent.errors import RunnerError, SubmitRejected
from launch_agent.runners.env import PAIRS_FORM, merged, pairs
from launch_agent.runners.exits import status_of
from launch_agent.runners.process import supervise
from launch_agent.runners.process.folder import Folder
from launch_agent.spec import identity
from launch_agent.spec.model import RunIdentity, RunRequest, RunState, RunStatus

# Seconds between the first signal and SIGKILL, as Docker has it.
GRACE_SECONDS = 10
_START_TIMEOUT = 30.0  # seconds; a busy machine takes its time to start an interpreter
_LONGEST_LOG = 1_000_000  # bytes
_HALF_MADE_SECONDS = 60.0
# What a program needs to find its way about; none of it is a credential.
_FROM_AGENT = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "TZ")


class ProcessRunner:
    """The target resource `local-process`. `work` holds a folder for each run; `grace` is seconds."""

    def __init__(self, work: Path, *, keep: bool, grace: int = GRACE_SECONDS) -> None:
        self._work = work
        self._grace = grace
        self.keep = keep

    @property
    def env_limit(self) -> int:
        """As for containers: safely below the 128 KiB that Linux allows one variable (MAX_ARG_STRLEN)."""
        return 32_670

    def verify(self) -> None:
        """Whether the folder of runs can be written to, or be made."""
        there = next(path for path in (self._work, *self._work.absolute().parents) if path.exists())
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            raise self._unusable(OSError(f"{there} is not a folder that the agent may write to"))

    def submit(self, request: RunRequest) -> ProcessRun:
        if not request.entry_point:
            raise SubmitRejected(
                "a job on local-process needs an entry point: there is no image that has one",
                hint="set overrides.entry_point",
            )
        env = _environment(request)
        folder = Folder(self._work / identity.object_name(request.identity))
        if not folder.path.exists():
            self._make_work()
            answer = self._start(folder.path, request, env)
            if answer == "ok":
                return ProcessRun(self, folder, request.identity)
            if answer != "exists":
                raise SubmitRejected(
                    f"cannot start the process: {answer.removeprefix('failed ')}",
                    hint="is the entry point a program of this machine?",
                )
        return ProcessRun(self, folder, request.identity)

    def adopt(self, agent: str) -> Sequence[ProcessRun]:
        runs = []
        try:
            paths = sorted(self._work.iterdir())
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise self._unusable(error) from error
        for path in paths:
            folder = Folder(path)
            if ".new-" in path.name:
                _sweep(folder)
                continue
            whose = folder.identity()
            if whose is not None and whose.agent == agent and not folder.is_reported():
                runs.append(ProcessRun(self, folder, whose))
        return runs

    def close(self) -> None:
        """Nothing is held open."""

    def _make_work(self) -> None:
        try:
            self._work.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from error

    def _start(self, folder: Path, request: RunRequest, env: Mapping[str, str]) -> str:
        state = json.dumps({"labels": identity.to_labels(request.identity)})
        command = [*request.entry_point, *request.args]
        variables = [f"{key}={value}" for key, value in env.items()]
        parts = [state, request.working_dir, str(len(command)), *command, *variables]
        if any("\0" in part for part in parts):
            raise SubmitRejected("the command, its arguments and variables may not hold a NUL character")
        whole = "\0".join([str(len(parts)), *parts]).encode(errors="surrogateescape")
        try:
            done = subprocess.run(  # noqa: S603 - our own script; the command goes in by standard input
                [sys.executable, "-I", "-S", supervise.__file__, str(folder), str(self._grace)],
                input=whole,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=_START_TIMEOUT,
                check=False,
                cwd="/",
                env={},
                start_new_session=True,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise RunnerError(
                f"cannot start a supervisor for {folder.name}: {error}", retryable=True
            ) from error
        answer = done.stdout.decode(errors="replace")
        if not answer:
            raise RunnerError(f"the supervisor of {folder.name} ended before it started the process")
        return answer

    def _unusable(self, error: OSError) -> RunnerError:
        return RunnerError(
            f"cannot use {self._work} as the folder of runs: {error.strerror or error}",
            hint="set runner.local-process.work-dir to a folder of the agent's user",
        )


class ProcessRun:
    """A process and its folder, whoever started it."""

    def __init__(self, runner: ProcessRunner, folder: Folder, whose: RunIdentity) -> None:
        self._runner = runner
        self._folder = folder
        self._identity = whose
        self._end: RunStatus | None = None

    @property
    def id(self) -> str:
        return self._folder.path.name

    @property
    def identity(self) -> RunIdentity:
        return self._identity

    def status(self) -> RunStatus:
        if self._end is None and not self._folder.is_supervised():
            self._end = self._how_it_ended()
        if self._end is not None:
            return self._end
        return RunStatus(state=RunState.STOPPING if self._folder.is_stopped() else RunState.RUNNING)

    def _how_it_ended(self) -> RunStatus:
        code = self._folder.exit_code()
        if self._folder.is_stopped():
            self._folder.end_orphans()
            return RunStatus(state=RunState.STOPPED, reason="Stopped", exit_code=code)
        if code is not None:
            return status_of(code, if_killed="someone killed it, or the machine had no memory left")
        self._folder.end_orphans()
        return RunStatus(
            state=RunState.FAILED,
            reason="SupervisorLost",
            message="the process that watched the run was killed, and the run with it",
            hint="the machine was restarted, or had no memory left: see the kernel's log",
        )

    def logs(self, tail: int) -> str:
        text = self._folder.log_end(_LONGEST_LOG).decode(errors="replace")
        return "".join(text.splitlines(keepends=True)[-tail:])

    def cancel(self) -> None:
        try:
            self._folder.stop()
        except PermissionError as error:
            raise RunnerError(f"cannot stop {self.id}: its supervisor is another user's") from error

    def release(self) -> None:
        if self._folder.is_supervised():
            raise RunnerError(f"cannot remove {self.id}: it runs", hint="cancel it first")
        try:
            if self._runner.keep:
                self._folder.note_reported()
            else:
                shutil.rmtree(self._folder.path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise RunnerError(f"cannot clear away {self._folder.path}: {error}") from error


def _environment(request: RunRequest) -> dict[str, str]:
    """Raises SubmitRejected for resource args other than `env` (and `builder`, which is not a runner's)."""
    theirs: dict[str, str] = {}
    for key, value in request.resource_args.items():
        if key == "env" and value is not None:
            try:
                theirs = pairs(value)
            except ValueError as error:
                raise SubmitRejected(f"resource_args.local-process.env is not {PAIRS_FORM}") from error
        elif key not in ("env", "builder"):
            raise SubmitRejected(
                f"resource_args.local-process.{key} is not known",
                hint="`env` is the only one: a process has no container whose limits could be set",
            )
    base = {name: os.environ[name] for name in _FROM_AGENT if name in os.environ}
    return {"PATH": os.defpath, **base, **merged(request, theirs)}


def _sweep(folder: Folder) -> None:
    """Remove what a supervisor left that was killed before it could give its folder the name."""
    try:
        old = time.time() - folder.path.stat().st_mtime > _HALF_MADE_SECONDS
    except FileNotFoundError:
        return
    if old and not folder.is_supervised():
        shutil.rmtree(folder.path, ignore_errors=True)
