"""The bench of the Kubernetes runner's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.control_plane import Cluster
from tests.runners.kubernetes.bench import KubernetesBench


@pytest.fixture
def bench(kwok_cluster: Cluster, fake_namespace: str) -> Iterator[KubernetesBench]:
    made = KubernetesBench(kwok_cluster, fake_namespace)
    yield made
    made.close()
