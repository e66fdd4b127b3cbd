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
AGENT_KEY = f"{PREFIX}agent-key"
ITEM_KEY = f"{PREFIX}item-key"
RUN_ID = f"{PREFIX}run-id"
SERVICE_OF = f"{PREFIX}service-of"
_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
_NOT_LEGAL = re.compile(r"[^a-z0-9]+")
_NOT_LABEL = re.compile(r"[^A-Za-z0-9_.-]+")
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


def object_name(identity: RunIdentity, longest: int = _LONGEST_NAME) -> str:
    """A legal, readable and unique object name: `launch-<project>-<run id>-<hash of the item>`.

    At most `longest` characters (40 to 63), lower-case letters, digits and single dashes, beginning with a
    letter.
    """
    suffix = item_hash(identity)
    run = _NOT_LEGAL.sub("-", identity.run_id.lower()).strip("-")[: min(16, longest - 24)].strip("-")
    project = _NOT_LEGAL.sub("-", identity.project.lower()).strip("-")
    room = max(0, longest - len("launch---") - len(run) - len(suffix))
    parts = ["launch", project[:room].strip("-"), run, suffix]
    return "-".join(part for part in parts if part)


def kube_name(identity: RunIdentity) -> str:
    """The name of a run's object on Kubernetes: `object_name` in 40 characters.

    Controllers make names of pods and services from it, which must stay below 63: JobSet adds the names and
    numbers of jobs and pods, and RayJob takes 47 at most.
    """
    return object_name(identity, longest=40)


def agent_key(agent: str) -> str:
    """An agent's name as a label's value, by which its objects are listed: 10 hex digits."""
    return hashlib.sha256(agent.encode()).hexdigest()[:10]


def item_hash(identity: RunIdentity) -> str:
    """A queue item as a label's value: 10 hex digits, the same as at the end of its object's name."""
    return hashlib.sha256(f"{identity.queue_entity}/{identity.item_id}".encode()).hexdigest()[:10]


def kube_labels(identity: RunIdentity) -> dict[str, str]:
    """The identity as labels that are legal on Kubernetes, for selecting; what they say in full stands in the
    annotations, which are `to_labels`."""
    labels = {
        MANAGED_BY: "launch-agent",
        AGENT_KEY: agent_key(identity.agent),
        ITEM_KEY: item_hash(identity),
    }
    return {**labels, **_run_label(identity)}


def service_labels(identity: RunIdentity) -> dict[str, str]:
    """Labels of what accompanies a run. Not the run's own: a service's pod is no pod of the run, and whoever
    lists an agent's runs must not find it."""
    labels = {MANAGED_BY: "launch-agent", SERVICE_OF: item_hash(identity)}
    return {**labels, **_run_label(identity)}


def _run_label(identity: RunIdentity) -> dict[str, str]:
    run = _NOT_LABEL.sub("-", identity.run_id)[:_LONGEST_NAME].strip("-_.")
    return {RUN_ID: run} if run else {}


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
