"""Reads GraphQL documents, refuses those that are too big, and remembers those that came before.

Clients send the same few documents again and again, with other variables; parsing and validating costs more
than running most of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ariadne import load_schema_from_path, make_executable_schema
from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    parse,
    validate,
)

from launch_agent.server.resolvers import agents, artifacts, files, items, queues, runs, scalars, viewer

# A batch of 25 pops or acks is what our agent sends; official clients send one root.
MOST_ROOTS = 200
DEEPEST = 20
MOST_FIELDS = 20_000
MOST_TOKENS = 20_000
LONGEST = 256 * 1024
_LONGEST_REMEMBERED = 32 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A document and what stands against running it. `pops` are the names of the operations that hold
    nothing but pops, so that they may be held."""

    node: DocumentNode | None
    errors: Sequence[GraphQLError]
    pops: frozenset[str]

    def may_be_held(self, operation: str | None) -> bool:
        return operation in self.pops if operation else len(self.pops) == 1


@lru_cache(maxsize=1)
def schema() -> GraphQLSchema:
    """The schema of schema.graphql and artifacts.graphql with its resolvers."""
    folder = Path(__file__).parent
    texts = [load_schema_from_path(folder / name) for name in ("schema.graphql", "artifacts.graphql")]
    subjects = (scalars, viewer, queues, items, agents, runs, files, artifacts)
    return make_executable_schema(
        texts, *(bindable for subject in subjects for bindable in subject.BINDABLES)
    )


def read(text: str) -> Document:
    """Parse and validate a document."""
    return _remembered(text) if len(text) <= _LONGEST_REMEMBERED else _read(text)


@lru_cache(maxsize=256)
def _remembered(text: str) -> Document:
    return _read(text)


def _read(text: str) -> Document:
    if len(text) > LONGEST:
        return _refused(GraphQLError(f"the document is longer than {LONGEST} characters"))
    try:
        node = parse(text, max_tokens=MOST_TOKENS, no_location=False)
        _check_size(node)
    except RecursionError:
        return _refused(GraphQLError("the document is nested too deeply"))
    except GraphQLError as error:
        return _refused(error)
    errors = validate(schema(), node)
    pops = frozenset(
        definition.name.value if definition.name else ""
        for definition in node.definitions
        if isinstance(definition, OperationDefinitionNode) and _is_pop(definition)
    )
    return Document(node=node, errors=errors, pops=pops)


def _refused(error: GraphQLError) -> Document:
    return Document(node=None, errors=[error], pops=frozenset())


def _is_pop(operation: OperationDefinitionNode) -> bool:
    return operation.operation is OperationType.MUTATION and all(
        isinstance(root, FieldNode) and root.name.value == "popFromRunQueue"
        for root in operation.selection_set.selections
    )


def _check_size(node: DocumentNode) -> None:
    """Raises GraphQLError for a document whose fields, with fragments written out, are too many or deep."""
    fragments = {
        definition.name.value: definition.selection_set
        for definition in node.definitions
        if isinstance(definition, FragmentDefinitionNode)
    }
    for definition in node.definitions:
        if isinstance(definition, OperationDefinitionNode):
            size = _Size(fragments)
            roots = size.add(definition.selection_set, 1)
            if roots > MOST_ROOTS:
                raise GraphQLError(f"the document has {roots} root fields; at most {MOST_ROOTS} are allowed")


class _Size:
    """Counts the fields of one operation; fragments count as often as they are used, since a few lines of
    fragments that use each other twice would stand for millions of fields."""

    def __init__(self, fragments: Mapping[str, SelectionSetNode]) -> None:
        self._fragments = fragments
        self._fields = 0

    def add(self, selections: SelectionSetNode, depth: int) -> int:
        """Count a selection with all below it; returns how many fields it has itself."""
        if depth > DEEPEST:
            raise GraphQLError(f"the document is nested more than {DEEPEST} levels deep")
        width = 0
        for selection in selections.selections:
            self._fields += 1
            if self._fields > MOST_FIELDS:
                raise GraphQLError(f"the document has more than {MOST_FIELDS} fields")
            if isinstance(selection, FieldNode):
                width += 1
                if selection.selection_set is not None:
                    self.add(selection.selection_set, depth + 1)
            elif isinstance(selection, InlineFragmentNode):
                width += self.add(selection.selection_set, depth + 1)
            elif isinstance(selection, FragmentSpreadNode) and selection.name.value in self._fragments:
                width += self.add(self._fragments[selection.name.value], depth + 1)
        return width
