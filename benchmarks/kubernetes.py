"""Both agents on Kubernetes, in the same run: Jobs per second, requests, latency, memory, many runs at once.

A real API server and controllers; pods are played by kwok. 50 ms are added to every request to the backend.
BENCH_RUNS sets how many runs are to go on at once (5,000), BENCH_JOBS the size of a batch (300).
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.cluster_stand import ClusterStand, agent, cluster_stand
from benchmarks.figures import Figure, percentile
from benchmarks.stand import OURS, OURS_POLLING, THEIRS, Running
from tests.fakes.fake_node import PodEnd

BACKEND_SECONDS = 0.05
BATCH = int(os.environ.get("BENCH_JOBS", "300"))
THEIR_BATCH = min(BATCH, 60)
RUNS = int(os.environ.get("BENCH_RUNS", "5000"))
LATENCIES = {OURS: 25, OURS_POLLING: 25, THEIRS: 8}
_WINDOW = 60.0
_TICKS = os.sysconf("SC_CLK_TCK")


def measure() -> Iterator[Figure]:
    """See the module. About fifteen minutes on two cores."""
    for subject in (OURS, OURS_POLLING, THEIRS):
        with cluster_stand(latency=BACKEND_SECONDS) as here:
            yield from idle(here, subject)
            if subject != OURS_POLLING:
                yield from rate(here, subject)
            if subject == OURS:
                yield held_rate(here)
    with cluster_stand(latency=BACKEND_SECONDS) as here:
        yield from many(here)


def settings(subject: str) -> dict[str, object]:
    return {"poll-interval": 1, "poll-wait": 0 if subject == OURS_POLLING else 20}


def idle(here: ClusterStand, subject: str) -> Iterator[Figure]:
    """Seconds from a push to the Job, by an agent that has nothing else to do; its memory."""
    dice = random.Random(1)
    waits = []
    with agent(here, subject, **settings(subject)) as running:
        here.push()
        here.collect(1, 120)
        _await_ends(here, subject)
        time.sleep(10)
        memory = running.memory()
        for _ in range(LATENCIES[subject]):
            time.sleep(dice.uniform(1.0, 2.5))
            pushed = time.time()
            here.push()
            waits.append(here.collect(1, 120)[0] - pushed)
        _await_ends(here, subject)
    here.clear()
    yield Figure(
        name="resident memory, idle, kubernetes runner",
        subject=subject,
        value=memory.rss / 1e6,
        unit="MB",
        goal=60.0 if subject == OURS else None,
        note=f"{memory.processes} process{'es' if memory.processes > 1 else ''}",
    )
    goals = {OURS_POLLING: (0.7, 1.3)}.get(subject, (None, None))
    for share, goal in zip((0.5, 0.95), goals, strict=True):
        yield Figure(
            name=f"queue to Job created, p{share * 100:.0f}",
            subject=subject,
            value=percentile(waits, share),
            unit="s",
            goal=goal,
            note=f"{len(waits)} jobs, backend latency 50 ms",
        )


def rate(here: ClusterStand, subject: str) -> Iterator[Figure]:
    """Jobs created per second of a batch that waits when the agent comes, and what that costs in requests."""
    size = THEIR_BATCH if subject == THEIRS else BATCH
    for _ in range(size):
        here.push()
    account = "upstream" if subject == THEIRS else "agent"
    before = here.api_requests(account).total()
    here.proxy.reset()
    with agent(here, subject, **settings(subject)):
        began = here.collect(size, 300)
        _await_ends(here, subject)
        requests = here.proxy.total()
    asked = here.api_requests(account).total() - before
    here.clear()
    yield Figure(
        name="Jobs created a second, backend latency 50 ms",
        subject=subject,
        value=(size - 1) / (max(began) - min(began)),
        unit="/s",
        goal=46.0 if subject == OURS else None,
        more_is_better=True,
        note=f"{size} jobs",
    )
    yield Figure(
        name="backend requests per job",
        subject=subject,
        value=requests / size,
        unit="",
        goal=1.5 if subject == OURS else None,
        note="from the agent's start to the last end" if subject == OURS else "until the last Job and 5 s",
    )
    yield Figure(name="API server requests per job", subject=subject, value=asked / size, unit="")


def held_rate(here: ClusterStand) -> Figure:
    """The same for Jobs that are created suspended, as Kueue wants them. Nothing has to make, place and play
    pods then, which is most of the work of a stand whose cluster has the agent's own cores."""
    for _ in range(BATCH):
        here.push(suspended=True)
    with agent(here, OURS, **settings(OURS)):
        began = here.collect(BATCH, 300)
    here.clear()
    return Figure(
        name="suspended Jobs created a second, backend latency 50 ms",
        subject=OURS,
        value=(BATCH - 1) / (max(began) - min(began)),
        unit="/s",
        goal=46.0,
        more_is_better=True,
        note=f"{BATCH} jobs",
    )


def _await_ends(here: ClusterStand, subject: str) -> None:
    if subject == THEIRS:
        time.sleep(5)  # it tells no ends of jobs that started no run, so there is nothing to wait for
    else:
        here.await_ends(120)


def many(here: ClusterStand) -> Iterator[Figure]:
    """What one agent costs that follows many runs, and whether requests grow with their number."""
    few = min(100, RUNS)
    with agent(here, OURS, **settings(OURS)) as running:
        reached = 0
        for wanted in dict.fromkeys((few, RUNS)):
            for _ in range(wanted - reached):
                here.push(PodEnd.NEVER)
            here.collect(wanted - reached, 900)
            reached = wanted
            yield from _following(here, running, wanted)
    here.clear()


def _following(here: ClusterStand, running: Running, runs: int) -> Iterator[Figure]:
    time.sleep(30)  # what is new has been seen by then
    before, since = here.api_requests("agent").total(), time.monotonic()
    here.proxy.reset()
    busy = _cpu_seconds(running)
    time.sleep(_WINDOW)
    seconds = time.monotonic() - since
    busy = _cpu_seconds(running) - busy
    asked, polled = here.api_requests("agent").total() - before, here.proxy.total()
    large = runs == RUNS
    name = f"{runs:,} runs on one agent: "
    memory = running.memory().rss / 1e6
    yield Figure(
        name=f"{name}resident memory", subject=OURS, value=memory, unit="MB", goal=150.0 if large else None
    )
    yield Figure(
        name=f"{name}processor",
        subject=OURS,
        value=100 * busy / seconds,
        unit="% of a core",
        goal=10.0 if large else None,
    )
    for what, count in (("API server", asked), ("backend", polled)):
        yield Figure(
            name=f"{name}{what} requests a minute", subject=OURS, value=60 * count / seconds, unit=""
        )


def _cpu_seconds(running: Running) -> float:
    total = 0.0
    for pid in running.pids():
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / _TICKS  # utime, stime: proc(5)
    return total
