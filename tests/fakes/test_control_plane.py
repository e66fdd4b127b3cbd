"""The tests' cluster is the real thing, is shared by those who ask at once, and leaves nothing behind."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from tests.fakes.control_plane import Cluster, NoCluster, control_plane
from tests.fakes.eventually import eventually
from tests.fakes.kube import ApiError
from tools import go_tools

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "root"},
    "spec": {"containers": [{"name": "root", "image": "x"}]},
}


def test_it_comes_up_once_and_goes_with_its_last_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    try:
        with control_plane() as cluster:
            pids = [int(path.read_text()) for path in cluster.folder.glob("*.pid")]
            assert len(pids) == 4 + cluster.has_fake_node
            with control_plane() as again:
                assert again.kube.url == cluster.kube.url
            assert cluster.kube.get("v1", "Namespace", "", "default")
            assert (cluster.folder.stat().st_mode & 0o777) == 0o700
    except NoCluster as reason:
        pytest.skip(str(reason))
    for pid in pids:
        eventually(lambda pid=pid: not Path(f"/proc/{pid}").exists(), within=10, what="the process is gone")
    assert list(tmp_path.iterdir()) == []


def test_it_is_the_version_that_was_asked_for(cluster: Cluster) -> None:
    (tool,) = (tool for tool in go_tools.TOOLS if tool.name == "kube-apiserver")
    pinned = go_tools.version(tool, go_tools.HERE / tool.module)
    assert cluster.version == os.environ.get("LAUNCH_AGENT_TEST_KUBERNETES", pinned)


def test_pod_security_is_enforced(cluster: Cluster, namespace: str) -> None:
    with pytest.raises(ApiError, match='violates PodSecurity "restricted'):
        cluster.kube.create(POD, namespace)


def test_a_field_that_does_not_exist_is_refused(cluster: Cluster, namespace: str) -> None:
    misspelt = {**POD, "spec": {"containers": [], "restartPolice": "Never"}}
    with pytest.raises(ApiError, match="restartPolice"):
        cluster.kube.dry_run(misspelt, namespace)
