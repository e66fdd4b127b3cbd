"""The administrator's own bounds for jobs on Vertex AI: how much, on what, as whom, and where to.

Nothing is bounded until `policy.vertex` says so; what it says holds whatever `policy.allow` opens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from launch_agent.spec import vertex
from launch_agent.spec.policy.rules import Demand, is_plain

_ROOT = f"resource_args.{vertex.RESOURCE}"
_SHOWN = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class VertexLimits:
    """`policy.vertex` of the config. None is no bound; the numbers are those of one run, all its pools
    together, and the lists are patterns (`fnmatch`)."""

    max_replicas: int | None = None
    max_accelerators: int | None = None
    machine_types: Sequence[str] | None = None
    accelerators: Sequence[str] | None = None
    service_accounts: Sequence[str] | None = None
    output_locations: Sequence[str] | None = None
    networks: Sequence[str] | None = None

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> VertexLimits:
        """The config's part as values; its schema has looked at it."""
        fields: dict[str, Any] = {
            key.replace("-", "_"): tuple(value) if isinstance(value, list) else value
            for key, value in config.items()
        }
        return cls(**fields)


def demands(args: Mapping[str, Any], limits: VertexLimits) -> Iterator[Demand]:
    """Everything that goes beyond the bounds."""
    values = vertex.flat(args)
    pools = [pool for pool in _list(values.get("workerPoolSpecs")) if isinstance(pool, Mapping)]
    yield from _totals(pools, limits)
    for number, pool in enumerate(pools):
        machine = _part(pool, "machineSpec")
        place = f"spec.worker_pool_specs[{number}].machine_spec"
        kind, accelerator = machine.get("machineType"), machine.get("acceleratorType")
        yield from _listed(
            f"{place}.machine_type", kind, "machine-types", limits.machine_types, "machine type"
        )
        yield from _listed(
            f"{place}.accelerator_type", accelerator, "accelerators", limits.accelerators, "accelerator"
        )
    yield from _account(values.get("serviceAccount"), limits.service_accounts)
    output = _spelt(values.get("baseOutputDirectory")).get("outputUriPrefix")
    for place, where in (
        ("spec.staging_bucket", values.get(vertex.STAGING)),
        ("spec.base_output_dir", values.get(vertex.FOLDER)),
        ("spec.base_output_directory", output),
    ):
        uri = f"gs://{where}" if where and not str(where).startswith("gs://") else where
        yield from _listed(place, uri, "output-locations", limits.output_locations, "place")
    attachment = _spelt(values.get("pscInterfaceConfig")).get("networkAttachment")
    for place, network in (
        ("run.network", values.get("network")),
        ("run.psc_interface_config.network_attachment", attachment),
    ):
        yield from _listed(place, network, "networks", limits.networks, "network")


def _totals(pools: Sequence[Mapping[str, Any]], limits: VertexLimits) -> Iterator[Demand]:
    if limits.max_replicas is None and limits.max_accelerators is None:
        return
    replicas = accelerators = 0
    for number, pool in enumerate(pools):
        if not pool:
            continue  # an empty pool keeps its place and has no machines
        place = f"spec.worker_pool_specs[{number}]"
        counts = {
            f"{place}.replica_count": _spelt(pool).get("replicaCount", 1),
            f"{place}.machine_spec.accelerator_count": _part(pool, "machineSpec").get("acceleratorCount", 0),
        }
        for where, count in counts.items():
            if _number(count) is None:
                yield _demand(where, "max", "is no number, and this agent has maxima for a run")
        machines, each = (_number(count) or 0 for count in counts.values())
        replicas += machines
        accelerators += machines * each
    for key, asked, most, what in (
        ("max-replicas", replicas, limits.max_replicas, "machines"),
        ("max-accelerators", accelerators, limits.max_accelerators, "accelerators"),
    ):
        if most is not None and asked > most:
            why = f"asks for {asked} {what} in all, and this agent allows {most} for a run"
            yield _demand("spec.worker_pool_specs", key, why)


def _account(account: Any, patterns: Sequence[str] | None) -> Iterator[Demand]:
    place = "run.service_account"
    if patterns is not None and not account:
        why = f"is missing, and this agent allows jobs to run as {_those(patterns)} only"
        yield _demand(place, "service-accounts", why)
    yield from _listed(place, account, "service-accounts", patterns, "service account")


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
    closed = f"the bounds are the administrator's: policy.vertex.{key} of the agent's config"
    if key == "max":
        closed = "the bounds are the administrator's: policy.vertex of the agent's config"
    return Demand(resource=vertex.RESOURCE, key=key, path=f"{_ROOT}.{place}", why=why, closed=closed)


def _number(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    return value if isinstance(value, int) else None


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()


def _spelt(value: Any) -> dict[str, Any]:
    """A mapping by the API's names, without what is null."""
    if not isinstance(value, Mapping):
        return {}
    return {vertex.camel(str(key)): item for key, item in value.items() if item is not None}


def _part(pool: Mapping[str, Any], name: str) -> dict[str, Any]:
    return _spelt(_spelt(pool).get(name))
