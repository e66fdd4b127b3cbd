"""Builds on a real API server, whose pods are played: begun, followed, stopped, removed, found again.

The pod's end is played, so no image is made here: the registry's answer is the test's.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launch_agent.builders import Parts
from launch_agent.builders.jobs.claims import is_over
from launch_agent.builders.jobs.manifest import BUILD_OF, IMAGE, job_name
from launch_agent.builders.kaniko import create
from launch_agent.builders.kaniko.builder import KanikoBuilder
from launch_agent.builders.kaniko.settings import Settings, settings_from
from launch_agent.errors import BuildError, ConfigError
from launch_agent.registries import pod
from launch_agent.spec.build import BuildContext
from launch_agent.spec.identity import agent_key
from launch_agent.spec.image import ImageRef
from launch_agent.spec.model import Credentials
from launch_agent.spec.podpatch import PodPatch
from launch_agent.spec.secret import Secret
from launch_agent.stores.pvc import ClaimStore
from tests.fakes import fake_node
from tests.fakes.build_account import connector
from tests.fakes.control_plane import Cluster
from tests.fakes.eventually import eventually
from tests.fakes.fake_node import PodEnd

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]
DIGEST = f"sha256:{'1f' * 32}"
LOGIN = Credentials(host="registry.example.com", username="u", password=Secret("hush"))


class Shelf:
    """A registry that has what was built, as soon as the test says so."""

    repository = "registry.example.com/team/jobs"

    def __init__(self) -> None:
        self.there = True
        self.login = LOGIN

    def verify(self) -> None: ...

    def exists(self, ref: ImageRef) -> str:
        return DIGEST if self.there else ""

    def credentials(self) -> Credentials | None:
        return self.login

    def build_pod(self) -> PodPatch:
        return pod.with_credentials("registry.example.com", self.login)


class Folder(ClaimStore):
    """The store of claims on a folder, for pods that mount nothing: no claim is bound here."""

    def build_pod(self) -> PodPatch:
        return PodPatch()


class Bench:
    """A builder in a namespace of its own; `end` is how the pods of its builds end."""

    def __init__(self, cluster: Cluster, namespace: str, folder: Path) -> None:
        self.kube = cluster.kube
        self.namespace = namespace
        self.folder = folder
        self.mount = folder / "claim"
        self.mount.mkdir()
        self.shelf = Shelf()
        self.agent = "builder-agent"
        self._made: list[KanikoBuilder] = []
        self.connect = connector(self.kube, namespace, folder)

    def builder(self, end: PodEnd = PodEnd.COMPLETED, *, agent: str = "", **how: Any) -> KanikoBuilder:
        overlay = _playing(end, **how)
        made = KanikoBuilder(
            self.connect,
            Parts(
                agent=agent or self.agent,
                registry=self.shelf,
                store=Folder("contexts", self.mount),
            ),
            Settings(overlay=overlay),
        )
        self._made.append(made)
        return made

    def kill_in_mid_build(self, end: PodEnd = PodEnd.COMPLETED, **how: Any) -> None:
        """Have an agent of this name die once its build has all that it needs."""
        told = {
            "url": self.kube.url,
            "account": str(self.folder / "account"),
            "mount": str(self.mount),
            "agent": self.agent,
            "overlay": _playing(end, **how),
        }
        command = [sys.executable, "-m", "tests.builders.kaniko.killed", json.dumps(told)]
        process = subprocess.Popen(command, cwd=Path(__file__).parents[3], stdin=subprocess.DEVNULL)
        try:
            eventually(self.secrets, within=60)
        finally:
            process.kill()
            process.wait(20)
        assert len(list(self.mount.iterdir())) == 1

    def jobs(self) -> list[Any]:
        return list(self.kube.items("batch/v1", "Job", self.namespace))

    def secrets(self) -> list[Any]:
        return [
            each
            for each in self.kube.items("v1", "Secret", self.namespace)
            if BUILD_OF in each["metadata"].get("labels", {})
        ]

    def await_nothing(self) -> None:
        eventually(
            lambda: not self.jobs() and not self.secrets(), within=60, every=0.2, what="all is removed"
        )
        assert not list(self.mount.iterdir())

    def close(self) -> None:
        for each in self._made:
            each.close()


def _playing(end: PodEnd, **how: Any) -> dict[str, Any]:
    annotations = fake_node.ends_with(end, **how)
    return {"spec": {"template": {"metadata": {"annotations": annotations}}}}


@pytest.fixture
def bench(kwok_cluster: Cluster, fake_namespace: str, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(kwok_cluster, fake_namespace, tmp_path)
    yield made
    made.close()


def context(tag: str = "ab" * 20) -> BuildContext:
    def pack() -> Iterator[bytes]:
        yield bytes(1024)

    return BuildContext(directory=Path(), dockerfile="Dockerfile", digest=tag, why="a test's", pack=pack)


def ref(tag: str = "ab" * 20) -> ImageRef:
    return ImageRef.parse(f"{Shelf.repository}:{tag}")


def build(
    builder: KanikoBuilder, stop: threading.Event | None = None, log: Callable[[str], None] = lambda _: None
) -> ImageRef:
    return builder.build(context(), ref(), log=log, stop=stop or threading.Event())


@pytest.mark.req("GAP-7")
def test_a_build_runs_as_a_job_and_leaves_nothing(bench: Bench) -> None:
    lines: list[str] = []
    builder = bench.builder()
    builder.verify()
    assert build(builder, log=lines.append).digest == DIGEST
    assert "line 300" in lines
    bench.await_nothing()


def test_while_it_runs_its_secret_is_the_jobs_and_its_context_is_there(bench: Bench) -> None:
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        going = pool.submit(build, bench.builder(PodEnd.NEVER), stop)
        (secret,) = eventually(bench.secrets, within=60)
        (job,) = bench.jobs()
        assert secret["metadata"]["ownerReferences"][0]["uid"] == job["metadata"]["uid"]
        assert "hush" not in str(job)
        (archive,) = bench.mount.iterdir()
        assert archive.name.startswith(f"launch-context-{'ab' * 20}-")
        stop.set()
        with pytest.raises(BuildError, match="stopped"):
            going.result(60)
    bench.await_nothing()


def test_credentials_that_change_reach_a_build_under_way(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cloud's token may have minutes left when a build begins."""
    monkeypatch.setattr("launch_agent.builders.jobs.builder._RENEW_SECONDS", 0.1)
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        going = pool.submit(build, bench.builder(PodEnd.NEVER), stop)
        (before,) = eventually(bench.secrets, within=60)
        bench.shelf.login = replace(LOGIN, password=Secret("newer"))

        def renewed() -> bool:
            (now,) = bench.secrets()
            return bool(now["data"] != before["data"] and now["metadata"]["ownerReferences"])

        eventually(renewed, within=60, every=0.2)
        stop.set()
        with pytest.raises(BuildError, match="stopped"):
            going.result(60)
    bench.await_nothing()


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (PodEnd.ERROR, "exit code 1"),
        (PodEnd.OOM_KILLED, "memory"),
        (PodEnd.INVALID_IMAGE_NAME, "cannot start: InvalidImageName"),
        (PodEnd.EVICTED, "failed"),
    ],
)
def test_a_build_that_fails_says_why_and_leaves_nothing(bench: Bench, end: PodEnd, said: str) -> None:
    with pytest.raises(BuildError, match=said) as failed:
        build(bench.builder(end))
    if end in (PodEnd.ERROR, PodEnd.OOM_KILLED):
        assert "line 300" in failed.value.log
        assert failed.value.hint
    bench.await_nothing()


def test_a_build_that_does_not_push_is_no_good_build(bench: Bench) -> None:
    bench.shelf.there = False
    with pytest.raises(BuildError, match="not in the registry"):
        build(bench.builder())
    bench.await_nothing()


def test_two_agents_that_build_the_same_make_one_job(bench: Bench) -> None:
    """The one that is too late to see the end finds the image."""
    seen: set[str] = set()
    with ThreadPoolExecutor(2) as pool:
        builds = [pool.submit(build, bench.builder(after="4s", agent=name)) for name in ("one", "two")]
        while not all(each.done() for each in builds):
            seen |= {job["metadata"]["uid"] for job in bench.jobs()}
        assert {each.result().digest for each in builds} == {DIGEST}
    assert len(seen) == 1
    bench.await_nothing()


def test_a_job_of_the_name_that_builds_something_else_is_left_alone(bench: Bench) -> None:
    name = job_name(Settings().prefix, ref())
    annotations = {IMAGE: "registry.example.com/other/jobs:1"}
    pod_spec = {"restartPolicy": "Never", "containers": [{"name": "a", "image": "b"}]}
    bench.kube.create(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": name, "annotations": annotations},
            "spec": {"suspend": True, "template": {"spec": pod_spec}},
        },
        bench.namespace,
    )
    with pytest.raises(BuildError, match="does not build"):
        build(bench.builder())
    assert len(bench.jobs()) == 1
    assert not list(bench.mount.iterdir())


def test_a_secret_that_cannot_be_made_leaves_no_job(bench: Bench) -> None:
    where = bench.kube.path("rbac.authorization.k8s.io/v1", "Role", bench.namespace, "builder")
    role = bench.kube.call("GET", where)
    bench.kube.call("PUT", where, {**role, "rules": role["rules"][:3]})

    def refused() -> bool:
        with pytest.raises(BuildError) as failed:
            build(bench.builder())
        assert "secrets" in failed.value.message
        return True

    eventually(refused, within=30)
    bench.await_nothing()


def test_an_agent_that_stops_leaves_the_build_to_the_other(bench: Bench) -> None:
    """Also where it was the one that began it, and whose context is read."""
    stop = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(build, bench.builder(after="6s", agent="one"), stop)
        (began,) = eventually(bench.jobs, within=60)
        second = pool.submit(build, bench.builder(after="6s", agent="two"))
        eventually(lambda: len(_wanting(bench.jobs()[0])) == 2, within=60, what="both want it")
        stop.set()
        with pytest.raises(BuildError, match="stopped"):
            first.result(60)
        (job,) = bench.jobs()
        assert job["metadata"]["uid"] == began["metadata"]["uid"]
        assert len(_wanting(job)) == 1
        key = job["metadata"]["annotations"]["launch-agent/context"]
        assert (bench.mount / f"launch-context-{key}").exists()
        assert second.result(60).digest == DIGEST
    bench.await_nothing()


def _wanting(job: dict[str, Any]) -> list[str]:
    return [key for key in job["metadata"]["annotations"] if key.startswith("launch-agent/wanted-by.")]


def test_a_killed_agents_build_is_taken_up_by_the_next(bench: Bench) -> None:
    """The image is built once."""
    bench.kill_in_mid_build(after="6s")
    (left,) = bench.jobs()
    again = bench.builder()
    again.sweep()
    seen: set[str] = set()
    with ThreadPoolExecutor(1) as pool:
        going = pool.submit(build, again)
        while not going.done():
            seen |= {job["metadata"]["uid"] for job in bench.jobs()}
        assert going.result().digest == DIGEST
    assert seen == {left["metadata"]["uid"]}
    bench.await_nothing()


@pytest.mark.parametrize("has_ended", [True, False])
def test_a_killed_agents_build_that_nobody_wants_leaves_nothing(
    bench: Bench, has_ended: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launch_agent.builders.jobs.builder._LEFT_SECONDS", 0.2)
    bench.kill_in_mid_build(after="1s" if has_ended else "5s")
    if has_ended:
        eventually(lambda: is_over(bench.jobs()[0]), within=60, what="the Job has ended")
    bench.builder(agent="another").sweep()
    assert len(bench.jobs()) == 1
    (job,) = bench.jobs()
    assert job["metadata"]["labels"][BUILD_OF] == agent_key(bench.agent)
    bench.builder().sweep()
    bench.await_nothing()


def test_rights_that_are_missing_are_named(bench: Bench) -> None:
    where = bench.kube.path("rbac.authorization.k8s.io/v1", "Role", bench.namespace, "builder")
    role = bench.kube.call("GET", where)
    bench.kube.call("PUT", where, {**role, "rules": role["rules"][:2]})

    def lacks() -> bool:
        with pytest.raises(BuildError, match="create /secrets"):
            bench.builder().verify()
        return True

    eventually(lacks, within=30)


@pytest.mark.parametrize(
    ("more", "is_good"),
    [
        ({}, False),
        ({"secret-name": "azure", "secret-key": "key"}, True),
        ({"kaniko-config": {"spec": {"env": ["AZURE_STORAGE_ACCESS_KEY"]}}}, True),
        ({"image": "launch-agent:1"}, True),
    ],
)
def test_azures_store_needs_a_key_for_kaniko(bench: Bench, more: dict[str, Any], is_good: bool) -> None:
    """The build would fail, and say so only then."""
    options = {"build-context-store": "https://acc.blob.core.windows.net/contexts", **more}
    builder = KanikoBuilder(
        bench.connect,
        Parts(agent="me", registry=bench.shelf, store=Folder("contexts", bench.mount)),
        settings_from(options, {"LAUNCH_AGENT_IMAGE": str(more.get("image", ""))}),
    )
    with nullcontext() if is_good else pytest.raises(BuildError, match="storage account's key"):
        builder.verify()
    builder.close()


def test_without_registry_or_store_there_is_no_builder() -> None:
    with pytest.raises(ConfigError, match="registry"):
        create({}, Parts(agent="me"))
    with pytest.raises(ConfigError, match="store"):
        create({}, Parts(agent="me", registry=Shelf()))


def test_the_configs_words_are_taken() -> None:
    options = {"kaniko-image": "mirror/kaniko:1", "build-job-name": "img", "build-timeout": 60}
    settings = settings_from(options, {})
    assert (settings.image, settings.prefix, settings.timeout) == ("mirror/kaniko:1", "img", 60.0)
