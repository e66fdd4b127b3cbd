"""One piece of evidence about a run that goes wrong, before it is weighed against time and state."""

from __future__ import annotations

import math
from dataclasses import dataclass

NEVER = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What is wrong, as in `Diagnosis`. `patience` is for how many seconds it may be so until waiting does
    not help any more: 0 where it never does, NEVER for what may still come right. `since` is when it began,
    where an object tells that."""

    reason: str
    message: str
    hint: str = ""
    patience: float = NEVER
    preempted: bool = False
    exit_code: int | None = None
    since: float | None = None
