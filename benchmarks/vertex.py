"""A whole agent on Vertex AI: jobs started per second, requests a minute at 1,000 runs, memory.

The service is a server of the tests, which compares each job with the API's own description and answers at
once: what is measured is the agent. BENCH_RUNS sets how many runs go on at once.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.upstream_agent import memory_of
from tests.fakes.custom_jobs import CustomJobs
from tests.fakes.eventually import eventually
from tests.fakes.google_tokens import GoogleTokens
from tests.fakes.vertex_stand import VertexStand, vertex_stand
from tests.runners.vertex.bench import VertexBench

RUNS = int(os.environ.get("BENCH_RUNS", "1000"))
_SUBJECT = "launch-agent"
_WINDOW = 120.0
_IDLE = 15.0
_SUBMITS = 300
_MIB = 1024 * 1024


def measure() -> Iterator[Figure]:
    """About five minutes on two cores."""
    yield submits()
    with tempfile.TemporaryDirectory() as folder, vertex_stand(Path(folder), runs=False, poll=10) as here:
        yield idle(here)
        yield from many(here)


def submits() -> Figure:
    """What the runner alone can start per second, without queue and agent around it."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        tokens = stack.enter_context(GoogleTokens(Path(folder)))
        server = stack.enter_context(CustomJobs(token="ya29."))
        os.environ["GOOGLE_APPLICATION_CREDENTIALS"] = str(tokens.key_file)
        bench = VertexBench(server, tokens, Path(folder))
        runner = bench.runner(fresh=10.0)
        requests = [bench.request() for _ in range(_SUBMITS)]
        with ThreadPoolExecutor(8) as threads:
            began = time.monotonic()
            list(threads.map(runner.submit, requests))
            rate = len(requests) / (time.monotonic() - began)
        bench.close()
    return Figure(
        name="submits of the runner",
        subject=_SUBJECT,
        value=rate,
        unit="per second",
        goal=10,
        more_is_better=True,
    )


def idle(here: VertexStand) -> Figure:
    """The resident memory of an agent that has had a job, so that everything is loaded."""
    here.push()
    eventually(lambda: here.server.jobs, within=60)
    here.server.set_state(next(iter(here.server.jobs)), "SUCCEEDED")
    time.sleep(_IDLE)
    resident = memory_of([here.agent.pid]).rss / _MIB
    return Figure(name="idle memory", subject=_SUBJECT, value=resident, unit="MiB", goal=60)


def many(here: VertexStand) -> Iterator[Figure]:
    """Jobs per second from the first creation to the last; then what following them costs."""
    before = len(here.server.jobs)
    for _ in range(RUNS):
        here.push()
    eventually(lambda: len(here.server.jobs) > before, within=60)
    started, already = time.monotonic(), len(here.server.jobs)
    eventually(lambda: len(here.server.jobs) >= before + RUNS, within=600, every=0.2)
    rate = (before + RUNS - already) / (time.monotonic() - started)
    yield Figure(
        name="jobs started", subject=_SUBJECT, value=rate, unit="per second", goal=10, more_is_better=True
    )
    for name in list(here.server.jobs)[before:]:
        here.server.set_state(name, "RUNNING")
    time.sleep(_IDLE)
    here.server.counts.clear()
    time.sleep(_WINDOW)
    asked = here.server.counts["list"] + here.server.counts["get"]
    name = f"status requests with {RUNS:,} runs"
    yield Figure(name=name, subject=_SUBJECT, value=asked * 60 / _WINDOW, unit="per minute", goal=12)
    resident = memory_of([here.agent.pid]).rss / _MIB
    yield Figure(name=f"memory with {RUNS:,} runs", subject=_SUBJECT, value=resident, unit="MiB")
