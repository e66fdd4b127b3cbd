"""What a schema cannot see: parts of a launch config that are right by themselves and wrong together."""

from __future__ import annotations

from typing import Any

from launch_agent.config.dialects import Normal
from launch_agent.config.finding import Finding, Severity


def not_a_mapping(value: Any) -> Finding:
    what = "a list" if isinstance(value, list) else "empty" if value is None else "a single value"
    return Finding(
        severity=Severity.ERROR,
        code="wrong-type",
        message=f"the file must be a mapping of keys to values; it is {what}",
    )


def run(normal: Normal) -> list[Finding]:
    """All cross-checks. May complete `normal.value['environment']` from what the registry's address tells."""
    return []
