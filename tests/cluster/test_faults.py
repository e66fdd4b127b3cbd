"""The whole agent on a cluster, and what can break around it: nothing lost, nothing twice, slots right.

What was started is told by the Jobs that the API server has held (`Made` looks several times a second; a
Job stays for a minute after its end was reported), and what became of it by the queue. `max_jobs` is small
and one more job is run at the end of each test: a slot that was lost would keep it from starting.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import urllib3

from launch_agent.server.serve import Server
from tests.fakes.agent_process import AgentProcess
from tests.fakes.backend import Backend
from tests.fakes.cluster_faults import forget, kill, own_cluster, paused
from tests.fakes.cluster_site import RULES, Site, give_rights, site_on
from tests.fakes.control_plane import Cluster, NoCluster
from tests.fakes.eventually import eventually
from tests.fakes.fake_node import NAME, TAINT, PodEnd
from tests.fakes.kube import ApiError
from tests.fakes.kube_proxy import KubeProxy, Refusal
from tests.fakes.line import Line
from tests.fakes.nodes import namespace_on
from tests.fakes.server_process import ServerProcess

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(400)]
_SLOTS = 4
_ENDS = ("FINISHED", "FAILED", "STOPPED", "PREEMPTED")
_RBAC = "rbac.authorization.k8s.io/v1"


class Made(threading.Thread):
    """The Jobs that there have been: their uids by the queue item that they are for."""

    def __init__(self, site: Site) -> None:
        super().__init__(daemon=True)
        self._site = site
        self._over = threading.Event()
        self.seen: dict[str, set[str]] = defaultdict(set)

    def run(self) -> None:
        while not self._over.wait(0.2):
            self.look()

    def look(self) -> None:
        try:
            jobs = self._site.jobs()
        except (ApiError, urllib3.exceptions.HTTPError):
            return  # the cluster is away, as the test wants it
        for job in jobs:
            meta = job["metadata"]
            self.seen[meta["annotations"]["launch-agent/item-id"]].add(meta["uid"])

    @contextmanager
    def looking(self) -> Iterator[None]:
        self.start()
        try:
            yield
        finally:
            self._over.set()
            self.join(30)
            self.look()


@pytest.fixture
def site(kwok_cluster: Cluster, fake_namespace: str, tmp_path: Path) -> Iterator[Site]:
    """On the cluster that all tests share: for what breaks nothing of it."""
    with Server(data_dir=tmp_path / "server", entity="team") as server:
        backend = Backend(url=server.url, api_key=server.api_key, entity="team")
        with site_on(kwok_cluster, fake_namespace, backend, tmp_path) as made:
            yield made


@pytest.fixture(scope="module")
def breakable() -> Iterator[Cluster]:
    try:
        with own_cluster() as cluster:
            if not cluster.has_fake_node:
                pytest.skip("kwok is not built (`make tools`)")
            yield cluster
    except NoCluster as reason:
        pytest.skip(str(reason))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path / "server") as server:
        yield server


@pytest.fixture
def fragile(breakable: Cluster, server: ServerProcess, tmp_path: Path) -> Iterator[Site]:
    """A cluster and a queue server that are the test's own."""
    backend = Backend(url=server.url, api_key=server.api_key, entity="team")
    with (
        namespace_on(breakable.kube, NAME, TAINT) as namespace,
        site_on(breakable, namespace, backend, tmp_path) as made,
    ):
        yield made


def agent_of(site: Site, place: str = "one") -> AgentProcess:
    return site.agent(place, max_jobs=_SLOTS)


def push_many(site: Site, count: int, *, after: str = "1s") -> list[str]:
    return [site.push(PodEnd.COMPLETED, after=after) for _ in range(count)]


def await_ends(site: Site, items: Sequence[str], *, within: float = 150.0) -> None:
    def ended() -> bool:
        states = {item: site.state(item) for item in items}
        assert set(states.values()) <= set(_ENDS), states
        return True

    eventually(ended, within=within, every=0.5, what="every item comes to its end")


def kubeconfig_for(url: str) -> str:
    """A file with one context, `proxy`, for whoever may come in at a server's address."""
    context = {"name": "proxy", "context": {"cluster": "c", "user": "u"}}
    users = [{"name": "u", "user": {}}]
    clusters = [{"name": "c", "cluster": {"server": url}}]
    return json.dumps(
        {"apiVersion": "v1", "kind": "Config", "clusters": clusters, "users": users, "contexts": [context]}
    )


def judge(site: Site, made: Made, items: Sequence[str], *, log: Callable[[], str]) -> None:
    """Each item ran once and finished, and a slot is free for one more."""
    assert {site.state(item) for item in items} == {"FINISHED"}, log()[-4000:]
    assert {item: len(made.seen[item]) for item in items} == dict.fromkeys(items, 1), log()[-4000:]
    last = site.push(PodEnd.COMPLETED)
    site.await_state(last, "FINISHED")


def test_the_agent_is_killed_again_and_again(site: Site) -> None:
    """At moments that a fixed die chooses, in whatever it does just then. Its state folder stays, as that of
    a container that is started again in its pod does."""
    dice = random.Random(11)
    made = Made(site)
    agent = agent_of(site)
    with made.looking():
        items = push_many(site, 30)
        for _ in range(12):
            agent.start(ready=False)
            time.sleep(dice.uniform(0.4, 2.4))
            agent.kill()
        agent.start(ready=False)
        await_ends(site, items)
        judge(site, made, items, log=lambda: agent.log)


def test_two_agents_of_one_name_make_one_job_of_each_item(site: Site) -> None:
    made = Made(site)
    with made.looking(), agent_of(site, "one") as one, agent_of(site, "two") as two:
        items = push_many(site, 24, after="0.5s")
        await_ends(site, items)
        judge(site, made, items, log=lambda: one.log + two.log)


def test_a_leader_that_dies_is_followed_by_a_standby(site: Site) -> None:
    """Two agents that share a Lease: one works; when it is killed, the other goes on with its runs."""
    lease = {"lease": f"{site.namespace}/launch", "duration": 10, "credentials": str(site.account)}
    shared = {"max_jobs": _SLOTS, "leader-election": lease}
    made = Made(site)
    first, second = site.agent("one", **shared), site.agent("two", **shared)
    with made.looking(), first:
        items = push_many(site, 3, after="25s")
        eventually(lambda: first.log.count("is running") >= 3, within=60)
        second.start(ready=False)
        eventually(lambda: "standing by" in second.log, within=30)
        assert " polls " not in second.log
        first.kill()
        eventually(lambda: second.log.count("is adopted") >= 3, within=60, what=second.log)
        items += push_many(site, 2)
        await_ends(site, items)
        judge(site, made, items, log=lambda: second.log)


def test_a_job_that_is_deleted_by_hand_fails_and_frees_its_slot(site: Site) -> None:
    with agent_of(site):
        items = [site.push(PodEnd.NEVER) for _ in range(_SLOTS)]
        eventually(lambda: len(site.jobs()) == _SLOTS, within=60)
        for job in site.jobs():
            site.kube.delete("batch/v1", "Job", site.namespace, job["metadata"]["name"])
        for item in items:
            failed = site.await_state(item, "FAILED")
            assert failed["error"]["message"].startswith("Deleted: ")
        site.await_state(site.push(PodEnd.COMPLETED), "FINISHED")


def test_rights_that_are_taken_away_and_given_back(site: Site) -> None:
    """403 to everything: what runs is left alone, what is new waits, and both go on."""
    made = Made(site)
    role = site.kube.get(_RBAC, "Role", site.namespace, "agent")
    where = site.kube.path(_RBAC, "Role", site.namespace, "agent")
    with made.looking(), agent_of(site) as agent:
        items = push_many(site, 2, after="6s")
        eventually(lambda: agent.log.count("is running") >= 2, within=60)
        site.kube.call("PUT", where, {**role, "rules": []})
        items += push_many(site, 2)
        eventually(lambda: agent.log.count("cannot be started yet") >= 2, within=60)
        assert {site.state(item) for item in items} == {"CLAIMED"}
        now = site.kube.get(_RBAC, "Role", site.namespace, "agent")
        site.kube.call("PUT", where, {**now, "rules": role["rules"]})
        await_ends(site, items)
        judge(site, made, items, log=lambda: agent.log)


def test_a_watch_that_falls_silent_is_noticed(
    kwok_cluster: Cluster, fake_namespace: str, server: ServerProcess, tmp_path: Path
) -> None:
    """Its connections stay open and carry nothing any more: the ends of runs are told a minute later."""
    backend = Backend(url=server.url, api_key=server.api_key, entity="team")
    with (
        Line(kwok_cluster.kube.url) as line,
        site_on(kwok_cluster, fake_namespace, backend, tmp_path, url=line.url) as site,
    ):
        made = Made(site)
        with made.looking(), agent_of(site) as agent:
            items = push_many(site, 2, after="5s")
            eventually(lambda: agent.log.count("is running") >= 2, within=60)
            line.freeze()
            await_ends(site, items, within=90)
            judge(site, made, items, log=lambda: agent.log)


def test_the_api_server_turns_the_agent_away(kwok_cluster: Cluster, site: Site, tmp_path: Path) -> None:
    """429 to each of its requests, watches too; then not any more."""
    made = Made(site)
    with KubeProxy(kwok_cluster.kube) as proxy:
        config = tmp_path / "kubeconfig"
        config.write_text(kubeconfig_for(proxy.url))
        runner = {"kubernetes": {"context": "proxy", "namespace": site.namespace}}
        agent = site.agent(max_jobs=_SLOTS, runner=runner, variables={"KUBECONFIG": str(config)})
        with made.looking(), agent:
            items = push_many(site, 2, after="4s")
            eventually(lambda: agent.log.count("is running") >= 2, within=60)
            proxy.strike = lambda call: Refusal(status=429, reason="TooManyRequests", retry_after="1")
            proxy.cut()
            items += push_many(site, 2)
            eventually(lambda: agent.log.count("cannot be started yet") >= 2, within=90)
            assert {site.state(item) for item in items} == {"CLAIMED"}
            proxy.strike = lambda call: None
            await_ends(site, items)
            judge(site, made, items, log=lambda: agent.log)


def test_ten_thousand_events_come_at_once(kwok_cluster: Cluster, site: Site, tmp_path: Path) -> None:
    made = Made(site)
    with KubeProxy(kwok_cluster.kube) as proxy:
        proxy.echo = 1500
        config = tmp_path / "kubeconfig"
        config.write_text(kubeconfig_for(proxy.url))
        runner = {"kubernetes": {"context": "proxy", "namespace": site.namespace}}
        agent = site.agent(max_jobs=_SLOTS, runner=runner, variables={"KUBECONFIG": str(config)})
        with made.looking(), agent:
            items = push_many(site, 2 * _SLOTS)
            await_ends(site, items)
            assert proxy.echoed > 10_000
            judge(site, made, items, log=lambda: agent.log)


_CLOCK = """
import os, time
_real, _place = time.time, os.environ["TEST_CLOCK"]
def _shifted():
    with open(_place) as file:
        return _real() + float(file.read() or 0)
time.time = _shifted
"""


def test_the_clock_jumps(site: Site, tmp_path: Path) -> None:
    """By a day, to and fro, as where a machine finds the time late. What times runs is no clock of a wall."""
    clock = tmp_path / "clock"
    clock.write_text("0")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(_CLOCK)
    variables = {"PYTHONPATH": str(tmp_path / "site"), "TEST_CLOCK": str(clock)}
    made = Made(site)
    with made.looking(), site.agent(max_jobs=_SLOTS, variables=variables) as agent:
        items = push_many(site, 2, after="6s")
        eventually(lambda: agent.log.count("is running") >= 2, within=60)
        for started, seconds in enumerate((86_400, -86_400), start=3):
            write_whole(clock, str(seconds))
            items += push_many(site, 1)
            eventually(lambda least=started: agent.log.count("is started") >= least, within=60)
        await_ends(site, items)
        judge(site, made, items, log=lambda: agent.log)


def write_whole(file: Path, text: str) -> None:
    draft = file.with_suffix(".draft")
    draft.write_text(text)
    draft.replace(file)


def test_a_namespace_is_deleted_with_the_runs_in_it(kwok_cluster: Cluster, site: Site) -> None:
    with namespace_on(kwok_cluster.kube, NAME, TAINT) as other:
        give_rights(site.kube, other, "agent", RULES, of=site.namespace)
        options = {"namespace": site.namespace, "target-namespaces": [other]}
        runner = {"kubernetes": {**options, "credentials": str(site.account)}}
        with site.agent(max_jobs=_SLOTS, runner=runner) as agent:
            there = [site.push(PodEnd.NEVER, namespace=other) for _ in range(_SLOTS - 1)]
            eventually(lambda: agent.log.count("is running") >= _SLOTS - 1, within=60, what=agent.log[-2000:])
            here = site.push(PodEnd.COMPLETED, after="1s")
            site.kube.delete("v1", "Namespace", "", other)
            for item in there:
                failed = site.await_state(item, "FAILED")
                assert "Deleted" in failed["error"]["message"]
            site.await_state(here, "FINISHED")
            refused = site.push(PodEnd.COMPLETED, namespace=other)
            failed = site.await_state(refused, "FAILED")
            assert other in failed["error"]["message"]
            more = push_many(site, _SLOTS)
            await_ends(site, more)
            assert {site.state(item) for item in more} == {"FINISHED"}


def test_the_api_server_dies_and_forgets(breakable: Cluster, fragile: Site) -> None:
    """Killed, compacted (410 to every watch), started again, while jobs run and others are launched."""
    made = Made(fragile)
    with made.looking(), agent_of(fragile) as agent:
        items = push_many(fragile, 12, after="3s")
        eventually(lambda: "is running" in agent.log, within=60)
        forget(breakable)
        await_ends(fragile, items)
        kill(breakable, "kube-apiserver")
        items += push_many(fragile, 4)
        eventually(lambda: "cannot be started yet" in agent.log, within=60)
        breakable.start("kube-apiserver")
        await_ends(fragile, items)
        judge(fragile, made, items, log=lambda: agent.log)


def test_both_sides_are_away(breakable: Cluster, fragile: Site, server: ServerProcess) -> None:
    """The API server says nothing and lets go of nothing; the queue server is dead. Then both are back."""
    made = Made(fragile)
    with made.looking(), agent_of(fragile) as agent:
        items = push_many(fragile, 8, after="2s")
        eventually(lambda: "is running" in agent.log, within=60)
        with paused(breakable, "kube-apiserver"):
            server.kill()
            time.sleep(15)
            assert agent.process is not None
            assert agent.process.poll() is None
        server.start()
        await_ends(fragile, items)
        judge(fragile, made, items, log=lambda: agent.log)
