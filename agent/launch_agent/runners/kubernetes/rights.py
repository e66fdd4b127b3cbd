"""What the agent's account may do where its runs are, asked before the first of them.

One review for each namespace lists the account's rights. Where the server says that the list is not complete
(an authorizer outside of the cluster takes part), each right that is not on it is asked for by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from launch_agent.clients.kube.api import KubeApi
from launch_agent.clients.kube.review import Rules
from launch_agent.errors import RunnerError
from launch_agent.runners.kubernetes.refusals import asking

_ASKING = "ask for the rights of the agent's account"


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """A right to do one thing with a resource such as `/pods/log`, and what it is for."""

    key: str
    verb: str
    purpose: str

    def __str__(self) -> str:
        group, _, resource = self.key.partition("/")
        return f"{self.verb} {resource}{f'.{group}' if group else ''}"


def _needs(key: str, verbs: str, purpose: str) -> tuple[Need, ...]:
    return tuple(Need(key=key, verb=verb, purpose=purpose) for verb in verbs.split())


NEEDED = (
    *_needs("/pods", "list watch", "see what becomes of runs"),
    *_needs("/secrets", "create patch", "hand runs their API key"),
)
CHANGE_JOBS = Need(key="batch/jobs", verb="patch", purpose="keep ended Jobs until their end is reported")
USEFUL = (
    # An account without it may be meant for custom resources.
    *_needs("batch/jobs", "create get list watch delete", "start Jobs, follow and stop them"),
    *_needs("/pods/log", "get", "report the last lines of what failed"),
    *_needs("/events", "list", "say why a run does not start"),
    CHANGE_JOBS,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """`usable` are the namespaces in which runs can be started, `lacks` sentences about rights that are
    missing in these and can be done without, and about namespaces that cannot be used."""

    usable: Sequence[str]
    lacks: Sequence[str]
    may_change_jobs: bool


def check(api: KubeApi, namespaces: Sequence[str]) -> Found:
    """Raise RunnerError where the account lacks a right without which no run can be started in the first of
    the namespaces. One of the others that is gone does not keep runs from the rest. An empty namespace
    stands for all."""
    usable, lacks, may_change = [], [], True
    for where in namespaces:
        missing = list(_missing(api, where, (*NEEDED, *USEFUL)))
        if needed := [need for need in missing if need in NEEDED]:
            problem = _unusable(where, needed)
            if where == namespaces[0]:
                raise problem
            lacks.append(f"{problem.message}; no runs are looked for there ({problem.hint})")
            continue
        usable.append(where)
        may_change = may_change and CHANGE_JOBS not in missing
        lacks += [
            f"the agent's account lacks {need} in {named(where)}: it cannot {need.purpose}"
            for need in missing
        ]
    return Found(usable=usable, lacks=lacks, may_change_jobs=may_change)


def may_change(api: KubeApi, key: str, namespaces: Sequence[str]) -> bool:
    """Whether the account may patch objects of a kind, wherever its runs are. Raises RunnerError."""
    with asking(_ASKING):
        return all(api.can("patch", key, namespace) for namespace in namespaces)


def rules_in(api: KubeApi, namespace: str) -> Rules:
    """The account's rights in a namespace; of all together there is no list. Raises RunnerError."""
    if not namespace:
        return Rules(rules=(), complete=False)
    with asking(_ASKING):
        return api.rules(namespace)


def named(namespace: str) -> str:
    return f"namespace {namespace}" if namespace else "all namespaces"


def _unusable(namespace: str, needed: Sequence[Need]) -> RunnerError:
    rights = ", ".join(str(need) for need in needed)
    return RunnerError(
        f"the agent's account may not {needed[0].purpose} in {named(namespace)}: it lacks {rights}",
        hint="the chart's Role gives these rights, in its own namespace and in "
        "additionalTargetNamespaces (rbac.clusterWide: in all)",
    )


def _missing(api: KubeApi, namespace: str, needs: Sequence[Need]) -> Iterator[Need]:
    rules = rules_in(api, namespace)
    for need in needs:
        if rules.allow(need.verb, need.key):
            continue
        with asking(_ASKING):
            if not rules.complete and api.can(need.verb, need.key, namespace):
                continue
        yield need
