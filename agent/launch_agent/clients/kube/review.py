"""What we may do, by the server's word: it is asked rather than tried.

`can` answers for one request and is exact. `rules` lists what is allowed in a namespace, which costs one
request for everything; an authorizer that cannot enumerate its rules makes it incomplete, and says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from launch_agent.clients.kube.channel import Call, Channel

_ROOT = "/apis/authorization.k8s.io/v1"
_ANY = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Verbs on resources (`jobs`, `pods/log`) of groups; `names` is empty where any object is meant."""

    verbs: frozenset[str]
    groups: frozenset[str]
    resources: frozenset[str]
    names: frozenset[str] = frozenset()

    def allows(self, verb: str, group: str, resource: str, name: str) -> bool:
        _, slash, part = resource.partition("/")
        resources = {resource, _ANY} | ({f"*/{part}"} if slash else set())
        return (
            bool({verb, _ANY} & self.verbs)
            and bool({group, _ANY} & self.groups)
            and bool(resources & self.resources)
            and (not self.names or name in self.names)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """All rules of a namespace. `complete` is whether there may be others that the server cannot list."""

    rules: tuple[Rule, ...]
    complete: bool

    def allow(self, verb: str, key: str, name: str = "") -> bool:
        """`key` is group and plural (`batch/jobs`, `/pods`), with a subresource behind it where one is meant
        (`/pods/log`)."""
        group, _, resource = key.partition("/")
        return any(rule.allows(verb, group, resource, name) for rule in self.rules)


def can(channel: Channel, verb: str, key: str, namespace: str, name: str, part: str) -> bool:
    group, _, plural = key.partition("/")
    plural, _, inside = plural.partition("/")
    wanted = {
        "verb": verb,
        "group": group,
        "resource": plural,
        "subresource": part or inside,
        "namespace": namespace,
        "name": name,
    }
    asked = {field: value for field, value in wanted.items() if value}
    answer = _review(channel, "SelfSubjectAccessReview", {"resourceAttributes": asked})
    return answer.get("allowed") is True


def rules(channel: Channel, namespace: str) -> Rules:
    answer = _review(channel, "SelfSubjectRulesReview", {"namespace": namespace})
    return Rules(rules=tuple(_rules(answer)), complete=not answer.get("incomplete"))


def _rules(status: Mapping[str, Any]) -> Iterator[Rule]:
    for each in status.get("resourceRules") or ():
        yield Rule(
            verbs=frozenset(each.get("verbs") or ()),
            groups=frozenset(each.get("apiGroups") or ()),
            resources=frozenset(each.get("resources") or ()),
            names=frozenset(each.get("resourceNames") or ()),
        )


def _review(channel: Channel, kind: str, spec: Mapping[str, Any]) -> Mapping[str, Any]:
    call = Call(
        method="POST",
        path=f"{_ROOT}/{kind.lower()}s",
        action="ask what is allowed",
        body={"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec},
    )
    answer = channel.json(call)
    found = answer.get("status") if isinstance(answer, Mapping) else None
    return found if isinstance(found, Mapping) else {}
