"""Several agents of one release: one works, the others take over; with the rights that the chart gives.

The agents are processes here, since there are no nodes; API server, account, token, Role and Lease are real.
"""

from __future__ import annotations

import json
import signal
import socket
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import urllib3

from launch_agent.clients.kube_lease import Conflict, KubeLease, Record
from launch_agent.errors import ConfigError, LaunchError
from launch_agent.server.serve import Server
from tests.fakes.agent_process import AgentProcess
from tests.fakes.backend import Backend
from tests.fakes.control_plane import Cluster
from tests.fakes.engine_proxy import EngineProxy
from tests.fakes.eventually import eventually
from tests.fakes.helm import CHART, Helm
from tests.fakes.kube import Kube

pytestmark = pytest.mark.timeout(300)

# Seconds that a busy machine may add to the fifteen of the lease and the ten of a holder's time.
SLACK = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What the chart gave its agents: the Lease, `namespace/name`, and the folder of a pod's account."""

    kube: Kube
    lease: str
    account: Path

    def client(self, *, port: int = 0, account: Path | None = None) -> KubeLease:
        namespace, _, name = self.lease.partition("/")
        there = urlsplit(self.kube.url)
        environment = {
            "KUBERNETES_SERVICE_HOST": str(there.hostname),
            "KUBERNETES_SERVICE_PORT": str(port or there.port),
        }
        return KubeLease(
            namespace, name, environment=environment, account=account or self.account, timeout=5.0
        )

    def stored(self) -> dict[str, Any]:
        namespace, _, name = self.lease.partition("/")
        found = self.kube.get("coordination.k8s.io/v1", "Lease", namespace, name)
        return found or {"metadata": {}, "spec": {}}


@pytest.fixture
def release(cluster_helm: Helm, cluster: Cluster, namespace: str, tmp_path: Path) -> Iterator[Release]:
    name = f"gpu-{uuid.uuid4().hex[:6]}"
    values = {"agent": {"apiKey": "0" * 40, "replicas": 2}, "launchConfig": {"queues": ["q"]}}
    arguments = ("install", name, str(CHART), "-n", namespace, "-f", "-")
    cluster_helm.run(*arguments, stdin=json.dumps(values))
    (deployment,) = cluster.kube.items("apps/v1", "Deployment", namespace)
    pod = deployment["spec"]["template"]["spec"]
    told = {each["name"]: each.get("value", "") for each in pod["containers"][0]["env"]}
    account = tmp_path / "account"
    account.mkdir()
    (account / "token").write_text(cluster.kube.token(namespace, pod["serviceAccountName"]))
    (account / "ca.crt").write_bytes(cluster.kube.authority.read_bytes())
    yield Release(kube=cluster.kube, lease=told["LAUNCH_AGENT_LEASE"], account=account)
    cluster_helm.run("uninstall", name, "-n", namespace)


def test_the_lease_is_made_changed_and_kept_whole(release: Release) -> None:
    lease = release.client()
    assert lease.read() is None
    first = lease.write(Record(holder="a", duration=15, resources=frozenset({"kubernetes"})))
    assert first == lease.read()
    assert (first.holder, first.duration, first.resources) == ("a", 15.0, {"kubernetes"})
    where = release.kube.path("coordination.k8s.io/v1", "Lease", *release.lease.split("/"))
    patch = {"metadata": {"labels": {"team": "research"}, "annotations": {"note": "ours"}}}
    release.kube.call("PATCH", where, patch, content="application/merge-patch+json")
    with pytest.raises(Conflict):
        lease.write(first)
    seen = lease.read()
    assert seen is not None
    given_back = lease.write(
        Record(holder="", duration=1, transitions=3, version=seen.version, rest=seen.rest)
    )
    assert given_back.holder == ""
    stored = release.stored()
    assert stored["metadata"]["labels"] == {"team": "research"}
    assert stored["metadata"]["annotations"] == {"note": "ours", "launch-agent/resources": "kubernetes"}
    assert "holderIdentity" not in stored["spec"]
    assert stored["spec"]["leaseTransitions"] == 3
    release.kube.delete("coordination.k8s.io/v1", "Lease", *release.lease.split("/"))
    with pytest.raises(Conflict):
        lease.write(given_back)
    lease.write(Record(holder="a", duration=15))
    with pytest.raises(Conflict):
        lease.write(Record(holder="b", duration=15))
    lease.close()


def test_what_is_in_the_way_is_said(release: Release, namespace: str, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()

    def problem(**client: Any) -> str:
        lease = release.client(account=other, **client)
        with pytest.raises(LaunchError) as caught:
            lease.read()
        lease.close()
        assert caught.value.retryable
        assert release.lease in caught.value.message
        return str(caught.value)

    assert "automountServiceAccountToken" in problem()
    (other / "token").write_text("x.y.z")
    assert "ca.crt" in problem()
    (other / "ca.crt").write_bytes(release.kube.authority.read_bytes())
    assert "401" in problem()
    (other / "token").write_text(release.kube.token(namespace, "default"))
    assert "get and update on this Lease" in problem()
    assert "127.0.0.1" in problem(port=9)
    with pytest.raises(ConfigError, match="this is no pod"):
        KubeLease("a", "b", environment={}, account=other, timeout=1)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(data_dir=tmp_path / "server", entity="team") as server:
        yield server


@pytest.fixture
def backend(server: Server) -> Backend:
    backend = Backend(url=server.url, api_key=server.api_key, entity="team")
    backend.create_queue("q", "local-process")
    return backend


@pytest.fixture
def agents(
    release: Release, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """Makes agents of one name: each has a state folder of its own, runs are where all can find them."""
    made: list[AgentProcess] = []
    there = urlsplit(release.kube.url)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", str(there.hostname))
    monkeypatch.setenv("LAUNCH_AGENT_LEASE", release.lease)

    def make(name: str, *, port: int = 0, **config: Any) -> AgentProcess:
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(port or there.port))
        runner = {"local-process": {"enabled": True, "work-dir": str(tmp_path / "runs")}}
        election = {"credentials": str(release.account)}
        config = {"runner": runner, "leader-election": election, **config}
        made.append(AgentProcess(folder, server.url, server.api_key, **config))
        return made[-1]

    yield make
    for agent in made:
        agent.kill()


def stand_by(agent: AgentProcess) -> None:
    before = agent.log.count("standing by")
    agent.start(ready=False)
    eventually(lambda: agent.log.count("standing by") > before, within=30, what="the agent stands by")


def job(script: str) -> dict[str, Any]:
    return {
        "project": "p",
        "resource": "local-process",
        "overrides": {"entry_point": ["sh", "-c", script]},
    }


def ended(backend: Backend, item: str) -> bool:
    return bool(backend.item(item)["detailedState"] == "FINISHED")


def test_another_takes_over_from_one_that_is_killed_or_ends(
    agents: Any, backend: Backend, tmp_path: Path, release: Release
) -> None:
    go, starts = tmp_path / "go", tmp_path / "starts"
    port = free_port()
    first, second = agents("one"), agents("two", metrics={"port": port})
    first.start()
    stand_by(second)
    assert ready(port) == (200, "standing by\n")
    item = backend.push("q", job(f"echo x >> {starts}; until [ -e {go} ]; do sleep 0.1; done"))
    eventually(lambda: "is started" in first.log, within=30)
    assert release.stored()["metadata"]["annotations"] == {"launch-agent/resources": "local-process"}
    first.kill()
    since = time.monotonic()
    eventually(lambda: "is adopted" in second.log, within=15 + SLACK, what="the second adopts the run")
    assert time.monotonic() - since > 9  # not before the first one's time was over
    eventually(lambda: ready(port) == (200, "ok\n"))
    stand_by(first)
    go.touch()
    eventually(lambda: ended(backend, item), within=20)
    assert starts.read_text() == "x\n"

    second.signal(signal.SIGTERM)
    assert second.wait() == 0
    since = time.monotonic()
    eventually(lambda: first.log.count(" polls ") == 2, within=SLACK, what="the first polls again")
    assert time.monotonic() - since < 14
    later = backend.push("q", job("true"))
    eventually(lambda: ended(backend, later), within=20)
    assert release.stored()["spec"]["leaseTransitions"] == 2
    stand_by(second)
    second.signal(signal.SIGTERM)
    assert second.wait() == 0
    assert str(release.stored()["spec"]["holderIdentity"]).startswith(f"{socket.gethostname()}_")


def test_one_that_cannot_renew_ends_before_another_works(
    agents: Any, backend: Backend, tmp_path: Path, release: Release
) -> None:
    go = tmp_path / "go"
    with EngineProxy(f"tcp://127.0.0.1:{urlsplit(release.kube.url).port}") as proxy:
        first, second = agents("one", port=urlsplit(proxy.host).port or 0), agents("two")
        first.start()
        stand_by(second)
        item = backend.push("q", job(f"until [ -e {go} ]; do sleep 0.1; done"))
        eventually(lambda: "is started" in first.log, within=30)
        proxy.cut()
        assert first.wait(10 + SLACK) == 3
        assert " polls " not in second.log
        assert f"the lease {release.lease} is lost" in first.log
        assert "Traceback" not in first.log
    eventually(lambda: "is adopted" in second.log, within=15 + SLACK, what="the second adopts the run")
    go.touch()
    eventually(lambda: ended(backend, item), within=20)


def test_one_that_was_frozen_does_nothing_more(agents: Any, backend: Backend, tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    # A poll that is held open would be given the jobs, and they would come back a minute later.
    first, second = agents("one", **{"poll-wait": 0}), agents("two")
    first.start()
    stand_by(second)
    first.signal(signal.SIGSTOP)
    eventually(lambda: " polls " in second.log, within=15 + SLACK, what="the second polls")
    items = [backend.push("q", job(f"echo x >> {starts}")) for _ in range(3)]
    first.signal(signal.SIGCONT)
    assert first.wait() == 3
    eventually(lambda: all(ended(backend, item) for item in items), within=30)
    assert starts.read_text().split() == ["x"] * 3
    assert "is started" not in first.log


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ready(port: int) -> tuple[int, str]:
    answer = urllib3.request("GET", f"http://127.0.0.1:{port}/readyz", timeout=5.0, retries=False)
    return answer.status, answer.data.decode()
