"""Adds up what the pods of one run may ask for together, whatever the kind of its object.

Pods are counted where they are described: each number of copies on the way to them (`parallelism`,
`replicas`, `numNodes`, …) multiplies. What is missing counts as one copy, and as nothing asked for. Where a
kind can grow by itself, its largest size counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from launch_agent.spec.policy.quantity import java_size, quantity

_COPIES = ("parallelism", "numNodes", "numOfHosts")
_GROWING = ("replicas", "minReplicas", "maxReplicas", "instances")
# Names of device plugins' resources; the part before the slash is the vendor's.
_DEVICES = ("gpu", "mig-", "tpu", "npu", "neuron", "gaudi", "xpu")
_NOTHING = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """CPUs, bytes, devices and pods. `unread` are the places of values that cannot be counted, `claims` those
    of devices that are claimed in a way that does not say how many."""

    cpu: Decimal = _NOTHING
    memory: Decimal = _NOTHING
    gpus: Decimal = _NOTHING
    pods: Decimal = _NOTHING
    unread: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()

    def __add__(self, other: Totals) -> Totals:
        return Totals(
            cpu=self.cpu + other.cpu,
            memory=self.memory + other.memory,
            gpus=self.gpus + other.gpus,
            pods=self.pods + other.pods,
            unread=self.unread + other.unread,
            claims=self.claims + other.claims,
        )

    def times(self, copies: Decimal) -> Totals:
        return Totals(
            cpu=self.cpu * copies,
            memory=self.memory * copies,
            gpus=self.gpus * copies,
            pods=self.pods * copies,
            unread=self.unread,
            claims=self.claims,
        )

    def or_more(self, other: Totals) -> Totals:
        """The larger of each number."""
        return Totals(
            cpu=max(self.cpu, other.cpu),
            memory=max(self.memory, other.memory),
            gpus=max(self.gpus, other.gpus),
            pods=max(self.pods, other.pods),
            unread=self.unread + other.unread,
            claims=self.claims + other.claims,
        )


def totals(value: Any, place: str, least: Decimal = Decimal(1)) -> Totals:
    """What all pods below `value` ask for. `least` is the number of copies that something above can make of
    what says `replicas`."""
    if isinstance(value, list | tuple):
        parts = (totals(item, f"{place}[{number}]", least) for number, item in enumerate(value))
        return _sum(parts)
    if not isinstance(value, Mapping):
        return Totals()
    copies, unread = _copies(value, place, least)
    least = _grows_to(value, least)
    if isinstance(value.get("containers"), list | tuple):
        inner = _pod(value, place)
    elif _is_spark(value):
        inner = _spark_role(value, place)
    else:
        inner = _resources(value, place) + _sum(
            totals(_grown(key, item, least), f"{place}.{key}", least)
            for key, item in value.items()
            if key != "resources"
        )
        if "resources" in value:
            inner += _resources(value["resources"], f"{place}.resources")
        if "numNodes" in value or "resourcesPerNode" in value:  # a TrainJob's pods, described elsewhere
            inner += Totals(pods=Decimal(1))
    return inner.times(copies) + Totals(unread=unread)


def _sum(parts: Iterator[Totals]) -> Totals:
    result = Totals()
    for part in parts:
        result += part
    return result


def _copies(value: Mapping[str, Any], place: str, least: Decimal) -> tuple[Decimal, tuple[str, ...]]:
    """How many copies the mapping makes of what is below it, and the places that do not say it. None is
    counted as one: a controller can be told another number later."""
    copies, unread = Decimal(1), []

    def read(key: str) -> Decimal:
        number = value.get(key)
        if number is None or isinstance(number, Mapping | list | tuple):
            return Decimal(1)  # not there, or a field of another meaning that has this name
        try:
            return max(Decimal(1), quantity(number))
        except ValueError:
            unread.append(f"{place}.{key}")
            return Decimal(1)

    for key in _COPIES:
        copies *= read(key)
    if any(key in value for key in _GROWING):
        copies *= max(least, *map(read, _GROWING))
    return copies, tuple(unread)


def _grows_to(value: Mapping[str, Any], least: Decimal) -> Decimal:
    """The size to which a kind grows by itself, said beside its replicas."""
    for key, largest in (("elasticPolicy", "maxReplicas"), ("dynamicAllocation", "maxExecutors")):
        policy = value.get(key)
        if isinstance(policy, Mapping) and policy.get(largest) is not None:
            try:
                least = max(least, quantity(policy[largest]))
            except ValueError:
                continue
    return least


def _grown(key: str, value: Any, least: Decimal) -> Any:
    """Spark's executors need no number where their number changes by itself."""
    return {"instances": least, **value} if key == "executor" and isinstance(value, Mapping) else value


def _pod(pod: Mapping[str, Any], place: str) -> Totals:
    """One pod: its containers run side by side; those before them one at a time, but for sidecars."""
    claims = (f"{place}.resourceClaims",) if pod.get("resourceClaims") else ()
    together = _containers(pod.get("containers"), f"{place}.containers")
    before = Totals()
    started = pod.get("initContainers")
    for number, container in enumerate(started if isinstance(started, list | tuple) else ()):
        asks = _container(container, f"{place}.initContainers[{number}]")
        if isinstance(container, Mapping) and container.get("restartPolicy") == "Always":
            together += asks
        else:
            before = before.or_more(asks)
    whole = _resources(pod.get("resources"), f"{place}.resources")
    return together.or_more(before).or_more(whole) + Totals(pods=Decimal(1), claims=claims)


def _containers(value: Any, place: str) -> Totals:
    items = value if isinstance(value, list | tuple) else ()
    return _sum(_container(item, f"{place}[{number}]") for number, item in enumerate(items))


def _container(value: Any, place: str) -> Totals:
    return (
        _resources(value.get("resources"), f"{place}.resources") if isinstance(value, Mapping) else Totals()
    )


def _resources(value: Any, place: str) -> Totals:
    """Of each resource the larger of request and limit."""
    if not isinstance(value, Mapping):
        return Totals()
    claims = (f"{place}.claims",) if value.get("claims") else ()
    found = Totals(claims=claims)
    for side in ("requests", "limits"):
        found = found.or_more(_asks(value.get(side), f"{place}.{side}"))
    return found


def _asks(value: Any, place: str) -> Totals:
    cpu = memory = gpus = _NOTHING
    unread = []
    for key, item in value.items() if isinstance(value, Mapping) else ():
        name = str(key)
        device = "/" in name and any(word in name.lower() for word in _DEVICES)
        if name not in ("cpu", "memory") and not device:
            continue
        try:
            amount = max(_NOTHING, quantity(item))
        except ValueError:
            unread.append(f"{place}.{name}")
            continue
        cpu += amount if name == "cpu" else 0
        memory += amount if name == "memory" else 0
        gpus += amount if device else 0
    return Totals(cpu=cpu, memory=memory, gpus=gpus, unread=tuple(unread))


def _is_spark(value: Mapping[str, Any]) -> bool:
    """Whether this describes a driver or executors of Spark, which have words of their own."""
    return any(key in value for key in ("cores", "coreLimit", "coreRequest", "memoryOverhead"))


def _spark_role(value: Mapping[str, Any], place: str) -> Totals:
    unread: list[str] = []

    def read(key: str, reader: Callable[[object], Decimal], fields: Mapping[str, Any] = value) -> Decimal:
        if fields.get(key) is None:
            return _NOTHING
        try:
            return max(_NOTHING, reader(fields[key]))
        except ValueError:
            unread.append(f"{place}.{key}")
            return _NOTHING

    cpu = max(read(key, quantity) for key in ("cores", "coreLimit", "coreRequest"))
    memory = read("memory", java_size) + read("memoryOverhead", java_size)
    gpu = value.get("gpu")
    gpus = read("quantity", quantity, gpu) if isinstance(gpu, Mapping) else _NOTHING
    return Totals(cpu=cpu, memory=memory, gpus=gpus, pods=Decimal(1), unread=tuple(unread))
