"""The agent's pod goes, and its state folder with it, at each point of a launch; another takes its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launch_agent.server.serve import Server
from tests.cluster.test_faults import Made, judge, kubeconfig_for, push_many
from tests.fakes.agent_process import AgentProcess
from tests.fakes.backend import Backend
from tests.fakes.cluster_site import STATE, Site, site_on
from tests.fakes.control_plane import Cluster
from tests.fakes.eventually import eventually
from tests.fakes.fault_proxy import FaultProxy
from tests.fakes.kube_proxy import Call, Fault, KubeProxy
from tests.fakes.loopback import Raw, Reply, Request, drop

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(300)]
_SLOTS = 4


class Stage:
    """An agent whose requests to both sides come past here. `dies_at` ends it, once."""

    def __init__(self, site: Site, queue: FaultProxy, cluster: KubeProxy) -> None:
        self.site, self.queue, self.cluster = site, queue, cluster
        self.dead = False

    def agent(self, pod: str) -> AgentProcess:
        """In a pod of its own, with an empty state folder."""
        config = self.site.folder / "kubeconfig"
        config.write_text(kubeconfig_for(self.cluster.url))
        options = {"context": "proxy", "namespace": self.site.namespace}
        kept = {"name": f"{self.site.namespace}/{STATE}", "credentials": str(self.site.account)}
        return self.site.agent(
            pod,
            max_jobs=_SLOTS,
            runner={"kubernetes": options},
            variables={"KUBECONFIG": str(config)},
            **{"state-secret": kept},
        )

    def kept(self) -> set[str]:
        secret = self.site.kube.get("v1", "Secret", self.site.namespace, STATE)
        return set(secret.get("data") or {})


@pytest.fixture
def stage(kwok_cluster: Cluster, fake_namespace: str, tmp_path: Path) -> Iterator[Stage]:
    with (
        Server(data_dir=tmp_path / "server", entity="team", lease_seconds=4.0) as server,
        FaultProxy(server.url) as queue,
        KubeProxy(kwok_cluster.kube) as cluster,
        site_on(
            kwok_cluster,
            fake_namespace,
            Backend(url=queue.url, api_key=server.api_key, entity="team"),
            tmp_path,
        ) as site,
    ):
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": STATE}}
        site.kube.create(secret, fake_namespace)  # as the chart does
        yield Stage(site, queue, cluster)


def at_the_ack(stage: Stage, agent: AgentProcess, *, seen: bool) -> None:
    def strike(request: Request, forward: Callable[[], Reply]) -> Reply | Raw:
        if seen:
            forward()
        agent.kill()
        stage.dead = True
        return drop()

    stage.queue.next(strike, on="ackRunQueueItem")


def at_a_write(stage: Stage, agent: AgentProcess, part: str, fault: Fault) -> None:
    def strike(call: Call) -> Fault | None:
        if stage.dead:
            return None
        if not (call.writes and call.method == "POST" and call.path.partition("?")[0].endswith(part)):
            return None
        agent.kill()
        stage.dead = True
        return fault

    stage.cluster.strike = strike


POINTS: dict[str, Callable[[Stage, AgentProcess], None]] = {
    "before the ack arrives": lambda stage, agent: at_the_ack(stage, agent, seen=False),
    "after the ack": lambda stage, agent: at_the_ack(stage, agent, seen=True),
    # Which is after its Job.
    "before the Secret": lambda stage, agent: at_a_write(stage, agent, "/secrets", Fault.UNSEEN),
    "after the Secret": lambda stage, agent: at_a_write(stage, agent, "/secrets", Fault.LOST),
}


@pytest.mark.parametrize("point", POINTS)
def test_nothing_is_lost_and_nothing_twice(stage: Stage, point: str) -> None:
    site = stage.site
    made = Made(site)
    with made.looking():
        items = push_many(site, 2)
        first = stage.agent("one")
        POINTS[point](stage, first)
        first.start(ready=False)
        eventually(lambda: stage.dead, within=60, what=first.log)
        with stage.agent("two") as second:
            for item in items:
                site.await_state(item, "FINISHED")
            judge(site, made, items, log=lambda: second.log)
            eventually(lambda: stage.kept() == set(), within=30, what="no copy stays")
            assert "LaunchCutOff" not in second.log
