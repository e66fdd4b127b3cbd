"""How the administrator says what the status of a kind means that this agent does not know.

A rule is a path, what stands there, and the state that this is:

    {kind: Training, path: status.stage, equals: [Done], state: finished}
    {kind: example.com/Training, path: "status.conditions[Ready].status", equals: ["False"], state: failed}

A list of such rules and no expression language: rules can be checked when the agent starts, cannot run for
long, and cannot fail where an object looks different from what somebody expected. The first rule that
matches decides; where none does, the agent's own judgement holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from launch_agent.runners.kubernetes.facts import WorkloadFacts
from launch_agent.spec.model import RunState

# A state of the config that is none of RunState: pending, and kept back by a queueing controller.
HELD = "held"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule. `group` and `kind` select objects, an empty group selects any. What stands at `path` (see
    `facts.at`) is compared as text. `message` is the path of a text that explains, empty for none."""

    group: str = ""
    kind: str
    path: str
    values: frozenset[str]
    state: RunState
    held: bool = False
    message: str = ""

    def matches(self, workload: WorkloadFacts) -> bool:
        about = self.kind == workload.kind and self.group in ("", workload.group)
        return about and workload.value(self.path) in self.values


def make(entries: Sequence[Mapping[str, Any]]) -> tuple[Rule, ...]:
    """The rules of `runner.kubernetes.status`, as the schema lets them through."""
    return tuple(_rule(entry) for entry in entries)


def paths(rules: Iterable[Rule]) -> frozenset[str]:
    """The paths that `facts.workload` has to keep for these rules."""
    return frozenset(path for rule in rules for path in (rule.path, rule.message) if path)


def _rule(entry: Mapping[str, Any]) -> Rule:
    group, _, kind = entry["kind"].rpartition("/")
    held = entry["state"] == HELD
    return Rule(
        group=group,
        kind=kind,
        path=entry["path"],
        values=frozenset(entry["equals"]),
        state=RunState.PENDING if held else RunState(entry["state"]),
        held=held,
        message=entry.get("message", ""),
    )
