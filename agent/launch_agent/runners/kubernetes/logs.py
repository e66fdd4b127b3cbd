"""The last lines that a run printed, also those of pods that are gone by now.

A pod that failed may be deleted in the same second (by its controller, a drain, a time to live), and its log
goes with it. So the end of a failed pod's log is read when the failure is seen, and kept as long as there is
room; logs of pods that still exist are read when somebody asks.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

from launch_agent.clients.kube.api import KubeApi
from launch_agent.clients.kube.errors import KubeError
from launch_agent.errors import RunnerError
from launch_agent.runners.kubernetes.chores import Chores
from launch_agent.runners.kubernetes.facts import ContainerFacts, PodFacts, Progress, Role
from launch_agent.runners.kubernetes.refusals import asking
from launch_agent.runners.kubernetes.trace import Trace, View

# The most that is read of one log, in bytes: a line may have any length.
LONGEST_LOG = 1_000_000
# The most that is kept of one log, and of all, in characters.
_LONGEST_KEPT = 64_000
_ROOM = 16_000_000
_KEPT_LINES = 500
# A run of hundreds of pods fails in hundreds of ways that are one.
_MOST_PODS = 4
_PodKey = tuple[str, str]


class Logs:
    """Reads the logs of runs' pods. `forget` gives the room of a run back."""

    def __init__(self, api: Callable[[], KubeApi], chores: Chores) -> None:
        self._api = api
        self._chores = chores
        self._lock = threading.Lock()
        self._kept: OrderedDict[_PodKey, str] = OrderedDict()
        self._asked: dict[str, set[str]] = {}
        self._size = 0

    def note(self, trace: Trace, pods: Sequence[PodFacts]) -> None:
        """Have the logs kept of those pods that have failed, once each."""
        for pod in pods:
            if pod.phase != "Failed":
                continue
            with self._lock:
                asked = self._asked.setdefault(trace.item, set())
                if pod.uid in asked or len(asked) >= 2 * _MOST_PODS:
                    continue
                asked.add(pod.uid)
            self._chores.add(f"keep the log of pod {pod.name}", lambda pod=pod: self._keep(pod))  # type: ignore[misc]  # a default of a lambda

    def read(self, view: View, tail: int) -> str:
        """The last `tail` lines of the pods that matter. More than one: each line begins with its pod's
        name. Raises RunnerError where the cluster cannot be asked."""
        pods = _worth_reading([*view.pods, *view.lost])
        texts = [(pod.name, self._of(pod, max(1, tail // len(pods)))) for pod in pods]
        texts = [(name, text) for name, text in texts if text]
        if len(texts) <= 1:
            return texts[0][1] if texts else ""
        lines = [f"{name}: {line}" for name, text in texts for line in text.splitlines()]
        return "\n".join(lines) + "\n"

    def forget(self, item: str) -> None:
        with self._lock:
            self._asked.pop(item, None)
            for key in [key for key in self._kept if key[0] == item]:
                self._size -= len(self._kept.pop(key))

    def _of(self, pod: PodFacts, tail: int) -> str:
        text = self._fetch(pod, tail)
        if not text:
            with self._lock:
                text = self._kept.get((pod.item_key, pod.name), "")
        return _last(text, tail)

    def _fetch(self, pod: PodFacts, tail: int) -> str:
        """The end of a pod's log; empty where there is none (any more)."""
        container = container_of(pod)
        if container is None:
            return ""
        previous = container.progress is Progress.WAITING and container.restarts > 0
        with asking(f"read the log of pod {pod.namespace}/{pod.name}"):
            try:
                text = self._api().log(
                    pod.namespace, pod.name, container=container.name, tail=tail, previous=previous
                )
            except KubeError as error:
                # 404: no such pod; 400: a container that has not begun, or whose log is gone.
                if error.status in (400, 404):
                    return ""
                raise
        return text[-LONGEST_LOG:]

    def _keep(self, pod: PodFacts) -> None:
        try:
            text = self._fetch(pod, _KEPT_LINES)[-_LONGEST_KEPT:]
        except RunnerError:
            with self._lock:  # news of the pod, if there are any, make it tried again
                self._asked.get(pod.item_key, set()).discard(pod.uid)
            raise
        with self._lock:
            if not text or pod.item_key not in self._asked:
                return
            self._size += len(text) - len(self._kept.pop((pod.item_key, pod.name), ""))
            self._kept[pod.item_key, pod.name] = text
            while self._size > _ROOM:
                self._size -= len(self._kept.popitem(last=False)[1])


def container_of(pod: PodFacts) -> ContainerFacts | None:
    """The container whose log says most: the one that failed, else the run's own; None where none began."""
    begun = [one for one in pod.containers if one.has_begun and one.role is not Role.EPHEMERAL]
    main = pod.main_container

    def rank(one: ContainerFacts) -> tuple[bool, bool, bool]:
        is_main = one is main
        return _has_failed(one) and (is_main or not _has_failed(main)), is_main, one.role is Role.MAIN

    return max(begun, key=rank, default=None)


def _has_failed(one: ContainerFacts | None) -> bool:
    return one is not None and bool(one.exit_code or one.last_code)


def _worth_reading(pods: Sequence[PodFacts]) -> Sequence[PodFacts]:
    """Failed pods before others; the first ones to fail, for they made the rest fail; in that order."""
    failed = [pod for pod in pods if pod.phase == "Failed" or _has_failed(container_of(pod))]
    chosen = failed or [pod for pod in pods if container_of(pod) is not None]
    return sorted(chosen, key=_end)[:_MOST_PODS]


def _end(pod: PodFacts) -> float:
    ends = [one.ended or one.last_ended for one in pod.containers]
    return min((end for end in ends if end is not None), default=pod.created or 0.0)


def _last(text: str, tail: int) -> str:
    lines = text.splitlines(keepends=True)
    return "".join(lines[-tail:])
