"""Finds the runs of an earlier agent of the same name again, and what that agent did not come to.

Everything that is needed stands on the objects. A launch may have been cut off between the run's object and
its Secret. Whoever launches it again makes good what is missing. Where nobody does, since what was known of
the launch went with the agent's pod, the run would never start: its job is to go back to its queue.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from launch_agent.clients.kube.api import KubeApi
from launch_agent.clients.kube.errors import AlreadyExists, KubeError
from launch_agent.clients.kube.objects import Resource
from launch_agent.errors import RunnerError
from launch_agent.runners.kubernetes import marks, secrets_manifest, status, submission
from launch_agent.runners.kubernetes.chores import Chores
from launch_agent.runners.kubernetes.kinds import candidates, is_controlled
from launch_agent.runners.kubernetes.options import Options
from launch_agent.runners.kubernetes.refusals import asking
from launch_agent.runners.kubernetes.run import KubernetesRun
from launch_agent.runners.kubernetes.status import Rule
from launch_agent.runners.kubernetes.submission import JOBS, Made
from launch_agent.spec.identity import AGENT_KEY, agent_key, from_labels

_log = logging.getLogger(__name__)
# Seconds. By then an agent that starts again has taken up the launches that it finds in its state folder.
_SETTLE_AFTER = 20.0


class Adoption:
    """One look at what is there."""

    def __init__(self, api: KubeApi, chores: Chores, options: Options, rules: Sequence[Rule]) -> None:
        self._api = api
        self._chores = chores
        self._options = options
        self._rules = rules

    def runs(
        self, agent: str, namespaces: Sequence[str], follow: Callable[[Made], KubernetesRun]
    ) -> Sequence[KubernetesRun]:
        """The runs of the agent whose end nobody has reported yet. Raises RunnerError."""
        found = [
            Made(resource=resource, obj=obj, new=False)
            for resource in candidates(self._api, namespaces)
            for namespace in namespaces
            for obj in self._listed(resource, namespace, agent)
            if _is_run_of(agent, obj)
        ]
        for made in found:
            if marks.reported(made.obj):
                self._sweep(made)
        return [self._adopted(made, follow) for made in found if not marks.reported(made.obj)]

    def _listed(self, resource: Resource, namespace: str, agent: str) -> Sequence[Mapping[str, Any]]:
        """What may be this agent's runs, of a kind that it may make."""
        selector = f"{AGENT_KEY}={agent_key(agent)}"
        with asking(f"list {resource.plural} in {namespace or 'all namespaces'}"):
            try:
                return list(self._api.each(resource, namespace, labels=selector))
            except KubeError as error:
                if error.status not in (403, 404, 405) or resource.key == JOBS:
                    raise
                _log.info("no runs are looked for among %s: %s", resource.key, error.message)
                return ()

    def _adopted(self, made: Made, follow: Callable[[Made], KubernetesRun]) -> KubernetesRun:
        run, meta = follow(made), made.obj["metadata"]
        has_secret = secrets_manifest.env_secret_name(run.identity) in str(made.obj.get("spec"))
        if has_secret and not self._has_started(run):
            run.doubt()
            self._settle_later(run)
        if marks.stopped(made.obj) and not meta.get("deletionTimestamp"):
            # The agent that was to do it did not come to it.
            self._chores.add(f"stop {run.id}", run.remove)
        return run

    def _settle_later(self, run: KubernetesRun) -> None:
        self._chores.add(f"see if {run.id} is whole", lambda: self._settle(run), after=_SETTLE_AFTER)

    def _settle(self, run: KubernetesRun) -> None:
        """Find out whether the Secret of a run that has not begun was made."""
        if not run.is_doubted:
            return
        try:
            cut_off = not self._has_started(run) and not self._has_secret(run)
        except RunnerError:
            self._settle_later(run)
            raise
        if run.is_doubted:  # nobody has launched it again meanwhile
            run.settle(cut_off=cut_off)

    def _has_started(self, run: KubernetesRun) -> bool:
        trace = run.trace
        return status.observe(trace.facts, self._rules, tuple(trace.pods.values())).state.has_started

    def _has_secret(self, run: KubernetesRun) -> bool:
        """The Secret cannot be read; but whether one of its name could be made says whether it is there."""
        namespace = run.trace.facts.namespace
        secret = secrets_manifest.env_secret(run.identity, namespace, {})
        with asking(f"see if the Secret of {run.id} is there"):
            try:
                self._api.create(self._api.resource("v1", "Secret"), namespace, secret, dry_run=True)
            except AlreadyExists:
                return True
        return False

    def _sweep(self, made: Made) -> None:
        """An object that an earlier agent had reported, and did not come to remove."""
        obj = made.obj
        if not marks.has_ttl(obj) and marks.held_ttl(obj) is None and not self._options.keep:
            self._chores.add(
                "remove an ended run",
                lambda: submission.delete(self._api, made.resource, obj),
                after=self._options.ttl,
            )


def _is_run_of(agent: str, obj: Mapping[str, Any]) -> bool:
    identity = from_labels(obj["metadata"].get("annotations") or {})
    return identity is not None and identity.agent == agent and not is_controlled(obj)
