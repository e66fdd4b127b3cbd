"""Events about a run, fetched where its objects alone do not say why it does not get on.

A cluster has thousands of events a minute, so they are not watched: they are asked for by the object's uid,
seldom, and only for runs that are not well.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from launch_agent.clients.kube.api import KubeApi
from launch_agent.runners.kubernetes import facts
from launch_agent.runners.kubernetes.facts import EventFacts
from launch_agent.runners.kubernetes.refusals import asking
from launch_agent.runners.kubernetes.trace import Trace, View

# Seconds between two looks at one run: the second soon, since the first may have come too early.
_PAUSES = (3.0, 10.0, 30.0, 60.0)
# All runs together, per second.
_RATE = 5.0
_MOST_PODS = 3
_MOST_EVENTS = 100


class Events:
    """What has happened to runs, as far as it was asked for. Answers come from memory in between."""

    def __init__(self, api: Callable[[], KubeApi], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._clock = clock
        self._lock = threading.Lock()
        self._found: dict[str, tuple[float, int, Sequence[EventFacts]]] = {}
        self._free = clock()

    def known(self, trace: Trace) -> Sequence[EventFacts]:
        return self._found.get(trace.item, (0.0, 0, ()))[2]

    def about(self, trace: Trace, view: View) -> Sequence[EventFacts]:
        """The events about a run's object and those of its pods that have not begun. Raises RunnerError."""
        now = self._clock()
        with self._lock:
            due, looks, found = self._found.get(trace.item, (0.0, 0, ()))
            if now < due or now < self._free:
                return found
            self._free = now + 1.0 / _RATE
            pause = _PAUSES[min(looks, len(_PAUSES) - 1)]
            self._found[trace.item] = (now + pause, looks + 1, found)
        found = self._fetch(trace, view)
        with self._lock:
            self._found[trace.item] = (now + pause, looks + 1, found)
        return found

    def forget(self, item: str) -> None:
        with self._lock:
            self._found.pop(item, None)

    def _fetch(self, trace: Trace, view: View) -> Sequence[EventFacts]:
        namespace = trace.facts.namespace
        with asking(f"list the events about {trace.facts.kind} {namespace}/{trace.facts.name}"):
            found = self._list(namespace, f"involvedObject.uid={trace.facts.uid}")
            waiting = [pod for pod in view.pods if not pod.has_begun][:_MOST_PODS]
            for pod in waiting:
                found += self._list(namespace, f"involvedObject.uid={pod.uid}")
            if not view.pods and trace.resource.group not in ("batch", ""):
                found += self._of_children(namespace, trace.facts.name)
        return [facts.event(obj) for obj in found]

    def _of_children(self, namespace: str, name: str) -> list[Mapping[str, Any]]:
        """A custom resource makes its pods by way of Jobs and such, whose names begin with its own."""
        found = self._list(namespace, "type=Warning,reason=FailedCreate")
        return [
            obj for obj in found if str(obj.get("involvedObject", {}).get("name", "")).startswith(f"{name}-")
        ]

    def _list(self, namespace: str, fields: str) -> list[Mapping[str, Any]]:
        api = self._api()
        listed = api.list(api.resource("v1", "Event"), namespace, fields=fields, limit=_MOST_EVENTS)
        return list(listed.items)
