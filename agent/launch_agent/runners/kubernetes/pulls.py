"""Keeps what opens images' registries fresh for as long as a run may have to pull.

Tokens of cloud registries last half a day or less, and a run may wait for a quota longer than that, or move
to another node after a week. So the Secret is written anew before what is in it expires, until the run's end.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from launch_agent.clients.kube.api import KubeApi
from launch_agent.errors import LaunchError
from launch_agent.runners.kubernetes import secrets_manifest, submission
from launch_agent.runners.kubernetes.chores import Chores
from launch_agent.runners.kubernetes.run import KubernetesRun
from launch_agent.runners.kubernetes.submission import Made
from launch_agent.spec.model import Credentials

# Seconds before the end of what is in the Secret at which it is renewed, or the last fifth of its time.
_MARGIN = 600.0
_SHARE = 0.2
_LEAST_PAUSE = 30.0
_PAUSE_AFTER_FAILURE = 60.0

Ask = Callable[[], Credentials | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    run: KubernetesRun
    owner: Made
    ask: Ask


class PullSecrets:
    """Refreshes the pull Secrets of runs that go on."""

    def __init__(
        self, api: Callable[[], KubeApi], chores: Chores, *, utc: Callable[[], float] = time.time
    ) -> None:
        self._api = api
        self._chores = chores
        self._utc = utc

    def keep(self, run: KubernetesRun, owner: Made, ask: Ask, first: Credentials) -> None:
        """Renew what `ask` gave first, in time, again and again."""
        self._plan(_Kept(run=run, owner=owner, ask=ask), first)

    def _plan(self, kept: _Kept, credentials: Credentials) -> None:
        if credentials.expires is not None:
            self._renew_in(kept, pause(credentials.expires - self._utc()))

    def _renew_in(self, kept: _Kept, seconds: float) -> None:
        self._chores.add(f"renew the pull secret of {kept.run.id}", lambda: self._renew(kept), after=seconds)

    def _renew(self, kept: _Kept) -> None:
        if kept.run.has_ended:
            return
        try:
            credentials = kept.ask()
            if credentials is not None:
                namespace = kept.owner.obj["metadata"]["namespace"]
                secret = secrets_manifest.pull_secret(kept.run.identity, namespace, credentials)
                submission.apply_secret(self._api(), secret, kept.owner)
        except LaunchError:
            self._renew_in(kept, _PAUSE_AFTER_FAILURE)
            raise
        if credentials is not None:
            self._plan(kept, credentials)


def pause(left: float) -> float:
    """How long to wait before renewing what lasts for `left` seconds more."""
    return max(_LEAST_PAUSE, left - max(_MARGIN, left * _SHARE))
