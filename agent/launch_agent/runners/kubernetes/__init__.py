"""The target resource `kubernetes`: Jobs, pods and custom resources of a cluster.

options                      the config's part, as values
runner, adoption             create; find again after a restart
manifest, container, …       run request -> objects (pure)
code                         a job's code beside its image, for jobs without a build
submission, refusals         the order in which they are made; what a refusal means
watching, trace, facts       informers, and what is kept of each run
status/, diagnose            what that means (pure)
run                          one run: state, log, end
logs, events                 fetched when they are needed
pulls                        what opens images, kept fresh
rights, kinds                what the agent may do, and which kinds its runs can be of
marks                        what is written on objects for the next agent
chores                       what is done beside all this
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from launch_agent.runners import Runner
from launch_agent.runners.kubernetes.connection import connecting
from launch_agent.runners.kubernetes.options import options_from
from launch_agent.runners.kubernetes.runner import KubernetesRunner


def create(options: Mapping[str, Any]) -> Runner:
    """The runner for `runner.kubernetes` of the config. Connects to nothing yet."""
    chosen = options_from(options)
    return KubernetesRunner(chosen, connecting(chosen))
