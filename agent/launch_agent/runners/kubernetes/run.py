"""One run: its status from what informers know, its log, its end.

`status` is asked for every half second for each of thousands of runs: where there is no news, and nothing
falls due with time, it is the last answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Protocol

from launch_agent.clients.kube.api import KubeApi
from launch_agent.clients.kube.errors import KubeError, NotFound
from launch_agent.clients.kube.objects import Resource
from launch_agent.errors import RunnerError
from launch_agent.runners.kubernetes import diagnose, marks, status
from launch_agent.runners.kubernetes.events import Events
from launch_agent.runners.kubernetes.facts import EventFacts
from launch_agent.runners.kubernetes.logs import Logs
from launch_agent.runners.kubernetes.options import Options
from launch_agent.runners.kubernetes.refusals import asking
from launch_agent.runners.kubernetes.status import Diagnosis, Observed, Rule
from launch_agent.runners.kubernetes.trace import Trace, View
from launch_agent.runners.kubernetes.watching import Watching
from launch_agent.spec.model import RunIdentity, RunState, RunStatus

# Seconds. A status is worked out anew after this even without news: grace periods pass.
_LOOK_SOON = 0.5
_LOOK_AGAIN = 2.0
_LOOK_AGAIN_RUNNING = 15.0
# A run that does not get on for so long is asked for its events.
_UNWELL_AFTER = 5.0
# A failure is told this much later, if its pods have not told why by then: they are another watch's news.
_AWAIT_REASON = 3.0
# Somebody who wants the log of a run that was just found waits for its pods to be listed.
_AWAIT_LIST = 10.0
# An object that no informer has shown after this is asked for.
_UNSEEN_AFTER = 10.0
# Pods may outlive a cancelled run's object for as long as they were given to end; a lost node's for ever.
_AWAIT_PODS = 120.0
_CUT_OFF = RunStatus(
    state=RunState.PREEMPTED,
    reason="LaunchCutOff",
    message="the agent ended while it launched the run, and nothing is left to finish the launch with",
)


class Host(Protocol):
    """What a run needs of its runner."""

    options: Options
    rules: Sequence[Rule]
    logs: Logs
    events: Events
    clock: Callable[[], float]
    utc: Callable[[], float]

    @property
    def watching(self) -> Watching: ...

    def api(self) -> KubeApi: ...

    def may_change(self, resource: Resource) -> bool: ...

    def forget(self, run: KubernetesRun) -> None: ...

    def remove_later(self, run: KubernetesRun) -> None: ...

    def empty_secret(self, run: KubernetesRun) -> None: ...


class KubernetesRun:
    """A run's object that was made or found. `ttl` is what a Job's time to live is to be, once reported;
    `leave` is whether somebody else removes the object; `stopped` whether its user asked for its end."""

    def __init__(
        self,
        host: Host,
        trace: Trace,
        *,
        identity: RunIdentity,
        ttl: int | None = None,
        leave: bool = False,
        stopped: bool = False,
    ) -> None:
        self.trace = trace
        self.ttl = ttl
        self.leave = leave
        self._host = host
        self._identity = identity
        self._since = host.clock()
        self._stopped = stopped
        self._end: RunStatus | None = None
        self._released = False
        self._status = RunStatus(state=RunState.PENDING)
        self._version = -1
        self._due = float("-inf")
        self._diagnosis: Diagnosis | None = None
        self._unwell: float | None = None
        self._failed: float | None = None
        self._doubted = False
        self._resumed = False
        self._cut_off = False
        self._gone: float | None = None
        self._confirm_at = self._since + (_UNSEEN_AFTER if not stopped else _LOOK_SOON)

    @property
    def id(self) -> str:
        return f"{self.trace.facts.namespace}/{self.trace.facts.name}"

    @property
    def identity(self) -> RunIdentity:
        return self._identity

    @property
    def has_ended(self) -> bool:
        return self._end is not None

    @property
    def is_doubted(self) -> bool:
        """Whether it may be that the launch was cut off, and that nobody else will finish it."""
        return self._doubted and not self._resumed and self._end is None

    def doubt(self) -> None:
        """It was found, and nobody has looked yet whether its Secret was made too."""
        self._doubted = True

    def resume(self) -> bool:
        """See `runners.resume`."""
        self._resumed = self.is_doubted or self._resumed
        return self._resumed and self._end is None

    def settle(self, *, cut_off: bool) -> None:
        """Everything of it is there, or it will never start and is to be launched anew."""
        self._doubted, self._cut_off = False, cut_off
        self._due = float("-inf")

    def status(self) -> RunStatus:
        if self._end is not None:
            return self._end
        self._host.watching.check(self.trace)
        now = self._host.clock()
        if self.trace.version == self._version and now < self._due:
            return self._status
        version = self.trace.version
        found = self._look(self._host.watching.view(self.trace), now)
        self._version = version
        self._due = now + self._pause(found)
        # The same object where it says the same: whoever asks every second then looks no further.
        self._status = found = self._status if found == self._status else found
        if found.state.is_terminal:
            self._end = found = self._complete(found)
        return found

    def logs(self, tail: int) -> str:
        if self._released and not self._host.options.keep:
            return ""
        self._host.watching.await_pods(self.trace, _AWAIT_LIST)
        return self._host.logs.read(self._host.watching.view(self.trace), tail)

    def cancel(self) -> None:
        if self._end is not None or self._stopped:
            return
        # So that it is still a stop for an agent that starts before the object is gone: some have finalizers.
        if self._host.may_change(self.trace.resource):
            self._change({"metadata": {"annotations": {marks.STOPPED: self._timestamp()}}})
        self._delete()
        self._stopped = True
        self._confirm_at = self._host.clock()
        self._due = float("-inf")

    def release(self) -> None:
        if self._released:
            return
        if self._end is None:
            raise RunnerError(f"run {self.id} has not ended, and is not released")
        self._let_go(self._host.watching.view(self.trace))
        self._released = True
        self._host.forget(self)

    def remove(self) -> None:
        """Delete the object of a run that has had its time."""
        self._delete()

    def _pause(self, found: RunStatus) -> float:
        """For how many seconds a status holds where there is no news."""
        if self._failed is not None or self._stopped:
            return _LOOK_SOON
        return _LOOK_AGAIN_RUNNING if found.state is RunState.RUNNING else _LOOK_AGAIN

    def _complete(self, end: RunStatus) -> RunStatus:
        """What an end has whatever the kind says: a failure its word, and a good end of a Job or pod the code
        by which it is good."""
        if end.state is RunState.FAILED and not end.reason:
            return replace(end, reason="Failed")
        by_code = self.trace.facts.group in ("batch", "") and end.state is RunState.FINISHED
        return replace(end, exit_code=0) if by_code else end

    def _let_go(self, view: View) -> None:
        if not view.there:
            return
        has_ended = status.observe(view.facts, self._host.rules, view.pods).state.is_terminal
        if not has_ended and view.facts.deleted is not None:
            # It goes when what holds it lets go; nobody is to tell its end once more.
            if self._host.may_change(self.trace.resource):
                self._change(marks.report(None, self._timestamp()))
            return
        if not has_ended and not self._host.options.keep:
            # What is wrong with it ended the run, and not the object: nothing else would ever remove it.
            self._delete()
            return
        if self._host.may_change(self.trace.resource):
            ttl = None if self._host.options.keep else self.ttl
            self._change(marks.report(ttl, self._timestamp()))
        if self._host.options.keep:
            self._host.empty_secret(self)
        elif not self.leave:
            self._host.remove_later(self)

    def _look(self, view: View, now: float) -> RunStatus:
        if not view.there:
            return self._vanished(view, now)
        if not self.trace.seen and now >= self._confirm_at and self._host.watching.hears(self.trace):
            self._confirm_at = now + _UNSEEN_AFTER
            if not self._is_there():
                return self._vanished(replace(view, there=False), now)
        observed = status.observe(view.facts, self._host.rules, view.pods)
        left = observed.state is RunState.STOPPING and self._is_left(view)
        if self._stopped:
            return self._stopping(observed, view, left=left)
        if left:
            return self._ended_with(status.gone(view.facts.kind), view, failed=False)
        if self._cut_off and not observed.state.is_terminal:
            return _CUT_OFF
        pods = [*view.pods, *view.lost] if observed.state is RunState.FAILED else view.pods
        events = self._events(observed, view, now)
        self._diagnosis = diagnose.explain(observed, pods, events, self._host.utc(), self._diagnosis)
        if self._doubted and not observed.state.is_terminal and self._diagnosis is not None:
            return status.status_of(observed, replace(self._diagnosis, fatal=False))
        if self._awaits_reason(observed, view, now):
            return replace(self._status, reason="", message="", hint="")
        return status.status_of(observed, self._diagnosis)

    def _stopping(self, observed: Observed, view: View, *, left: bool) -> RunStatus:
        """A run that ended well before its stop came through has ended well."""
        if observed.state is RunState.FINISHED:
            return status.status_of(observed, None)
        if not left:
            return RunStatus(state=RunState.STOPPING)
        nodes = sorted({pod.node for pod in view.pods if pod.node and not pod.has_ended})
        where = f"node {', '.join(nodes)} does not answer" if nodes else "a finalizer keeps it"
        return RunStatus(
            state=RunState.STOPPED,
            reason="Stopped",
            message=f"{view.facts.kind} {self.id} is deleted and still there: {where}",
            hint="what runs on a node that is cut off goes on until that is back, or removed",
        )

    def _is_left(self, view: View) -> bool:
        """Whether an object that is being deleted has had the time that it was given, and much more: its node
        is lost, or somebody's finalizer. Pods that nobody deletes yet are another matter."""
        if view.facts.deleted is None:
            return False
        going = [pod.due for pod in view.pods if not pod.has_ended]
        times = [due for due in going if due is not None]
        if len(times) < len(going):
            return False
        return self._host.utc() > max(times, default=view.facts.deleted) + _AWAIT_PODS

    def _vanished(self, view: View, now: float) -> RunStatus:
        """The object is not there, says the informer: how did it end?"""
        observed = status.observe(view.facts, self._host.rules, [*view.pods, *view.lost])
        if self._gone is None:
            if self._is_there():
                return self._status  # the informer is behind, and will have news
            self._gone = now
        if observed.state is RunState.FINISHED:
            return status.status_of(observed, None)
        if self._stopped:
            if any(not pod.has_ended for pod in view.pods) and now - self._gone < _AWAIT_PODS:
                return RunStatus(state=RunState.STOPPING)
            return RunStatus(state=RunState.STOPPED, reason="Stopped")
        was_failed = observed.state.is_terminal
        return self._ended_with(
            observed if was_failed else status.gone(view.facts.kind), view, failed=was_failed
        )

    def _ended_with(self, observed: Observed, view: View, *, failed: bool) -> RunStatus:
        """The end of what is gone or as good as gone; `failed` is whether it said itself that it failed."""
        events = self._host.events.known(self.trace)
        pods = [*view.pods, *view.lost]
        found = diagnose.explain(observed, pods, events, self._host.utc(), self._diagnosis)
        # That its pods are deleted too explains nothing; that its node was taken away does.
        explains = found is not None and (failed or found.preempted)
        return status.status_of(observed, found if explains else None)

    def _awaits_reason(self, observed: Observed, view: View, now: float) -> bool:
        if observed.state is not RunState.FAILED:
            self._failed = None
            return False
        if self._failed is None:
            self._failed = now
        if not self._host.watching.await_pods(self.trace):
            return True
        told = any(pod.phase == "Failed" for pod in (*view.pods, *view.lost))
        return not told and now - self._failed < _AWAIT_REASON

    def _events(self, observed: Observed, view: View, now: float) -> Sequence[EventFacts]:
        """What has happened to a run that does not get on, or has failed without a pod that tells why."""
        well = observed.held or observed.state in (RunState.RUNNING, RunState.FINISHED, RunState.STOPPING)
        if well:
            self._unwell = None
            return ()
        if self._unwell is None:
            self._unwell = now
        if observed.state is not RunState.FAILED and now - self._unwell < _UNWELL_AFTER:
            return ()
        return self._host.events.about(self.trace, view)

    def _is_there(self) -> bool:
        """Ask for the object itself; another one of its name is not it. Raises RunnerError."""
        facts = self.trace.facts
        with asking(f"look for {facts.kind} {self.id}"):
            try:
                found = self._host.api().get(self.trace.resource, facts.namespace, facts.name)
            except NotFound:
                return False
        return bool(found["metadata"]["uid"] == facts.uid)

    def _delete(self) -> None:
        facts = self.trace.facts
        with asking(f"delete {facts.kind} {self.id}"):
            try:
                self._host.api().delete(self.trace.resource, facts.namespace, facts.name, uid=facts.uid)
            except NotFound:
                return
            except KubeError as error:
                # 409: the name is another object's by now.
                if error.status != 409:
                    raise

    def _change(self, change: dict[str, Any]) -> None:
        facts = self.trace.facts
        change["metadata"] = {"uid": facts.uid, **change["metadata"]}
        with asking(f"mark {facts.kind} {self.id}"):
            try:
                self._host.api().patch(self.trace.resource, facts.namespace, facts.name, change)
            except NotFound:
                return

    def _timestamp(self) -> str:
        return datetime.fromtimestamp(self._host.utc(), UTC).isoformat(timespec="seconds")
