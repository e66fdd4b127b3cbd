"""A Secret that is changed key by key, by several at once, and made where there is none."""

from __future__ import annotations

import pytest

from launch_agent.clients.kube.api import KubeApi
from launch_agent.clients.kube.errors import KubeError, NotFound
from launch_agent.clients.kube.keep import KubeKeep
from tests.fakes.api_gate import ApiGate, refusal


@pytest.fixture
def keep(api: KubeApi, namespace: str) -> KubeKeep:
    return KubeKeep(f"{namespace}/state", lambda: api)


def test_it_is_made_at_the_first_change(keep: KubeKeep, api: KubeApi, namespace: str) -> None:
    secrets = api.resource("v1", "Secret")
    assert keep.read() == {}
    keep.change({}, ["a"])
    assert api.find(secrets, namespace, "state") is None
    keep.change({"a": b"1", "b": b"\x00"}, [])
    assert keep.read() == {"a": b"1", "b": b"\x00"}
    api.delete(secrets, namespace, "state")


def test_two_agents_take_nothing_from_each_other(keep: KubeKeep, api: KubeApi, namespace: str) -> None:
    other = KubeKeep(keep.place, lambda: api)
    keep.change({"a": b"1", "b": b"2"}, [])
    other.change({"c": b"3"}, ["a", "unknown"])
    keep.change({"b": b"4"}, [])
    assert keep.read() == other.read() == {"b": b"4", "c": b"3"}
    api.delete(api.resource("v1", "Secret"), namespace, "state")


def test_a_refusal_is_told_as_what_it_is(gated: KubeApi, gate: ApiGate, namespace: str) -> None:
    keep = KubeKeep(f"{namespace}/state", lambda: gated)
    gate.answer(b"/secrets/state", refusal(403, "Forbidden"))
    with pytest.raises(KubeError) as caught:
        keep.read()
    assert (caught.value.status, caught.value.retryable) == (403, False)
    assert not isinstance(caught.value, NotFound)
