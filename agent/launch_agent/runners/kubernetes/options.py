"""`runner.kubernetes` of the config, as values.

The config is validated by its schema, which has the same defaults; a runner that a test or another program
makes from a few keys gets them here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launch_agent.clients.kube.access import ACCOUNT
from launch_agent.runners.kubernetes.code import Fetching

EVERYWHERE = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the operator sets. Times are seconds, `qps` is requests per second.

    `namespace` is where jobs go whose queue names none; empty is the agent's own, or that of the kubeconfig's
    context. `targets` are the other namespaces that a queue may name. `credentials` is the folder of the
    service account that the agent's pod has. `ttl` is how long objects that have no time to live of their own
    stay once their end is reported, `keep` leaves all of them for somebody to look at. `status` are the
    operator's rules for kinds that the agent does not know, as the config has them. `fetching` is for jobs
    that run without a build.
    """

    namespace: str = ""
    targets: Sequence[str] = ()
    context: str = ""
    credentials: Path = ACCOUNT
    qps: float = 200.0
    burst: int = 400
    creates: int = 16
    timeout: float = 20.0
    ttl: float = 60.0
    keep: bool = False
    status: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    fetching: Fetching = field(default_factory=Fetching)

    @property
    def everywhere(self) -> bool:
        """Whether jobs may go into any namespace."""
        return EVERYWHERE in self.targets


def options_from(options: Mapping[str, Any]) -> Options:
    """The config's part as values."""
    default = Options()
    return Options(
        namespace=options.get("namespace", default.namespace),
        targets=tuple(options.get("target-namespaces", default.targets)),
        context=options.get("context", default.context),
        credentials=Path(options.get("credentials", default.credentials)),
        qps=float(options.get("qps", default.qps)),
        burst=int(options.get("burst", default.burst)),
        creates=int(options.get("creates", default.creates)),
        timeout=float(options.get("timeout", default.timeout)),
        ttl=float(options.get("ttl", default.ttl)),
        keep=bool(options.get("keep", default.keep)),
        status=tuple(options.get("status", default.status)),
        fetching=Fetching(
            image=options.get("fetch-image", default.fetching.image),
            volume=options.get("code-volume", default.fetching.volume),
        ),
    )
