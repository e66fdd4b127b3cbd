"""Keeps what opens images' registries fresh for as long as a run may have to pull.

Tokens of cloud registries last half a day or less, and a run may wait for a quota longer than that, or move
to another node after a week. So the Secret is written anew before what is in it expires, until the run's end.
How old that is which an earlier agent left, nobody knows, for it cannot be read: it is written anew soon.
"""

from __future__ import annotations

import copy
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from launch_agent.clients.kube.api import KubeApi
from launch_agent.errors import LaunchError
from launch_agent.runners.kubernetes import secrets_manifest, submission
from launch_agent.runners.kubernetes.chores import Chores
from launch_agent.runners.kubernetes.run import KubernetesRun
from launch_agent.runners.kubernetes.submission import Made
from launch_agent.spec.kubernetes.problems import Problems
from launch_agent.spec.kubernetes.templates import find, mentions
from launch_agent.spec.model import Credentials, RunIdentity

_log = logging.getLogger(__name__)
# Seconds before the end of what is in the Secret at which it is renewed, or the last fifth of its time.
_MARGIN = 600.0
_SHARE = 0.2
_LEAST_PAUSE = 30.0
_PAUSE_AFTER_FAILURE = 60.0
_LOOK_EVERY = 15.0
# Secrets renewed at one look: an agent that starts finds thousands of runs, and has other chores.
_MOST_AT_ONCE = 100

Ask = Callable[[], Credentials | None]


@dataclass(slots=True, kw_only=True)
class _Kept:
    """A run whose Secret is due for renewal at a time, in seconds since the epoch."""

    run: KubernetesRun
    owner: Made
    ask: Ask
    due: float


class PullSecrets:
    """Refreshes the pull Secrets of runs that go on."""

    def __init__(
        self, api: Callable[[], KubeApi], chores: Chores, *, utc: Callable[[], float] = time.time
    ) -> None:
        self._api = api
        self._chores = chores
        self._utc = utc
        self._lock = threading.Lock()
        self._kept: dict[str, _Kept] = {}
        self._looks = False

    def keep(self, run: KubernetesRun, owner: Made, ask: Ask, first: Credentials) -> None:
        """Renew what `ask` gave first, in time, again and again, until `forget`."""
        if first.expires is None:
            return
        self._keep(run, owner, ask, self._utc() + pause(first.expires - self._utc()))

    def take_over(self, run: KubernetesRun, owner: Made, ask: Ask) -> None:
        """Renew what an earlier agent put into the Secret of a run that was found."""
        self._keep(run, owner, ask, self._utc())

    def _keep(self, run: KubernetesRun, owner: Made, ask: Ask, due: float) -> None:
        with self._lock:
            self._kept[run.trace.item] = _Kept(run=run, owner=owner, ask=ask, due=due)
            begins, self._looks = not self._looks, True
        if begins:
            self._chores.add("renew pull secrets", self._look, after=_LOOK_EVERY, every=_LOOK_EVERY)

    def forget(self, item: str) -> None:
        with self._lock:
            self._kept.pop(item, None)

    def _look(self) -> None:
        now = self._utc()
        with self._lock:
            due = [kept for kept in self._kept.values() if kept.due <= now and not kept.run.has_ended]
        for kept in sorted(due, key=lambda kept: kept.due)[:_MOST_AT_ONCE]:
            try:
                self._renew(kept, now)
            except LaunchError as error:
                kept.due = now + _PAUSE_AFTER_FAILURE
                _log.warning("the pull secret of %s cannot be renewed yet: %s", kept.run.id, error)

    def _renew(self, kept: _Kept, now: float) -> None:
        credentials = kept.ask()
        if credentials is None or credentials.expires is None:
            self.forget(kept.run.trace.item)
        if credentials is None:
            return
        namespace = kept.run.trace.facts.namespace
        secret = secrets_manifest.pull_secret(kept.run.identity, namespace, credentials)
        submission.apply_secret(self._api(), secret, kept.owner)
        kept.due = now + pause((credentials.expires or now) - now)


def pause(left: float) -> float:
    """How long to wait before renewing what lasts for `left` seconds more."""
    return max(_LEAST_PAUSE, left - max(_MARGIN, left * _SHARE))


def images(obj: Mapping[str, Any], identity: RunIdentity) -> Sequence[str]:
    """The images that a run's object pulls by the Secret that the agent made for it; none without one."""
    secret = secrets_manifest.pull_secret_name(identity)
    if not mentions(obj.get("spec"), secret):
        return ()
    found = find(copy.deepcopy(dict(obj)), Problems())
    named = [container.get("image") for template in found for _, container in template.every_container]
    return [image for image in dict.fromkeys(named) if isinstance(image, str) and image]
