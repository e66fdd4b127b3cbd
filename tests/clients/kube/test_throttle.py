"""The token bucket: its rate, its burst, its order, its patience."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch_agent.clients.kube.throttle import Throttle, TooBusy


class _Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_passes_at_once_and_the_rest_in_the_rate() -> None:
    throttle = Throttle(10, 3, clock=_Clock())
    waits = [throttle.reserve(60) for _ in range(6)]
    assert waits == pytest.approx([0, 0, 0, 0.1, 0.2, 0.3])


@given(
    st.integers(1, 100),
    st.integers(1, 50),
    st.lists(st.floats(0, 5), min_size=1, max_size=80),
)
def test_no_second_has_more_than_burst_and_rate(qps: int, burst: int, gaps: list[float]) -> None:
    clock = _Clock()
    throttle = Throttle(qps, burst, clock=clock)
    sent = []
    for gap in gaps:
        clock.now += gap
        sent.append(clock.now + throttle.reserve(1e9))
    assert sent == sorted(sent)  # nobody is overtaken
    for start in sent:
        assert sum(1 for each in sent if start <= each < start + 1 - 1e-6) <= burst + qps


def test_who_cannot_be_served_in_time_takes_nothing() -> None:
    clock = _Clock()
    throttle = Throttle(1, 1, clock=clock)
    throttle.reserve(0)
    with pytest.raises(TooBusy) as caught:
        throttle.reserve(0.5)
    assert caught.value.wait == pytest.approx(1)
    clock.now += 1
    assert throttle.reserve(0) == 0


def test_a_busy_server_holds_back_everybody() -> None:
    clock = _Clock()
    throttle = Throttle(10, 5, clock=clock)
    throttle.hold(2)
    assert [throttle.reserve(60) for _ in range(3)] == pytest.approx([2, 2.1, 2.2])
    with pytest.raises(TooBusy):
        throttle.reserve(1)


def test_waiting_ends_with_the_client() -> None:
    throttle, closed = Throttle(0.001, 1), threading.Event()
    assert throttle.take(1, closed)
    answers: list[bool] = []
    waiting = threading.Thread(target=lambda: answers.append(throttle.take(1e9, closed)))
    waiting.start()
    closed.set()
    waiting.join(10)
    assert answers == [False]
