"""Looks at a queue's configuration as an agent will, before any job: what can be said without a cluster."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from launch_agent.spec.kubernetes import defaults, legal
from launch_agent.spec.kubernetes.kinds import ENDLESS, KINDS
from launch_agent.spec.kubernetes.problems import Problems
from launch_agent.spec.kubernetes.templates import PodTemplate, mentions
from launch_agent.spec.problem import Problem

# Keys of a queue's configuration that are not the object's. The server sets a status, never its author.
NOT_THE_OBJECTS = ("namespace", "context", "builder", "status")


def review(resource_args: Mapping[str, Any]) -> list[Problem]:
    """Everything for which an agent will refuse whatever job comes with this configuration."""
    problems = Problems()
    manifest = copy.deepcopy(dict(resource_args))
    prepare(manifest, problems, marks=("${",))
    legal.check_labels(manifest, "", problems)
    return list(problems)


def prepare(
    manifest: dict[str, Any], problems: Problems, *, marks: Sequence[str]
) -> tuple[str, list[PodTemplate]]:
    """Make a queue's configuration an object of its kind with all defaults, in place. What comes back is its
    `group/Kind` and its pod templates. An object of an unknown kind need not have any, where its author hands
    the run over by macros: `marks` are texts by which that shows."""
    kind = defaults.fill_head(manifest, problems)
    if kind in ENDLESS:
        hint = "use a kind that runs to an end, such as a batch/v1 Job"
        problems.add("kind", f"is {manifest['kind']!r}, which never ends by itself", hint)
    for key in NOT_THE_OBJECTS:
        manifest.pop(key, None)
    templates = defaults.add(manifest, problems)
    if not templates and (kind in KINDS or not any(mentions(manifest, mark) for mark in marks if mark)):
        hint = "give a pod template with containers; a kind without one has to name ${image_uri} or ${run_id}"
        problems.add("spec", "has no containers", hint)
    return kind, templates
