"""Names and labels that tie a run to its queue item, the same after every restart.

Labels are read back by `from_labels`: state lives on the objects that we create, not in the agent's memory.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import fields

from launch_agent.spec.model import RunIdentity

PREFIX = "launch-agent/"
MANAGED_BY = "app.kubernetes.io/managed-by"
_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
_NOT_LEGAL = re.compile(r"[^a-z0-9]+")
# 63: the longest DNS label (RFC 1035), which Kubernetes, SageMaker and Docker hostnames all share.
_LONGEST_NAME = 63


def run_id_for(agent: str, item_id: str) -> str:
    """The run id (8 lower-case letters and digits) that an item's run gets where the spec names none.

    Derived from the item, so that a launch that is repeated after a crash meets its own earlier attempt; and
    from the agent's name, so that two agents which both believe to hold an item cannot claim one run.
    """
    number = int.from_bytes(hashlib.sha256(f"{agent}\0{item_id}".encode()).digest()[:8])
    digits = []
    for _ in range(8):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(digits)


def object_name(identity: RunIdentity) -> str:
    """A legal, readable and unique object name: `launch-<project>-<run id>-<hash of the item>`.

    At most 63 characters, lower-case letters, digits and single dashes, beginning with a letter.
    """
    suffix = hashlib.sha256(f"{identity.queue_entity}/{identity.item_id}".encode()).hexdigest()[:10]
    run = _NOT_LEGAL.sub("-", identity.run_id.lower()).strip("-")[:16]
    project = _NOT_LEGAL.sub("-", identity.project.lower()).strip("-")
    room = _LONGEST_NAME - len("launch---") - len(run) - len(suffix)
    parts = ["launch", project[:room].strip("-"), run, suffix]
    return "-".join(part for part in parts if part)


def to_labels(identity: RunIdentity) -> dict[str, str]:
    """The identity as free-text labels (Docker); Kubernetes puts the same pairs in annotations."""
    labels = {
        f"{PREFIX}{field.name.replace('_', '-')}": getattr(identity, field.name) for field in fields(identity)
    }
    return {MANAGED_BY: "launch-agent", **labels}


def from_labels(labels: Mapping[str, str]) -> RunIdentity | None:
    """The identity that `to_labels` wrote; None where the object is not one of ours."""
    values = {
        field.name: labels.get(f"{PREFIX}{field.name.replace('_', '-')}") for field in fields(RunIdentity)
    }
    if any(value is None for value in values.values()):
        return None
    return RunIdentity(**{key: value for key, value in values.items() if value is not None})


def item_key(item_id: str) -> str:
    """An item id as a file name: unchanged ids stay apart even where the file system folds case."""
    return base64.b32encode(item_id.encode()).decode().rstrip("=").lower()
