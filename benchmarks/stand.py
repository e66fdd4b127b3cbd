"""The stand on which agents are measured: a server, a proxy that counts, a Docker engine, its start events.

Everything that is measured is measured from outside: requests at the proxy, starts at the engine, memory in
/proc. So both agents are treated alike, and neither has to be trusted with counting itself.
"""

from __future__ import annotations

import contextlib
import queue
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.counting_proxy import CountingProxy, counting_proxy
from benchmarks.upstream_agent import Memory, memory_of, upstream_agent
from launch_agent.clients.docker_engine import connect
from launch_agent.images.rootfs import image_from_host
from tests.fakes.agent_process import AgentProcess
from tests.fakes.backend import Backend
from tests.fakes.docker_engine import TestEngine, engine
from tests.fakes.registry import registry
from tests.fakes.server_process import ServerProcess

OURS, OURS_POLLING, THEIRS = "launch-agent", "launch-agent, 1 s polls", "wandb 0.31.0"
_QUEUE = "q"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """`backend` speaks to the server directly, the agents through `proxy`. `starts` gets a container's start
    as seconds since 1970, by the engine's clock."""

    backend: Backend
    proxy: CountingProxy
    docker: TestEngine
    image: str
    folder: Path
    starts: queue.SimpleQueue[float]

    def push(self, script: str) -> str:
        spec = {
            "project": "p",
            "resource": "local-container",
            "docker": {"docker_image": self.image},
            # As arguments: the official agent runs no entry point that a spec brings, and the image has none.
            "overrides": {"args": ["sh", "-c", script]},
        }
        return self.backend.push(_QUEUE, spec)

    def collect(self, number: int, within: float) -> list[float]:
        """The next starts. Raises TimeoutError where they do not come in time."""
        deadline = time.monotonic() + within
        found: list[float] = []
        while len(found) < number:
            try:
                found.append(self.starts.get(timeout=max(0.0, deadline - time.monotonic())))
            except queue.Empty:
                raise TimeoutError(
                    f"{len(found)} of {number} containers started within {within:g} s"
                ) from None
        return found

    def containers(self) -> list[str]:
        return [str(found["Id"]) for found in self.docker.client.containers(filters={"ancestor": self.image})]

    def clear(self) -> None:
        """Remove every container of the image, running or not, when the polls of the last agent are over."""
        if not self.proxy.wait_idle(60):
            raise TimeoutError("requests of an agent that has ended are still under way")
        for found in self.docker.client.containers(all=True, filters={"ancestor": self.image}):
            self.docker.client.remove_container(found["Id"], force=True, v=True)
        while not self.starts.empty():
            self.starts.get()


@contextmanager
def stand(*, latency: float = 0.0) -> Iterator[Stand]:
    """A new server and queue. `latency` (seconds) is added to every request of an agent."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        docker = stack.enter_context(engine())
        server = stack.enter_context(ServerProcess(folder / "server"))
        backend = Backend(url=server.url, api_key=server.api_key, entity="team")
        backend.create_queue(_QUEUE, "local-container")
        proxy = stack.enter_context(counting_proxy(server.url, latency=latency))
        address = stack.enter_context(registry(folder / "registry"))
        image = _image(docker, address, folder)
        starts: queue.SimpleQueue[float] = queue.SimpleQueue()
        # A connection of its own: between two starts the engine is silent for longer than other calls may be.
        listener = stack.enter_context(contextlib.closing(connect(docker.host, silence=3600)))
        events = listener.events(decode=True, filters={"type": "container", "event": "start", "image": image})
        threading.Thread(target=_listen, args=(events, starts), daemon=True).start()
        found = Stand(backend=backend, proxy=proxy, docker=docker, image=image, folder=folder, starts=starts)
        stack.callback(docker.client.remove_image, image, force=True)
        stack.callback(found.clear)
        yield found
        events.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """An agent under measurement."""

    pids: Any

    def memory(self) -> Memory:
        return memory_of(self.pids())


@contextmanager
def agent(stand: Stand, subject: str, *, max_jobs: int = -1) -> Iterator[Running]:
    """One of the agents on the stand's queue, ready to take jobs."""
    key, docker_host = stand.backend.api_key, stand.docker.host
    if subject == THEIRS:
        with upstream_agent(
            stand.proxy.url,
            key,
            "team",
            [_QUEUE],
            max_jobs=max_jobs,
            environment={"DOCKER_HOST": docker_host},
        ) as upstream:
            _wait_registered(stand)
            yield Running(pids=upstream.sandbox.pids)
        return
    folder = stand.folder / f"agent-{time.monotonic_ns()}"
    folder.mkdir()
    polls: dict[str, Any] = {"poll-interval": 1, "poll-wait": 0 if subject == OURS_POLLING else 20}
    ours = AgentProcess(
        folder,
        stand.proxy.url,
        key,
        max_jobs=max_jobs,
        runner={"local-container": {"host": docker_host}},
        policy={},
        **polls,
    )
    with ours:
        _wait_registered(stand)
        yield Running(pids=lambda: [ours.pid])


def _wait_registered(stand: Stand) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if any(found["agentStatus"] == "POLLING" for found in stand.backend.agents()):
            return
        time.sleep(0.1)
    raise TimeoutError("the agent did not register within 60 s")


def _listen(events: Any, starts: queue.SimpleQueue[float]) -> None:
    for event in events:
        starts.put(event["timeNano"] / 1e9)


def _image(
    docker: TestEngine, address: str, folder: Path, programs: Sequence[str] = ("sh", "sleep", "true")
) -> str:
    """An image that lies on the engine and in a registry: the official agent pulls it before each run."""
    archive = image_from_host(folder / "image.tar", programs)
    name = f"{address}/bench"
    docker.client.import_image(str(archive), repository=name, tag="1")
    for answer in docker.client.push(name, tag="1", stream=True, decode=True):
        if "error" in answer:
            raise RuntimeError(answer["error"])
    return f"{name}:1"
