"""The end of what a training job printed, from CloudWatch Logs.

Each instance of a job writes a stream of its own, `<job>/algo-1-…`; a stream is read backwards, page by page,
until there is enough.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from launch_agent.runners.sagemaker.refusals import Missing
from launch_agent.runners.sagemaker.service import Service

GROUP = "/aws/sagemaker/TrainingJobs"
LONGEST_LOG = 1_000_000
# Streams of a large job that are read for a failure's tail: an instance that failed is among the first or the
# last to write, and nobody reads the rest in an error message.
_MOST_STREAMS = 20
_MOST_PAGES = 50
_PAGE = 1_000


def read(service: Service, job: str, tail: int) -> str:
    """The last `tail` lines of each instance, oldest stream first, each named where there are several. Empty
    where the job has written nothing yet. Raises RunnerError."""
    try:
        streams = _streams(service, job)
    except Missing:
        return ""
    parts = [(name, _tail(service, name, tail)) for name in streams]
    if len(parts) == 1:
        return parts[0][1][-LONGEST_LOG:]
    titled = "".join(f"==> {name.removeprefix(f'{job}/')} <==\n{text}" for name, text in parts)
    return titled[-LONGEST_LOG:]


def _streams(service: Service, job: str) -> list[str]:
    found: list[str] = []
    token: dict[str, str] = {}
    while len(found) < _MOST_STREAMS:
        answer = service.call(
            f"find the log of training job {job}",
            "describe_log_streams",
            service="logs",
            logGroupName=GROUP,
            logStreamNamePrefix=f"{job}/",
            **token,
        )
        found += [stream["logStreamName"] for stream in answer["logStreams"]]
        if not answer.get("nextToken"):
            break
        token = {"nextToken": answer["nextToken"]}
    return found[:_MOST_STREAMS]


def _tail(service: Service, stream: str, tail: int) -> str:
    lines: deque[str] = deque()
    size, token = 0, ""
    for _ in range(_MOST_PAGES):
        answer = _page(service, stream, min(tail - len(lines), _PAGE), token)
        for event in reversed(answer["events"]):
            lines.appendleft(f"{event['message'].rstrip()}\n")
            size += len(lines[0])
        # The end of a stream is told by a token that comes back unchanged; a page may be empty before that.
        if len(lines) >= tail or size >= LONGEST_LOG or answer["nextBackwardToken"] == token:
            break
        token = answer["nextBackwardToken"]
    return "".join(list(lines)[-tail:])[-LONGEST_LOG:]


def _page(service: Service, stream: str, limit: int, token: str) -> Any:
    return service.call(
        f"read the log {stream}",
        "get_log_events",
        service="logs",
        logGroupName=GROUP,
        logStreamName=stream,
        limit=max(1, limit),
        startFromHead=False,
        **({"nextToken": token} if token else {}),
    )
