"""Cloud credentials, and nothing else: every kind offers fresh ones at each call."""

from __future__ import annotations

from typing import Any, Protocol

from launch_agent.spec.podpatch import PodPatch


class Environment(Protocol):
    """One cloud as the agent's process may use it. Every call to the outside has a timeout.

    Each kind is a file with `create(options)`, where `options` is the config's `environment` part as a
    mapping (`type`, `region`, `project`, …).
    """

    @property
    def type(self) -> str: ...

    @property
    def region(self) -> str: ...

    @property
    def project(self) -> str: ...

    def verify(self) -> None:
        """Raise LaunchError naming what is missing (credentials, a permission, a region). Changes nothing."""
        ...

    def session(self) -> Any:
        """The SDK's own credentials object, fresh: a boto3 Session, google.auth Credentials, an Azure
        TokenCredential. None for the local environment."""
        ...

    def build_pod(self) -> PodPatch:
        """What gives a build's pod the same identity, as far as the pod's service account does not."""
        ...
