"""A Kubernetes cluster for tests: etcd, API server, controllers and scheduler on loopback ports, a fake node.

Objects are checked, stored, owned, scheduled and collected by the real thing. Its nodes are tainted: pods
stay pending, but for those of namespaces that `tests.fakes.nodes` sends to one. The fake node (kwok, which
plays what `kwok/stages.yaml` says) is left out where it is not built.

One control plane serves all test processes of a user on this machine, as the Docker engine of
`tests.fakes.docker_engine` does: each holds a shared lock while it uses it, and who is alone at its end stops
it. Locks go with their process, so a session that is killed leaves a control plane that the next one uses and
stops.

All that it keeps is in one temporary folder: certificates of an authority of its own, etcd's data, the logs.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import urllib3
import yaml

from tests.fakes import fake_node, real_node
from tests.fakes.cluster_flags import FLAGS
from tests.fakes.cluster_keys import make_keys
from tests.fakes.detached import last_words, pid_of, spawn, stop, was_started
from tests.fakes.docker_engine import locked
from tests.fakes.eventually import eventually
from tests.fakes.kube import ApiError, Kube, Right, User
from tools import custom_resources, go_tools

# Three seconds on a machine that has nothing else to do; tests run on ones that have.
_START_SECONDS = 90.0
_PORTS = range(20000, 32000)
_DECISION = "authorization.k8s.io/decision"
# Who did what, without bodies: those hold Secrets. The cluster's own components would fill the log.
_AUDIT = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived", "ResponseStarted"],
    "rules": [
        {"level": "None", "userGroups": ["system:serviceaccounts:kube-system"]},
        {"level": "Metadata", "userGroups": ["system:serviceaccounts"]},
        {"level": "None"},
    ],
}
_PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
_KWOK = "kwok"
_DEFINITION = ("apiextensions.k8s.io/v1", "CustomResourceDefinition")
# Written for the tests: the kinds of other projects that the agent starts, with the status that is set there.
_CUSTOM_KINDS = Path(__file__).parents[1] / "fixtures" / "crds"


class NoCluster(Exception):
    """Why there can be no cluster for the tests on this machine: they are left out."""


class ClusterFailed(Exception):
    """A cluster that could be had did not come up: no reason to leave out what it is there to test."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """`kubeconfig` is an administrator's; `kube` is a client with the same rights."""

    programs: dict[str, Path]
    folder: Path
    kubeconfig: Path
    version: str
    kube: Kube

    @property
    def has_fake_node(self) -> bool:
        return _KWOK in self.programs

    @property
    def ports(self) -> dict[str, int]:
        ports: dict[str, int] = json.loads((self.folder / "ports.json").read_text())
        return ports

    def start(self, program: str) -> None:
        """Start one of the programs, all at their old ports. For a cluster of the test's own."""
        _run(self.folder, self.programs, program, self.ports)
        if program == "kube-apiserver":
            _wait(self.folder, lambda: _is_ready(self.kube), "the API server is ready again")

    def calls(self, user: User) -> set[Right]:
        """What a service account asked for and was allowed, by the audit log: the use of its rights."""
        return {
            (about.get("apiGroup", ""), _resource(about), "", event["verb"])
            for event in _events(self.folder / "audit.log")
            if event["user"]["username"] == user.name and event["annotations"][_DECISION] == "allow"
            for about in [event.get("objectRef", {})]
            if about.get("resource")
        }


def _events(log: Path) -> Iterator[dict[str, Any]]:
    for line in log.read_text(encoding="utf-8").splitlines():
        if line.endswith("}"):  # the last one may be half written
            yield json.loads(line)


def _resource(about: dict[str, str]) -> str:
    sub = about.get("subresource")
    return f"{about['resource']}/{sub}" if sub else about["resource"]


@contextmanager
def control_plane(root: Path | None = None) -> Iterator[Cluster]:
    """The cluster, for as long as the block runs. Raises NoCluster where it cannot run.

    One serves all who name the same folder, by default the one for temporary files.
    LAUNCH_AGENT_TEST_KUBERNETES names another version than the pinned one (`make test-kubernetes`).
    """
    version = os.environ.get("LAUNCH_AGENT_TEST_KUBERNETES", "")
    programs = _programs(version)
    root = root or Path(tempfile.gettempdir())
    folder = root / f"launch-agent-cluster-{os.getuid()}{version and f'-{version}'}"
    with _shared(folder, programs) as url:
        kube = _client(folder, url)
        try:
            told = kube.call("GET", "/version")["gitVersion"].removeprefix("v")
            yield Cluster(
                programs=programs,
                folder=folder,
                kubeconfig=folder / "admin.kubeconfig",
                version=told,
                kube=kube,
            )
        finally:
            kube.close()


def _programs(version: str) -> dict[str, Path]:
    if not sys.platform.startswith("linux"):
        raise NoCluster("a Kubernetes control plane of our own needs Linux")
    if shutil.which("openssl") is None:
        raise NoCluster("makes the cluster's certificates by openssl, which is not installed")
    found = {}
    for tool in go_tools.TOOLS:
        if tool.name in (*_PROGRAMS, _KWOK):
            other = version and tool.module == "kubernetes"
            home = go_tools.kubernetes_home(version) if other else go_tools.home()
            found[tool.name] = go_tools.program(tool, home)
    if not found[_KWOK].exists():
        del found[_KWOK]
    if missing := [name for name, path in found.items() if not path.exists()]:
        raise NoCluster(f"{missing[0]} is not built (`make tools`)")
    if not custom_resources.home().exists():
        raise NoCluster("the definitions of custom resources are not there (`make tools`)")
    return found


@contextmanager
def _shared(folder: Path, programs: dict[str, Path]) -> Iterator[str]:
    """The API server's address, for as long as somebody uses it."""
    lock = folder.with_name(f"{folder.name}.lock")
    with locked(lock):
        folder.mkdir(mode=0o700, exist_ok=True)
        users = os.open(folder / "users", os.O_CREAT | os.O_RDONLY, 0o600)
        fcntl.flock(users, fcntl.LOCK_SH)
        try:
            url = _start(folder, programs)
        except BaseException:
            _stop(folder)
            os.close(users)
            raise
    try:
        yield url
    finally:
        with locked(lock):
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass  # another process still uses the cluster, and will be the one to stop it
            else:
                _stop(folder)
            os.close(users)


def _start(folder: Path, programs: dict[str, Path]) -> str:
    """Start what does not run. A second try is for a port that somebody has taken since it was found free.

    Raises ClusterFailed with the end of a log where it does not come up.
    """
    try:
        return _start_once(folder, programs)
    except ClusterFailed:
        return _start_once(folder, programs)


def _start_once(folder: Path, programs: dict[str, Path]) -> str:
    ports = folder / "ports.json"
    if ports.exists() and all(pid_of(folder, name) for name in programs):
        url = f"https://127.0.0.1:{json.loads(ports.read_text())['api']}"
        _define(folder, _client(folder, url))
        return url
    _stop_processes(folder)
    _empty(folder)
    free = _free_ports("api", "etcd", "peers", "manager", "scheduler", "kubelet")
    ports.write_text(json.dumps(free))
    url = f"https://127.0.0.1:{free['api']}"
    make_keys(folder, url)
    (folder / "audit.json").write_text(json.dumps(_AUDIT))
    try:
        kube = _client(folder, url)
        for name in ("etcd", "kube-apiserver"):
            _run(folder, programs, name, free)
        _wait(folder, lambda: _is_ready(kube), "the API server is ready")
        # Before the controllers: the one that collects garbage looks for new kinds every 30 s only.
        _define(folder, kube)
        for name in ("kube-controller-manager", "kube-scheduler"):
            _run(folder, programs, name, free)
        if _KWOK in programs:
            kube.create(fake_node.NODE)
            fake_node.write_logs(folder)
            _run(folder, programs, _KWOK, free)
        _wait(
            folder,
            lambda: kube.get("v1", "ServiceAccount", "default", "default"),
            "the default service account is there",
        )
        kube.close()
    except AssertionError as error:
        raise ClusterFailed(
            f"the control plane was started and did not come up: {last_words(folder, *_PROGRAMS)}"
        ) from error
    return url


def _run(folder: Path, programs: dict[str, Path], name: str, ports: dict[str, int]) -> None:
    spawn(folder, name, [programs[name], *FLAGS[name](folder, ports)])


def _define(folder: Path, kube: Kube) -> None:
    """Make the kinds of the Prometheus operator known, and those that can be a job, where they are missing:
    whoever started the cluster may have had others."""
    files = [*sorted(custom_resources.home().iterdir()), *sorted(_CUSTOM_KINDS.iterdir())]
    definitions = [each for file in files for each in yaml.safe_load_all(file.read_text(encoding="utf-8"))]
    present = {each["metadata"]["name"] for each in kube.items(*_DEFINITION)}
    definitions = [each for each in definitions if each["metadata"]["name"] not in present]
    for each in definitions:
        kube.create(each)
    for each in definitions:
        kind = each["spec"]["names"]["kind"]
        version = f"{each['spec']['group']}/{each['spec']['versions'][0]['name']}"
        _wait(folder, partial(_serves, kube, version, kind), f"{kind}s are served")


def _serves(kube: Kube, version: str, kind: str) -> bool:
    """A definition is known some time before its objects can be listed."""
    try:
        kube.items(version, kind)
    except (LookupError, ApiError):
        return False
    return True


def _wait(folder: Path, probe: Callable[[], object], what: str) -> None:
    seen_dead: set[str] = set()

    def check() -> object:
        dead = {
            name for name in (*_PROGRAMS, _KWOK) if was_started(folder, name) and not pid_of(folder, name)
        }
        # At the moment of its exec a process has no command line: one look is no proof of its end.
        if ended := sorted(dead & seen_dead):
            raise ClusterFailed(f"{ended[0]} ended: {last_words(folder, ended[0])}")
        seen_dead.clear()
        seen_dead.update(dead)
        return probe()

    eventually(check, within=_START_SECONDS, every=0.2, what=what)


def _is_ready(kube: Kube) -> bool:
    try:
        return bool(kube.call("GET", "/readyz") == "ok")
    except (ApiError, urllib3.exceptions.HTTPError):
        return False


def _client(folder: Path, url: str) -> Kube:
    return Kube(
        url=url, authority=folder / "ca.crt", certificate=(folder / "admin.crt", folder / "admin.key")
    )


def _free_ports(*names: str) -> dict[str, int]:
    """A free port for each name, below those that the system gives to outgoing connections: a program that is
    started again must find its port free. All are held until all are found, so they differ."""
    ports: dict[str, int] = {}
    with ExitStack() as held:
        for port in random.sample(_PORTS, len(_PORTS)):
            probe = held.enter_context(socket.socket())
            with suppress(OSError):
                probe.bind(("127.0.0.1", port))
                ports[names[len(ports)]] = port
            if len(ports) == len(names):
                break
    return ports


def _stop_processes(folder: Path) -> None:
    """End them in the order in which nobody misses another, and those that do not go by force."""
    real_node.stop(folder)
    for name in (_KWOK, *reversed(_PROGRAMS)):
        stop(folder, name)


def _empty(folder: Path) -> None:
    """Remove what a stopped cluster leaves, but for the file that its users lock."""
    for path in folder.iterdir():
        if path.name == "users":
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _stop(folder: Path) -> None:
    _stop_processes(folder)
    shutil.rmtree(folder, ignore_errors=True)
