"""Launches under way outlive the state folder, and what is over is not begun again."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from launch_agent.control.copies import Copies
from launch_agent.control.journal import Journal
from launch_agent.errors import LaunchError
from tests.control.test_journal import entry


@dataclass
class MemoryKeep:
    """`errors` are raised by the next calls, one each."""

    place: str = "memory"
    held: dict[str, bytes] = field(default_factory=dict)
    errors: list[LaunchError] = field(default_factory=list)
    changes: int = 0

    def read(self) -> Mapping[str, bytes]:
        self._called()
        return dict(self.held)

    def change(self, put: Mapping[str, bytes], drop: Collection[str]) -> None:
        self._called()
        self.changes += 1
        self.held.update(put)
        for key in drop:
            self.held.pop(key, None)

    def close(self) -> None: ...

    def _called(self) -> None:
        if self.errors:
            raise self.errors.pop(0)


AWAY = LaunchError("no answer", retryable=True)
FORBIDDEN = LaunchError("not allowed")


@dataclass
class Bench:
    folder: Path
    keep: MemoryKeep = field(default_factory=MemoryKeep)
    now: float = 0.0
    pods: int = 0

    def pod(self) -> Journal:
        """A journal in a new pod: its folder is empty."""
        self.pods += 1
        journal = Journal(self.folder / str(self.pods), Copies(self.keep, clock=lambda: self.now))
        with journal.held():
            pass
        return journal

    def left(self) -> list[str]:
        """What an agent in the next pod takes up."""
        return sorted(entry.lease.item_id for entry in self.pod().left_elsewhere())


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_launch_is_found_by_an_agent_in_another_pod(bench: Bench) -> None:
    wanted = entry("i1", project="p", overrides={"args": ["--lr", "0.1"]})
    bench.pod().record(wanted, entry("i2"))
    assert bench.keep.changes == 1
    found = bench.pod()
    assert wanted in found.left_elsewhere()
    assert found.spec_of("i1") == wanted.lease.spec
    assert len(found.pending()) == 2


def test_what_has_started_or_ended_is_taken_out(bench: Bench) -> None:
    journal = bench.pod()
    journal.record(entry("i1"), entry("i2"), entry("i3"))
    journal.started("i1")
    journal.erase("i2")
    journal.tidy()
    assert bench.left() == ["i1", "i2", "i3"]  # not at once: others may be under way to the same place
    bench.now += 5
    journal.tidy()
    assert bench.left() == ["i3"]
    assert bench.keep.changes == 2


def test_the_next_write_takes_out_what_is_over(bench: Bench) -> None:
    journal = bench.pod()
    journal.record(entry("i1"))
    journal.started("i1")
    journal.record(entry("i2"))
    assert bench.left() == ["i2"]
    assert bench.keep.changes == 2


def test_an_agent_does_not_take_up_what_it_launches_itself(bench: Bench) -> None:
    journal = bench.pod()
    journal.record(entry("i1"))
    assert journal.left_elsewhere() == []


def test_a_folder_that_is_still_there_knows_better(bench: Bench) -> None:
    """The container was started again in its pod before the copy was taken out."""
    journal = bench.pod()
    journal.record(entry("i1"), entry("i2"))
    journal.started("i1")
    again = Journal(bench.folder / "1", Copies(bench.keep, clock=lambda: bench.now))
    assert [found.lease.item_id for found in again.pending()] == ["i2"]
    assert again.left_elsewhere() == []
    bench.now += 5
    again.tidy()
    assert bench.left() == ["i2"]


def test_nothing_is_kept_where_the_place_cannot_be_reached(bench: Bench) -> None:
    journal = bench.pod()
    bench.keep.errors.append(AWAY)
    with pytest.raises(LaunchError) as caught:
        journal.record(entry("i1"))
    assert caught.value.retryable
    assert "memory" in caught.value.message
    assert journal.pending() == []
    bench.keep.errors.append(AWAY)
    with pytest.raises(LaunchError):
        bench.pod().left_elsewhere()


def test_without_the_right_the_folder_has_to_do(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    journal = bench.pod()
    bench.keep.errors.extend([FORBIDDEN, FORBIDDEN])
    assert journal.left_elsewhere() == []
    journal.record(entry("i1"))
    assert len(journal.pending()) == 1
    assert len(caplog.records) == 1  # told once
    journal.record(entry("i2"))
    assert bench.left() == ["i2"]


def test_what_could_not_be_taken_out_is_tried_again(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    journal = bench.pod()
    journal.record(entry("i1"))
    journal.started("i1")
    bench.now += 5
    bench.keep.errors.append(AWAY)
    journal.tidy()
    assert "no answer" in caplog.text
    journal.tidy()
    assert bench.keep.changes == 1
    bench.now += 20
    journal.tidy()
    assert bench.left() == []


def test_the_end_waits_for_no_time(bench: Bench) -> None:
    journal = bench.pod()
    journal.record(entry("i1"))
    journal.started("i1")
    journal.tidy(now=True)
    assert bench.left() == []


def test_what_does_not_fit_is_in_the_folder_alone(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    noise = random.Random(1).randbytes(400_000).hex()
    journal = bench.pod()
    journal.record(entry("i1", note=noise), entry("i2", note=noise), entry("i3"))
    assert "is full" in caplog.text
    assert len(journal.pending()) == 3
    assert bench.left() == ["i1", "i3"]
    assert sum(map(len, bench.keep.held.values())) < 700_000


@pytest.mark.parametrize("value", [b"", b"\x00", b"no zlib"])
def test_what_somebody_else_wrote_is_left_alone(bench: Bench, value: bytes) -> None:
    bench.pod().record(entry("i1"))
    bench.keep.held["note"] = value
    assert bench.left() == ["i1"]
