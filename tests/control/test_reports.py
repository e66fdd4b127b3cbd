"""Ends are delivered, late if need be, once. Time is passed in."""

from __future__ import annotations

import pytest

from launch_agent.control.reports import Reports
from launch_agent.errors import QueueDenied, QueueError, QueueUnavailable, RunnerError
from launch_agent.spec.model import Outcome, RunIdentity, RunState
from launch_agent.telemetry.metrics import Metrics
from tests.fakes.memory_queues import MemoryQueues

DONE = Outcome(state=RunState.FINISHED)


class Refusing(MemoryQueues):
    """Raises the errors of `answers` first, one each."""

    answers: list[QueueError]

    def finish(self, claim: RunIdentity, outcome: Outcome) -> None:
        if self.answers:
            raise self.answers.pop(0)
        super().finish(claim, outcome)


def identity(item: str = "i1") -> RunIdentity:
    return RunIdentity(
        agent="a", item_id=item, queue="q", queue_entity="t", run_id=item, entity="t", project="p"
    )


@pytest.mark.parametrize("error", [QueueUnavailable("down"), QueueDenied("the key is not accepted")])
def test_what_cannot_be_delivered_is_tried_again(error: QueueError) -> None:
    queues = Refusing()
    queues.answers = [error] * 20
    delivered: list[str] = []
    reports = Reports(queues, Metrics())
    reports.add(identity(), DONE, lambda: delivered.append("i1"), 0.0)
    now = 0.0
    while not delivered:
        reports.tick(now)
        now += 60.0
    assert now == 60.0 * 21
    assert queues.finished == [("i1", DONE)]
    assert len(reports) == 0


def test_attempts_become_rarer_and_retry_after_is_honoured() -> None:
    queues = Refusing()
    queues.answers = [QueueUnavailable("busy", retry_after=500.0)]
    reports = Reports(queues, Metrics())
    reports.add(identity(), DONE, lambda: None, 0.0)
    reports.tick(0.0)
    reports.tick(499.0)
    assert queues.finished == []
    reports.tick(501.0)
    assert queues.finished == [("i1", DONE)]


def test_a_report_that_is_refused_is_not_sent_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    queues = Refusing()
    queues.answers = [QueueError("no such item")]
    delivered: list[str] = []
    reports = Reports(queues, Metrics())
    reports.add(identity(), DONE, lambda: delivered.append("i1"), 0.0)
    reports.tick(0.0)
    assert delivered == ["i1"]
    assert len(reports) == 0
    assert "no such item" in caplog.text


def test_a_run_that_cannot_be_cleared_away_is_named_and_the_rest_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    queues = MemoryQueues()
    reports = Reports(queues, Metrics())

    def release() -> None:
        raise RunnerError("the engine is gone", retryable=True)

    reports.add(identity("i1"), DONE, release, 0.0)
    reports.add(identity("i2"), DONE, lambda: None, 0.0)
    reports.tick(0.0)
    assert [item for item, _ in queues.finished] == ["i1", "i2"]
    assert "the engine is gone" in caplog.text


def test_one_item_has_one_report() -> None:
    queues = MemoryQueues()
    reports = Reports(queues, Metrics())
    for _ in range(3):
        reports.add(identity(), DONE, lambda: None, 0.0)
    reports.tick(0.0)
    assert queues.finished == [("i1", DONE)]


def test_a_report_that_comes_while_an_older_one_goes_out_is_not_lost() -> None:
    failed = Outcome(state=RunState.STOPPED)

    class Meanwhile(MemoryQueues):
        def finish(self, claim: RunIdentity, outcome: Outcome) -> None:
            super().finish(claim, outcome)
            if outcome == DONE:
                reports.add(identity(), failed, lambda: None, 0.0)

    queues = Meanwhile()
    reports = Reports(queues, Metrics())
    reports.add(identity(), DONE, lambda: None, 0.0)
    reports.tick(0.0)
    reports.tick(1.0)
    assert queues.finished == [("i1", DONE), ("i1", failed)]
