"""Starts runs as objects of a Kubernetes cluster, and finds those of an earlier agent again.

Everything that has to outlive the agent is on the cluster: a run's object has its identity in its
annotations, and labels to be listed by. Names derive from the queue item, so that two tries, or two agents,
make one run.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from launch_agent.clients.kube.api import KubeApi
from launch_agent.clients.kube.objects import Resource
from launch_agent.errors import ImageError, RunnerError, SubmitRejected
from launch_agent.runners import Opens, WatchHealth
from launch_agent.runners.kubernetes import facts, marks, pulls, rights, secrets_manifest, submission
from launch_agent.runners.kubernetes.adoption import Adoption
from launch_agent.runners.kubernetes.chores import Chores
from launch_agent.runners.kubernetes.events import Events
from launch_agent.runners.kubernetes.logs import Logs
from launch_agent.runners.kubernetes.manifest import Composition, compose
from launch_agent.runners.kubernetes.namespaces import Namespaces
from launch_agent.runners.kubernetes.options import Options
from launch_agent.runners.kubernetes.pulls import PullSecrets
from launch_agent.runners.kubernetes.refusals import asking
from launch_agent.runners.kubernetes.run import KubernetesRun
from launch_agent.runners.kubernetes.status import Rule, rules
from launch_agent.runners.kubernetes.submission import JOBS, Made
from launch_agent.runners.kubernetes.trace import Trace
from launch_agent.runners.kubernetes.watching import Watching
from launch_agent.spec.identity import AGENT_KEY, agent_key, item_hash
from launch_agent.spec.model import RunRequest
from launch_agent.telemetry.targets import Usage

_log = logging.getLogger(__name__)
# Seconds. A launch that failed between two of its requests is tried again much sooner.
_ABANDONED_AFTER = 900.0
_TIDY_EVERY = 60.0


class KubernetesRunner:
    """The target resource `kubernetes`. Nothing is asked of the cluster before the first call; `connect` says
    how it is reached."""

    def __init__(
        self,
        options: Options,
        connect: Callable[[], KubeApi],
        *,
        clock: Callable[[], float] = time.monotonic,
        utc: Callable[[], float] = time.time,
    ) -> None:
        self.options = options
        self.rules: Sequence[Rule] = rules.make(options.status)
        self.clock = clock
        self.utc = utc
        self._connect = connect
        self._api: KubeApi | None = None
        self._lock = threading.Lock()
        self._creates = threading.BoundedSemaphore(options.creates)
        self._usable: Sequence[str] = ()
        self._changeable: dict[str, bool] = {}
        self._runs: dict[str, KubernetesRun] = {}
        self._unfinished: dict[str, Made] = {}
        self._watching: Watching | None = None
        self._chores = Chores(clock=clock)
        self._opens: Opens = lambda image: None
        self._pulls = PullSecrets(self.api, self._chores, utc=utc)
        self.logs = Logs(self.api, self._chores)
        self.events = Events(self.api, self._chores, clock=clock)

    @property
    def env_limit(self) -> int:
        """As for containers: 32,670 characters keep below the 128 KiB that Linux allows one variable."""
        return 32_670

    @property
    def watching(self) -> Watching:
        if self._watching is None:
            raise RunnerError("no run is followed on the cluster yet", retryable=True)
        return self._watching

    def api(self) -> KubeApi:
        """The client of the cluster, made once. Raises RunnerError."""
        with self._lock:
            if self._api is None:
                with asking("reach the Kubernetes cluster"):
                    self._api = self._connect()
            return self._api

    def verify(self) -> None:
        found = rights.check(self.api(), self._served())
        with self._lock:
            self._changeable[JOBS] = found.may_change_jobs
            self._usable = found.usable
        for sentence in found.lacks:
            _log.warning("%s", sentence)

    def submit(self, request: RunRequest) -> KubernetesRun:
        api = self.api()
        credentials = request.pull_credentials() if request.pull_credentials is not None else None
        composition = compose(
            request,
            allowed=self._namespaces(),
            credentials=credentials,
            fetching=self.options.fetching,
        )
        self._check_context(composition)
        with self._creates:
            if composition.services:
                submission.try_services(api, composition)
            made = submission.make_object(api, composition, hold_ttl=self._holds_ttl())
            self._complete(api, item_hash(request.identity), composition, made)
        run = self._run(request.identity.agent, made)
        run.settle(cut_off=False)
        if request.pull_credentials is not None and credentials is not None:
            self._pulls.keep(run, _owner(run), request.pull_credentials, credentials)
        return run

    def adopt(self, agent: str) -> Sequence[KubernetesRun]:
        adoption = Adoption(self.api(), self._chores, self.options, self.rules)
        return adoption.runs(agent, self._usable or self._served(), lambda made: self._found(agent, made))

    def take_opens(self, opens: Opens) -> None:
        """See `runners.tell_what_opens`."""
        self._opens = opens

    def health(self) -> Sequence[WatchHealth]:
        return self._watching.health() if self._watching is not None else ()

    def usage(self) -> Usage:
        api = self._api
        return Usage(requests=api.tally.requests, throttled=api.tally.throttled) if api else Usage()

    def close(self) -> None:
        self._chores.close()
        if self._watching is not None:
            self._watching.close()
        with self._lock:
            if self._api is not None:
                self._api.close()

    def may_change(self, resource: Resource) -> bool:
        """Whether the agent may patch objects of this kind; asked once for each."""
        with self._lock:
            known = self._changeable.get(resource.key)
        if known is None:
            known = rights.may_change(self.api(), resource.key, self._usable or self._served())
            with self._lock:
                self._changeable[resource.key] = known
        return known

    def forget(self, run: KubernetesRun) -> None:
        item = run.trace.item
        with self._lock:
            self._runs.pop(item, None)
        self.watching.forget(run.trace)
        self.logs.forget(item)
        self.events.forget(item)
        self._pulls.forget(item)

    def remove_later(self, run: KubernetesRun) -> None:
        self._chores.add(f"remove {run.id}", run.remove, after=self.options.ttl)

    def empty_secret(self, run: KubernetesRun) -> None:
        """What is kept for looking at it needs no API key any more. Raises RunnerError."""
        empty = secrets_manifest.env_secret(run.identity, run.trace.facts.namespace, {})
        submission.empty_secret(self.api(), empty)

    def _namespaces(self) -> Namespaces:
        default = self.options.namespace or self.api().namespace
        return Namespaces(default=default, targets=self.options.targets)

    def _served(self) -> Sequence[str]:
        """The namespaces that runs may be in; empty stands for all."""
        if self.options.everywhere:
            return ("",)
        namespaces = self._namespaces()
        return list(dict.fromkeys([namespaces.default, *namespaces.targets]))

    def _check_context(self, composition: Composition) -> None:
        if composition.context not in ("", self.options.context):
            mine = self.options.context or "its own"
            raise SubmitRejected(
                f"the queue wants cluster {composition.context!r}; this agent serves {mine}",
                hint="an agent has one cluster; another agent can have runner.kubernetes.context set to it",
            )

    def _holds_ttl(self) -> bool:
        """Whether Jobs are to be made without a time to live: it can be set later, or never is."""
        with self._lock:
            return self.options.keep or self._changeable.get(JOBS, False)

    def _complete(self, api: KubeApi, item: str, composition: Composition, made: Made) -> None:
        """Make what belongs to the object. Where that is refused, the object goes too; where it fails, it is
        tried again by the agent, and not waited for for ever."""
        try:
            submission.make_rest(api, composition, made)
        except RunnerError as error:
            if error.retryable:
                with self._lock:
                    self._unfinished[item] = made
                self._chores.add(
                    "remove an unfinished run", lambda: self._abandon(item), after=_ABANDONED_AFTER
                )
            elif made.new:
                submission.delete(api, made.resource, made.obj)
            raise
        with self._lock:
            self._unfinished.pop(item, None)

    def _abandon(self, item: str) -> None:
        with self._lock:
            made = self._unfinished.pop(item, None)
        if made is not None:
            submission.delete(self.api(), made.resource, made.obj)

    def _found(self, agent: str, made: Made) -> KubernetesRun:
        """The run of an object of an earlier agent, and its pull secret, if it has one, kept fresh."""
        run = self._run(agent, made)
        for image in pulls.images(made.obj, run.identity):
            try:
                ask = self._opens(image)
            except ImageError:
                continue  # whoever made it has heard of that
            if ask is not None:
                self._pulls.take_over(run, _owner(run), ask)
                break
        return run

    def _run(self, agent: str, made: Made) -> KubernetesRun:
        """The run of an object, followed from now on."""
        known = facts.workload(made.obj, rules.paths(self.rules))
        identity = known.identity
        if identity is None:
            raise RunnerError(f"{known.kind} {known.namespace}/{known.name} has lost its annotations")
        trace = self._watched(agent).follow(made.resource, known)
        with self._lock:
            run = self._runs.get(trace.item)
            if run is None or run.trace is not trace:
                run = self._runs[trace.item] = KubernetesRun(
                    self,
                    trace,
                    identity=identity,
                    ttl=marks.held_ttl(made.obj),
                    leave=marks.has_ttl(made.obj) or marks.held_ttl(made.obj) is not None,
                    stopped=marks.stopped(made.obj),
                )
        return run

    def _watched(self, agent: str) -> Watching:
        api = self.api()
        with self._lock:
            if self._watching is None:
                self._watching = Watching(
                    api,
                    f"{AGENT_KEY}={agent_key(agent)}",
                    everywhere=self.options.everywhere,
                    paths=rules.paths(self.rules),
                    news=self._news,
                    clock=self.clock,
                    utc=self.utc,
                )
                self._chores.add(
                    "stop idle watches", self._watching.stop_idle, after=_TIDY_EVERY, every=_TIDY_EVERY
                )
            return self._watching

    def _news(self, trace: Trace) -> None:
        self.logs.note(trace, tuple(trace.pods.values()))


def _owner(run: KubernetesRun) -> Made:
    """A run's object, as far as it takes to own something."""
    known = run.trace.facts
    meta = {"name": known.name, "namespace": known.namespace, "uid": known.uid}
    obj = {"apiVersion": known.api_version, "kind": known.kind, "metadata": meta}
    return Made(resource=run.trace.resource, obj=obj, new=False)
