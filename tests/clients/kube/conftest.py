"""A client of the tests' cluster, straight and through a gate that can be broken."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import pytest

from launch_agent.clients.kube.access import Access, context
from launch_agent.clients.kube.api import KubeApi, Resource
from tests.fakes.api_gate import ApiGate
from tests.fakes.control_plane import Cluster


def admin_tls(cluster: Cluster) -> ssl.SSLContext:
    folder = cluster.folder
    return context(folder / "ca.crt", certificate=(folder / "admin.crt", folder / "admin.key"))


@pytest.fixture(scope="session")
def access(cluster: Cluster) -> Access:
    """As the administrator of the cluster."""
    return Access(url=cluster.kube.url, credentials=lambda fresh: {}, tls=lambda: admin_tls(cluster))


@pytest.fixture
def api(access: Access) -> Iterator[KubeApi]:
    made = KubeApi(access, qps=500, burst=500, timeout=30)
    yield made
    made.close()


@pytest.fixture
def gate(cluster: Cluster) -> Iterator[ApiGate]:
    with ApiGate(cluster.kube.url, admin_tls(cluster)) as made:
        yield made


@pytest.fixture
def gated(gate: ApiGate) -> Iterator[KubeApi]:
    """A client whose way to the cluster is the gate."""
    access = Access(url=gate.url, credentials=lambda fresh: {})
    made = KubeApi(access, qps=500, burst=500, timeout=10, patience=20)
    yield made
    made.close()


@pytest.fixture
def maps(api: KubeApi) -> Resource:
    """ConfigMaps: no controller does anything with them."""
    return api.resource("v1", "ConfigMap")
