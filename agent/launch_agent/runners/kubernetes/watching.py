"""Follows the objects and pods of runs by informers: one for each kind in each namespace, pods included.

An informer begins when a run first needs it and ends some time after the last one did. All pods of a run
carry its label, whatever kind of object made them, so pods need no knowledge of kinds. But for those of a
TrainJob: they come from its runtime's template, and are known by the JobSet that is named after the run.

Pitfall: an informer that is cut off answers with what it last heard. `check` says when that is too old.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from launch_agent.clients.kube.api import KubeApi
from launch_agent.clients.kube.informer import Informer
from launch_agent.clients.kube.objects import Resource
from launch_agent.errors import RunnerError
from launch_agent.runners import WatchHealth
from launch_agent.runners.kubernetes import facts, quota
from launch_agent.runners.kubernetes.facts import PodFacts, WorkloadFacts
from launch_agent.runners.kubernetes.quota import Quota
from launch_agent.runners.kubernetes.trace import Trace, View
from launch_agent.spec.identity import ITEM_KEY

# Seconds. A bookmark comes each minute; who has heard nothing for two is cut off.
BLIND_AFTER = 120.0
# For as long the first list may take before a run's status is unknown.
_FIRST_LIST = 30.0
# So old may the answer to "is it blind?" be: it is asked for every run.
_CHECK_EVERY = 1.0
_IDLE_AFTER = 600.0
_PODS = "/pods"
_TRAIN_JOBS = "trainer.kubeflow.org/trainjobs"
# In place of a resource's key: the pods of TrainJobs.
_TRAINERS = "trainer.kubeflow.org/pods"
_JOBSET = "jobset.sigs.k8s.io/jobset-name"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is kept of an object: `workload` of what a run may be, `pod` of pods, `quota` of Kueue's."""

    workload: WorkloadFacts | None = None
    pod: PodFacts | None = None
    quota: Quota | None = None


@dataclass(slots=True, kw_only=True)
class _Source:
    """One informer. `since` is when it began, `used` when a run last needed it, by the clock."""

    informer: Informer[Seen]
    resource: Resource
    namespace: str
    since: float
    used: float
    checked: float = float("-inf")
    problem: str = ""


class Watching:
    """All informers of one runner. `everywhere` has one for all namespaces in place of one for each. `paths`
    are those that the operator's rules read. `news` is called, in an informer's thread, for each change of a
    run's object or pods."""

    def __init__(
        self,
        api: KubeApi,
        selector: str,
        *,
        everywhere: bool,
        paths: Collection[str] = (),
        news: Callable[[Trace], None] = lambda trace: None,
        clock: Callable[[], float] = time.monotonic,
        utc: Callable[[], float] = time.time,
    ) -> None:
        self._api = api
        self._selector = selector
        self._everywhere = everywhere
        self._paths = paths
        self._news = news
        self._clock = clock
        self._utc = utc
        self._lock = threading.RLock()
        self._sources: dict[tuple[str, str], _Source] = {}
        self._traces: dict[str, Trace] = {}
        self._places: dict[tuple[str, str, str], Trace] = {}
        self._pods: dict[str, Trace] = {}
        # By the uid of the object: Kueue's Workloads name nothing else of ours.
        self._uids: dict[str, Trace] = {}
        self._quotas: dict[str, str] = {}
        self._next_look: dict[str, float] = {}

    def follow(self, resource: Resource, known: WorkloadFacts) -> Trace:
        """Follow a run from its object as it was created or listed. A run that is followed already goes on
        being followed as it is."""
        with self._lock:
            trace = self._traces.get(known.item_key)
            if trace is not None and trace.facts.uid != known.uid:
                trace.replaced()
                trace = None
            if trace is None:
                trace = Trace(resource=resource, facts=known)
                self._traces[trace.item] = self._places[trace.place] = trace
                self._uids[known.uid] = trace
        pods = self._api.resource("v1", "Pod")
        for key in _pod_keys(resource):
            source = self._need(key, pods, known.namespace)
            for seen in source.informer.items(trace.item if key == _PODS else known.name):
                if seen.pod is not None:
                    self._pod_changed(source, seen.pod.namespace, seen.pod.name)
        source = self._need(resource.key, resource, known.namespace)
        self._object_changed(source, known.namespace, known.name)
        if known.queue:
            self._follow_quota(trace)
        return trace

    def forget(self, trace: Trace) -> None:
        """The run is over and reported."""
        with self._lock:
            if self._traces.get(trace.item) is trace:
                del self._traces[trace.item]
            if self._places.get(trace.place) is trace:
                del self._places[trace.place]
            if self._uids.get(trace.facts.uid) is trace:
                del self._uids[trace.facts.uid]
            for key in (*trace.pods, *trace.lost):
                self._pods.pop(key, None)

    def view(self, trace: Trace) -> View:
        with self._lock:
            return trace.view()

    def check(self, trace: Trace) -> None:
        """Raise RunnerError (retryable) where what is known of the run is too old to be told."""
        now = self._clock()
        for key in (trace.resource.key, *_pod_keys(trace.resource)):
            source = self._sources.get((key, self._scope(trace.facts.namespace)))
            if source is None:
                raise RunnerError("the watches of this runner are closed", retryable=True)
            source.used = now
            if now - source.checked >= _CHECK_EVERY:
                source.checked, source.problem = now, self._blindness(source, now)
            if source.problem:
                raise RunnerError(source.problem, retryable=True)

    def hears(self, trace: Trace) -> bool:
        """Whether the objects of the run's kind are listed and followed, with nothing in the way."""
        source = self._sources.get((trace.resource.key, self._scope(trace.facts.namespace)))
        return source is not None and source.informer.synced and source.informer.error is None

    def await_pods(self, trace: Trace, seconds: float = 0.0) -> bool:
        """Whether the pods of a run are known; soon after it is first followed they are. Waits for that."""
        for key in _pod_keys(trace.resource):
            source = self._sources.get((key, self._scope(trace.facts.namespace)))
            if source is not None and not source.informer.wait_synced(seconds):
                return False
        return True

    def stop_idle(self) -> None:
        """Stop the informers that no run has needed for ten minutes."""
        now = self._clock()
        with self._lock:
            needed = {
                (key, self._scope(trace.facts.namespace))
                for trace in self._traces.values()
                for key in (
                    trace.resource.key,
                    *_pod_keys(trace.resource),
                    *([quota.KEY] if trace.facts.queue else ()),
                )
            }
            for place in needed & self._sources.keys():
                self._sources[place].used = now
            idle = [key for key, source in self._sources.items() if now - source.used > _IDLE_AFTER]
            stopped = [self._sources.pop(key) for key in idle]
        for source in stopped:
            source.informer.stop()

    def health(self) -> Sequence[WatchHealth]:
        with self._lock:
            sources = list(self._sources.values())
        return [
            WatchHealth(
                name=f"{source.resource.plural} in {source.namespace or 'all namespaces'}",
                age=source.informer.age,
                listed=source.informer.listed,
                error=source.informer.error.message if source.informer.error else "",
            )
            for source in sources
        ]

    def close(self) -> None:
        with self._lock:
            stopped = list(self._sources.values())
            self._sources.clear()
        for source in stopped:
            source.informer.stop()

    def _scope(self, namespace: str) -> str:
        return "" if self._everywhere else namespace

    def _need(self, key: str, resource: Resource, namespace: str) -> _Source:
        """The informer for a kind in a namespace, begun where there is none."""
        scope, now = self._scope(namespace), self._clock()
        with self._lock:
            source = self._sources.get((key, scope))
            if source is not None:
                source.used = now
                return source
            source = self._sources[key, scope] = self._source(key, resource, scope, now)
        source.informer.start()
        return source

    def _source(self, key: str, resource: Resource, scope: str, now: float) -> _Source:
        def changed(place: str) -> None:
            namespace, _, name = place.rpartition("/")
            self._changed(source, namespace, name)

        keep = {_PODS: self._keep_pod, _TRAINERS: _keep_trainer, quota.KEY: self._keep_quota}.get(
            key, self._keep
        )
        informer = Informer(
            self._api,
            resource,
            scope,
            {_TRAINERS: f"{_JOBSET},!{ITEM_KEY}", quota.KEY: quota.JOB_UID}.get(key, self._selector),
            keep=keep,
            changed=changed,
            index={_TRAINERS: _JOBSET, quota.KEY: quota.JOB_UID}.get(key, ITEM_KEY),
            clock=self._clock,
        )
        source = _Source(informer=informer, resource=resource, namespace=scope, since=now, used=now)
        return source

    def _keep(self, obj: Mapping[str, Any]) -> Seen:
        # A run's identity is in its `Run`; copies of it would be the larger part of what is kept.
        return Seen(workload=replace(facts.workload(obj, self._paths), identity=None))

    def _keep_pod(self, obj: Mapping[str, Any]) -> Seen:
        """A pod that nobody controls may be a run itself."""
        pod = facts.pod(obj)
        return Seen(workload=None if pod.owner[0] else self._keep(obj).workload, pod=pod)

    def _keep_quota(self, obj: Mapping[str, Any]) -> Seen | None:
        found = quota.of(obj)
        return Seen(quota=found) if found is not None else None

    def _follow_quota(self, trace: Trace) -> None:
        """Listen to Kueue, where it is there and the account may; looked for again once in a while."""
        namespace, now = trace.facts.namespace, self._clock()
        scope = self._scope(namespace)
        resource: Resource | None = None
        with self._lock:
            source = self._sources.get((quota.KEY, scope))
            looks = source is None and now >= self._next_look.get(scope, float("-inf"))
            if looks:
                self._next_look[scope] = now + _IDLE_AFTER
        if looks:
            resource = quota.workloads(self._api, scope)
        if source is None and resource is not None:
            source = self._need(quota.KEY, resource, namespace)
        if source is not None:
            for seen in source.informer.items(trace.facts.uid):
                if seen.quota is not None:
                    with self._lock:
                        trace.quota_is(seen.quota.conditions)

    def _quota_changed(self, source: _Source, namespace: str, name: str) -> None:
        key = f"{namespace}/{name}"
        with self._lock:
            seen = source.informer.get(namespace, name)
            found = seen.quota if seen is not None else None
            uid = found.uid if found is not None else self._quotas.pop(key, "")
            trace = self._uids.get(uid)
            if trace is None:
                return
            if found is not None:
                self._quotas[key] = uid
            trace.quota_is(found.conditions if found is not None else ())
        self._news(trace)

    def _changed(self, source: _Source, namespace: str, name: str) -> None:
        if source.resource.key == quota.KEY:
            self._quota_changed(source, namespace, name)
            return
        self._object_changed(source, namespace, name)
        if source.resource.key == _PODS:
            self._pod_changed(source, namespace, name)

    def _object_changed(self, source: _Source, namespace: str, name: str) -> None:
        with self._lock:
            trace = self._places.get((source.resource.key, namespace, name))
            if trace is None:
                return
            seen = source.informer.get(namespace, name)
            trace.object_is(seen.workload if seen is not None else None)
        self._news(trace)

    def _pod_changed(self, source: _Source, namespace: str, name: str) -> None:
        key = f"{namespace}/{name}"
        with self._lock:
            seen = source.informer.get(namespace, name)
            pod = seen.pod if seen is not None else None
            trace = self._traces.get(pod.item_key) if pod is not None else self._pods.pop(key, None)
            if trace is None:
                return
            if pod is not None:
                self._pods[key] = trace
            trace.pod_is(key, pod, self._utc())
        self._news(trace)

    def _blindness(self, source: _Source, now: float) -> str:
        """Why an informer cannot be believed; empty where it can."""
        informer = source.informer
        what = f"{source.resource.plural} in {source.namespace or 'all namespaces'}"
        why = f": {informer.error.message}" if informer.error is not None else ""
        if not informer.synced:
            return f"{what} could not be listed yet{why}" if now - source.since > _FIRST_LIST else ""
        if informer.age > BLIND_AFTER:
            return f"nothing has been heard of {what} for {informer.age:.0f} s{why}"
        return ""


def _pod_keys(resource: Resource) -> Sequence[str]:
    return (_PODS, _TRAINERS) if resource.key == _TRAIN_JOBS else (_PODS,)


def _keep_trainer(obj: Mapping[str, Any]) -> Seen | None:
    """A pod of a TrainJob of ours, whose name ends with the key of its item."""
    name = str(obj["metadata"]["labels"].get(_JOBSET, ""))
    if not name.startswith("launch-"):
        return None
    return Seen(pod=replace(facts.pod(obj), item_key=name.rpartition("-")[2]))
