"""What the whole-agent tests share: one server, one Docker engine, agents that clear up after themselves."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from launch_agent.clients.docker_engine import NotFound
from launch_agent.runners.docker.listing import list_containers
from launch_agent.runners.docker.stopping import was_reported
from launch_agent.server.serve import Server
from tests.fakes.agent_process import AgentProcess
from tests.fakes.backend import Backend
from tests.fakes.docker_engine import TestEngine
from tests.fakes.eventually import eventually

ENDS = ("FINISHED", "FAILED", "STOPPED", "PREEMPTED")


class Site:
    """A server and an engine; `image` is on the engine."""

    def __init__(self, server: Server, engine: TestEngine, image: str, folder: Path) -> None:
        self.server = server
        self.engine = engine
        self.image = image
        self.backend = Backend(url=server.url, api_key=server.api_key, entity="team")
        self._folder = folder

    def queue(self, config: Mapping[str, Any] | None = None) -> str:
        """A new queue for local containers, with this part of its config."""
        name = f"q-{uuid.uuid4().hex[:8]}"
        self.backend.create_queue(name, "local-container", config)
        return name

    def push(self, queue: str, *entry_point: str, **fields: Any) -> str:
        """Push an image job; `args` and the other overrides go by their names, the rest is the spec's."""
        known = ("args", "run_config", "working_dir")
        overrides = {key: fields.pop(key) for key in known if key in fields}
        spec = {
            "project": "train",
            "resource": "local-container",
            "docker": {"docker_image": self.image},
            "overrides": {"entry_point": list(entry_point), **overrides},
        }
        return self.backend.push(queue, {**spec, **fields})

    @contextmanager
    def agent(
        self,
        *queues: str,
        runner: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        **config: Any,
    ) -> Iterator[Agent]:
        """An agent of a name of its own, started; its containers go when the block ends. `environment` is
        laid over the test's own."""
        name = f"e2e-{uuid.uuid4().hex[:8]}"
        folder = self._folder / name
        folder.mkdir()
        options = {"host": self.engine.host, "keep": True, **(runner or {})}
        process = AgentProcess(
            folder,
            self.server.url,
            self.server.api_key,
            environment,
            **{
                "name": name,
                "queues": list(queues),
                "max_jobs": -1,
                "log": {"level": "debug"},
                "runner": {"local-container": options},
                "policy": {},
                **config,
            },
        )
        agent = Agent(self, name, process)
        try:
            with process:
                yield agent
        except Exception as error:
            error.add_note(f"the agent's log ends so:\n{process.log[-6000:]}")
            raise
        finally:
            for container in list_containers(self.engine.client, name):
                self.engine.client.remove_container(container, force=True, v=True)

    def ended(self, item: str, within: float = 30.0) -> dict[str, Any]:
        """The item, once it has come to an end."""

        def probe() -> dict[str, Any]:
            found = self.backend.item(item)
            assert found["detailedState"] in ENDS, found
            return found

        return eventually(probe, within=within, every=0.05)

    def finished(self, item: str, within: float = 30.0) -> dict[str, Any]:
        found = self.ended(item, within)
        assert found["detailedState"] == "FINISHED", found
        return found

    def failed(self, item: str, within: float = 30.0) -> str:
        """The message of the item's failure."""
        found = self.ended(item, within)
        assert found["detailedState"] == "FAILED", found
        return str(found["error"]["message"])


class Agent:
    """One agent process and its containers."""

    def __init__(self, site: Site, name: str, process: AgentProcess) -> None:
        self._site = site
        self.name = name
        self.process = process

    @property
    def log(self) -> str:
        return self.process.log

    def restart(self) -> int:
        """Start the process again; where its log goes on."""
        self.process.kill()
        begin = len(self.log)
        self.process.start(ready=False)
        eventually(lambda: " polls " in self.log[begin:], within=30)
        return begin

    def containers(self, item: str = "") -> Sequence[Mapping[str, Any]]:
        """What the engine's inspect says of the containers of this agent, or of one item alone."""
        client = self._site.engine.client
        found = []
        for container in list_containers(client, self.name).values():
            if not item or container["Labels"]["launch-agent/item-id"] == item:
                with suppress(NotFound):  # the agent removed it meanwhile
                    found.append(client.inspect_container(container["Id"]))
        return found

    def container(self, item: str) -> Mapping[str, Any]:
        (found,) = self.containers(item)
        return found

    def running(self, item: str) -> Mapping[str, Any]:
        """The item's container, once it runs."""

        def probe() -> Mapping[str, Any]:
            found = self.containers(item)
            assert [container["State"]["Running"] for container in found] == [True], found
            return found[0]

        return eventually(probe, within=30, every=0.05)

    def output(self, item: str) -> list[str]:
        """The lines that the item's container printed."""
        client = self._site.engine.client
        return list(client.logs(self.container(item)["Id"]).decode().splitlines())

    def is_marked(self, item: str) -> bool:
        """Whether the end of the item's container, which is kept, has been told."""
        return was_reported(self._site.engine.client, self.container(item)["Id"])

    def signal(self, item: str, name: str) -> None:
        self._site.engine.client.kill(self.container(item)["Id"], signal=name)


@pytest.fixture(scope="module")
def site(
    docker_engine: TestEngine, tiny_image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("e2e")
    with Server(data_dir=folder / "server", entity="team") as server:
        yield Site(server, docker_engine, tiny_image, folder)
