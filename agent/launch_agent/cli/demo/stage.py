"""Sets the demo up in a folder (server, queues, image, agent), plays it, and takes it down."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from launch_agent import plugins
from launch_agent.cli.demo.code import CodeJobs
from launch_agent.cli.demo.jobs import CODE_JOBS, JOBS, TRAINING, URGENT, Act
from launch_agent.errors import LaunchError
from launch_agent.queues.catalogue import Catalogue, QueueSettings
from launch_agent.queues.session import Session
from launch_agent.queues.submissions import Submissions
from launch_agent.server.serve import Server
from launch_agent.spec.secret import Secret

_ENTITY = "demo"
_CONTAINER = "local-container"
_PROCESS = "local-process"
# Where no image can be made from this machine's own programs, a small one that every registry mirror has.
_PULLED_IMAGE = "busybox:stable"
_AGENT_END_SECONDS = 15.0


class Stage:
    """A demo that is set up; leaving the context takes everything down but the logs."""

    def __init__(self, *, where: str, image: str, folder: Path | None) -> None:
        self.folder = folder or Path(tempfile.mkdtemp(prefix="launch-agent-demo-"))
        self.folder.mkdir(parents=True, exist_ok=True)
        self.acts = [Act(job=job) for job in JOBS]
        self._where = where
        self._image = image
        self._stack = ExitStack()
        self._agent: subprocess.Popen[bytes] | None = None
        self._agent_env: dict[str, str] = {}
        self._log_read = 0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._resource, why = _choose(self._where)
            if self._resource == _CONTAINER and not self._image:
                self._image = _make_image(stack, self.folder)
            self._server = stack.enter_context(Server(data_dir=self.folder / "server", entity=_ENTITY))
            session = Session(self._server.url, Secret(self._server.api_key))
            stack.callback(session.close)
            self._submissions = Submissions(session)
            for name, prioritized in ((TRAINING, False), (URGENT, True)):
                Catalogue(session).create(
                    QueueSettings(name=name, resource=self._resource, prioritized=prioritized)
                )
            code = self._publish(stack, session)
            self.introduction = self._introduce(why, code)
            for act in self.acts:
                if act.job.submitted_at < 0:
                    self._submit(act)
            self._agent = self._start_agent()
            stack.callback(self.end)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def is_over(self) -> bool:
        return all(act.has_ended for act in self.acts)

    @property
    def agent_log(self) -> Path:
        return self.folder / "agent.log"

    def play(self, seconds: float) -> None:
        """Do what is due at this time, and look at what has become of each job."""
        for act in self.acts:
            if not act.item_id and act.job.submitted_at <= seconds:
                self._submit(act)
        self._read_log()
        for act in self.acts:
            if act.item_id and not act.has_ended:
                self._look(act)
            if act.job.stop and act.started and not act.stop_sent:
                self._submissions.stop(self._submissions.find(act.item_id))
                act.stop_sent = True

    def check_agent(self) -> None:
        """Raise LaunchError where the agent has ended by itself."""
        if self._agent is not None and self._agent.poll() is not None:
            raise LaunchError(
                f"the agent ended with exit code {self._agent.returncode}", hint=f"see {self.agent_log}"
            )

    def end(self) -> None:
        """Have the agent drain, and wait for it. Doing so twice is harmless."""
        agent, self._agent = self._agent, None
        if agent is None:
            return
        agent.send_signal(signal.SIGTERM)
        try:
            agent.wait(_AGENT_END_SECONDS)
        except subprocess.TimeoutExpired:
            agent.kill()
            agent.wait()

    def _publish(self, stack: ExitStack, session: Session) -> str:
        """Add the jobs that are code, where images can be built; what to tell of them."""
        if self._resource != _CONTAINER:
            return "left out: their images are built where a Docker engine answers"
        code = CodeJobs(self.folder, self._image)
        stack.callback(code.remove_images)
        for act in (Act(job=job) for job in CODE_JOBS):
            if code.publish(stack, session, act):
                self.acts.append(act)
        self._agent_env |= code.environment
        return code.line

    def _introduce(self, why: str, code: str) -> str:
        how = f"containers of {self._image}" if self._resource == _CONTAINER else "processes of this machine"
        return (
            f"queue server  {self._server.url}\n"
            f"queues        {TRAINING} (first in, first out), {URGENT} (prioritised)\n"
            f"jobs run as   {how} ({why})\n"
            f"code jobs     {code}\n"
            f"logs          {self.folder}\n"
        )

    def _submit(self, act: Act) -> None:
        job = act.job
        command = ["python3", "-c", job.script] if job.forbidden else ["sh", "-c", job.script]
        spec: dict[str, Any] = {
            "entity": _ENTITY,
            "project": "demo",
            "name": job.name,
            "author": "demo-user",
            "resource": self._resource,
        }
        if act.reference:
            spec["job"] = act.reference
        else:
            spec["overrides"] = {"entry_point": command}
        if self._resource == _CONTAINER and not act.reference:
            spec["docker"] = {"docker_image": self._image}
            if job.forbidden:
                spec["resource_args"] = {_CONTAINER: {"privileged": True}}
        act.item_id = self._submissions.push(job.queue, spec, priority=job.priority)

    def _look(self, act: Act) -> None:
        found = self._submissions.find(act.item_id)
        act.state, act.run, act.message = found.state, found.run_id, found.error
        act.created = datetime.fromisoformat(found.created_at).timestamp()

    def _read_log(self) -> None:
        """Take from the agent's log when each run was started: to the moment, not to our next look."""
        by_item = {act.item_id: act for act in self.acts if act.item_id}
        with self.agent_log.open("rb") as file:
            file.seek(self._log_read)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._log_read += len(line)
                event = _event(line)
                act = by_item.get(event.get("item", ""))
                if act is not None and str(event.get("message", "")).endswith(" is started"):
                    act.started = datetime.fromisoformat(event["time"]).timestamp()

    def _start_agent(self) -> subprocess.Popen[bytes]:
        config = self.folder / "launch-config.yaml"
        config.write_text(json.dumps(self._agent_config(), indent=2))
        with self.agent_log.open("wb") as log:
            return subprocess.Popen(  # noqa: S603 - our own program, with a config that we wrote
                [sys.executable, "-m", "launch_agent", "start", "--config", str(config)],
                env={
                    **os.environ,
                    **self._agent_env,
                    "WANDB_API_KEY": self._server.api_key,
                    "WANDB_BASE_URL": self._server.url,
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A Ctrl-C at the terminal is for us; the agent is told when we have looked at everything.
                start_new_session=True,
            )

    def _agent_config(self) -> Mapping[str, Any]:
        return {
            "name": "demo-agent",
            "entity": _ENTITY,
            "queues": [URGENT, TRAINING],
            "max_jobs": 3,
            "base_url": self._server.url,
            "state-dir": str(self.folder / "state"),
            "log": {"format": "json"},
            "runner": {_PROCESS: {"enabled": self._resource == _PROCESS, "keep": True}},
            "policy": {"allow": {_PROCESS: {"entry-point": ["sh -c *"]}}},
        }


def _choose(where: str) -> tuple[str, str]:
    """The resource to run the jobs on, and why."""
    if where == "process":
        return _PROCESS, "as asked for"
    try:
        runner = plugins.load("runners", "docker").create({})
        try:
            runner.verify()
        finally:
            runner.close()
    except LaunchError as error:
        if where == "docker":
            raise
        return _PROCESS, f"no Docker engine: {error.message}"
    return _CONTAINER, "a Docker engine answers" if where == "auto" else "as asked for"


def _make_image(stack: ExitStack, folder: Path) -> str:
    """A small image with this machine's own shell, so that nothing has to be pulled; removed at the end."""
    from launch_agent.clients.docker_engine import connect, speaking
    from launch_agent.errors import ImageError
    from launch_agent.images.rootfs import image_from_host

    name = "launch-agent-demo"
    archive = folder / "image.tar"
    try:
        image_from_host(archive, ["sh", "sleep", "echo", "cat"])
    except ImageError:
        return _PULLED_IMAGE
    engine = connect()
    stack.callback(engine.close)
    with speaking("make the image of the demo"):
        engine.import_image(str(archive), repository=name, tag="latest")
    archive.unlink()

    def remove() -> None:
        with speaking("remove the image of the demo"):
            engine.remove_image(f"{name}:latest", force=True)

    stack.callback(remove)
    return f"{name}:latest"


def _event(line: bytes) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}
