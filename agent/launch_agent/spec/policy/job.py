"""What any job may ask for, whatever its resource: entry points of its own, and schedulers of sweeps.

A job on `local-process` runs as the agent does. Turning that resource on lets the agent run jobs' own
commands; commands that submitters make up are opened on top, by `entry-point`. Where not any command may run,
variables are shut as well: `PATH` or `LD_PRELOAD` make another command of the one that was looked at.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping

from launch_agent.spec.model import Resource, RunSpec
from launch_agent.spec.policy.rules import SECURE_CURE, SECURE_WHY, Demand, Openings, texts

_KEY = "entry-point"
_SCHEDULER_COMMAND = ("wandb", "scheduler")


def demands(spec: RunSpec, *, secure_mode: bool, sweep_schedulers: bool) -> Iterator[Demand]:
    """What a job asks for beside its resource args."""
    entry_point = tuple(spec.overrides.entry_point)
    if spec.scheduler:
        yield from _scheduler(spec, entry_point, sweep_schedulers=sweep_schedulers)
    elif entry_point and secure_mode:
        yield Demand(
            resource=spec.resource,
            key=_KEY,
            path="overrides.entry_point",
            why=SECURE_WHY,
            closed=SECURE_CURE,
        )
    elif entry_point and spec.resource == Resource.LOCAL_PROCESS:
        yield Demand(
            resource=spec.resource,
            key=_KEY,
            path="overrides.entry_point",
            why="runs on the agent's own machine, with the agent's rights",
            values=(shlex.join(entry_point),),
        )


def process_demands(spec: RunSpec, openings: Openings) -> Iterator[Demand]:
    """What the resource args of a local-process job ask for; they know `env` alone."""
    variables = spec.resource_args.get("env")
    if not variables or openings.opens_wholly(Resource.LOCAL_PROCESS, _KEY):
        return
    if isinstance(variables, Mapping):
        variables = [f"{name}={value}" for name, value in variables.items()]
    yield Demand(
        resource=Resource.LOCAL_PROCESS,
        key="env",
        path="resource_args.local-process.env",
        why="can change what a command on the agent's own machine does",
        values=texts(variables),
    )


def _scheduler(spec: RunSpec, entry_point: tuple[str, ...], *, sweep_schedulers: bool) -> Iterator[Demand]:
    """A scheduler runs beside the agent, so its command is the one that the client writes, or none."""
    if not sweep_schedulers:
        yield Demand(
            resource=spec.resource,
            key="sweep-schedulers",
            path="uri",
            why="asks for a scheduler of a sweep, and this agent runs none",
            closed="schedulers are opened with `policy: {sweep-schedulers: true}`",
        )
    elif entry_point[:2] != _SCHEDULER_COMMAND:
        yield Demand(
            resource=spec.resource,
            key="sweep-schedulers",
            path="overrides.entry_point",
            why="is not `wandb scheduler …`, the one command that a scheduler of a sweep may run",
            closed="submit the sweep with `wandb launch-sweep`",
        )
