"""What is sent again and what is not, when the way to the API server is bad."""

from __future__ import annotations

import time
from typing import Any

import pytest

from launch_agent.clients.kube.access import Access
from launch_agent.clients.kube.api import KubeApi, Patch, Resource
from launch_agent.clients.kube.errors import Forbidden, Unauthorized, Unavailable, UnknownKind
from launch_agent.errors import ConfigError
from tests.fakes.api_gate import ApiGate, refusal, reply
from tests.fakes.loopback import Loopback, Reply, Request

_MAP: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
_BUSY = refusal(429, "TooManyRequests")
_DOWN = refusal(503, "ServiceUnavailable")


@pytest.mark.parametrize("fault", [_BUSY, _DOWN, refusal(500, "InternalError"), reply(502, b"<html>"), None])
def test_what_only_asks_is_asked_again(
    gate: ApiGate, gated: KubeApi, maps: Resource, namespace: str, fault: bytes | None
) -> None:
    gate.answer(b"GET .*/configmaps", fault, times=2)
    gated.list(maps, namespace)
    assert gate.count("GET .*/configmaps") == 3


def test_retry_after_is_kept(gate: ApiGate, gated: KubeApi, maps: Resource, namespace: str) -> None:
    gate.answer(b"POST .*/configmaps", refusal(429, "TooManyRequests", headers={"Retry-After": "1"}))
    start = time.monotonic()
    gated.create(maps, namespace, _MAP)
    assert time.monotonic() - start >= 1


@pytest.mark.parametrize("fault", [_DOWN, None])
def test_a_creation_that_may_have_happened_is_not_repeated(
    gate: ApiGate, gated: KubeApi, maps: Resource, namespace: str, fault: bytes | None
) -> None:
    gate.answer(b"POST .*/configmaps", fault)
    with pytest.raises(Unavailable) as caught:
        gated.create(maps, namespace, _MAP)
    assert caught.value.acted
    assert caught.value.retryable
    assert caught.value.action == f"create ConfigMap {namespace}/a"
    assert gate.count("POST .*/configmaps") == 1


def test_a_creation_is_repeated_where_it_did_not_happen(
    gate: ApiGate, gated: KubeApi, maps: Resource, namespace: str
) -> None:
    gate.answer(b"POST .*/configmaps", _BUSY, times=2)
    gated.create(maps, namespace, _MAP)
    assert gate.count("POST .*/configmaps") == 3
    gate.answer(b"POST .*/configmaps", _DOWN)
    gated.create(maps, namespace, {**_MAP, "metadata": {"name": "b"}}, dry_run=True)
    assert gate.count("POST .*/configmaps") == 5


def test_changes_are_repeated_where_twice_is_once(
    gate: ApiGate, gated: KubeApi, maps: Resource, namespace: str
) -> None:
    made = gated.create(maps, namespace, _MAP)
    gate.answer(b"PATCH ", _DOWN)
    gated.patch(maps, namespace, "a", {"data": {"x": "1"}})
    gate.answer(b"PATCH ", None)
    gated.apply(maps, namespace, {**_MAP, "data": {"y": "1"}})
    gate.answer(b"PATCH ", _DOWN)
    with pytest.raises(Unavailable):
        gated.patch(maps, namespace, "a", [{"op": "add", "path": "/data/z", "value": "1"}], how=Patch.JSON)
    gate.answer(b"PUT ", _DOWN)
    with pytest.raises(Unavailable):
        gated.replace(maps, namespace, made)
    gate.answer(b"PUT ", _DOWN)
    gated.replace(maps, namespace, _MAP)
    gate.answer(b"DELETE ", _DOWN)
    gated.delete(maps, namespace, "a")


def test_patience_ends(gate: ApiGate, maps: Resource, namespace: str) -> None:
    gate.answer(b"GET ", refusal(429, "TooManyRequests", headers={"Retry-After": "60"}), times=0)
    api = KubeApi(
        Access(url=gate.url, credentials=lambda fresh: {}), qps=100, burst=100, timeout=5, patience=1
    )
    start = time.monotonic()
    with pytest.raises(Unavailable) as caught:
        api.list(maps, namespace)
    assert time.monotonic() - start < 5
    assert caught.value.status == 429
    assert not caught.value.acted
    assert caught.value.details.retry_after == 60
    api.close()


def test_too_many_requests_of_our_own_wait_for_their_turn(
    gate: ApiGate, maps: Resource, namespace: str
) -> None:
    access = Access(url=gate.url, credentials=lambda fresh: {})
    api = KubeApi(access, qps=0.01, burst=2, timeout=5, patience=1)
    api.list(maps, namespace)
    api.fork().list(maps, namespace)  # out of the same bucket
    with pytest.raises(Unavailable, match="turn") as caught:
        api.list(maps, namespace)
    assert not caught.value.acted
    assert gate.count("GET") == 2
    api.close()


def test_a_server_that_says_nothing_is_given_up(gate: ApiGate, maps: Resource, namespace: str) -> None:
    access = Access(url=gate.url, credentials=lambda fresh: {})
    api = KubeApi(access, qps=100, burst=100, timeout=0.3, patience=1)
    gate.freeze()
    start = time.monotonic()
    with pytest.raises(Unavailable, match="did not answer in time"):
        api.list(maps, namespace)
    with pytest.raises(Unavailable, match="did not answer in time"):
        api.log(namespace, "a")
    assert time.monotonic() - start < 10
    api.close()


def test_nobody_there_is_unavailable(maps: Resource) -> None:
    with Loopback(lambda request: Reply()) as server:
        url = server.url
    api = KubeApi(Access(url=url, credentials=lambda fresh: {}), qps=100, burst=100, timeout=1, patience=1)
    with pytest.raises(Unavailable, match="refused") as caught:
        api.create(maps, "default", _MAP)
    assert not caught.value.acted
    api.close()


def test_what_is_no_kubernetes_is_said_so(maps: Resource) -> None:
    page = Reply(headers={"Content-Type": "text/html"}, body=b"<html>hunter22")
    with Loopback(lambda request: page) as server:
        api = KubeApi(Access(url=server.url, credentials=lambda fresh: {}), qps=99, burst=9, timeout=5)
        with pytest.raises(Unavailable, match=r"no Kubernetes API \(it sends text/html\)") as caught:
            api.get(maps, "default", "a")
        assert "hunter22" not in str(caught.value)
        for body in (b"3", b"[]", b'{"items": 3}', b'{"metadata": 3}', b"{}", b'{"resources": [3, {}]}'):
            page = Reply(headers={"Content-Type": "application/json"}, body=body)
            with pytest.raises(Unavailable, match="no Kubernetes API"):
                api.list(maps, "default")
            with pytest.raises((UnknownKind, Unavailable)):
                api.resource("batch/v1", "Job")
            assert not api.can("get", maps)
            assert not api.rules("default").rules
        page = Reply.of({"metadata": {}, "items": [3, {}, {"metadata": 3}]})
        assert not api.list(maps, "default").items
        api.close()


def test_fresh_credentials_are_tried_once(maps: Resource) -> None:
    given: list[bool] = []

    def credentials(fresh: bool) -> dict[str, str]:
        given.append(fresh)
        return {"Authorization": "Bearer new" if fresh else "Bearer old"}

    def answer(request: Request) -> Reply:
        known = request.headers["authorization"] == "Bearer new"
        return Reply.of({"metadata": {}}) if known else Reply.of({"kind": "Status"}, status=401)

    with Loopback(answer) as server:
        api = KubeApi(Access(url=server.url, credentials=credentials), qps=99, burst=9, timeout=5)
        assert api.get(maps, "default", "a")
        assert given == [False, True]
        server.answer = lambda request: Reply.of({"kind": "Status"}, status=401)
        with pytest.raises(Unauthorized):
            api.get(maps, "default", "a")
        api.close()


def test_a_watch_takes_fresh_credentials_too(maps: Resource) -> None:
    def answer(request: Request) -> Reply:
        if request.headers["authorization"] == "new":
            return Reply(body=b'{"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "7"}}}\n')
        return Reply.of({"kind": "Status"}, status=401)

    with Loopback(answer) as server:
        access = Access(
            url=server.url, credentials=lambda fresh: {"Authorization": "new" if fresh else "old"}
        )
        api = KubeApi(access, qps=99, burst=9, timeout=5)
        with api.watch(maps, "default", version="1", lasting=3, silence=5) as events:
            assert [event.version for event in events] == ["7"]
        api.close()


def test_a_log_is_asked_for_again(gate: ApiGate, gated: KubeApi) -> None:
    gate.answer(b"GET .*/log", _DOWN)
    gate.answer(b"GET .*/log", None)
    gate.answer(b"GET .*/log", reply(200, "ä last line".encode(), {"Content-Type": "text/plain"}))
    assert gated.log("default", "a") == "ä last line"


def test_credentials_that_cannot_be_had_are_no_crash(maps: Resource) -> None:
    def credentials(fresh: bool) -> dict[str, str]:
        raise ConfigError("the token cannot be read", hint="mount it")

    api = KubeApi(
        Access(url="http://127.0.0.1:1", credentials=credentials), qps=99, burst=9, timeout=1, patience=0.5
    )
    with pytest.raises(Unavailable, match="the token cannot be read") as caught:
        api.get(maps, "default", "a")
    assert caught.value.hint == "mount it"
    api.close()


def test_a_refusal_is_final(gate: ApiGate, gated: KubeApi, maps: Resource, namespace: str) -> None:
    gate.answer(b"GET .*/configmaps", refusal(403, "Forbidden"))
    with pytest.raises(Forbidden) as caught:
        gated.list(maps, namespace)
    assert str(caught.value) == f"cannot list configmaps in {namespace}: refused: Forbidden"
    assert gate.count("GET .*/configmaps") == 1


def test_a_list_whose_rest_is_gone_is_begun_again(
    gate: ApiGate, gated: KubeApi, maps: Resource, namespace: str
) -> None:
    for number in range(3):
        gated.create(maps, namespace, {**_MAP, "metadata": {"name": f"m{number}"}})
    gate.answer(b"GET .*/configmaps", refusal(410, "Expired"))
    assert len(list(gated.each(maps, namespace, fields="metadata.name!=kube-root-ca.crt"))) == 3
