"""What the agent counts and measures, for Prometheus.

A registry of its own, so that two agents in one process (tests do that) do not add up. Labels hold words
from closed or bounded sets only: a submitter must not be able to grow the agent's memory by new words.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder

from launch_agent import __version__
from launch_agent.spec.model import RunState

OTHER = "other"
_MOST_WORDS = 200
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/ -]{0,63}")
# Polls take milliseconds or, where the backend holds them, up to minutes; launches up to an hour of building.
_POLL_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_LAUNCH_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)


class Metrics:
    """Safe to use from several threads. `clock` gives Unix time in seconds, as do all times here."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._words: dict[str, set[str]] = {}
        self._live: set[tuple[str, str]] = set()
        self._last_poll = float("-inf")
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        info = Gauge("launch_agent_info", "The agent's version.", ["version"], registry=self.registry)
        info.labels(__version__).set(1)
        self._make_job_metrics()
        self._make_backend_metrics()

    def _make_job_metrics(self) -> None:
        self._jobs = Gauge(
            "launch_agent_jobs",
            "Runs that exist on their target resource, by state.",
            ["queue", "state"],
            registry=self.registry,
        )
        self._ended = Counter(
            "launch_agent_jobs_ended",
            "Queue items that came to an end.",
            ["queue", "state", "reason"],
            registry=self.registry,
        )
        self._step = Histogram(
            "launch_agent_launch_step_duration_seconds",
            "Time of one step of a launch.",
            ["step"],
            buckets=_LAUNCH_SECONDS,
            registry=self.registry,
        )
        self._room = Gauge(
            "launch_agent_room", "Jobs that could be taken from the queues now.", registry=self.registry
        )
        self._in_flight = Gauge(
            "launch_agent_launches_in_flight",
            "Jobs between their queue and their target resource.",
            registry=self.registry,
        )

    def _make_backend_metrics(self) -> None:
        self._poll = Histogram(
            "launch_agent_poll_duration_seconds",
            "Time of one poll of all queues, the wait of a long poll included.",
            buckets=_POLL_SECONDS,
            registry=self.registry,
        )
        self._errors = Counter(
            "launch_agent_backend_errors",
            "Requests to the backend that failed.",
            ["operation", "kind"],
            registry=self.registry,
        )
        self._timestamp = Gauge(
            "launch_agent_last_poll_timestamp_seconds",
            "When the last successful poll ended; 0 before the first.",
            registry=self.registry,
        )
        Gauge(
            "launch_agent_last_poll_age_seconds",
            "Seconds since the last successful poll; +Inf before the first.",
            registry=self.registry,
        ).set_function(lambda: self.poll_age(self._clock()))

    def set_live(self, counts: Mapping[tuple[str, RunState], int]) -> None:
        """Replace the number of runs by (queue, state); pairs that are missing now are 0."""
        now: dict[tuple[str, str], int] = {}
        for (queue, state), count in counts.items():
            pair = (self._word("queue", queue), state.value)
            now[pair] = now.get(pair, 0) + count
        with self._lock:
            gone = self._live - now.keys()
            self._live |= now.keys()
        for pair in gone:
            self._jobs.labels(*pair).set(0)
        for pair, count in now.items():
            self._jobs.labels(*pair).set(count)

    def job_ended(self, queue: str, state: RunState, reason: str) -> None:
        """Count an end; `reason` is empty for a good one."""
        self._ended.labels(self._word("queue", queue), state.value, self._word("reason", reason)).inc()

    def polled(self, now: float) -> None:
        """Note a successful poll."""
        self._last_poll = now
        self._timestamp.set(now)

    def poll_age(self, now: float) -> float:
        """Seconds since the last successful poll; infinite before the first."""
        return max(0.0, now - self._last_poll)

    def poll_took(self, seconds: float) -> None:
        self._poll.observe(seconds)

    def launch_step(self, step: str, seconds: float) -> None:
        """Note how long a step took: queue, ack, fetch, image, build, submit, start."""
        self._step.labels(self._word("step", step)).observe(seconds)

    def backend_error(self, operation: str, error: BaseException) -> None:
        """Count a failed request by the operation's name and the error's type."""
        kind = self._word("kind", type(error).__name__)
        self._errors.labels(self._word("operation", operation), kind).inc()

    def set_room(self, room: int, in_flight: int) -> None:
        """Note how many jobs could be taken now, and how many launches are under way."""
        self._room.set(max(0, room))
        self._in_flight.set(in_flight)

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """All values as text, and its content type: the format that the `Accept` header asks for."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    def _word(self, label: str, word: str) -> str:
        """The word, or `other` where it is none or the label has had too many."""
        if not word:
            return ""
        if not _WORD.fullmatch(word):
            return OTHER
        with self._lock:
            known = self._words.setdefault(label, set())
            if word not in known:
                if len(known) >= _MOST_WORDS:
                    return OTHER
                known.add(word)
        return word
