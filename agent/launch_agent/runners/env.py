"""The environment of a run where a queue's resource args and the agent both set variables.

The resource args win, but for the variables that say which run this is and whose: a run that reported under
another name, or to another backend, would be lost to its queue item.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from launch_agent.spec.model import RunRequest

IDENTITY_KEYS = frozenset(
    {"WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_ENTITY", "WANDB_PROJECT", "WANDB_RUN_ID"}
)
_NAME = re.compile(r"[^=\0\s]+")
# What a form of `pairs` is called in messages.
PAIRS_FORM = "NAME=VALUE, a list of these, or a mapping"


def merged(request: RunRequest, theirs: Mapping[str, str]) -> dict[str, str]:
    """The request's variables, secret ones revealed, under those of the resource args."""
    ours = {**request.env, **{key: secret.reveal() for key, secret in request.secret_env.items()}}
    return {
        **ours,
        **{key: value for key, value in theirs.items() if not (key in IDENTITY_KEYS and key in ours)},
    }


def pairs(value: object) -> dict[str, str]:
    """`K=V`, a list of them, or a mapping. A number or a switch as V becomes its text (`1`, `true`).

    Raises ValueError for anything else, a name without a value included: it would mean the agent's own.
    """
    if isinstance(value, Mapping):
        return {name(key): scalar(item) for key, item in value.items()}
    items = value if isinstance(value, Sequence) and not isinstance(value, (str, bytes)) else [value]
    result = {}
    for item in items:
        key, equals, rest = scalar(item).partition("=")
        if not equals:
            raise ValueError("a name without a value")
        result[name(key)] = rest
    return result


def name(key: object) -> str:
    """A variable's or a label's name. Raises ValueError."""
    if not isinstance(key, str) or not _NAME.fullmatch(key):
        raise ValueError
    return key


def scalar(value: object) -> str:
    """A text, number or switch as a text without NUL. Raises ValueError."""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, (str, int, float)) or "\0" in str(value):
        raise ValueError
    return str(value)
