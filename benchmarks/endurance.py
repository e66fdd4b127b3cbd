"""Whether an agent grows with what it has done: its memory after many jobs, and after ten times as many.

The jobs are processes that end at once: no cluster on two cores makes a hundred thousand Jobs in an hour. So
what is shown is the part that all target resources share (queues, launches, runs, reports, journal, log), not
a runner for containers. BENCH_ENDURANCE sets the larger number (100,000).
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure
from benchmarks.stand import OURS
from benchmarks.upstream_agent import memory_of
from tests.fakes.agent_process import AgentProcess
from tests.fakes.backend import Backend
from tests.fakes.server_process import ServerProcess

JOBS = int(os.environ.get("BENCH_ENDURANCE", "100000"))
_BATCH = 500
_QUEUE = "q"


def measure() -> Iterator[Figure]:
    """See the module. An hour, or a tenth of it for a tenth of the jobs."""
    with tempfile.TemporaryDirectory() as folder, ServerProcess(Path(folder, "server")) as server:
        backend = Backend(url=server.url, api_key=server.api_key, entity="team")
        backend.create_queue(_QUEUE, "local-process")
        place = Path(folder, "agent")
        place.mkdir()
        config: dict[str, Any] = {"max_jobs": 64, "max-concurrent-launches": 32}
        with AgentProcess(place, server.url, server.api_key, **config) as agent:
            few, many = max(1, JOBS // 10), JOBS
            began = time.monotonic()
            _run(backend, few)
            first = _settled(agent)
            _run(backend, many - few)
            seconds = time.monotonic() - began
            last = _settled(agent)
    yield Figure(name=f"memory after {few:,} jobs", subject=OURS, value=first / 1e6, unit="MB")
    yield Figure(name=f"memory after {many:,} jobs", subject=OURS, value=last / 1e6, unit="MB")
    yield Figure(
        name="memory that ten times as many jobs add",
        subject=OURS,
        value=100 * (last / first - 1),
        unit="%",
        goal=10.0,
        note=f"processes, {many / seconds:.0f} jobs/s",
    )


def _run(backend: Backend, jobs: int) -> None:
    """Push jobs, and wait until all have ended; two batches at most are under way."""
    spec = {"project": "p", "resource": "local-process", "overrides": {"entry_point": ["true"]}}
    while jobs > 0:
        for _ in range(min(jobs, _BATCH)):
            backend.push(_QUEUE, spec)
        jobs -= _BATCH
        _await(backend, _BATCH if jobs > 0 else 0)


def _await(backend: Backend, left: int) -> None:
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        told = backend.query("{ launchQueues { counts { pending leased claimed failed } } }")
        counts = told["launchQueues"][0]["counts"]
        if counts["failed"]:
            raise RuntimeError(f"jobs failed: {counts}")
        if counts["pending"] + counts["leased"] + counts["claimed"] <= left:
            return
        time.sleep(0.2)
    raise TimeoutError(f"the jobs did not end: {counts}")


def _settled(agent: AgentProcess) -> int:
    time.sleep(10)
    return memory_of([agent.pid]).rss
