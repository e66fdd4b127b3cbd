"""A whole agent, from the queue to custom jobs that run and back, killed and started again on the way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.eventually import eventually
from tests.fakes.vertex_stand import VertexStand, vertex_stand

pytestmark = pytest.mark.timeout(240)
LIVE = ("JOB_STATE_PENDING", "JOB_STATE_RUNNING")


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[VertexStand]:
    with vertex_stand(tmp_path, runs=True) as made:
        yield made


def test_jobs_go_from_the_queue_to_vertex_and_back(stand: VertexStand) -> None:
    """The end of one run is a success, that of another a failure with the end of its log, and a stop a stop;
    an agent that is killed and started again follows what it had started, and starts nothing twice."""
    good = stand.push("echo fine")
    bad = stand.push("echo the reason; exit 3")
    long = stand.push("exec sleep 600")
    eventually(lambda: len(stand.server.began) == 3, within=60)
    stand.agent.kill()
    stand.agent.start()

    def end_of(item: str) -> str:
        return str(stand.backend.item(item)["detailedState"])

    eventually(lambda: end_of(good) == "FINISHED", within=60)
    eventually(lambda: end_of(bad) == "FAILED", within=60)
    failure = stand.backend.item(bad)["error"]
    assert failure["stage"] == "run"
    assert "exit code 3" in failure["message"]
    assert "the reason" in stand.backend.error_log(bad)
    assert len(stand.server.began) == 3
    stand.backend.stop_item(long)
    eventually(lambda: end_of(long) == "STOPPED", within=60)
    assert not [job for job in stand.server.jobs.values() if job["state"] in LIVE]
