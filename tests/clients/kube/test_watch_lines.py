"""A watch's lines come in pieces of any size, and what is no event ends it with an error."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch_agent.clients.kube.errors import Gone, KubeError, Unavailable
from launch_agent.clients.kube.objects import Change
from launch_agent.clients.kube.watch import events, lines

_text = st.binary(max_size=20).map(lambda text: text.replace(b"\n", b"").replace(b"\r", b""))


def _cut(text: bytes, places: list[int]) -> list[bytes]:
    ends = sorted(min(place, len(text)) for place in places)
    return [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True)]


@given(st.lists(_text), st.lists(st.integers(0, 400)), st.sampled_from([b"\n", b"\r\n"]))
def test_lines_are_the_same_however_they_are_cut(whole: list[bytes], places: list[int], end: bytes) -> None:
    text = b"".join(line + end for line in whole) + b"unfinished"
    assert list(lines(_cut(text, places))) == [line for line in whole if line]


@pytest.mark.parametrize("pieces", [[b"x" * 11], [b"x" * 6, b"x" * 5], [b"x" * 6, b"x" * 5 + b"\n"]])
def test_a_line_without_end_ends_the_watch(pieces: list[bytes]) -> None:
    with pytest.raises(ValueError, match="more than 10 bytes"):
        list(lines(pieces, longest=10))


@given(st.binary(max_size=200))
def test_garbage_is_never_an_event(piece: bytes) -> None:
    with pytest.raises(Unavailable) as caught:
        list(events([b"[" + piece.replace(b"\n", b" ") + b"\n"], "watch jobs"))
    assert caught.value.retryable


@pytest.mark.parametrize(
    "line",
    [
        "null",
        "3",
        "{}",
        '{"type": "ADDED"}',
        '{"type": "ADDED", "object": []}',
        '{"type": "ADDED", "object": {}}',
        '{"type": "ADDED", "object": {"metadata": 3}}',
        '{"type": ["ADDED"], "object": {"metadata": {}}}',
        '{"type": "added", "object": {"metadata": {}}}',
        '{"a": ' * 100_000,
    ],
)
def test_what_is_no_event_ends_the_watch(line: str) -> None:
    with pytest.raises(Unavailable, match="no event"):
        list(events([line.encode() + b"\n"], "watch jobs"))


def _line(kind: str, obj: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": obj}).encode() + b"\n"


def test_events_are_read() -> None:
    sent = [
        _line("ADDED", {"metadata": {"name": "a", "resourceVersion": "1"}}),
        _line("BOOKMARK", {"metadata": {"resourceVersion": "2"}}),
    ]
    found = list(events(sent, "watch jobs"))
    assert [(event.change, event.version) for event in found] == [(Change.ADDED, "1"), (Change.BOOKMARK, "2")]


def test_an_error_of_the_server_ends_the_watch_as_what_it_is() -> None:
    gone = _line("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"})
    with pytest.raises(Gone, match="too old"):
        list(events([gone], "watch jobs"))
    with pytest.raises(KubeError) as caught:
        list(events([_line("ERROR", {"code": "?"})], "watch jobs"))
    assert caught.value.retryable
