"""A cluster of a test's own can be broken, and mended, in the ways in which clusters break."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import urllib3

from tests.fakes.cluster_faults import forget, kill, own_cluster, paused
from tests.fakes.control_plane import Cluster, NoCluster
from tests.fakes.kube import ApiError

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(300)]

SETTINGS = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept"}}


@pytest.fixture(scope="module")
def broken() -> Iterator[Cluster]:
    try:
        with own_cluster() as cluster:
            yield cluster
    except NoCluster as reason:
        pytest.skip(str(reason))


def test_a_killed_api_server_comes_back_with_what_it_had(broken: Cluster) -> None:
    broken.kube.create(SETTINGS, "default")
    kill(broken, "kube-apiserver")
    with pytest.raises(urllib3.exceptions.HTTPError):
        broken.kube.get("v1", "ConfigMap", "default", "kept")
    broken.start("kube-apiserver")
    assert broken.kube.get("v1", "ConfigMap", "default", "kept")


def test_what_is_paused_does_not_answer(broken: Cluster) -> None:
    with paused(broken, "kube-apiserver"), pytest.raises(urllib3.exceptions.TimeoutError):
        urllib3.request("GET", broken.kube.url, timeout=1, retries=False)
    assert broken.kube.get("v1", "Namespace", "", "default")


def test_history_can_be_forgotten(broken: Cluster) -> None:
    where = broken.kube.path("v1", "ConfigMap", "default")
    version = broken.kube.call("GET", where)["metadata"]["resourceVersion"]
    for _ in range(3):
        broken.kube.create({**SETTINGS, "metadata": {"generateName": "more-"}}, "default")
    forget(broken)
    with pytest.raises(ApiError, match=r"too old|compacted") as gone:
        broken.kube.call("GET", where, query={"resourceVersion": version, "resourceVersionMatch": "Exact"})
    assert gone.value.status == 410
    events = broken.kube.call(
        "GET", where, query={"watch": "1", "resourceVersion": version, "timeoutSeconds": "2"}
    )
    assert '"code":410' in str(events).replace("'", '"').replace(" ", "")
