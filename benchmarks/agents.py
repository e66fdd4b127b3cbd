"""Both agents on Docker, in the same run: memory, requests, latency from queue to start, starts per second.

An agent is idle when a latency is taken: each job comes at a random moment after the one before has started.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator

from benchmarks.figures import Figure, percentile
from benchmarks.stand import OURS, OURS_POLLING, THEIRS, Stand, agent, stand

IDLE_SECONDS = 20.0
LATENCIES = {OURS: 25, OURS_POLLING: 25, THEIRS: 10}
LIVE_RUNS = (0, 5, 20)
BATCH = 100
_THREADS = 8


def measure() -> Iterator[Figure]:
    """See the module. Some twelve minutes, much of it for the official agent's ten-second polls."""
    for subject in (OURS, OURS_POLLING, THEIRS):
        with stand() as here:
            yield from idle(here, subject)
            yield from latency(here, subject)
    for seconds in (0.0, 0.05):
        with stand(latency=seconds) as here:
            for subject in (OURS, THEIRS):
                yield rate(here, subject, seconds)
            if not seconds:
                yield from sdk_alone(here)


def idle(here: Stand, subject: str) -> Iterator[Figure]:
    """Memory with no run, requests with none, few and many; the runner is loaded by one job before."""
    with agent(here, subject) as running:
        here.push("true")
        here.collect(1, 90)
        runs = 0
        for wanted in LIVE_RUNS:
            for _ in range(wanted - runs):
                here.push("sleep 600")
            here.collect(wanted - runs, 240)
            runs = wanted
            time.sleep(15)
            here.proxy.reset()
            time.sleep(IDLE_SECONDS)
            requests = here.proxy.total() * 3600 / IDLE_SECONDS
            yield Figure(
                name=f"backend requests an hour, {runs} jobs running",
                subject=subject,
                value=requests,
                unit="",
            )
            if runs:
                continue
            memory = running.memory()
            yield Figure(
                name="resident memory, idle, docker runner",
                subject=subject,
                value=memory.rss / 1e6,
                unit="MB",
                goal=45.0 if subject == OURS else None,
                note=f"{memory.processes} process{'es' if memory.processes > 1 else ''}",
            )
    here.clear()


def latency(here: Stand, subject: str) -> Iterator[Figure]:
    """Seconds from the push of a job to the start of its container."""
    dice = random.Random(1)
    waits = []
    with agent(here, subject) as _:
        here.push("true")
        here.collect(1, 90)
        for _ in range(LATENCIES[subject]):
            time.sleep(dice.uniform(2.0, 3.5))
            pushed = time.time()
            here.push("true")
            waits.append(here.collect(1, 90)[0] - pushed)
    here.clear()
    goals = {OURS: (0.1, None), OURS_POLLING: (0.7, 1.3), THEIRS: (None, None)}[subject]
    for share, goal in zip((0.5, 0.95), goals, strict=True):
        yield Figure(
            name=f"queue to container start, p{share * 100:.0f}",
            subject=subject,
            value=percentile(waits, share),
            unit="s",
            goal=goal,
            note=f"{len(waits)} jobs",
        )


def rate(here: Stand, subject: str, delay: float) -> Figure:
    """Containers started per second, of a batch that waits in the queue when the agent comes."""
    for _ in range(BATCH):
        here.push("true")
    name = f"jobs started a second, backend latency {delay * 1000:.0f} ms"
    with agent(here, subject):
        began = here.collect(BATCH, 300)
    here.clear()
    return Figure(
        name=name,
        subject=subject,
        value=(BATCH - 1) / (max(began) - min(began)),
        unit="/s",
        more_is_better=True,
    )


def sdk_alone(here: Stand) -> Iterator[Figure]:
    """What the engine gives a program that does nothing but create and start: the bound of any agent."""
    client = here.docker.client
    names = iter(range(BATCH))
    lock = threading.Lock()

    def one() -> None:
        made = client.create_container(here.image, ["sh", "-c", "true"], network_disabled=True)
        client.start(made["Id"])

    def work() -> None:
        while True:
            with lock:
                if next(names, None) is None:
                    return
            one()

    waits = []
    for _ in range(LATENCIES[OURS]):
        time.sleep(0.5)
        asked = time.time()
        one()
        waits.append(here.collect(1, 90)[0] - asked)
    for share in (0.5, 0.95):
        yield Figure(
            name=f"queue to container start, p{share * 100:.0f}",
            subject="docker SDK alone",
            value=percentile(waits, share),
            unit="s",
            note="no queue: create and start",
        )
    here.clear()
    _together(work)
    began = here.collect(BATCH, 120)
    here.clear()
    yield Figure(
        name="jobs started a second, backend latency 0 ms",
        subject="docker SDK alone",
        value=(BATCH - 1) / (max(began) - min(began)),
        unit="/s",
        more_is_better=True,
        note=f"no queue, {_THREADS} threads",
    )


def _together(work: Callable[[], None]) -> None:
    threads = [threading.Thread(target=work) for _ in range(_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
