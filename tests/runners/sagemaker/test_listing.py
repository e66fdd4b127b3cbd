"""What following many jobs costs: rounds by a clock of the test's, with the real client and a server."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field

import pytest

from launch_agent.runners.sagemaker.listing import Listing
from launch_agent.runners.sagemaker.run import TrainingJob
from launch_agent.runners.sagemaker.runner import SageMakerRunner
from launch_agent.spec.model import RunState
from tests.contracts.runner import identity_for
from tests.fakes.sagemaker_server import Job, SageMakerServer
from tests.runners.sagemaker.bench import SageMakerBench

JOBS = 1_000
MOST_CALLS = 12


@dataclass(slots=True)
class Now:
    """Both clocks of a runner and the server's."""

    seconds: float = 1_800_000_000.0
    started: list[str] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.seconds

    def utc(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(self.seconds, datetime.UTC)


class Rounds:
    """A listing with jobs to follow, whose thread is the test itself."""

    def __init__(
        self, server: SageMakerServer, desk: SageMakerBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("launch_agent.runners.polling.Poller.start", lambda _: None)
        self.now = Now()
        self.server = server
        server.clock = self.now.monotonic
        self.runner = SageMakerRunner(desk.service(), clock=self.now.monotonic, utc=self.now.utc)
        self.listing: Listing = self.runner.listing(desk.agent)
        self.runs = [self._job(desk.agent, number) for number in range(JOBS)]

    def play(self, seconds: float) -> list[int]:
        """Let time go by; returns the listings of each minute."""
        end, minutes = self.now.seconds + seconds, []
        minute, before = self.now.seconds + 60, self._calls()
        due = self.now.seconds
        while self.now.seconds < end:
            if self.now.seconds >= due:
                due = self.now.seconds + self.listing.work()
            self.now.seconds = min(due, minute, end) if due > self.now.seconds else self.now.seconds
            if self.now.seconds >= minute:
                minutes.append(self._calls() - before)
                minute, before = minute + 60, self._calls()
        return minutes

    def _calls(self) -> int:
        return self.server.counts["ListTrainingJobs"]

    def _job(self, agent: str, number: int) -> TrainingJob:
        name = f"job-{number}-{self.listing._key}"
        self.server.jobs[name] = Job(
            name=name, request={}, created=self.now.seconds, modified=self.now.seconds, tags={}
        )
        arn = self.server.jobs[name].arn
        return TrainingJob(
            self.runner, name=name, arn=arn, identity=identity_for(agent), created=self.now.utc()
        )


@pytest.fixture
def rounds(server: SageMakerServer, desk: SageMakerBench, monkeypatch: pytest.MonkeyPatch) -> Rounds:
    return Rounds(server, desk, monkeypatch)


def test_a_thousand_jobs_cost_a_few_listings_a_minute(rounds: Rounds) -> None:
    """Twenty minutes in which now and then one ends: with two looks at all jobs in between."""
    first = rounds.play(120)
    for number in range(18):
        rounds.server.move(rounds.runs[number].name, "Completed")
        first += rounds.play(60)
    assert len(first) == 20
    assert max(first) <= MOST_CALLS, first
    assert [run.status().state for run in rounds.runs[:17]] == [RunState.FINISHED] * 17
    assert rounds.server.counts["DescribeTrainingJob"] == 0


def test_all_of_them_changing_at_once_cost_no_more(rounds: Rounds) -> None:
    rounds.play(300)
    for run in rounds.runs:
        rounds.server.move(run.name, "Completed")
    minutes = rounds.play(300)
    assert max(minutes) <= MOST_CALLS, minutes
    assert {run.status().state for run in rounds.runs} == {RunState.FINISHED}


def test_where_nothing_changes_a_page_is_all_that_is_asked_for(rounds: Rounds) -> None:
    minutes = rounds.play(2_400)
    assert max(minutes) <= MOST_CALLS, minutes
    assert min(minutes) == 6, minutes
    assert sorted(minutes[20:])[8] <= 7, minutes


def test_what_no_round_told_of_is_seen_within_ten_minutes(rounds: Rounds) -> None:
    """A change that reached no listing in time, and a job that somebody has deleted."""
    rounds.play(300)
    late, lost = rounds.runs[0], rounds.runs[1]
    rounds.server.jobs[late.name].status = "Completed"
    del rounds.server.jobs[lost.name]
    minutes = rounds.play(1_200)
    assert max(minutes) <= MOST_CALLS, minutes
    assert late.status().state is RunState.FINISHED
    assert lost.status().reason == "JobDeleted"
    assert rounds.server.counts["DescribeTrainingJob"] == 1
