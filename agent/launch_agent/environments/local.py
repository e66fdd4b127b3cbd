"""No cloud: nothing to log in to, nothing to hand on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from launch_agent.spec.podpatch import PodPatch


class LocalEnvironment:
    """The machine or cluster at hand. Registries have their own credentials."""

    type = "local"
    region = ""
    project = ""

    def verify(self) -> None:
        """There is nothing that could be missing."""

    def session(self) -> None:
        return None

    def build_pod(self) -> PodPatch:
        return PodPatch()


def create(options: Mapping[str, Any]) -> LocalEnvironment:
    return LocalEnvironment()
