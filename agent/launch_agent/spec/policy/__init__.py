"""What a job may ask for: refused by default, opened by the administrator.

`check` turns a job into demands by the tables of its resource (docker.py, kubernetes.py, job.py: read the
tables and you know the rules), takes away what `Policy.allow` grants, and refuses the rest in one error. It
judges the spec as merged by the backend, since only there is it known what will run.

A value that holds a macro could become any text, so no pattern grants it and no list of harmless values has
it. A caller that tells `check` what the macros stand for gets the finer answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import yaml

from launch_agent.errors import Refused
from launch_agent.spec import macros
from launch_agent.spec.model import Resource, RunSpec
from launch_agent.spec.policy import (
    docker,
    job,
    kubernetes,
    kubernetes_limits,
    sagemaker_limits,
    vertex_limits,
)
from launch_agent.spec.policy.kubernetes_limits import Limits
from launch_agent.spec.policy.rules import Allow, Demand, Openings, is_plain
from launch_agent.spec.policy.sagemaker_limits import SageMakerLimits
from launch_agent.spec.policy.vertex_limits import VertexLimits

# The Secrets that the chart and the agent itself make (the chart's names end in these words or begin with
# its release's), and those of W&B's own chart.
PROTECTED_SECRETS = ("launch-*", "*-launch-agent", "*-launch-agent-*", "wandb-api-key*", "git-creds*")
# A message is stored by the backend and shown on a page; a submitter decides how many lines it could have.
_MOST_SHOWN = 50
_NO_IMAGE = "${image_uri}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The agent's own rules. `allow` maps a resource to keys, each opened entirely (True) or for values that
    match one of the patterns (`fnmatch`). `secure_mode` refuses entry points and the like on top.
    `protected_secrets` are patterns for names of Kubernetes Secrets that no job may read, whatever `allow`
    says, and so hold the bounds for `kubernetes`, `sagemaker` and `vertex`."""

    allow: Allow = field(default_factory=dict)
    secure_mode: bool = False
    sweep_schedulers: bool = False
    protected_secrets: Sequence[str] = PROTECTED_SECRETS
    kubernetes: Limits = field(default_factory=Limits)
    sagemaker: SageMakerLimits = field(default_factory=SageMakerLimits)
    vertex: VertexLimits = field(default_factory=VertexLimits)


def _local_container(spec: RunSpec, policy: Policy, _: Openings) -> Iterator[Demand]:
    return docker.demands(spec.resource_args, secure_mode=policy.secure_mode)


def _local_process(spec: RunSpec, _: Policy, openings: Openings) -> Iterator[Demand]:
    return job.process_demands(spec, openings)


def _kubernetes(spec: RunSpec, policy: Policy, _: Openings) -> Iterator[Demand]:
    modes: dict[str, Any] = {
        "secure_mode": policy.secure_mode,
        "protected_secrets": policy.protected_secrets,
    }
    yield from kubernetes.demands(spec.resource_args, **modes)
    yield from kubernetes.service_demands(spec.services, **modes)
    yield from kubernetes_limits.demands(spec.resource_args, spec.services, spec.image, policy.kubernetes)


def _sagemaker(spec: RunSpec, policy: Policy, _: Openings) -> Iterator[Demand]:
    return sagemaker_limits.demands(spec.resource_args, policy.sagemaker)


def _vertex(spec: RunSpec, policy: Policy, _: Openings) -> Iterator[Demand]:
    return vertex_limits.demands(spec.resource_args, policy.vertex)


# A resource without a table takes its arguments as they are: its platform's own permissions decide.
_TABLES: Mapping[str, Callable[[RunSpec, Policy, Openings], Iterator[Demand]]] = MappingProxyType(
    {
        Resource.LOCAL_CONTAINER: _local_container,
        Resource.LOCAL_PROCESS: _local_process,
        Resource.KUBERNETES: _kubernetes,
        Resource.SAGEMAKER: _sagemaker,
        Resource.VERTEX: _vertex,
    }
)


def check(spec: RunSpec, policy: Policy, known: Mapping[str, str] | None = None) -> None:
    """Raise Refused, naming everything that the policy refuses at once and how each is opened.

    `known` is what `macros.macros_for` gives. With it, values are judged as they will be, so that
    `creds-${author}` can be told from the agent's own secrets; an image that is not known yet stays a macro.
    """
    if known is not None:
        values = {**known, "image_uri": known.get("image_uri") or _NO_IMAGE}
        services = [macros.fill(service, values) for service in spec.services]
        spec = replace(spec, resource_args=macros.fill(spec.resource_args, values), services=services)
    openings = Openings.of(policy.allow)
    refused = [demand for demand in _demands(spec, policy, openings) if not openings.grant(demand)]
    if refused:
        raise Refused(_message(refused), hint=_hint(refused[:_MOST_SHOWN]))


def _demands(spec: RunSpec, policy: Policy, openings: Openings) -> Iterator[Demand]:
    yield from job.demands(spec, secure_mode=policy.secure_mode, sweep_schedulers=policy.sweep_schedulers)
    table = _TABLES.get(spec.resource)
    if table is not None:
        yield from table(spec, policy, openings)


def _message(refused: Sequence[Demand]) -> str:
    lines = [f"{demand.path} {demand.why}" for demand in refused[:_MOST_SHOWN]]
    if len(refused) == 1:
        return f"this agent's policy refuses {refused[0].path}: it {refused[0].why}"
    more = f"; and {len(refused) - _MOST_SHOWN} more" if len(refused) > _MOST_SHOWN else ""
    return f"this agent's policy refuses {len(refused)} things: " + "; ".join(lines) + more


def _hint(refused: Sequence[Demand]) -> str:
    """The lines of the agent's config that open everything that can be opened, then what to do about the
    rest."""
    allow: dict[str, dict[str, bool | list[str]]] = {}
    for demand in refused:
        if not demand.closed:
            keys = allow.setdefault(str(demand.resource), {})
            keys[demand.key] = _opening(demand, keys.get(demand.key, []))
    sentences = list(dict.fromkeys(demand.closed for demand in refused if demand.closed))
    if allow:
        text = yaml.safe_dump({"allow": allow}, default_flow_style=True, sort_keys=False, width=float("inf"))
        sentences.insert(
            0, f"an administrator can open it in the agent's config with `policy: {text.strip()}`"
        )
    return "; ".join(sentences)


def _opening(demand: Demand, known: bool | list[str]) -> bool | list[str]:
    """`true` for switches and for values that no pattern grants, else the values themselves."""
    if known is True or demand.values in ((), ("true",)) or not all(map(is_plain, demand.values)):
        return True
    return list(dict.fromkeys([*(known or []), *demand.values]))
