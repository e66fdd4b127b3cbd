"""From a bare machine to jobs that have run: an image of the agent, the chart, a queue, pods on a real node.

Nothing is played here. The agent's image is put together without a daemon for the values that Helm installs;
API server, controllers, scheduler, kubelet and container runtime are Kubernetes' own; the namespace enforces
the Pod Security standard `restricted`. The queue server runs beside the cluster, as W&B's would.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import real_node
from tests.fakes.backend import Backend
from tests.fakes.control_plane import Cluster
from tests.fakes.eventually import eventually
from tests.fakes.helm import CHART, Helm
from tests.fakes.kube import ApiError, Kube, Object
from tests.fakes.namespace_contents import OWN, contents
from tests.fakes.real_node import Node
from tests.fakes.server_process import ServerProcess
from tests.fixtures.cluster import RESTRICTED

pytestmark = [
    pytest.mark.xdist_group("real-node"),
    pytest.mark.timeout(900),
    pytest.mark.slow,
]

_SECONDS = 60
_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
_ENTITY = "team"
_ROTATED = "5eed" * 10
# What a run of the test's image needs to be admitted by `restricted`; the queue is where that is said.
_QUEUE: Mapping[str, Any] = {
    "spec": {
        "ttlSecondsAfterFinished": 20,
        "template": {
            "spec": {
                "securityContext": {"runAsNonRoot": True, "runAsUser": 1000},
                "containers": [{"name": "main", "resources": {"requests": {"cpu": "10m"}}}],
            }
        },
    }
}
_TRAIN = """
import json, os, pathlib, sys, time
import greeting
print(greeting.text(), os.environ["WANDB_RUN_ID"], sys.argv[1:])
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What a platform engineer has: a cluster, a registry, Helm, a queue server, and a shell (`run`)."""

    kube: Kube
    namespace: str
    registry: str
    helm: Helm
    server: ServerProcess
    backend: Backend
    base: str
    folder: Path

    def run(self, *arguments: str) -> str:
        """A command of the command line, as a process; its output. Fails where it does not end with 0."""
        done = subprocess.run(
            [sys.executable, "-m", "launch_agent", *arguments],
            env={
                **os.environ,
                "WANDB_BASE_URL": self.server.url,
                "WANDB_API_KEY": self.server.api_key,
                "WANDB_ENTITY": _ENTITY,
                "WANDB_PROJECT": "vision",
                "HOME": str(self.folder),
            },
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, f"{' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    def values(self, image: str, api_key: str) -> dict[str, Any]:
        """The values file of this cluster."""
        repository, _, tag = image.rpartition(":")
        host, _, path = repository.partition("/")
        return {
            "agent": {"apiKey": api_key, "imagePullPolicy": "IfNotPresent"},
            "image": {"registry": host, "repository": path, "tag": tag},
            "baseUrl": self.server.url,
            "launchConfig": {
                "entity": _ENTITY,
                "queues": ["gpu"],
                "max_jobs": -1,
                "builder": {"type": "layers", "destination": f"{self.registry}/jobs"},
                "registry": {"plain-http": True},
            },
        }

    def submit(self, *arguments: str) -> str:
        """The id of the item."""
        said = json.loads(self.run("submit", "-q", "gpu", "--format", "json", *arguments))
        return str(said["item"])

    def await_state(self, item: str, *states: str) -> dict[str, Any]:
        ends = {"FINISHED", "FAILED", "STOPPED", "PREEMPTED", *states}
        found = eventually(
            lambda: (now := self.backend.item(item))["detailedState"] in ends and now,
            within=_SECONDS, every=0.25,
            what=f"item {item} is {' or '.join(states)}",
        )  # fmt: skip
        assert isinstance(found, dict)
        assert found["detailedState"] in states, f"{found['error']}: {self.run('logs', item)[-3000:]}"
        return found

    def pod_of(self, item: str) -> Object | None:
        """The pod of an item's run; None before there is one."""
        run = self.backend.item(item)["associatedRunId"] or "none"
        pods = self.kube.items("v1", "Pod", self.namespace, labelSelector=f"launch-agent/run-id={run}")
        assert len(pods) <= 1
        return pods[0] if pods else None

    def printed(self, item: str) -> str:
        """What it has written."""
        pod = self.pod_of(item)
        assert pod
        return self.kube.log(self.namespace, pod["metadata"]["name"])

    def agent_pod(self) -> Object | None:
        selector = "app.kubernetes.io/name=launch-agent"
        pods = self.kube.items("v1", "Pod", self.namespace, labelSelector=selector)
        return max(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]), default=None)

    def agent_log(self) -> str:
        pod = self.agent_pod()
        try:
            return self.kube.log(self.namespace, pod["metadata"]["name"]) if pod else "there is no agent"
        except ApiError as error:
            return str(error)


@pytest.fixture
def site(
    cluster: Cluster,
    node: Node,
    node_registry: str,
    node_python_image: str,
    cluster_helm: Helm,
    tmp_path: Path,
) -> Iterator[Site]:
    base = f"{node_registry}/python:{_PYTHON}"
    node.ctr("images", "tag", "--force", node_python_image, base)
    node.ctr("images", "push", "--plain-http", base)
    server = ServerProcess(tmp_path / "server", host=node.outside, entity=_ENTITY)
    with real_node.namespace(cluster.kube, RESTRICTED) as namespace, server:
        yield Site(
            kube=cluster.kube,
            namespace=namespace,
            registry=node_registry,
            helm=cluster_helm,
            server=server,
            backend=Backend(url=server.url, api_key=server.api_key, entity=_ENTITY),
            base=base,
            folder=tmp_path,
        )


def _build(site: Site) -> str:
    """The agent's image for this cluster's values, in its registry."""
    image = f"{site.registry}/launch-agent:test"
    values = site.folder / "values.yaml"
    values.write_text(json.dumps(site.values(image, site.server.api_key)))
    # The base of the tests has no Git, and no job of this queue asks for it.
    lean = ("--without", "git", "--without", "openssh-client")
    site.run("image", "build", "--daemonless", "-c", str(values), "--base", site.base, "-t", image, *lean)
    return image


def _apply(site: Site, verb: str, values: Mapping[str, Any]) -> None:
    """Install or upgrade, and wait until the new agent is ready."""
    site.helm.run(verb, "launch", str(CHART), "-n", site.namespace, "-f", "-", stdin=json.dumps(values))

    def is_ready() -> bool:
        (found,) = site.kube.items("apps/v1", "Deployment", site.namespace)
        status, pod = found.get("status", {}), site.agent_pod()
        latest = status.get("observedGeneration") == found["metadata"]["generation"]
        ready = latest and status.get("readyReplicas") == 1 == status.get("updatedReplicas")
        assert ready, f"{site.agent_log()[-3000:]}\n{pod and pod['status']}"
        return True

    eventually(is_ready, within=_SECONDS, every=0.5)


@pytest.mark.req("CARD-1", "CARD-7", "CHART-1", "K8S-1", "JOB-1", "JOB-3", "AGT-8")
def test_from_a_bare_machine_to_jobs_that_have_run(site: Site) -> None:
    image = _build(site)
    site.run("lint", str(site.folder / "values.yaml"))
    queue = site.folder / "queue.json"
    job = {**_QUEUE, "builder": {"accelerator": {"base_image": site.base}}}
    queue.write_text(json.dumps(job))
    site.run("queue", "create", "gpu", "--resource", "kubernetes", "--config", str(queue))
    _apply(site, "install", site.values(image, site.server.api_key))

    printed = ["python3", "-c", "print('from an image')"]
    of_image = site.submit("--image", site.base, "--", *printed)
    code = site.folder / "code"
    code.mkdir()
    (code / "train.py").write_text(_TRAIN)
    (code / "greeting.py").write_text("def text():\n    return 'from a folder'\n")
    of_code = site.submit("--code", str(code), "-E", "python train.py", "--", "--epochs", "2")
    of_nothing = site.submit("--image", site.base, "--", "python3", "-c", "raise SystemExit('no data')")
    for item, text in ((of_image, "from an image"), (of_code, "from a folder")):
        site.await_state(item, "FINISHED")
        assert text in site.printed(item)
    assert "['--epochs', '2']" in site.printed(of_code)
    failed = site.await_state(of_nothing, "FAILED")
    assert "exit" in failed["error"]["message"]
    # Its log follows the report of a failure.
    eventually(lambda: "no data" in site.run("logs", of_nothing), within=_SECONDS, every=0.5)

    _rotate(site, image)
    site.helm.run("uninstall", "launch", "-n", site.namespace, "--wait")
    eventually(
        lambda: contents(site.kube, site.namespace) == OWN, within=_SECONDS, every=0.5, what="nothing is left"
    )


def is_running(site: Site, item: str) -> bool:
    pod = site.pod_of(item)
    return pod is not None and pod["status"]["phase"] == "Running"


def _rotate(site: Site, image: str) -> None:
    """The agent gets another key while a job runs: the job does not notice, and its end is told."""
    item = site.submit("--image", site.base, "--", "python3", "-c", "import time; time.sleep(600)")
    eventually(lambda: is_running(site, item), within=_SECONDS, every=0.5)
    before = site.agent_pod()
    assert before
    site.server.kill()
    site.server.api_key = _ROTATED
    site.server.start()
    _apply(site, "upgrade", site.values(image, _ROTATED))
    after = site.agent_pod()
    assert after
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    assert is_running(site, item)
    site.run("stop", item)
    site.await_state(item, "STOPPED")
