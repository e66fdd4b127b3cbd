"""Puts what a run's object says and what its pods and events explain into one status."""

from __future__ import annotations

from launch_agent.runners.kubernetes.status.model import Diagnosis, Observed
from launch_agent.spec.model import RunState, RunStatus


def status_of(observed: Observed, diagnosis: Diagnosis | None) -> RunStatus:
    """The status of a run.

    A diagnosis never undoes an end that the object tells: it explains a failure, or makes it a preemption.
    It ends a run that goes on only where it is fatal, and then the runner has to remove the object.
    Otherwise its text goes along as a warning.
    """
    if diagnosis is None or observed.state in (RunState.FINISHED, RunState.STOPPED):
        return _plain(observed)
    if observed.state.is_terminal or diagnosis.fatal:
        state = RunState.FAILED
        if diagnosis.preempted or observed.state is RunState.PREEMPTED:
            state = RunState.PREEMPTED
        return _explained(state, diagnosis)
    if observed.held:
        return _plain(observed)
    return _explained(observed.state, diagnosis)


def _plain(observed: Observed) -> RunStatus:
    return RunStatus(
        state=observed.state,
        reason=observed.reason,
        message=observed.message,
        hint=observed.hint,
        exit_code=observed.exit_code,
        held=observed.held,
    )


def _explained(state: RunState, diagnosis: Diagnosis) -> RunStatus:
    return RunStatus(
        state=state,
        reason=diagnosis.reason,
        message=diagnosis.message,
        hint=diagnosis.hint,
        exit_code=diagnosis.exit_code if state.is_terminal else None,
    )
