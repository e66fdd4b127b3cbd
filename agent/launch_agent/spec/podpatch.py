"""What each part of a build adds to its pod: environment, store and registry know nothing of each other.

The builder starts from its own manifest and adds `environment.build_pod() + store.build_pod() +
registry.build_pod()`; no part asks which kind another is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from launch_agent.spec.secret import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSecret:
    """A Secret that exists for one build. `name` is the word by which volumes and variables know it; the
    builder makes it unique, and that word in braces (`{docker-config}`) in the patch's volumes and variables
    becomes its real name. `files` are its keys."""

    name: str
    files: Mapping[str, Secret]
    type: str = "Opaque"


@dataclass(frozen=True, slots=True, kw_only=True)
class PodPatch:
    """Additions to a build's pod, in the words of the Kubernetes API. Adding patches keeps their order.

    `env` and `mounts` go to the container that builds, `labels` and `annotations` on the pod. Mounts and
    variables refer to a `BuildSecret` by `{name}` (see there).
    """

    env: Sequence[Mapping[str, Any]] = ()
    volumes: Sequence[Mapping[str, Any]] = ()
    mounts: Sequence[Mapping[str, Any]] = ()
    args: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    secrets: Sequence[BuildSecret] = ()

    def __add__(self, other: PodPatch) -> PodPatch:
        return PodPatch(
            env=(*self.env, *other.env),
            volumes=(*self.volumes, *other.volumes),
            mounts=(*self.mounts, *other.mounts),
            args=(*self.args, *other.args),
            labels={**self.labels, **other.labels},
            annotations={**self.annotations, **other.annotations},
            secrets=(*self.secrets, *other.secrets),
        )
