"""The stand for agents on Kubernetes: an API server whose pods a fake node plays, a queue server, a proxy.

All is measured from outside: a Job exists when a watch of our own tells of it, requests to the API server are
those in its audit log, requests to the queue server those that the proxy counts.
"""

from __future__ import annotations

import contextlib
import json
import queue
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3
import yaml

from benchmarks.counting_proxy import CountingProxy, counting_proxy
from benchmarks.stand import THEIRS, Running
from benchmarks.upstream_agent import upstream_agent
from launch_agent.clients.kube import access
from launch_agent.clients.kube.api import KubeApi
from launch_agent.clients.kube.errors import KubeError
from launch_agent.clients.kube.objects import Change
from tests.fakes import fake_node
from tests.fakes.backend import Backend
from tests.fakes.cluster_site import QUEUE, Site, give_rights, site_on
from tests.fakes.control_plane import Cluster, control_plane
from tests.fakes.fake_node import PodEnd
from tests.fakes.kube import ApiError
from tests.fakes.nodes import await_ready, namespace_on
from tests.fakes.server_process import ServerProcess

_UPSTREAM = "upstream"


@dataclass(slots=True, kw_only=True)
class ClusterStand:
    """`created` gets the moment at which a Job was seen, as `time.time` tells it."""

    site: Site
    cluster: Cluster
    proxy: CountingProxy
    created: queue.SimpleQueue[float]
    server_key: str

    def push(self, end: PodEnd = PodEnd.COMPLETED, *, suspended: bool = False, **how: Any) -> str:
        # The official agent looks for the namespace in both places and falls back on `default`.
        place = {"namespace": self.site.namespace, "metadata": {"namespace": self.site.namespace}}
        annotations = fake_node.ends_with(end, **how)
        template = {"metadata": {"annotations": annotations}, "spec": {"containers": [{"name": "main"}]}}
        held = {"suspend": True} if suspended else {}
        return self.site.push_manifest({**place, "spec": {"template": template, **held}})

    def collect(self, number: int, within: float) -> list[float]:
        """The moments of the next Jobs. Raises TimeoutError where they do not come in time."""
        deadline = time.monotonic() + within
        found: list[float] = []
        while len(found) < number:
            try:
                found.append(self.created.get(timeout=max(0.0, deadline - time.monotonic())))
            except queue.Empty:
                raise TimeoutError(f"{len(found)} of {number} Jobs within {within:g} s") from None
        return found

    def await_ends(self, within: float) -> None:
        """Wait until no item of the queue is under way."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            counts = self.counts()
            if not any(counts[state] for state in ("pending", "leased", "claimed")):
                return
            time.sleep(0.2)
        raise TimeoutError(f"not all items ended within {within:g} s: {self.counts()}")

    def counts(self) -> dict[str, int]:
        states = "pending leased claimed finished failed stopped preempted"
        told = self.site.backend.query(f"{{ launchQueues {{ counts {{ {states} }} }} }}")
        counts: dict[str, int] = told["launchQueues"][0]["counts"]
        return counts

    def api_requests(self, account: str) -> Counter[str]:
        """What an account has asked of the API server so far: `verb resource` -> how often."""
        user = f"system:serviceaccount:{self.site.namespace}:{account}"
        found: Counter[str] = Counter()
        with (self.cluster.folder / "audit.log").open(encoding="utf-8") as log:
            for line in log:
                if user in line and line.endswith("}\n"):
                    event = json.loads(line)
                    found[f"{event['verb']} {event.get('objectRef', {}).get('resource', '')}".strip()] += 1
        return found

    def clear(self) -> None:
        """Remove all Jobs, and forget those that were seen."""
        where = self.site.kube.path("batch/v1", "Job", self.site.namespace)
        options = {"propagationPolicy": "Background", "gracePeriodSeconds": 0}
        deadline = time.monotonic() + 600
        for kind in (where, self.site.kube.path("v1", "Pod", self.site.namespace)):
            # Of thousands, one request removes as many as it has time for.
            while time.monotonic() < deadline:
                with contextlib.suppress(urllib3.exceptions.HTTPError, ApiError):
                    self.site.kube.call("DELETE", kind, options)
                    break
        while time.monotonic() < deadline and self.site.kube.items("v1", "Pod", self.site.namespace):
            time.sleep(0.5)
        while not self.created.empty():
            self.created.get()


@contextmanager
def cluster_stand(*, latency: float = 0.0) -> Iterator[ClusterStand]:
    """A new namespace, queue and server. `latency` (seconds) is added to requests of agents to the server."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        cluster = stack.enter_context(control_plane())
        await_ready(cluster.kube, fake_node.NAME)
        namespace = stack.enter_context(namespace_on(cluster.kube, fake_node.NAME, fake_node.TAINT))
        server = stack.enter_context(ServerProcess(folder / "server"))
        direct = Backend(url=server.url, api_key=server.api_key, entity="team")
        proxy = stack.enter_context(counting_proxy(server.url, latency=latency))
        site = stack.enter_context(site_on(cluster, namespace, direct, folder / "site"))
        created: queue.SimpleQueue[float] = queue.SimpleQueue()
        api = KubeApi(_access(cluster), qps=1000, burst=1000, timeout=30)
        ended = threading.Event()
        stack.callback(api.close)
        stack.callback(ended.set)
        threading.Thread(target=_watch, args=(api, namespace, created, ended), daemon=True).start()
        yield ClusterStand(
            site=site, cluster=cluster, proxy=proxy, created=created, server_key=server.api_key
        )


@contextmanager
def agent(stand: ClusterStand, subject: str, **config: Any) -> Iterator[Running]:
    """One of the agents on the stand's queue, ready to take jobs."""
    if subject == THEIRS:
        with _theirs(stand) as running:
            yield running
        return
    place = f"agent-{time.monotonic_ns()}"
    backend = stand.site.backend
    stand.site.backend = Backend(url=stand.proxy.url, api_key=stand.server_key, entity="team")
    try:
        ours = stand.site.agent(place, **config)
    finally:
        stand.site.backend = backend
    with ours:
        _await_agent(stand)
        yield Running(pids=lambda: [ours.pid])
    stand.proxy.wait_idle(30)


@contextmanager
def _theirs(stand: ClusterStand) -> Iterator[Running]:
    kube, namespace = stand.site.kube, stand.site.namespace
    if kube.get("v1", "ServiceAccount", namespace, _UPSTREAM) is None:
        everything = [{"apiGroups": ["", "batch"], "resources": ["*"], "verbs": ["*"]}]
        give_rights(kube, namespace, _UPSTREAM, everything)
    with upstream_agent(
        stand.proxy.url,
        stand.server_key,
        "team",
        [QUEUE],
        max_jobs=-1,
        kubeconfig=_kubeconfig(stand.cluster, kube.token(namespace, _UPSTREAM), namespace),
    ) as upstream:
        _await_agent(stand)
        try:
            yield Running(pids=upstream.sandbox.pids)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; the agent says: {upstream.log()[-2000:]}") from error


def _kubeconfig(cluster: Cluster, token: str, namespace: str) -> str:
    name = "bench"
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": name,
            "clusters": [
                {
                    "name": name,
                    "cluster": {
                        "server": cluster.kube.url,
                        "certificate-authority": str(cluster.kube.authority),
                    },
                }
            ],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": namespace}}],
        }
    )


def _access(cluster: Cluster) -> access.Access:
    kube = cluster.kube
    return access.Access(
        url=kube.url,
        credentials=lambda _fresh: {},
        tls=lambda: access.context(kube.authority, certificate=kube.certificate),
    )


def _watch(api: KubeApi, namespace: str, created: queue.SimpleQueue[float], ended: threading.Event) -> None:
    """Tell of each Job once."""
    jobs, seen = api.resource("batch/v1", "Job"), set[str]()
    while not ended.is_set():
        try:
            version = api.list(jobs, namespace, limit=1).version
            with api.watch(jobs, namespace, version=version, lasting=3600, silence=3700) as events:
                for event in events:
                    uid = str(event.object["metadata"].get("uid", ""))
                    if event.change is Change.ADDED and uid not in seen:
                        seen.add(uid)
                        created.put(time.time())
        except KubeError:
            ended.wait(0.1)


def _await_agent(stand: ClusterStand) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if any(found["agentStatus"] == "POLLING" for found in stand.site.backend.agents()):
            return
        time.sleep(0.1)
    raise TimeoutError("the agent did not register within 60 s")
