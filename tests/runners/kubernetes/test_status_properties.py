"""Whatever a controller writes: nothing raises, an end stays an end, and what nobody knows ends nothing."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from launch_agent.runners.kubernetes import facts, status
from launch_agent.runners.kubernetes.diagnose import explain
from launch_agent.runners.kubernetes.status import rules
from launch_agent.runners.kubernetes.status.table import GENERIC, ROWS
from launch_agent.spec.model import RunState

KINDS = [
    ("batch/v1", "Job"),
    ("v1", "Pod"),
    ("example.com/v1", "Training"),
    ("kubeflow.org/v1", "PyTorchJob"),
    *((f"{row.group}/v1", next(iter(row.kinds))) for row in ROWS if row.kinds),
]
WORDS = sorted(
    {word for row in (*ROWS, GENERIC) for word in (*row.phases, *row.conditions, *row.held)}
    | {"Suspended", "SuccessCriteriaMet", "FailureTarget", "DisruptionTarget", "QuotaReserved", "Evicted"}
)
# Types that mean an end to some kind, and to no other: two of one kind do not come together.
ENDS = {"Complete", "Completed", "Succeeded", "Failed"}
SCALARS = st.none() | st.booleans() | st.integers(-2, 3) | st.sampled_from(WORDS) | st.text(max_size=4)
JUNK = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
CONDITION = st.fixed_dictionaries(
    {"type": st.sampled_from(WORDS) | JUNK, "status": st.sampled_from(["True", "False", "Unknown"]) | JUNK},
    optional={"reason": JUNK, "message": JUNK, "lastTransitionTime": JUNK},
)
STATE = st.dictionaries(st.sampled_from(["waiting", "running", "terminated"]) | st.text(max_size=3), JUNK)
CONTAINER = st.fixed_dictionaries({}, optional={"name": JUNK, "state": STATE | JUNK, "restartCount": JUNK})
FIELDS = [
    "phase",
    "state",
    "jobStatus",
    "jobDeploymentStatus",
    "applicationState",
    "active",
    "failed",
    "reason",
]
STATUS = st.dictionaries(st.sampled_from(FIELDS), JUNK, max_size=5).flatmap(
    lambda plain: st.fixed_dictionaries(
        {},
        optional={
            "conditions": st.lists(CONDITION, max_size=5) | JUNK,
            "containerStatuses": st.lists(CONTAINER, max_size=2) | JUNK,
            "observedGeneration": JUNK,
        },
    ).map(lambda more: plain | more)
)
RULES = rules.make([{"kind": "Training", "path": "status.jobs[0].x", "equals": ["1"], "state": "held"}])


def workload(kind: tuple[str, str], found: Any, spec: Any = None, **meta: Any) -> facts.WorkloadFacts:
    obj = {"apiVersion": kind[0], "kind": kind[1], "metadata": {"name": "n", **meta}, "spec": spec}
    return facts.workload(obj | {"status": found}, rules.paths(RULES))


@given(st.sampled_from(KINDS), STATUS | JUNK, JUNK)
def test_no_object_makes_it_raise(kind: tuple[str, str], found: Any, spec: Any) -> None:
    pod = facts.pod({"metadata": {"name": "p"}, "spec": spec, "status": found})
    event = facts.event({"message": found, "reason": spec, "involvedObject": spec})
    observed = status.observe(workload(kind, found, spec), RULES, [pod])
    diagnosis = explain(observed, [pod, pod], [event], 0.0)
    run = status.status_of(observed, diagnosis)
    assert isinstance(run.state, RunState)
    assert not (run.held and run.state.is_terminal)


@given(st.sampled_from(KINDS), st.lists(CONDITION, max_size=4), st.lists(CONDITION, max_size=4))
def test_an_end_stays_an_end_whatever_is_added(kind: tuple[str, str], told: Any, more: Any) -> None:
    before = status.observe(workload(kind, {"conditions": told}))
    if not before.state.is_terminal:
        return
    assert status.observe(workload(kind, {"conditions": told + more})).state.is_terminal
    harmless = [one for one in more if str(one["type"]) not in ENDS]
    assert status.observe(workload(kind, {"conditions": told + harmless})).state is before.state


@given(st.sampled_from(KINDS), st.text(max_size=20), st.text(max_size=20))
def test_words_that_nobody_knows_end_nothing(kind: tuple[str, str], type_: str, phase: str) -> None:
    known = {word.lower() for word in WORDS}
    if type_.lower() in known or phase.lower() in known:
        return
    found = {"conditions": [{"type": type_, "status": "True"}], "phase": phase, "state": {"phase": phase}}
    assert not status.observe(workload(kind, found)).state.is_terminal


@given(st.dictionaries(st.text(max_size=8), JUNK, max_size=4))
def test_a_shape_that_nobody_knows_goes_on(found: Any) -> None:
    if {"phase", "conditions"} & set(found):
        return
    assert not status.observe(workload(("example.com/v1", "Training"), found)).state.is_terminal
