"""Runs one GraphQL request against the store, in a worker thread, from first read to commit."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graphql import DocumentNode, GraphQLError, NonNullTypeNode, execute_sync, get_operation_ast
from sqlalchemy.exc import SQLAlchemyError

from launch_agent.errors import LaunchError
from launch_agent.server import documents
from launch_agent.server.resolvers.context import LAUNCH_PROJECT, Context

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The body of a GraphQL request."""

    query: str
    variables: Mapping[str, Any]
    operation: str | None


def run(request: Request, context: Context) -> dict[str, Any]:
    """Answer a request: `{"data": …}`, `{"errors": …}` or both.

    All that the request wrote is committed before this returns, so whoever sees the answer can rely on it.
    Raises SQLAlchemyError where the database fails: then nothing was written, and the whole request may be
    repeated, which clients do by themselves when they are told so by HTTP's status.
    """
    document = documents.read(request.query)
    if document.node is None or document.errors:
        return {"errors": [_shown(error) for error in document.errors]}
    try:
        result = execute_sync(
            documents.schema(),
            document.node,
            context_value=context,
            variable_values=_without_nulls(request.variables, document.node, request.operation, context),
            operation_name=request.operation,
        )
        for error in result.errors or ():
            if isinstance(error.original_error, SQLAlchemyError):
                raise error.original_error
        context.unit.commit()
    finally:
        context.unit.close()
    answer: dict[str, Any] = {"data": result.data}
    if result.errors:
        answer["errors"] = [_shown(error) for error in result.errors]
    return answer


def _without_nulls(
    variables: Mapping[str, Any], node: DocumentNode, operation: str | None, context: Context
) -> dict[str, Any]:
    """The variables, with defaults where a client sends null for a project or entity that it declares as
    never null: official clients do, and mean their own."""
    filled = dict(variables)
    defaults = {"projectName": LAUNCH_PROJECT, "entityName": context.viewer.entity}
    found = get_operation_ast(node, operation)
    for declared in found.variable_definitions or () if found is not None else ():
        name = declared.variable.name.value
        if isinstance(declared.type, NonNullTypeNode) and filled.get(name) is None and name in defaults:
            filled[name] = defaults[name]
    return filled


def _shown(error: GraphQLError) -> dict[str, Any]:
    """An error as clients see it: what we raised in our own words, what we did not expect without details."""
    cause = error.original_error
    if cause is None or isinstance(cause, GraphQLError):
        return dict(error.formatted)
    if isinstance(cause, LaunchError):
        # Its text with where and hint; the formatted error has the bare message.
        return {**error.formatted, "message": str(cause)}
    _log.error("a resolver failed", exc_info=cause)
    return {**error.formatted, "message": f"the server failed at this: {type(cause).__name__}"}
