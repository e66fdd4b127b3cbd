"""The administrator's own bounds for jobs on SageMaker: how much, how long, on what, as whom, and where to.

Nothing is bounded until `policy.sagemaker` says so; what it says holds whatever `policy.allow` opens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from launch_agent.spec import sagemaker
from launch_agent.spec.policy.rules import Demand, is_plain

_ROOT = f"resource_args.{sagemaker.RESOURCE}"
_SHOWN = 80
# "The default value is 1 day" (StoppingCondition.MaxRuntimeInSeconds of the API reference).
_DEFAULT_RUNTIME = 86_400
# Where a training job writes to, beside its log.
_OUTPUTS = (
    ("OutputDataConfig", "S3OutputPath"),
    ("CheckpointConfig", "S3Uri"),
    ("TensorBoardOutputConfig", "S3OutputPath"),
    ("DebugHookConfig", "S3OutputPath"),
    ("ProfilerConfig", "S3OutputPath"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SageMakerLimits:
    """`policy.sagemaker` of the config. None is no bound; counts are those of one run, times are seconds, and
    the lists are patterns (`fnmatch`)."""

    max_instances: int | None = None
    max_runtime: int | None = None
    max_keep_alive: int | None = None
    instance_types: Sequence[str] | None = None
    roles: Sequence[str] | None = None
    output_locations: Sequence[str] | None = None
    subnets: Sequence[str] | None = None

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> SageMakerLimits:
        """The config's part as values; its schema has looked at it."""
        fields: dict[str, Any] = {
            key.replace("-", "_"): tuple(value) if isinstance(value, list) else value
            for key, value in config.items()
        }
        return cls(**fields)


def demands(args: Mapping[str, Any], limits: SageMakerLimits) -> Iterator[Demand]:
    """Everything that goes beyond the bounds."""
    resources = _part(args, "ResourceConfig")
    yield from _instances(resources, limits)
    yield from _times(args, resources, limits)
    yield from _listed("RoleArn", args.get("RoleArn"), "roles", limits.roles, "role")
    for part, key in _OUTPUTS:
        where = _part(args, part).get(key)
        yield from _listed(f"{part}.{key}", where, "output-locations", limits.output_locations, "place")
    yield from _subnets(_part(args, "VpcConfig").get("Subnets"), limits.subnets)


def _instances(resources: Mapping[str, Any], limits: SageMakerLimits) -> Iterator[Demand]:
    """Groups run together and add up; of preferences one is taken."""
    groups = _pools(resources, "InstanceGroups")
    preferences = _pools(resources, "InstancePreferences")
    for place, pool in [("ResourceConfig", resources), *groups, *preferences]:
        where, kind = f"{place}.InstanceType", pool.get("InstanceType")
        yield from _listed(where, kind, "instance-types", limits.instance_types, "instance type")
    most = limits.max_instances
    if most is None:
        return
    counts = {}
    for place, pool in [("ResourceConfig", resources), *groups, *preferences]:
        counts[place] = _number(pool.get("InstanceCount", 0))
        if counts[place] is None:
            why = "is no number, and this agent has a maximum for a run"
            yield _demand(f"{place}.InstanceCount", "max-instances", why)
    asked = sum(counts[place] or 0 for place, _ in groups) + (counts["ResourceConfig"] or 0)
    asked = max([asked, *(counts[place] or 0 for place, _ in preferences)])
    if asked > most:
        why = f"asks for {asked} instances in all, and this agent allows {most} for a run"
        yield _demand("ResourceConfig", "max-instances", why)


def _times(
    args: Mapping[str, Any], resources: Mapping[str, Any], limits: SageMakerLimits
) -> Iterator[Demand]:
    runtime = _part(args, "StoppingCondition").get("MaxRuntimeInSeconds", _DEFAULT_RUNTIME)
    alive = resources.get("KeepAlivePeriodInSeconds", 0)
    for place, value, key, most in (
        ("StoppingCondition.MaxRuntimeInSeconds", runtime, "max-runtime", limits.max_runtime),
        ("ResourceConfig.KeepAlivePeriodInSeconds", alive, "max-keep-alive", limits.max_keep_alive),
    ):
        if most is None:
            continue
        seconds = _number(value)
        if seconds is None:
            yield _demand(place, key, "is no number, and this agent has a maximum")
        elif seconds > most:
            yield _demand(place, key, f"is {seconds} seconds, and this agent allows {most}")


def _subnets(given: Any, patterns: Sequence[str] | None) -> Iterator[Demand]:
    if patterns is None:
        return
    names = given if isinstance(given, list | tuple) else ()
    if not names:
        why = f"is missing, and this agent allows jobs in the subnets {_those(patterns)} only"
        yield _demand("VpcConfig.Subnets", "subnets", why)
    for number, name in enumerate(names):
        yield from _listed(f"VpcConfig.Subnets[{number}]", name, "subnets", patterns, "subnet")


def _listed(place: str, value: Any, key: str, patterns: Sequence[str] | None, what: str) -> Iterator[Demand]:
    if patterns is None or value in (None, ""):
        return
    text = str(value)
    if not (is_plain(text) and any(fnmatchcase(text, pattern) for pattern in patterns)):
        why = f"names the {what} {text[:_SHOWN]!r}, and this agent allows {_those(patterns)}"
        yield _demand(place, key, why)


def _those(patterns: Sequence[str]) -> str:
    return ", ".join(patterns) or "none"


def _demand(place: str, key: str, why: str) -> Demand:
    closed = f"the bounds are the administrator's: policy.sagemaker.{key} of the agent's config"
    return Demand(resource=sagemaker.RESOURCE, key=key, path=f"{_ROOT}.{place}", why=why, closed=closed)


def _pools(resources: Mapping[str, Any], key: str) -> list[tuple[str, Mapping[str, Any]]]:
    given = resources.get(key)
    return [
        (f"ResourceConfig.{key}[{number}]", pool)
        for number, pool in enumerate(given if isinstance(given, list | tuple) else ())
        if isinstance(pool, Mapping)
    ]


def _part(args: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = args.get(name)
    return found if isinstance(found, Mapping) else {}


def _number(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        return int(value)
    return value if isinstance(value, int) else None
