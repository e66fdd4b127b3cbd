"""The pool is bounded, keeps order, and does not keep a process alive."""

from __future__ import annotations

import subprocess
import sys
import threading

from launch_agent.control.pool import LaunchPool


def test_no_more_than_its_size_run_at_once() -> None:
    pool = LaunchPool(2)
    gate = threading.Event()
    running = threading.Semaphore(0)
    most = []
    active = 0
    lock = threading.Lock()

    def work() -> None:
        nonlocal active
        with lock:
            active += 1
            most.append(active)
        running.release()
        gate.wait(10)
        with lock:
            active -= 1

    for _ in range(6):
        pool.submit(work)
    assert running.acquire(timeout=5)
    assert running.acquire(timeout=5)
    assert pool.in_flight == 6
    assert not pool.wait_idle(0.05)
    gate.set()
    assert pool.wait_idle(5)
    assert pool.in_flight == 0
    assert max(most) == 2


def test_work_starts_in_the_order_given() -> None:
    pool = LaunchPool(1)
    seen: list[int] = []
    for number in range(20):
        pool.submit(lambda number=number: seen.append(number))
    assert pool.wait_idle(5)
    assert seen == list(range(20))


def test_a_hanging_launch_does_not_keep_the_process() -> None:
    code = (
        "import threading; from launch_agent.control.pool import LaunchPool; "
        "pool = LaunchPool(1); pool.submit(threading.Event().wait); print('out')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True
    )
    assert done.stdout == "out\n"
