"""One runner per target resource, made when a job first needs it.

Which resources an agent serves is known by its queues' jobs only; an agent that sees no SageMaker job never
imports its SDK.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from launch_agent import plugins
from launch_agent.control.journal import Journal
from launch_agent.control.leader import ALONE, Lead
from launch_agent.errors import LaunchError
from launch_agent.runners import Runner, WatchHealth, health_of, usage_of
from launch_agent.spec.model import Resource
from launch_agent.telemetry.targets import Usage

# The file of `runners/` that serves each resource; other names are looked up as they are.
KINDS: Mapping[str, str] = {
    Resource.LOCAL_CONTAINER: "docker",
    Resource.LOCAL_PROCESS: "process",
}


# A watch hears something once a minute, if only that there is no news.
DEAF_SECONDS = 120.0


class Targets:
    """The runners in use, by resource name. `options` is the config's `runner` part; `made` is called with
    each runner once, before its first job: runs of an earlier process may be there. `likely` are resources
    where they may be although nothing says so: a pod's state folder went with the pod before."""

    def __init__(
        self,
        options: Mapping[str, Mapping[str, Any]],
        journal: Journal,
        made: Callable[[Runner], None] = lambda runner: None,
        lead: Lead = ALONE,
        likely: Sequence[str] = (),
    ) -> None:
        self._likely = frozenset(likely)
        self._options = options
        self._journal = journal
        self._made = made
        self._lead = lead
        self._runners: dict[str, Runner] = {}
        self._lock = threading.Lock()
        # One for each resource: a platform that is slow to answer holds up no other's jobs.
        self._making: dict[str, threading.Lock] = {}

    def runner(self, resource: str) -> Runner:
        """The resource's runner, verified. Raises LaunchError for one that is not known or not reachable."""
        self._lead.fence()
        with self._lock:
            making = self._making.setdefault(resource, threading.Lock())
        with making:
            if resource not in self._runners:
                self._runners[resource] = self._make(resource)
            return self._runners[resource]

    def used_before(self) -> Sequence[str]:
        """The resources on which an earlier process of this agent, here or elsewhere, may have left runs."""
        return sorted({*self._journal.known_resources(), *self._lead.resources(), *self._likely})

    def is_guess(self, resource: str) -> bool:
        """Whether nothing but a guess says that there may be runs on a resource."""
        known = resource in self._journal.known_resources() or resource in self._lead.resources()
        return resource in self._likely and not known

    def is_enabled(self, resource: str) -> bool:
        """Processes run with the agent's own rights and file system, so they are off unless turned on."""
        return resource != Resource.LOCAL_PROCESS or bool(self._options.get(resource, {}).get("enabled"))

    def health(self) -> list[tuple[str, WatchHealth]]:
        """What the runners in use say of how well they hear, by resource."""
        return [(name, watch) for name, runner in self._in_use() for watch in health_of(runner)]

    def usage(self) -> list[tuple[str, Usage]]:
        """What the runners in use asked for since they were made, by resource."""
        return [(name, usage_of(runner)) for name, runner in self._in_use()]

    def deafness(self) -> str:
        """Why an agent that watches its runs would not hear of their ends; empty where it does."""
        for name, watch in self.health():
            if watch.age > DEAF_SECONDS:
                why = f": {watch.error}" if watch.error else ""
                heard = f"for {watch.age:.0f} s" if math.isfinite(watch.age) else "yet"
                return f"nothing is heard of {watch.name} ({name}) {heard}{why}"
        return ""

    def close(self) -> None:
        with self._lock:
            for runner in list(self._runners.values()):
                runner.close()
            self._runners.clear()

    def _in_use(self) -> list[tuple[str, Runner]]:
        with self._lock:
            return sorted(self._runners.items())

    def _make(self, resource: str) -> Runner:
        kind = KINDS.get(resource, resource)
        runner: Runner = plugins.load("runners", kind).create(self._options.get(resource, {}))
        try:
            runner.verify()
            self._lead.remember(resource)
            self._made(runner)
        except LaunchError:
            runner.close()  # the next try makes another
            raise
        self._journal.remember_resource(resource)
        return runner
