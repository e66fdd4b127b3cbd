"""Following an item: what is shown, and that an outage is no end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from launch_agent.cli.watch import follow
from launch_agent.errors import QueueUnavailable
from launch_agent.queues.submissions import Submission


def item(state: str, **more: object) -> Submission:
    return Submission(id="item-1", queue="q", entity="e", state=state, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("terminal", [False, True])
def test_a_job_is_followed_through_an_outage(capsys: pytest.CaptureFixture[str], *, terminal: bool) -> None:
    story: Iterator[Submission | Exception] = iter(
        [
            QueueUnavailable("asking: no answer", retry_after=7.0),
            item("PENDING"),
            item("PENDING"),
            item("CLAIMED", run_id="r1"),
            QueueUnavailable("asking: no answer"),
            item("CLAIMED", run_id="r1", run_state="running", warnings=("0/3 nodes",)),
            item("FAILED", run_id="r1", error="OOMKilled: more memory"),
        ]
    )
    pauses: list[float] = []

    def find() -> Submission:
        step = next(story)
        if isinstance(step, Exception):
            raise step
        return step

    last = follow(find, as_json=False, terminal=terminal, clock=lambda: sum(pauses), sleep=pauses.append)
    assert last.state == "FAILED"
    assert not last.ended_well
    assert pauses == [7.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    out = capsys.readouterr().out
    assert "OOMKilled" in out
    if not terminal:
        assert out.splitlines() == [
            "    7.0 s  item item-1  waits in the queue",
            "    9.0 s  item item-1  is taken by an agent",
            "   10.0 s  item item-1  is taken by an agent",
            "           no news: asking: no answer",
            "   11.0 s  item item-1  running",
            "           warning: 0/3 nodes",
            "   12.0 s  item item-1  failed",
            "           error: OOMKilled: more memory",
        ]


def test_json_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    story = iter([item("PENDING"), item("FINISHED")])
    last = follow(lambda: next(story), as_json=True, terminal=True, clock=lambda: 0.0, sleep=lambda _: None)
    assert last.ended_well
    assert capsys.readouterr().out.count('"state": "FINISHED"') == 1
