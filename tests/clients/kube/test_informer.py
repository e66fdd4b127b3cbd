"""An informer hears of everything, through whatever happens to its watch."""

from __future__ import annotations

import json
import logging
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from launch_agent.clients.kube.access import Access, context
from launch_agent.clients.kube.api import KubeApi, Object, Resource
from launch_agent.clients.kube.errors import Forbidden
from launch_agent.clients.kube.informer import Informer
from tests.fakes.api_gate import ApiGate, refusal, reply
from tests.fakes.control_plane import Cluster
from tests.fakes.eventually import eventually
from tests.fakes.loopback import Loopback, Raw, Reply, Request

_WATCH = b"GET .*/configmaps.*watch=true"
_LIST = b"GET .*/configmaps.*limit="
_SELECTOR = "of=test"


def _map(name: str, **labels: str) -> dict[str, Any]:
    meta = {"name": name, "labels": {"of": "test", **labels}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta}


def _kept(obj: Object) -> str:
    return f"{obj['metadata']['name']}:{(obj.get('data') or {}).get('x', '')}"


class _Heard:
    """Remembers which keys were told of."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def __call__(self, key: str) -> None:
        self.keys.append(key.rpartition("/")[2])


Make = Callable[..., Informer[Any]]


@pytest.fixture
def informer(gated: KubeApi, maps: Resource, namespace: str) -> Iterator[Make]:
    """Makes started informers of the test's ConfigMaps, which are stopped at the end."""
    made: list[Informer[Any]] = []

    def make(keep: Callable[[Object], Any] = _kept, **more: Any) -> Informer[Any]:
        one: Informer[Any] = Informer(gated, maps, namespace, _SELECTOR, keep=keep, **more)
        made.append(one)
        one.start()
        assert one.wait_synced(30)
        return one

    yield make
    for one in made:
        one.stop()
        assert one._thread is not None
        one._thread.join(10)
        assert not one._thread.is_alive()


def _items(informer: Informer[Any], *expected: str) -> None:
    eventually(lambda: sorted(informer.items()) == sorted(expected), within=30)


def test_it_follows_what_happens(api: KubeApi, maps: Resource, namespace: str, informer: Make) -> None:
    api.create(maps, namespace, _map("a"))
    heard = _Heard()
    found = informer(changed=heard)
    assert found.items() == ["a:"]
    api.create(maps, namespace, _map("b"))
    api.patch(maps, namespace, "b", {"data": {"x": "1"}})
    api.create(maps, namespace, {**_map("c"), "metadata": {"name": "c", "labels": {"of": "others"}}})
    _items(found, "a:", "b:1")
    assert found.get(namespace, "b") == "b:1"
    assert found.get(namespace, "c") is None
    api.delete(maps, namespace, "b")
    _items(found, "a:")
    assert heard.keys == ["a", "b", "b", "b"]
    assert found.age < 30
    assert found.listed < 60
    assert found.error is None


def test_what_loses_the_label_is_gone(api: KubeApi, maps: Resource, namespace: str, informer: Make) -> None:
    api.create(maps, namespace, _map("a"))
    found = informer()
    api.patch(maps, namespace, "a", {"metadata": {"labels": {"of": None}}})
    _items(found)


def test_items_by_a_label(api: KubeApi, maps: Resource, namespace: str, informer: Make) -> None:
    for name, team in (("a", "one"), ("b", "two"), ("c", "one")):
        api.create(maps, namespace, _map(name, team=team))
    found = informer(index="team")
    assert sorted(found.items("one")) == ["a:", "c:"]
    api.patch(maps, namespace, "a", {"metadata": {"labels": {"team": "two"}}})
    eventually(lambda: sorted(found.items("two")) == ["a:", "b:"], within=30)
    assert found.items("one") == ["c:"]
    api.delete(maps, namespace, "c")
    eventually(lambda: not found.items("one"), within=30)
    assert found.items("nobody") == []


def test_what_is_not_kept_is_told_of(api: KubeApi, maps: Resource, namespace: str, informer: Make) -> None:
    api.create(maps, namespace, _map("a"))
    heard = _Heard()
    found = informer(keep=lambda obj: None, changed=heard)
    assert found.items() == []
    api.delete(maps, namespace, "a")
    eventually(lambda: heard.keys == ["a", "a"], within=30)


def test_mistakes_of_those_who_are_told_stay_theirs(
    api: KubeApi, maps: Resource, namespace: str, informer: Make, caplog: pytest.LogCaptureFixture
) -> None:
    heard = _Heard()

    def keep(obj: Object) -> str:
        if obj["metadata"]["name"].startswith("bad"):
            raise KeyError("no such thing")
        return _kept(obj)

    def changed(key: str) -> None:
        heard(key)
        raise ZeroDivisionError

    api.create(maps, namespace, _map("bad-1"))
    api.create(maps, namespace, _map("a"))
    found = informer(keep=keep, changed=changed)
    api.create(maps, namespace, _map("bad-2"))
    api.create(maps, namespace, _map("b"))
    _items(found, "a:", "b:")
    eventually(lambda: heard.keys == ["a", "b"], within=10)
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(told) == 2  # once for each mistake, however often it is made
    assert "cannot be understood" in told[0]
    assert "a change of" in told[1]


def test_a_watch_that_is_cut_loses_nothing(
    api: KubeApi, maps: Resource, namespace: str, gate: ApiGate, informer: Make
) -> None:
    api.create(maps, namespace, _map("a"))
    api.create(maps, namespace, _map("b"))
    heard = _Heard()
    found = informer(changed=heard)
    gate.freeze()
    api.delete(maps, namespace, "a")
    api.create(maps, namespace, _map("c"))
    gate.cut()
    gate.heal()
    _items(found, "b:", "c:")
    eventually(lambda: sorted(heard.keys) == ["a", "a", "b", "c"], within=30)
    eventually(lambda: found.error is None, within=30)


def test_a_watch_that_dies_silently_is_noticed(
    api: KubeApi, maps: Resource, namespace: str, gate: ApiGate, informer: Make
) -> None:
    found = informer(silence=3)
    eventually(lambda: gate.count("watch=true"), within=30)
    gate.freeze()
    api.create(maps, namespace, _map("a"))
    eventually(lambda: found.error is not None, within=30)
    assert found.age >= 2
    gate.cut()
    gate.heal()
    _items(found, "a:")
    eventually(lambda: found.error is None, within=30)


def test_a_watch_that_ends_as_agreed_goes_on_without_a_list(
    api: KubeApi, maps: Resource, namespace: str, gate: ApiGate, informer: Make
) -> None:
    found = informer(silence=2)
    eventually(lambda: gate.count("watch=true") >= 3, within=30)
    api.create(maps, namespace, _map("a"))
    _items(found, "a:")
    assert gate.count("limit=") == 1
    assert found.error is None


def test_now_and_then_it_lists_all_the_same(gate: ApiGate, informer: Make) -> None:
    informer(silence=1.5, list_every=0.1)
    eventually(lambda: gate.count("limit=") >= 3, within=30)


@pytest.mark.parametrize("times", [1, 3])
def test_a_version_that_is_gone_means_a_list(
    api: KubeApi, maps: Resource, namespace: str, gate: ApiGate, informer: Make, times: int
) -> None:
    api.create(maps, namespace, _map("a"))
    gate.answer(_WATCH, refusal(410, "Expired"), times=times)
    found = informer()
    eventually(lambda: gate.count("watch=true") > times, within=30)
    api.delete(maps, namespace, "a")
    _items(found)
    assert gate.count("limit=") == times + 1


def test_a_busy_server_is_not_asked_for_a_list(gate: ApiGate, informer: Make) -> None:
    gate.answer(_WATCH, refusal(429, "TooManyRequests"), times=2)
    found = informer()
    eventually(lambda: gate.count("watch=true") > 2, within=30)
    assert gate.count("limit=") == 1
    eventually(lambda: found.error is None, within=30)


def test_a_list_that_is_gone_half_way_is_begun_again(
    api: KubeApi, maps: Resource, namespace: str, gate: ApiGate, informer: Make
) -> None:
    gate.answer(_LIST, refusal(410, "Expired"))
    api.create(maps, namespace, _map("a"))
    assert informer().items() == ["a:"]


def test_a_refusal_is_told_once_and_ends(
    api: KubeApi,
    maps: Resource,
    namespace: str,
    gate: ApiGate,
    informer: Make,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    found = informer(silence=3, jitter=lambda: 0.0)
    gate.answer(b"GET .*/configmaps", refusal(403, "Forbidden"), times=0)
    gate.cut()
    eventually(lambda: gate.count("limit=") >= 4, within=60)
    assert isinstance(found.error, Forbidden)
    assert caplog.text.count("cannot be followed: refused: Forbidden") == 1
    api.create(maps, namespace, _map("a"))
    assert found.synced  # it still answers with what it last heard
    gate.heal()
    eventually(lambda: found.items() == ["a:"], within=60)
    eventually(lambda: found.error is None and "can be followed again" in caplog.text, within=30)
    assert caplog.text.count("cannot be followed") == 1


@pytest.mark.parametrize(
    "watch",
    [refusal(403, "Forbidden"), refusal(410, "Expired"), refusal(503, "ServiceUnavailable"), reply(200, b"")],
)
def test_lists_without_a_watch_are_no_busy_loop(
    gated: KubeApi,
    maps: Resource,
    gate: ApiGate,
    namespace: str,
    caplog: pytest.LogCaptureFixture,
    watch: bytes,
) -> None:
    """Listing is allowed, and each watch refused, or ended at once by something in between."""
    gate.answer(_WATCH, watch, times=0)
    found: Informer[str] = Informer(gated, maps, namespace, _SELECTOR, keep=_kept, jitter=lambda: 1.0)
    pauses: list[float] = []

    def wait(seconds: float) -> bool:
        pauses.append(seconds)
        if len(pauses) == 10:
            found._stopped.set()
        return False

    found._stopped.wait = wait  # type: ignore[method-assign, assignment]  # time is passed in
    found._run()
    assert pauses[-1] == 60
    assert gate.count("limit=") <= 11
    assert caplog.text.count("cannot be followed") == 1
    found.stop()


def test_a_server_that_stays_away_is_told_of_once(
    gate: ApiGate, maps: Resource, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    api = KubeApi(
        Access(url=gate.url, credentials=lambda fresh: {}), qps=99, burst=99, timeout=5, patience=0.1
    )
    found: Informer[str] = Informer(api, maps, namespace, _SELECTOR, keep=_kept, jitter=lambda: 0.0)
    gate.answer(_LIST, refusal(503, "ServiceUnavailable"), times=0)
    found.start()
    try:
        eventually(lambda: gate.count("limit=") >= 4, within=60)
        assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
            f"{found.name} cannot be followed: refused: ServiceUnavailable"
        ]
    finally:
        found.stop()
        api.close()


def test_a_refusal_is_no_busy_loop(gated: KubeApi, maps: Resource, gate: ApiGate, namespace: str) -> None:
    gate.answer(b"GET .*/configmaps", refusal(403, "Forbidden"), times=0)
    pauses: list[float] = []
    found: Informer[str] = Informer(gated, maps, namespace, _SELECTOR, keep=_kept, jitter=lambda: 1.0)

    def wait(seconds: float) -> bool:
        pauses.append(seconds)
        if len(pauses) == 12:
            found._stopped.set()
        return False

    found._stopped.wait = wait  # type: ignore[method-assign, assignment]  # time is passed in
    found._run()
    assert pauses[:3] == [0.5, 1, 2]
    assert pauses[-1] == 60
    assert gate.count("GET .*/configmaps") == 12
    found.stop()


def test_a_role_that_shrinks_and_grows_again(
    api: KubeApi, cluster: Cluster, maps: Resource, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    version = "rbac.authorization.k8s.io/v1"
    roles, bindings = api.resource(version, "Role"), api.resource(version, "RoleBinding")
    rule = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list", "watch"]}
    role = {"apiVersion": version, "kind": "Role", "metadata": {"name": "watcher"}, "rules": [rule]}
    binding = {
        "apiVersion": version,
        "kind": "RoleBinding",
        "metadata": {"name": "watcher"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "watcher"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": namespace}],
    }
    api.create(roles, namespace, role)
    api.create(bindings, namespace, binding)
    bearer = {"Authorization": f"Bearer {cluster.kube.token(namespace, 'default')}"}
    access = Access(
        url=cluster.kube.url,
        credentials=lambda fresh: bearer,
        tls=lambda: context(cluster.folder / "ca.crt"),
    )
    client = KubeApi(access, qps=99, burst=99, timeout=10, patience=5)
    found: Informer[str] = Informer(client, maps, namespace, _SELECTOR, keep=_kept, silence=2)
    found.start()
    try:
        assert found.wait_synced(60)
        api.patch(roles, namespace, "watcher", {"rules": []})
        eventually(lambda: isinstance(found.error, Forbidden), within=60)
        api.create(maps, namespace, _map("a"))
        assert found.items() == []
        api.patch(roles, namespace, "watcher", {"rules": [rule]})
        eventually(lambda: found.items() == ["a:"], within=90)

        def messages() -> list[str]:
            return [each.getMessage() for each in caplog.records if each.name.endswith("kube.informer")]

        eventually(lambda: len(messages()) == 2, within=60)
        refused, again = messages()
        assert "cannot be followed" in refused
        assert "forbidden" in refused
        assert "can be followed again" in again
    finally:
        found.stop()
        client.close()


@pytest.mark.parametrize("seed", range(3))
def test_whatever_happens_it_ends_up_right(
    api: KubeApi, maps: Resource, namespace: str, gate: ApiGate, informer: Make, seed: int
) -> None:
    """Changes and faults in any order: the copy becomes what the server has, and each difference is told."""
    chance = random.Random(seed)
    heard = _Heard()
    found = informer(changed=heard, silence=3, jitter=lambda: 0.0)

    def change() -> None:
        name = f"m{chance.randrange(6)}"
        if api.find(maps, namespace, name) is None:
            api.create(maps, namespace, _map(name))
        elif chance.random() < 0.5:
            api.patch(maps, namespace, name, {"data": {"x": str(chance.random())}})
        else:
            api.delete(maps, namespace, name)

    faults: list[Callable[[], None]] = [
        gate.cut,
        gate.freeze,
        lambda: gate.answer(_WATCH, refusal(410, "Expired")),
        lambda: gate.answer(_WATCH, None),
        lambda: gate.answer(_LIST, refusal(500, "InternalError")),
        lambda: gate.answer(_LIST, refusal(410, "Expired")),
        gate.heal,
    ]
    for _ in range(40):
        (change if chance.random() < 0.6 else chance.choice(faults))()
    gate.cut()
    gate.heal()

    def right() -> bool:
        kept = sorted(map(_kept, api.each(maps, namespace, labels=_SELECTOR)))
        return sorted(found.items()) == kept and found.error is None

    eventually(right, within=60)
    assert {each.partition(":")[0] for each in found.items()} <= set(heard.keys)


def test_stopping_does_not_wait_for_news(gate: ApiGate, informer: Make) -> None:
    found = informer()
    eventually(lambda: gate.count("watch=true"), within=30)
    start = time.monotonic()
    found.stop()
    assert time.monotonic() - start < 1
    assert not any(thread.name == f"watch {found.name}" for thread in threading.enumerate())


def test_stopping_does_not_wait_for_a_server_that_says_nothing(
    gated: KubeApi, maps: Resource, gate: ApiGate, namespace: str
) -> None:
    gate.freeze()
    found: Informer[str] = Informer(gated, maps, namespace, _SELECTOR, keep=_kept)
    found.start()
    eventually(lambda: gate.count("limit="), within=30)
    assert not found.synced
    start = time.monotonic()
    found.stop()
    assert time.monotonic() - start < 1.5
    gate.cut()
    assert found._thread is not None
    found._thread.join(10)
    assert not found._thread.is_alive()


def test_ten_thousand_events_at_once(maps: Resource) -> None:
    """Each of them is heard, by one thread, in seconds."""
    number, size = 10_000, 2_000
    released = threading.Event()

    def event(index: int) -> bytes:
        meta = {"namespace": "n", "name": f"m{index % 5000}", "resourceVersion": str(index + 2)}
        obj = {"metadata": meta, "data": {"x": str(index), "filling": "y" * size}}
        return json.dumps({"type": "MODIFIED", "object": obj}).encode() + b"\n"

    def answer(request: Request) -> Reply | Raw:
        if "watch=true" not in request.path:
            return Reply.of({"metadata": {"resourceVersion": "1"}, "items": []})
        return stream

    def stream(connection: socket.socket) -> None:
        lines = [event(index) for index in range(number)]
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for line in lines:
            connection.sendall(b"%x\r\n%b\r\n" % (len(line), line))
        released.wait(60)

    heard = _Heard()
    with Loopback(answer) as server:
        api = KubeApi(Access(url=server.url, credentials=lambda fresh: {}), qps=99, burst=9, timeout=5)
        found: Informer[str] = Informer(
            api, maps, "n", "", keep=lambda obj: str(obj["data"]["x"]), changed=heard
        )
        found.start()
        try:
            assert found.wait_synced(30)
            start = time.monotonic()
            eventually(lambda: len(heard.keys) == number, within=60)
            assert time.monotonic() - start < 30
            assert found.get("n", "m4999") == "9999"
            assert len(found.items()) == 5000
        finally:
            released.set()
            found.stop()
            api.close()
