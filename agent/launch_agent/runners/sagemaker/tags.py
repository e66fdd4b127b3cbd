"""What ties a training job to its queue item: its name and its tags.

Tags hold letters and digits of any language and a few marks, 256 of them; whatever else an identity has is
written as `=` and two hex digits for each byte, so that names that people chose stay readable.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from launch_agent.errors import SubmitRejected
from launch_agent.spec import identity as names
from launch_agent.spec.model import RunIdentity

# `TagValue` of the service's model beside letters and digits, without `=`, which is our escape.
_MARKS = frozenset("_.:/+-@ ")
_ESCAPED = re.compile(r"(?:=[0-9a-f]{2})+")
_LONGEST_VALUE = 256
_LONGEST_NAME = 63
REPORTED = f"{names.PREFIX}reported"


def job_name(identity: RunIdentity) -> str:
    """A legal name, unique for each attempt, that ends in the agent's key: jobs of one agent can then be
    listed by their names alone."""
    ending = names.agent_key(identity.agent)
    return f"{names.object_name(identity, longest=_LONGEST_NAME - len(ending) - 1)}-{ending}"


def to_tags(identity: RunIdentity) -> list[dict[str, str]]:
    """The identity as tags. Raises SubmitRejected where a part is too long for one."""
    tags = []
    for key, value in names.to_labels(identity).items():
        escaped = _escape(value)
        if len(escaped) > _LONGEST_VALUE:
            raise SubmitRejected(
                f"{key.removeprefix(names.PREFIX)} {value[:40]!r}… is too long for a tag of a training job: "
                f"{len(escaped)} characters, {_LONGEST_VALUE} at most",
                hint="choose a shorter name",
            )
        tags.append({"Key": key, "Value": escaped})
    return tags


def from_tags(tags: Iterable[Mapping[str, str]]) -> RunIdentity | None:
    """The identity that `to_tags` wrote; None where the job is not one of ours."""
    found = {tag["Key"]: tag["Value"] for tag in tags}
    return names.from_labels({key: _unescape(value) for key, value in found.items()})


def are_reported(tags: Sequence[Mapping[str, str]]) -> bool:
    """Whether the job's end was told already, and the job is kept for somebody to look at."""
    return any(tag["Key"] == REPORTED for tag in tags)


def _escape(text: str) -> str:
    return "".join(
        char if char in _MARKS or unicodedata.category(char)[0] in "LN" else _bytes(char) for char in text
    )


def _bytes(char: str) -> str:
    return "".join(f"={byte:02x}" for byte in char.encode(errors="replace"))


def _unescape(text: str) -> str:
    return _ESCAPED.sub(lambda found: bytes.fromhex(found[0].replace("=", "")).decode(errors="replace"), text)
