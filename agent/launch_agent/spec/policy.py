"""What a job may ask for: refused by default, opened by the administrator.

(being written)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The agent's own rules. `allow` maps a resource to keys, each opened entirely (True) or for values that
    match one of the patterns (`fnmatch`). `secure_mode` refuses entry points and the like on top."""

    allow: Mapping[str, Mapping[str, bool | Sequence[str]]] = field(default_factory=dict)
    secure_mode: bool = False
    sweep_schedulers: bool = False
