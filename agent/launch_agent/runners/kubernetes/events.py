"""Events about a run, fetched where its objects alone do not say why it does not get on.

A cluster has thousands of events a minute, so they are not watched: they are asked for by the object's uid,
seldom, and only for runs that are not well. That is a chore: whoever asks for a status does not wait for it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from launch_agent.clients.kube.api import KubeApi
from launch_agent.errors import RunnerError
from launch_agent.runners.kubernetes import facts
from launch_agent.runners.kubernetes.chores import Chores
from launch_agent.runners.kubernetes.facts import EventFacts
from launch_agent.runners.kubernetes.refusals import asking
from launch_agent.runners.kubernetes.trace import Trace, View

_log = logging.getLogger(__name__)
# Seconds between two looks at one run: the second soon, since the first may have come too early.
_PAUSES = (3.0, 10.0, 30.0, 60.0)
# All runs together, per second.
_RATE = 5.0
_MOST_PODS = 3
_MOST_EVENTS = 100


class Events:
    """What has happened to runs, as far as it was asked for."""

    def __init__(
        self, api: Callable[[], KubeApi], chores: Chores, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._api = api
        self._chores = chores
        self._clock = clock
        self._lock = threading.Lock()
        self._found: dict[str, tuple[float, int, Sequence[EventFacts]]] = {}
        self._free = clock()

    def known(self, trace: Trace) -> Sequence[EventFacts]:
        return self._found.get(trace.item, (0.0, 0, ()))[2]

    def about(self, trace: Trace, view: View) -> Sequence[EventFacts]:
        """The events about a run's object and those of its pods that have not begun, as they are known. New
        ones are asked for where it is time; they count as news of the run."""
        now = self._clock()
        with self._lock:
            due, looks, found = self._found.get(trace.item, (0.0, 0, ()))
            if now < due or now < self._free:
                return found
            self._free = now + 1.0 / _RATE
            pause = _PAUSES[min(looks, len(_PAUSES) - 1)]
            self._found[trace.item] = (now + pause, looks + 1, found)
        self._chores.add(f"explain {trace.facts.name}", lambda: self._look(trace, view))
        return found

    def forget(self, item: str) -> None:
        with self._lock:
            self._found.pop(item, None)

    def _look(self, trace: Trace, view: View) -> None:
        try:
            found = self._fetch(trace, view)
        except RunnerError as error:
            # Events explain; a run's state depends neither on them nor on the right to read them.
            _log.debug("%s", error.message)
            return
        with self._lock:
            if trace.item not in self._found:
                return  # it is over
            due, looks, before = self._found[trace.item]
            self._found[trace.item] = (due, looks, found)
        if found != before:
            trace.version += 1

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
