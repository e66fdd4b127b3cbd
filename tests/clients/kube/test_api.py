"""The client's verbs, against a real API server."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from urllib3.util import parse_url

from launch_agent.clients.kube import discovery
from launch_agent.clients.kube.access import Access
from launch_agent.clients.kube.api import KubeApi, Patch, Propagation, Resource
from launch_agent.clients.kube.errors import (
    AlreadyExists,
    Conflict,
    Invalid,
    NotFound,
    Unavailable,
    UnknownKind,
)
from launch_agent.clients.kube.objects import Change, version_of
from launch_agent.clients.kube.requests import request
from tests.fakes.control_plane import Cluster
from tests.fakes.eventually import eventually


def _map(name: str, labels: dict[str, str] | None = None, **data: str) -> dict[str, Any]:
    meta = {"name": name, "labels": labels or {}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}


def _job(name: str) -> dict[str, Any]:
    pod = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "example.org/none"}]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"suspend": True, "template": {"spec": pod}},
    }


def test_an_older_server_tells_its_kinds_group_by_group(
    api: KubeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = {found.key: found for found in api.resources()}
    # Asked so, any server answers as those before Kubernetes 1.30 do.
    monkeypatch.setattr(discovery, "_ALL", "application/json")
    found = {found.key: found for found in api.resources()}
    assert found == whole
    assert {key: each.verbs for key, each in found.items()} == {
        key: each.verbs for key, each in whole.items()
    }


def test_kinds_are_found_by_discovery(api: KubeApi) -> None:
    jobs = api.resource("batch/v1", "Job")
    assert (jobs.group, jobs.version, jobs.plural, jobs.namespaced) == ("batch", "v1", "jobs", True)
    assert {"create", "watch", "list"} <= jobs.verbs
    assert (jobs.key, jobs.api_version) == ("batch/jobs", "batch/v1")
    namespaces = api.resource("v1", "Namespace")
    assert (namespaces.key, namespaces.api_version, namespaces.namespaced) == ("/namespaces", "v1", False)
    # Not kind + "s".
    assert api.resource("networking.k8s.io/v1", "NetworkPolicy").plural == "networkpolicies"
    assert api.resource("v1", "Endpoints").plural == "endpoints"


@pytest.mark.parametrize(
    ("api_version", "kind", "hint"),
    [
        ("batch/v1", "Jobs", "batch/v1 has Job"),
        ("v1", "job", "batch/v1 Job"),
        ("batch/v2", "CronJob", "CronJob is served as batch/v1"),
        ("batch", "CronJob", "CronJob is served as batch/v1"),
        ("apps/v2beta7", "Thing", "apps/v1"),
        ("example.org/v1", "Qwertz", "is its operator installed"),
        ("../../version", "Job", "is served as"),
        ("a/b/c", "Job", "is served as"),
        ("", "Job", "is served as"),
    ],
)
def test_an_unknown_kind_names_what_is_near(api: KubeApi, api_version: str, kind: str, hint: str) -> None:
    with pytest.raises(UnknownKind) as caught:
        api.resource(api_version, kind)
    assert hint in caught.value.hint
    assert kind in caught.value.message
    assert not caught.value.retryable


def _definition(group: str) -> dict[str, Any]:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"oxen.{group}"},
        "spec": {
            "group": group,
            "names": {"kind": "Ox", "plural": "oxen", "singular": "ox", "listKind": "OxList"},
            "scope": "Namespaced",
            "versions": [version],
        },
    }


@pytest.fixture
def group(api: KubeApi) -> Iterator[str]:
    name = f"x{uuid.uuid4().hex[:8]}.example.org"
    yield name
    definitions = api.resource("apiextensions.k8s.io/v1", "CustomResourceDefinition")
    if api.find(definitions, "", f"oxen.{name}"):
        api.delete(definitions, "", f"oxen.{name}")


def test_a_kind_that_is_installed_later_is_found(api: KubeApi, namespace: str, group: str) -> None:
    with pytest.raises(UnknownKind):
        api.resource(f"{group}/v1", "Ox")
    api.create(api.resource("apiextensions.k8s.io/v1", "CustomResourceDefinition"), "", _definition(group))

    def known() -> Resource | None:
        try:
            return api.resource(f"{group}/v1", "Ox")
        except UnknownKind:
            return None

    oxen = eventually(known, within=60, every=0.2)
    assert oxen is not None
    assert oxen.plural == "oxen"
    manifest = {"apiVersion": f"{group}/v1", "kind": "Ox", "metadata": {"name": "a"}, "spec": {"legs": 4}}
    eventually(lambda: _made(api, oxen, namespace, manifest), within=30, every=0.2)
    assert [each["kind"] for each in api.each(oxen, namespace)] == ["Ox"]


def _made(api: KubeApi, resource: Resource, namespace: str, manifest: dict[str, Any]) -> bool:
    try:
        return bool(api.create(resource, namespace, manifest))
    except NotFound:  # discovery knows a new kind a moment before its objects can be made
        return False


def test_an_object_is_made_read_changed_and_deleted(api: KubeApi, maps: Resource, namespace: str) -> None:
    made = api.create(maps, namespace, _map("a", x="1"))
    assert api.get(maps, namespace, "a") == made
    with pytest.raises(AlreadyExists):
        api.create(maps, namespace, _map("a"))
    merged = api.patch(maps, namespace, "a", {"data": {"x": None, "y": "2"}})
    assert merged["data"] == {"y": "2"}
    put = api.patch(maps, namespace, "a", [{"op": "add", "path": "/data/z", "value": "3"}], how=Patch.JSON)
    assert put["data"] == {"y": "2", "z": "3"}
    with pytest.raises(Conflict):
        api.replace(maps, namespace, {**made, "data": {}})
    assert api.replace(maps, namespace, {**put, "data": {"n": "4"}})["data"] == {"n": "4"}
    api.delete(maps, namespace, "a")
    assert api.find(maps, namespace, "a") is None
    with pytest.raises(NotFound):
        api.delete(maps, namespace, "a")


def test_apply_makes_and_changes(api: KubeApi, maps: Resource, namespace: str) -> None:
    first = api.apply(maps, namespace, _map("a", x="1"), manager="one")
    second = api.apply(maps, namespace, _map("a", x="2"), manager="one")
    assert second["metadata"]["uid"] == first["metadata"]["uid"]
    with pytest.raises(Conflict) as caught:
        api.apply(maps, namespace, _map("a", x="3"), manager="two", force=False)
    assert ".data.x" in caught.value.fields
    assert api.apply(maps, namespace, _map("a", x="3"), manager="two")["data"] == {"x": "3"}


def test_a_change_of_another_object_is_a_conflict(api: KubeApi, maps: Resource, namespace: str) -> None:
    uid = str(uuid.uuid4())
    api.create(maps, namespace, _map("a"))
    with pytest.raises(Conflict):
        api.delete(maps, namespace, "a", uid=uid)
    with pytest.raises(Conflict):
        api.patch(maps, namespace, "a", {"metadata": {"uid": uid}, "data": {"x": "1"}})
    kept = api.get(maps, namespace, "a")
    api.delete(maps, namespace, "a", uid=kept["metadata"]["uid"])


def test_a_dry_run_judges_and_makes_nothing(api: KubeApi, namespace: str) -> None:
    jobs = api.resource("batch/v1", "Job")
    assert api.create(jobs, namespace, _job("a"), dry_run=True)["metadata"]["uid"]
    assert api.find(jobs, namespace, "a") is None
    bad = _job("a")
    bad["spec"]["template"]["spec"]["containers"][0]["imagePolicy"] = "Always"
    with pytest.raises(Invalid) as caught:
        api.create(jobs, namespace, bad, dry_run=True)
    assert caught.value.fields == ("spec.template.spec.containers[0].imagePolicy",)
    assert api.create(jobs, namespace, bad, dry_run=True, strict=False)
    bad["spec"]["template"]["spec"] = {"restartPolicy": "Sometimes", "containers": []}
    with pytest.raises(Invalid) as caught:
        api.create(jobs, namespace, bad, dry_run=True)
    assert "spec.template.spec.containers" in caught.value.fields


def test_what_an_object_owns_goes_with_it(api: KubeApi, maps: Resource, namespace: str) -> None:
    jobs = api.resource("batch/v1", "Job")
    for name, propagation in (("a", Propagation.BACKGROUND), ("b", Propagation.ORPHAN)):
        owner = api.create(jobs, namespace, _job(name))["metadata"]
        reference = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": owner["uid"]}
        owned = _map(name)
        owned["metadata"]["ownerReferences"] = [reference]
        api.create(maps, namespace, owned)
        api.delete(jobs, namespace, name, propagation=propagation, grace=0)
    eventually(lambda: api.find(maps, namespace, "a") is None, within=60, every=0.2)
    eventually(lambda: api.find(jobs, namespace, "b") is None, within=60, every=0.2)
    assert api.find(maps, namespace, "b") is not None


def test_a_list_is_read_in_parts(api: KubeApi, maps: Resource, namespace: str) -> None:
    for number in range(7):
        api.create(maps, namespace, _map(f"m{number}", {"parity": str(number % 2)}))
    pages = list(api.pages(maps, namespace, labels="parity", limit=3))
    assert [len(page.items) for page in pages] == [3, 3, 1]
    assert len({page.version for page in pages}) == 1
    assert {(item["apiVersion"], item["kind"]) for page in pages for item in page.items} == {
        ("v1", "ConfigMap")
    }
    assert len(list(api.each(maps, namespace, labels="parity=1"))) == 3
    assert [each["metadata"]["name"] for each in api.each(maps, namespace, fields="metadata.name=m4")] == [
        "m4"
    ]


def test_a_watch_tells_what_happens(api: KubeApi, maps: Resource, namespace: str) -> None:
    start = api.list(maps, namespace).version
    api.create(maps, namespace, _map("a", {"of": "test"}))
    api.create(maps, namespace, _map("b"))
    api.patch(maps, namespace, "a", {"data": {"x": "1"}})
    api.delete(maps, namespace, "a")
    with api.watch(maps, namespace, version=start, labels="of=test", lasting=4, silence=20) as events:
        found = list(events)
    assert [event.change for event in found if event.change is not Change.BOOKMARK] == [
        Change.ADDED,
        Change.MODIFIED,
        Change.DELETED,
    ]


def test_a_log_is_read(api: KubeApi, fake_namespace: str) -> None:
    pods = api.resource("v1", "Pod")
    api.create(pods, fake_namespace, _pod("a"))

    def read(**more: Any) -> str:
        try:
            return api.log(fake_namespace, "a", container="main", **more)
        except Invalid:  # it has not begun
            return ""

    whole = eventually(read, within=60, every=0.2)
    lines = whole.splitlines()
    assert len(lines) > 10
    assert read(tail=3).splitlines() == lines[-3:]
    assert read(tail=0) == ""
    assert read(longest=20) == whole[-20:]
    for name, container in (("b", "main"), ("a", "none")):
        with pytest.raises((NotFound, Invalid)):
            api.log(fake_namespace, name, container=container)


def _pod(name: str) -> dict[str, Any]:
    spec = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "example.org/none"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def test_many_threads_share_a_client(
    api: KubeApi, maps: Resource, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    with ThreadPoolExecutor(40) as pool:
        made = list(pool.map(lambda number: api.create(maps, namespace, _map(f"m{number}")), range(200)))
    assert len({each["metadata"]["uid"] for each in made}) == 200
    assert not caplog.records  # no pool that was too small


def test_rights_are_asked_for(api: KubeApi, cluster: Cluster, access: Access, namespace: str) -> None:
    assert api.can("create", "batch/jobs", namespace)
    assert api.can("get", "/pods", part="log")
    rules = [{"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get"], "resourceNames": ["a"]}]
    meta = {"name": "reader"}
    version = "rbac.authorization.k8s.io/v1"
    api.create(
        api.resource(version, "Role"),
        namespace,
        {"apiVersion": version, "kind": "Role", "metadata": meta, "rules": rules},
    )
    binding = {
        "roleRef": {"apiGroup": version.partition("/")[0], "kind": "Role", "name": "reader"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": namespace}],
    }
    api.create(
        api.resource(version, "RoleBinding"),
        namespace,
        {"apiVersion": version, "kind": "RoleBinding", "metadata": meta, **binding},
    )
    token = cluster.kube.token(namespace, "default")
    other = KubeApi(
        Access(
            url=access.url,
            credentials=lambda fresh: {"Authorization": f"Bearer {token}"},
            tls=lambda: _trust(cluster),
        ),
        qps=100,
        burst=100,
        timeout=20,
    )
    try:
        eventually(lambda: other.can("get", "/pods", namespace, name="a"), within=30)
        assert not other.can("get", "/pods", namespace, name="b")
        assert not other.can("create", "batch/jobs", namespace)
        assert other.can("get", "/pods", namespace, name="a", part="log")
        found = other.rules(namespace)
        assert found.complete
        assert found.allow("get", "/pods", "a")
        assert found.allow("get", "/pods/log", "a")
        assert not found.allow("get", "/pods", "b")
        assert not found.allow("delete", "/pods", "a")
        assert not found.allow("get", "batch/jobs")
    finally:
        other.close()


def _trust(cluster: Cluster) -> Any:
    from launch_agent.clients.kube.access import context

    return context(cluster.folder / "ca.crt")


def test_closing_ends_what_is_under_way(api: KubeApi, maps: Resource, namespace: str) -> None:
    fork = api.fork()
    version = fork.list(maps, namespace).version
    ends: list[float] = []
    watching = threading.Event()

    def watch() -> None:
        try:
            with fork.watch(maps, namespace, version=version, lasting=60, silence=60) as events:
                watching.set()
                list(events)
        except Unavailable:
            ends.append(time.monotonic())

    thread = threading.Thread(target=watch)
    thread.start()
    assert watching.wait(30)
    start = time.monotonic()
    fork.close()
    thread.join(10)
    assert ends[0] - start < 1
    with pytest.raises(Unavailable, match="closed"):
        fork.list(maps, namespace)
    assert api.list(maps, namespace).version  # the one it came from goes on


def test_a_version_is_read(api: KubeApi, cluster: Cluster) -> None:
    assert api.version() == f"v{cluster.version}"
    assert version_of({}) == version_of({"metadata": None}) == ""


@pytest.mark.parametrize("name", ["a/b", "../a", "..", ".", "", "a?b", "a b", "ä", "%2e%2e"])
def test_a_name_stays_a_name(api: KubeApi, maps: Resource, namespace: str, name: str) -> None:
    """`..` would be the namespace, and no name at all would be every object in it."""
    kept = api.create(maps, namespace, _map("a"))["metadata"]["uid"]
    for ask in (api.get, api.delete, partial(_patch, api)):
        with pytest.raises((NotFound, Invalid)):
            ask(maps, namespace, name)
        if name:
            with pytest.raises((NotFound, Invalid)):
                ask(maps, name, "a")
    assert api.get(maps, namespace, "a")["metadata"]["uid"] == kept
    namespaces = api.resource("v1", "Namespace")
    assert "deletionTimestamp" not in api.get(namespaces, "", namespace)["metadata"]


def _patch(api: KubeApi, resource: Resource, namespace: str, name: str) -> None:
    api.patch(resource, namespace, name, {"data": {"x": "1"}})


@given(st.text(), st.text(min_size=1))
def test_a_path_has_the_parts_that_it_was_made_of(namespace: str, name: str) -> None:
    pods = Resource(group="", version="v1", plural="pods", kind="Pod", namespaced=True)
    try:
        path = request("GET", pods, namespace, name, does="read").path
    except Invalid:
        assert {namespace, name} & {".", ".."} or "/" in namespace + name
        return
    expected = ["", "api", "v1", *(["namespaces", namespace] if namespace else []), "pods", name]
    # What urllib3 makes of a path before it is sent is what counts.
    sent = parse_url(f"https://host{path}").path
    assert sent is not None
    assert [unquote(part) for part in sent.split("/")] == expected


@pytest.mark.parametrize("bad", [float("nan"), datetime(2026, 1, 1, tzinfo=UTC), {1, 2}, b"x"])
def test_what_is_no_json_is_invalid(api: KubeApi, maps: Resource, namespace: str, bad: Any) -> None:
    with pytest.raises(Invalid, match="JSON"):
        api.create(maps, namespace, {**_map("a"), "data": {"x": bad}})
