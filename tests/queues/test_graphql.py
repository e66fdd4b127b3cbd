"""The parts of the GraphQL layer that have no server: texts and documents."""

from __future__ import annotations

import graphql
import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch_agent.errors import QueueDenied, QueueError, QueueUnavailable
from launch_agent.queues.faults import Fault, OlderServer, error_of, shorten
from launch_agent.queues.graphql import Root, _document


@given(st.text(), st.integers(min_value=20, max_value=200))
def test_a_shortened_text_keeps_its_ends(text: str, longest: int) -> None:
    short = shorten(text, longest)
    assert len(short) <= longest
    assert (short == text) is (len(text) <= longest)
    assert text.startswith(short[:5])
    assert text.endswith(short[-5:])


@given(st.integers(min_value=1, max_value=40))
def test_a_document_of_many_roots_is_graphql(count: int) -> None:
    roots = [
        Root(call="ack(input: {id: $id, name: $name})", args={"id": ("ID!", n), "name": ("String", str(n))})
        for n in range(count)
    ]
    document, variables, aliases = _document("mutation", "Ack", roots)
    parsed = graphql.parse(document)
    assert len(parsed.definitions[0].selection_set.selections) == count  # type: ignore[attr-defined]
    assert len(set(aliases)) == count
    assert len(variables) == 2 * count


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("permission denied", QueueDenied),
        ("user is not logged in", QueueDenied),
        ("Cannot query field 'x' on type 'Y'.", OlderServer),
        ("Unknown argument 'version' on field 'z'", OlderServer),
        ("Internal server error", QueueUnavailable),
        ("database is locked", QueueUnavailable),
        ("queue not found", QueueError),
    ],
)
def test_a_refusal_becomes_the_error_that_fits(message: str, kind: type[QueueError]) -> None:
    assert type(error_of("doing", message)) is kind


@pytest.mark.parametrize(
    ("message", "too_much"),
    [
        ("query is too complex", True),
        ("document exceeds the maximum number of aliases", True),
        ("query depth limit", True),
        ("Cannot query field 'length' on type 'Y'", False),
        ("queue not found", False),
    ],
)
def test_complaints_about_size(message: str, *, too_much: bool) -> None:
    assert Fault(message=message).too_much is too_much
