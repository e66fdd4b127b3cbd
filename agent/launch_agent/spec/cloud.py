"""What can be said of jobs for the clouds' own services before anything is built for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from launch_agent.errors import Refused, SubmitRejected
from launch_agent.spec import sagemaker, vertex
from launch_agent.spec.model import Resource, RunSpec
from launch_agent.spec.problem import Problem

# A message is stored by the backend and shown on a page.
_MOST_SHOWN = 20
_PROBLEMS: Mapping[str, Callable[[Mapping[str, Any]], list[Problem]]] = {
    Resource.SAGEMAKER: sagemaker.problems,
    Resource.VERTEX: vertex.problems,
}
_READS: Mapping[str, tuple[Callable[[str], bool], str]] = {
    Resource.SAGEMAKER: (sagemaker.is_ecr, "Amazon ECR"),
    Resource.VERTEX: (vertex.can_pull, "Artifact Registry"),
}


def check(spec: RunSpec) -> None:
    """Raise SubmitRejected where no job can come of the queue's configuration, naming everything at once."""
    refuse(spec.resource, problems(spec.resource, spec.resource_args))


def problems(resource: str, args: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with a resource's arguments; nothing for resources that are no cloud service."""
    return _PROBLEMS[resource](args) if resource in _PROBLEMS else []


def refuse(resource: str, found: Sequence[Problem]) -> None:
    """Raise SubmitRejected for a list of problems, unless it is empty."""
    if not found:
        return
    shown = list(found[:_MOST_SHOWN])
    lines = [f"resource_args.{resource}.{problem.place} {problem.why}" for problem in shown]
    more = f"; and {len(found) - _MOST_SHOWN} more" if len(found) > _MOST_SHOWN else ""
    hints = list(dict.fromkeys(problem.hint for problem in shown if problem.hint))
    raise SubmitRejected(f"no job can be made of this: {'; '.join(lines)}{more}", hint="; ".join(hints))


def check_repository(resource: str, repository: str) -> None:
    """Raise Refused where jobs of a resource cannot read what the agent builds and pushes to `repository`
    (empty: it pushes nowhere)."""
    if resource not in _READS:
        return
    can_read, name = _READS[resource]
    if repository and "/" in repository and can_read(repository):
        return
    where = f"{repository!r} is none" if repository else "this agent pushes its images nowhere"
    raise Refused(
        f"jobs on {resource} run images of a cloud registry, and {where}",
        hint=f"set builder.destination of the agent's config to a repository of {name}, "
        "or submit a ready image",
    )
