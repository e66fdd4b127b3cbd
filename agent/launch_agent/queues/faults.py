"""What a backend complains of, told apart by its words, and said in words of ours.

The protocol has no error codes, so messages are all there is to go by. The words below are those that GraphQL
libraries and backends have been seen to use; what matches none of them is a plain refusal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from launch_agent.errors import QueueDenied, QueueError, QueueUnavailable

_OLDER_SERVER = re.compile(
    r"Cannot query field|Unknown argument|Unknown type|is not defined by type|Unknown field", re.IGNORECASE
)
_TOO_MUCH = re.compile(
    r"complex|too (long|large|many|deep)|length|alias|depth|max(imum)? (number|tokens)", re.IGNORECASE
)
_DENIED = re.compile(
    r"permission denied|unauthori[sz]ed|not authori[sz]ed|not logged in|unauthenticated|invalid api key"
    r"|forbidden",
    re.IGNORECASE,
)
_NOT_FOUND = re.compile(r"not found|no such|does not exist|unknown (launch )?agent", re.IGNORECASE)
_TRANSIENT = re.compile(
    r"internal|time[d ]?.?out|temporar|unavailable|try again|overload|deadlock|locked|rate limit"
    r"|too many requests",
    re.IGNORECASE,
)
_LONGEST_MESSAGE = 500
# Operation names are the official clients' (a server may go by them); users get to read these words instead.
_WORDS = {
    "Viewer": "asking whose API key this is",
    "ServerFeaturesQuery": "asking what the backend can do",
    "ProjectRunQueues": "looking up the queues",
    "LaunchQueues": "looking up the queues",
    "createLaunchAgent": "registering the agent",
    "updateLaunchAgent": "sending the heartbeat",
    "LaunchAgent": "asking whether the agent is to stop",
    "popFromRunQueue": "polling the queues",
    "ackRunQueueItem": "claiming queue items",
    "GetRunQueueItem": "looking up a queue item",
    "LaunchItem": "looking up a queue item",
    "GetRunQueueItems": "looking up the items of a queue",
    "LaunchItems": "looking up the items of a queue",
    "failRunQueueItem": "reporting a failure",
    "requeueRunQueueItem": "putting a preempted job back into its queue",
    "finishRunQueueItem": "reporting the end of a queue item",
    "updateRunQueueItemWarning": "sending a warning",
    "RunStoppedStatus": "asking which runs are to stop",
    "RunState": "asking for the states of runs",
    "RunInfo": "looking up a run",
    "RunFiles": "looking up the files of a run",
    "RunLogLines": "reading the log of a run",
    "UpsertBucket": "recording a run",
    "CreateRunFiles": "uploading a log",
    "GetRunQueueMetadata": "reading the settings of a queue",
    "GetDefaultResourceConfig": "reading the settings of a queue",
    "CreateProject": "making the project of the queues",
    "UpsertRunQueue": "writing the queue",
    "DeleteRunQueues": "deleting the queue",
    "pushToRunQueueByName": "pushing to the queue",
    "StopRunQueueItem": "stopping a queue item",
    "DeleteFromRunQueue": "taking an item off its queue",
    "StopRun": "stopping a run",
    "CreateArtifact": "writing a job or its code",
    "CreateArtifactManifest": "writing a job or its code",
    "CreateArtifactFiles": "writing a job or its code",
    "UpdateArtifactManifest": "writing a job or its code",
    "CommitArtifact": "writing a job or its code",
    "ArtifactByID": "looking up a job",
    "ArtifactOfType": "listing the jobs",
    "DeleteRun": "removing a run",
}
KEY_HINT = "is WANDB_API_KEY (or the key file, or ~/.netrc) a key of this backend, and may it do this?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One entry of an answer's `errors`; `alias` is the root that it belongs to, empty for the document."""

    message: str
    alias: str = ""

    @property
    def older_server(self) -> bool:
        return bool(_OLDER_SERVER.search(self.message))

    @property
    def too_much(self) -> bool:
        return bool(_TOO_MUCH.search(self.message)) and not self.older_server

    @property
    def not_found(self) -> bool:
        return bool(_NOT_FOUND.search(self.message))


class OlderServer(QueueError):
    """The server does not know a field or argument that we asked for."""


def error_of(operation: str, message: str) -> QueueError:
    """The backend's refusal as the error of our tree that fits."""
    if _TRANSIENT.search(message):
        return QueueUnavailable(
            f"{words(operation)}: the backend failed: {shorten(message, _LONGEST_MESSAGE)}"
        )
    text = f"{words(operation)}: the backend refused: {shorten(message, _LONGEST_MESSAGE)}"
    if _DENIED.search(message):
        return QueueDenied(text, hint=KEY_HINT)
    return OlderServer(text) if _OLDER_SERVER.search(message) else QueueError(text)


def words(operation: str) -> str:
    return _WORDS.get(operation, operation)


def shorten(text: str, longest: int) -> str:
    """The text, with its middle cut out where it is longer: causes stand at either end."""
    if len(text) <= longest:
        return text
    head = (longest - 5) * 2 // 3
    return f"{text[:head]} … {text[len(text) - (longest - 3 - head) :]}"


def fault_of(entry: Any) -> Fault:
    """One entry of an answer's `errors`, whatever shape it has."""
    if not isinstance(entry, Mapping):
        return Fault(message=shorten(str(entry), _LONGEST_MESSAGE))
    path = entry.get("path")
    alias = str(path[0]) if isinstance(path, list) and path else ""
    return Fault(message=shorten(str(entry.get("message") or entry), _LONGEST_MESSAGE), alias=alias)
