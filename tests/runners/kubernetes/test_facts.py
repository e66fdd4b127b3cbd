"""What is kept of objects: little, and the same whatever JSON comes."""

from __future__ import annotations

import sys
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch_agent.runners.kubernetes import facts
from launch_agent.spec.identity import to_labels
from launch_agent.spec.model import RunIdentity
from tests.fakes import kube_objects as objects
from tests.fakes.kube_objects import T0, condition, stamp, status

IDENTITY = RunIdentity(
    agent="a", item_id="i==", queue="q", queue_entity="e", run_id="r", entity="e", project="p"
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
KEYS = st.sampled_from(
    [
        "status",
        "spec",
        "metadata",
        "conditions",
        "containers",
        "containerStatuses",
        "state",
        "waiting",
        "type",
    ]
)
NEAR = st.recursive(
    JSON,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=20,
)


def job(**status_: Any) -> dict[str, Any]:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": "train",
            "namespace": "team",
            "uid": "u",
            "generation": 2,
            "creationTimestamp": stamp(0),
            "annotations": to_labels(IDENTITY),
            "labels": {facts.ITEM_KEY: "k", facts.KUEUE_QUEUE: "gpus"},
        },
        "spec": {"suspend": True, "backoffLimit": 0},
        "status": status_,
    }


def test_a_workload_keeps_who_it_is_and_how_it_goes() -> None:
    found = facts.workload(job(active=1, observedGeneration=1, ready=0, nested={"a": {"b": 1}, "c": "d"}))
    assert (found.group, found.kind, found.name, found.item_key) == ("batch", "Job", "train", "k")
    assert found.identity == IDENTITY
    assert (found.created, found.deleted) == (T0, None)
    assert (found.suspend, found.queue, found.retries, found.is_stale) == (True, "gpus", 0, True)
    assert found.count("active") == 1
    assert found.value("nested.c") == "d"
    assert found.value("nested.a.b") == ""


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("status.phase", "Run"),
        ("status.jobs[1].state", "done"),
        ("status.jobs[7].state", ""),
        ("status.conditions[example.com/Ready].status", "True"),
        ("status.conditions[Ready].status", ""),
        ("status.jobs", ""),
        ("status.ok", "true"),
        ("spec.n", "3"),
        ("status.phase.more", ""),
    ],
)
def test_a_path_leads_to_a_scalar_or_to_nothing(path: str, value: str) -> None:
    jobs = [{"state": "x"}, {"state": "done"}]
    found = {"phase": "Run", "jobs": jobs, "ok": True, "conditions": [condition("example.com/Ready")]}
    assert facts.at({"status": found, "spec": {"n": 3}}, path) == value


def test_a_deleted_object_was_deleted_before_its_grace_period() -> None:
    assert facts.pod(objects.pod(deleted=10, grace=300)).deleted == T0 + 10


def test_a_pods_main_container_is_the_first_or_the_one_that_is_named() -> None:
    obj = objects.pod(status("proxy", objects.running()), status("train", objects.running()))
    assert facts.pod(obj).main == "proxy"
    obj["metadata"]["annotations"] = {facts.DEFAULT_CONTAINER: "train"}
    assert facts.pod(obj).main == "train"
    obj["metadata"]["annotations"] = {facts.DEFAULT_CONTAINER: "nobody"}
    assert facts.pod(obj).main == "proxy"


def test_containers_have_their_roles() -> None:
    obj = objects.pod(status("main", objects.running()), init=[status("a", {}), status("b", {})])
    obj["spec"]["initContainers"][1]["restartPolicy"] = "Always"
    obj["spec"]["ephemeralContainers"] = [{"name": "debug"}]
    roles = {one.name: one.role.value for one in facts.pod(obj).containers}
    assert roles == {"a": "init", "b": "sidecar", "main": "main", "debug": "ephemeral"}


def test_events_of_both_apis_are_read() -> None:
    old = facts.event(objects.event("FailedCreate", "no", kind="Job", name="train", at=5, last=9))
    assert (old.about[:2], old.reason, old.warning) == (("Job", "train"), "FailedCreate", True)
    assert (old.first, old.last) == (T0 + 5, T0 + 9)
    new = facts.event(
        {
            "regarding": {"kind": "Pod", "name": "p", "uid": "u"},
            "note": "text",
            "eventTime": "2026-09-21T14:13:20.123456Z",
            "series": {"count": 4, "lastObservedTime": "2026-09-21T14:14:20.5Z"},
        }
    )
    assert (new.about, new.message, new.count) == (("Pod", "p", "u"), "text", 4)
    assert new.last is not None
    assert new.first is not None
    assert new.last - new.first == pytest.approx(60.376544)


@given(NEAR)
def test_any_json_becomes_facts(value: Any) -> None:
    obj = value if isinstance(value, dict) else {"status": value, "spec": value, "metadata": value}
    facts.workload(obj, ["status.a[0].b", "status.conditions[Ready].status", "[", "a..b"])
    facts.pod(obj)
    facts.event(obj)


def test_thousands_of_runs_are_small() -> None:
    """5,000 runs, a Job and a pod each: well below a third of the 150 MB that the agent may have."""
    said = "x" * 200
    conditions = [
        condition(type_, "True", "Reason", "") for type_ in ("PodScheduled", "Ready", "Initialized")
    ]

    def one(number: int) -> tuple[facts.WorkloadFacts, facts.PodFacts]:
        made = objects.pod(
            status("main", objects.running()), name=f"train-{number}", phase="Running", conditions=conditions
        )
        made["metadata"]["managedFields"] = [{"fieldsV1": {"f": said}} for _ in range(5)]
        return facts.workload(job(active=1, ready=1, startTime=stamp(0), uid=str(number))), facts.pod(made)

    tracemalloc.start()
    try:
        kept = [one(number) for number in range(1000)]
        used = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(kept) == 1000
    assert used / len(kept) < 5_000


def test_names_that_repeat_are_one_string() -> None:
    first, second = (facts.pod(objects.pod(name=name)) for name in ("a", "b"))
    assert first.namespace is second.namespace
    assert first.containers[0].image is second.containers[0].image
    assert sys.intern(first.phase) is first.phase
