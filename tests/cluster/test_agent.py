"""The agent as a process on a real API server, with the rights that the chart gives, from queue to end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launch_agent.server.serve import Server
from tests.fakes.backend import Backend
from tests.fakes.cluster_site import Site, site_on
from tests.fakes.control_plane import Cluster
from tests.fakes.eventually import eventually
from tests.fakes.fake_node import PodEnd

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def site(kwok_cluster: Cluster, fake_namespace: str, tmp_path: Path) -> Iterator[Site]:
    with Server(data_dir=tmp_path / "server", entity="team") as server:
        backend = Backend(url=server.url, api_key=server.api_key, entity="team")
        with site_on(kwok_cluster, fake_namespace, backend, tmp_path) as made:
            yield made


@pytest.mark.req("AGT-7", "AGT-10")
def test_jobs_go_from_the_queue_to_their_ends(site: Site) -> None:
    with site.agent():
        good, bad = site.push(), site.push(PodEnd.OOM_KILLED)
        site.await_state(good, "FINISHED")
        failed = site.await_state(bad, "FAILED")
    assert failed["error"]["message"].startswith("OOMKilled: ")
    assert failed["error"]["stage"] == "run"
    assert [path.rpartition("/")[2] for path in failed["error"]["filePaths"]] == ["error.log"]


def test_a_user_stops_a_run(site: Site) -> None:
    with site.agent() as agent:
        item = site.push(PodEnd.NEVER)
        eventually(lambda: "is running" in agent.log, within=60)
        site.backend.query(
            "mutation Stop($id: ID!) { stopRunQueueItem(input: {runQueueItemId: $id}) { success } }", id=item
        )
        site.await_state(item, "STOPPED")
        eventually(lambda: not site.jobs(), within=30, what="the Job is gone")


def test_a_preempted_job_goes_back_to_its_queue_five_times(site: Site) -> None:
    """openings L9, from the pod's condition to the queue and back."""
    with site.agent():
        first = site.push(PodEnd.PREEMPTED)
        site.await_state(first, "PREEMPTED")
        items = eventually(lambda: _all_ended(site, 6), within=120, every=0.5, what="the job is given up")
    assert len(items) == 6
    assert len({each["associatedRunId"] for each in items}) == 1
    assert [each["detailedState"] for each in items] == [*["PREEMPTED"] * 5, "FAILED"]
    assert items[-1]["error"]["message"].startswith("Preempted: ")


def _all_ended(site: Site, count: int) -> list[dict[str, Any]]:
    """The items of the queue, oldest first."""
    items = site.backend.items("q")
    assert len(items) >= count
    assert all(each["detailedState"] not in ("PENDING", "LEASED", "CLAIMED") for each in items)
    return items


def test_a_new_pod_goes_on_with_the_runs_of_the_one_before(site: Site) -> None:
    """openings L4: its state folder is empty, as that of a new pod is."""
    with site.agent("one") as first:
        item = site.push(PodEnd.COMPLETED, after="20s")
        eventually(lambda: "is running" in first.log, within=60)
    with site.agent("two") as second:
        eventually(lambda: "is adopted" in second.log, within=30)
        site.await_state(item, "FINISHED")
    assert site.item(item)["deliveries"] == 1
