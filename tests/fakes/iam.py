"""What an IAM policy allows, as far as ours go: actions, resources, conditions on texts and switches.

moto looks at actions alone and knows of no condition (`moto.iam.access_control`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any


def allows(
    policies: Iterable[Mapping[str, Any]],
    action: str,
    resource: str,
    context: Mapping[str, str] | None = None,
) -> bool:
    """Whether one statement of the policies allows an action, and none denies it. `context` are the keys of
    the request, such as `kms:ViaService`."""
    effects = {
        statement["Effect"]
        for policy in policies
        for statement in policy["Statement"]
        if _concerns(statement, action, resource, context or {})
    }
    return effects == {"Allow"}


def _concerns(statement: Mapping[str, Any], action: str, resource: str, context: Mapping[str, str]) -> bool:
    return (
        any(fnmatchcase(action.lower(), each.lower()) for each in _many(statement["Action"]))
        and any(fnmatchcase(resource, each) for each in _many(statement["Resource"]))
        and all(
            _holds(operator, context.get(key), _many(wanted))
            for operator, keys in statement.get("Condition", {}).items()
            for key, wanted in keys.items()
        )
    )


def _holds(operator: str, value: str | None, wanted: list[str]) -> bool:
    if value is None:
        return False
    if operator == "Bool":
        if not set(wanted) <= {"true", "false"}:
            raise AssertionError(f"no Boolean condition: {wanted}")
        return value in wanted
    if operator == "StringEquals":
        return value in wanted
    raise AssertionError(f"a condition that this does not know: {operator}")


def _many(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value
