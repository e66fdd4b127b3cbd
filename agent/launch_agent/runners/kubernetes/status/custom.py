"""Custom resources: read by the row that `table` has for their kind."""

from __future__ import annotations

from collections.abc import Iterator

from launch_agent.runners.kubernetes.facts import Condition, WorkloadFacts
from launch_agent.runners.kubernetes.status import held
from launch_agent.runners.kubernetes.status.model import Observed
from launch_agent.runners.kubernetes.status.table import Row, row_for
from launch_agent.spec.model import RunState


def observe(workload: WorkloadFacts) -> Observed:
    """An end, else that it is held back, else what it does; nothing that the row knows is PENDING."""
    row = row_for(workload.group, workload.kind)
    found = list(_told(workload, row))
    ends = [one for one in found if one.state.is_terminal]
    # Where the controller has not seen the present spec, an end is that of what was there before.
    if ends and (row.lags or not workload.is_stale):
        return ends[0]
    if waiting := _waiting(workload, row):
        return waiting
    going = next((one for one in found if not one.state.is_terminal), Observed(state=RunState.PENDING))
    begun = row.attempts and workload.count(row.attempts) and not going.state.has_started
    return Observed(state=RunState.RUNNING) if begun else going


def _told(workload: WorkloadFacts, row: Row) -> Iterator[Observed]:
    """What the conditions and the phase say, those first that the row puts first."""
    for meaning, status in ((row.conditions, "True"), (row.refuted, "False")):
        for type_, state in meaning.items():
            found = workload.condition(type_)
            if found is not None and found.status == status:
                yield _by_condition(workload, found, state)
    phase = workload.value(row.phase) if row.phase else ""
    if phase in row.phases:
        state = row.phases[phase]
        if state is RunState.FINISHED and row.verdict:
            state = row.verdicts.get(workload.value(row.verdict), state)
        yield _by_phase(workload, row, phase, state)


def _by_condition(workload: WorkloadFacts, found: Condition, state: RunState) -> Observed:
    if state is not RunState.FAILED:
        return Observed(state=state, since=found.since if state.is_terminal else None)
    message = found.message or f"the {workload.kind} failed"
    return Observed(state=state, reason=found.reason, message=message, since=found.since)


def _by_phase(workload: WorkloadFacts, row: Row, phase: str, state: RunState) -> Observed:
    if state is not RunState.FAILED:
        return Observed(state=state)
    message = workload.value(row.message) if row.message else ""
    reason = workload.value(row.reason) if row.reason else ""
    return Observed(state=state, reason=reason, message=message or f"the {workload.kind} is in phase {phase}")


def _waiting(workload: WorkloadFacts, row: Row) -> Observed | None:
    condition = next((one for one in workload.conditions if one.holds and one.type in row.held), None)
    if condition is None and not (row.phase and workload.value(row.phase) in row.held):
        return None
    detail = condition.message if condition else ""
    message = f"{held.WAITING}: {detail}" if detail else held.WAITING
    return Observed(state=RunState.PENDING, held=True, reason="WaitingForQuota", message=message)
