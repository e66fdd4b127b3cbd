"""What can happen to a control plane: a program dies, comes back, and history is forgotten.

For a cluster of a test's own (`own_cluster`): the shared one is others' too.
"""

from __future__ import annotations

import base64
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import urllib3

from tests.fakes.control_plane import Cluster, control_plane
from tests.fakes.detached import pid_of
from tests.fakes.eventually import eventually

_SECONDS = 30.0


@contextmanager
def own_cluster() -> Iterator[Cluster]:
    """A cluster that nobody else uses, with a fake node. Raises NoCluster."""
    with tempfile.TemporaryDirectory(prefix="cluster-") as root, control_plane(Path(root)) as cluster:
        yield cluster


def kill(cluster: Cluster, program: str) -> None:
    """Kill -9 of `etcd`, `kube-apiserver`, `kube-controller-manager`, `kube-scheduler` or `kwok`.
    `cluster.start` brings it back."""
    os.kill(pid_of(cluster.folder, program), signal.SIGKILL)
    eventually(lambda: not pid_of(cluster.folder, program), within=_SECONDS, what=f"{program} is dead")


@contextmanager
def paused(cluster: Cluster, program: str) -> Iterator[None]:
    """A program that does not answer and does not let go of its connections, while the block runs."""
    pid = pid_of(cluster.folder, program)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def forget(cluster: Cluster) -> None:
    """Lose all history: who goes on with a watch or a list from before is answered 410, Gone.

    etcd is compacted, and the API server, which remembers the last events itself, is started again.
    """
    etcd = f"http://127.0.0.1:{cluster.ports['etcd']}/v3/kv"
    everything = {"key": base64.b64encode(b"\0").decode(), "limit": "1"}
    revision = _post(f"{etcd}/range", everything)["header"]["revision"]
    kill(cluster, "kube-apiserver")
    _post(f"{etcd}/compaction", {"revision": revision, "physical": True})
    cluster.start("kube-apiserver")


def _post(url: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = urllib3.request("POST", url, json=body, timeout=_SECONDS)
    assert answer.status == 200, answer.data
    told: dict[str, Any] = answer.json()
    return told
