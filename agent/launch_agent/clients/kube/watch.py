"""Reads what a watch sends: one event of JSON in each line.

Pieces of an answer end anywhere, so lines are put together again. A line that is no event, or no line after
many bytes, means that something else than an API server is speaking; the watch then ends with an error.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from launch_agent.clients.kube.errors import KubeError, Unavailable, of_status
from launch_agent.clients.kube.objects import Change, Event

# etcd takes objects of 1.5 MB; in JSON they may be longer, not by that much.
LONGEST_LINE = 32 * 1024 * 1024
_CHANGES = {each.value: each for each in Change}


def lines(pieces: Iterable[bytes], longest: int = LONGEST_LINE) -> Iterator[bytes]:
    """The lines of a stream without their ends; empty ones and an unfinished last one are left out. Raises
    ValueError where one is longer than `longest` bytes."""
    open_line: list[bytes] = []
    size = 0
    for piece in pieces:
        *whole, rest = piece.split(b"\n")
        for part in whole:
            line = b"".join((*open_line, part))
            open_line, size = [], 0
            if len(line) > longest:
                raise ValueError(f"a line of more than {longest} bytes")
            if line := line.strip(b"\r"):
                yield line
        if rest:
            open_line.append(rest)
            size += len(rest)
            if size > longest:
                raise ValueError(f"a line of more than {longest} bytes")


def events(pieces: Iterable[bytes], action: str) -> Iterator[Event]:
    """The events of a watch. Raises the KubeError that the server sends in it (Gone, most often), and
    Unavailable where it sends no events."""
    try:
        for line in lines(pieces):
            yield _event(line, action)
    except (ValueError, RecursionError) as error:
        raise Unavailable(
            f"the watch sends what is no event: {error}"[:200], action=action, retryable=True
        ) from error


def _event(line: bytes, action: str) -> Event:
    parsed = json.loads(line)
    kind, found = (parsed.get("type"), parsed.get("object")) if isinstance(parsed, dict) else (None, None)
    if kind == "ERROR" and isinstance(found, dict):
        raise _sent(of_status(found, action=action))
    change = _CHANGES.get(kind) if isinstance(kind, str) else None
    if change and isinstance(found, dict) and isinstance(found.get("metadata"), dict):
        return Event(change=change, object=found)
    raise ValueError("a line that holds no object, or another change than there are")


def _sent(error: KubeError) -> KubeError:
    # Whatever else the server has to say in the middle of a watch: another watch may work.
    error.retryable = True
    return error
