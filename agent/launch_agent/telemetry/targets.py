"""What target resources are asked and how well they are heard, for Prometheus: read when it is scraped.

The numbers are kept by those who ask and listen. A collector that fetches them costs nothing between two
scrapes, and what is gone (a namespace that is watched no more) is gone from the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector


class Watch(Protocol):
    """Something that is listened to. Times are seconds; `error` is why nothing is heard, or empty."""

    @property
    def name(self) -> str: ...
    @property
    def age(self) -> float: ...
    @property
    def listed(self) -> float: ...
    @property
    def error(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What was asked of an API since the start. `requests` maps (verb, code) to their number and the seconds
    that they took together; the code is `none` where no answer came. `throttled` is for how many seconds
    requests waited for their turn."""

    requests: Mapping[tuple[str, str], tuple[int, float]] = field(default_factory=dict)
    throttled: float = 0.0


class TargetCollector(Collector):
    """Both callables answer by the name of the target resource."""

    def __init__(
        self,
        watches: Callable[[], Iterable[tuple[str, Watch]]],
        usage: Callable[[], Iterable[tuple[str, Usage]]],
    ) -> None:
        self._watches = watches
        self._usage = usage

    def describe(self) -> Iterable[Metric]:
        """The families without values: else a registry would ask for values at the registration."""
        return [*_watch_families(), *_usage_families()]

    def collect(self) -> Iterator[Metric]:
        age, listed, failing = _watch_families()
        for target, watch in self._watches():
            place = [target, watch.name]
            age.add_metric(place, watch.age)
            listed.add_metric(place, watch.listed)
            failing.add_metric(place, float(bool(watch.error)))
        requests, throttled = _usage_families()
        for target, usage in self._usage():
            for (verb, code), (count, seconds) in sorted(usage.requests.items()):
                requests.add_metric([target, verb, code], count_value=count, sum_value=seconds)
            throttled.add_metric([target], usage.throttled)
        yield from (age, listed, failing, requests, throttled)


def _watch_families() -> tuple[GaugeMetricFamily, GaugeMetricFamily, GaugeMetricFamily]:
    place = ["target", "watch"]
    return (
        GaugeMetricFamily(
            "launch_agent_watch_age_seconds",
            "Seconds since a watch heard anything, if only that there is no news; +Inf before the first.",
            labels=place,
        ),
        GaugeMetricFamily(
            "launch_agent_watch_list_age_seconds",
            "Seconds since a watch last had the whole list; +Inf before the first.",
            labels=place,
        ),
        GaugeMetricFamily(
            "launch_agent_watch_failing", "Whether a watch hears nothing at present, 0 or 1.", labels=place
        ),
    )


def _usage_families() -> tuple[SummaryMetricFamily, CounterMetricFamily]:
    return (
        SummaryMetricFamily(
            "launch_agent_api_request_duration_seconds",
            "Requests to the API of a target resource and the time they took, by verb and status code.",
            labels=["target", "verb", "code"],
        ),
        CounterMetricFamily(
            "launch_agent_api_throttled_seconds",
            "Time that requests to a target resource waited for their turn.",
            labels=["target"],
        ),
    )
