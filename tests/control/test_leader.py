"""What a candidate does in each situation, and what its threads do when the Lease is lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from launch_agent.clients.kube_lease import Record
from launch_agent.control.leader import Election, Leadership, Terms, holder_name
from launch_agent.errors import LaunchError
from tests.fakes.clock import Clock
from tests.fakes.eventually import eventually
from tests.fakes.memory_lease import MemoryLease

TERMS = Terms(15.0)


@pytest.fixture
def lease() -> MemoryLease:
    return MemoryLease()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def election(lease: MemoryLease, me: str, clock: Clock) -> Election:
    return Election(lease, me, TERMS, clock=clock)


def test_the_first_one_leads_and_renews(lease: MemoryLease, clock: Clock) -> None:
    first = election(lease, "a", clock)
    assert first.step() == 5.0
    assert first.leads()
    clock.forward(9.9)
    assert first.leads()
    first.step()
    clock.forward(9.9)
    assert first.leads()
    clock.forward(0.1)
    assert not first.leads()
    assert lease.record is not None
    assert (lease.record.holder, lease.record.transitions, lease.record.duration) == ("a", 0, 15)


def test_another_takes_over_when_nothing_has_changed_for_the_duration(
    lease: MemoryLease, clock: Clock
) -> None:
    first, second = election(lease, "a", clock), election(lease, "b", clock)
    first.step()
    waited = 0.0
    while not second.leads():
        pause = second.step()
        assert 0 < pause <= 5.0
        if not second.leads():
            clock.forward(pause)
            waited += pause
    assert waited == pytest.approx(15.0)
    assert lease.record is not None
    assert (lease.record.holder, lease.record.transitions) == ("b", 1)
    assert first.step() == 0.0  # its write was of a version that is no more
    first.step()
    assert not first.leads()
    assert first.holder == "b"


def test_a_holder_that_renews_is_left_alone(lease: MemoryLease, clock: Clock) -> None:
    first, second = election(lease, "a", clock), election(lease, "b", clock)
    for _ in range(10):
        first.step()
        second.step()
        clock.forward(14.0)  # late, but in time for the others
    assert second.holder == "a"


def test_the_lease_is_free_at_once_after_a_release(lease: MemoryLease, clock: Clock) -> None:
    first, second = election(lease, "a", clock), election(lease, "b", clock)
    first.step()
    second.step()
    first.release()
    assert not first.leads()
    second.step()
    assert second.leads()
    first.release()  # of what is another's
    assert second.step() == 5.0
    assert second.leads()


def test_the_same_agent_goes_on_after_a_restart(lease: MemoryLease, clock: Clock) -> None:
    election(lease, "a", clock).step()
    again = election(lease, "a", Clock(5.0))
    again.step()
    assert again.leads()
    assert lease.record is not None
    assert lease.record.transitions == 0


def test_who_is_slower_waits(lease: MemoryLease, clock: Clock) -> None:
    """Both see that the lease is free; the server takes the first write only."""
    first = election(lease, "a", clock)

    class Slower(MemoryLease):
        def read(self) -> Record | None:
            seen = lease.read()
            if seen is None:
                first.step()
            return seen

        def write(self, record: Record) -> Record:
            return lease.write(record)

    second = election(Slower(), "b", clock)
    assert second.step() == 0.0
    assert second.step() == TERMS.look
    assert (first.leads(), second.leads()) == (True, False)


def test_an_answer_that_is_late_gives_no_more_time(lease: MemoryLease, clock: Clock) -> None:
    """The others count from when the server wrote, which may be when the request was sent."""

    class Slow(MemoryLease):
        def write(self, record: Record) -> Record:
            written = lease.write(record)
            clock.forward(8.0)
            return written

    first = election(Slow(), "a", clock)
    first.step()
    assert first.until == clock.now + 2.0


def test_a_write_without_an_answer_is_looked_for(lease: MemoryLease, clock: Clock) -> None:
    class Deaf(MemoryLease):
        deaf = True

        def read(self) -> Record | None:
            return lease.read()

        def write(self, record: Record) -> Record:
            written = lease.write(record)
            if self.deaf:
                raise LaunchError("no answer", retryable=True)
            return written

    deaf = Deaf()
    first = election(deaf, "a", clock)
    with pytest.raises(LaunchError, match="no answer"):
        first.step()
    assert not first.leads()
    deaf.deaf = False
    first.step()
    assert first.leads()


def test_a_lease_that_was_deleted_is_still_its_holders(lease: MemoryLease, clock: Clock) -> None:
    first, second = election(lease, "a", clock), election(lease, "b", clock)
    first.step()
    second.step()
    clock.forward(14)
    lease.record = None
    second.step()
    assert lease.record is None
    clock.forward(14)
    second.step()
    assert lease.record is None
    assert first.step() == 0.0
    first.step()
    assert first.leads()
    second.step()
    assert not second.leads()


def test_the_holders_own_duration_counts(lease: MemoryLease, clock: Clock) -> None:
    """As while a release with another duration is rolled out."""
    Election(lease, "a", Terms(60.0), clock=clock).step()
    second = election(lease, "b", clock)
    second.step()
    clock.forward(59)
    second.step()
    assert not second.leads()
    clock.forward(1)
    second.step()
    assert second.leads()


def test_the_next_holder_knows_where_runs_may_be(lease: MemoryLease, clock: Clock) -> None:
    first, second = election(lease, "a", clock), election(lease, "b", clock)
    first.add("kubernetes")
    first.step()
    first.add("local-container")
    first.step()
    first.release()
    second.step()
    assert second.resources == {"kubernetes", "local-container"}


@pytest.fixture
def lost() -> list[str]:
    return []


@pytest.fixture
def leadership(lease: MemoryLease, lost: list[str]) -> Iterator[Leadership]:
    leads = Leadership(Election(lease, "a", Terms(2.0)), lost=lost.append)
    yield leads
    leads.release()


def test_it_renews_by_itself(lease: MemoryLease, leadership: Leadership, lost: list[str]) -> None:
    assert leadership.standing_by() == (True, "standing by")
    assert leadership.acquire(threading.Event())
    assert leadership.standing_by() is None
    eventually(lambda: lease.writes > 3)
    leadership.fence()
    leadership.release()
    assert lease.record is not None
    assert lease.record.holder == ""
    with pytest.raises(LaunchError):
        leadership.fence()
    assert lost == []


def test_a_server_that_is_away_ends_it(lease: MemoryLease, leadership: Leadership, lost: list[str]) -> None:
    leadership.acquire(threading.Event())
    leadership.remember("kubernetes")
    lease.away = True
    with pytest.raises(LaunchError, match="nobody answers"):
        leadership.remember("sagemaker")
    eventually(lambda: lost)
    assert "wandb/launch-agent is lost: the lease cannot be used: nobody answers" in lost[0]
    with pytest.raises(LaunchError, match="does not hold its lease"):
        leadership.fence()


def test_a_request_that_hangs_ends_it_in_time(lost: list[str]) -> None:
    hangs, go = threading.Event(), threading.Event()

    class Hanging(MemoryLease):
        def write(self, record: Record) -> Record:
            if self.writes:
                hangs.set()
                go.wait(30)
            return super().write(record)

    leadership = Leadership(Election(Hanging(), "a", Terms(2.0)), lost=lost.append)
    leadership.acquire(threading.Event())
    assert hangs.wait(10)
    eventually(lambda: lost)
    assert "it was not renewed in time" in lost[0]
    go.set()
    leadership.release()


def test_a_lease_that_another_took_ends_it(
    lease: MemoryLease, leadership: Leadership, lost: list[str]
) -> None:
    leadership.acquire(threading.Event())
    eventually(lambda: lease.record and lease.record.holder == "a")
    assert lease.record is not None
    lease.record = replace(lease.record, holder="b", version="other")
    eventually(lambda: lost)
    assert "b holds it" in lost[0]
    with pytest.raises(LaunchError):
        leadership.remember("kubernetes")


def test_a_wait_ends_with_the_agent(lease: MemoryLease, leadership: Leadership, clock: Clock) -> None:
    election(lease, "b", clock).step()
    lease.record = replace(lease.record or pytest.fail("no record"), duration=600)
    cancelled = threading.Event()
    threading.Timer(0.2, cancelled.set).start()
    assert not leadership.acquire(cancelled)


def test_who_cannot_see_the_lease_is_not_ready(lease: MemoryLease, leadership: Leadership) -> None:
    lease.away = True
    cancelled = threading.Event()
    waiting = threading.Thread(target=leadership.acquire, args=(cancelled,))
    waiting.start()
    eventually(lambda: leadership.standing_by() == (False, "the lease cannot be used: nobody answers"))
    cancelled.set()
    waiting.join(10)
    lease.away = False


def test_a_state_folder_has_one_name(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    first, second = (holder_name(folder, "host") for folder in folders)
    assert first == holder_name(folders[0], "elsewhere") != second
    assert first.startswith("host_")
    with pytest.raises(LaunchError, match="cannot be kept"):
        holder_name(tmp_path / "missing", "host")
