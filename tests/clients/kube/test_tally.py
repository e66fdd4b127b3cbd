"""What is asked of a server is counted, with what it answered and what it took."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from launch_agent.clients.kube.access import Access
from launch_agent.clients.kube.api import KubeApi, Resource
from launch_agent.clients.kube.errors import KubeError, NotFound
from launch_agent.clients.kube.tally import Tally
from tests.fakes.api_gate import ApiGate, refusal


def counts(api: KubeApi) -> dict[tuple[str, str], int]:
    return {key: count for key, (count, _) in api.tally.requests.items()}


def test_each_request_counts_by_its_verb_and_answer(api: KubeApi, maps: Resource, namespace: str) -> None:
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "counted"}}
    before = counts(api)
    api.create(maps, namespace, made)
    api.get(maps, namespace, "counted")
    with pytest.raises(NotFound):
        api.get(maps, namespace, "other")
    twin = api.fork()  # other connections to the same server
    twin.get(maps, namespace, "counted")
    twin.close()
    after = counts(api)
    added = {key: after[key] - before.get(key, 0) for key in after if after[key] != before.get(key, 0)}
    assert added == {("create", "201"): 1, ("read", "200"): 2, ("read", "404"): 1}
    assert all(seconds > 0 for _, seconds in api.tally.requests.values())


def test_a_try_counts_as_a_request(gated: KubeApi, gate: ApiGate, namespace: str) -> None:
    maps = gated.resource("v1", "ConfigMap")
    gate.answer(b"/configmaps/none", refusal(429, "TooManyRequests", headers={"Retry-After": "0"}), times=2)
    with pytest.raises(NotFound):
        gated.get(maps, namespace, "none")
    found = counts(gated)
    assert (found["read", "429"], found["read", "404"]) == (2, 1)


def test_no_answer_counts_as_none(access: Access) -> None:
    nowhere = Access(url="http://127.0.0.1:9", credentials=lambda fresh: {})
    api = KubeApi(nowhere, qps=500, burst=500, timeout=1, patience=0.1)
    with pytest.raises(KubeError):
        api.version()
    api.close()
    assert {code for _, code in counts(api)} == {"none"}


def test_waiting_for_a_turn_is_told(access: Access, namespace: str) -> None:
    api = KubeApi(access, qps=10, burst=1, timeout=30)
    maps = api.resource("v1", "ConfigMap")
    for _ in range(4):
        api.find(maps, namespace, "none")
    api.close()
    assert 0.1 < api.tally.throttled < 5


def test_threads_lose_no_count() -> None:
    tally = Tally()

    def ask(_: int) -> None:
        for _ in range(1000):
            tally.asked("get", "200", 0.5)
            tally.waited(0.5)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(8)))
    assert tally.requests == {("get", "200"): (8000, 4000.0)}
    assert tally.throttled == 4000.0
