"""Explains why a run does not start, goes badly or has failed, from its pods and the events about them."""

from __future__ import annotations

from collections.abc import Sequence

from launch_agent.runners.kubernetes.facts import EventFacts, PodFacts
from launch_agent.runners.kubernetes.status.model import Diagnosis, Observed


def explain(
    observed: Observed,
    pods: Sequence[PodFacts],
    events: Sequence[EventFacts],
    now: float,
    earlier: Diagnosis | None = None,
) -> Diagnosis | None:
    """What is wrong with a run; None where nothing is known to be.

    `pods` are those of the run, `events` those about it and its pods, `now` is seconds since the epoch.
    `earlier` is what the last call for this run returned: it tells since when something is so.
    """
    return None
