"""POST /graphql: one request, or one that is held until there is something to tell."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import anyio
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from launch_agent.server import documents, execute
from launch_agent.server.http import Problem, authenticate, base_url, body_of, state_of
from launch_agent.server.resolvers.context import Context, queue_key
from launch_agent.server.state import State
from launch_agent.server.store import Unit, items
from launch_agent.server.store.rows import Viewer

_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d+(?:\.\d+)?)\"?", re.IGNORECASE)

# Where several servers share a PostgreSQL database, the others' pushes wake nobody here: a held request looks
# again after this many seconds.
_LOOK_AGAIN = 1.0


async def graphql(request: HttpRequest) -> Response:
    """Answer a GraphQL request; with `Prefer: wait=N` on a document of pops, hold it."""
    viewer = await authenticate(request)
    asked = _parse(await body_of(request, state_of(request).limits.graphql))
    hold = _hold(request, asked)
    held = _Held(request, viewer, asked)
    answer = await held.first() if not hold else await held.wait(hold)
    headers = {"Preference-Applied": f"wait={hold:g}"} if hold else None
    return JSONResponse(answer, headers=headers)


class _Held:
    """A request and its attempts to be answered."""

    def __init__(self, request: HttpRequest, viewer: Viewer, asked: execute.Request) -> None:
        self._request = request
        self._state: State = state_of(request)
        self._viewer = viewer
        self._asked = asked

    async def first(self) -> dict[str, Any]:
        return (await self._attempt())[0]

    async def wait(self, seconds: float) -> dict[str, Any]:
        """Try until the answer carries an item, the wait makes no sense any more, or the time is over.

        A client that goes away is noticed: what was leased for it goes back to its queue at once.
        """
        gone = anyio.Event()
        answer: dict[str, Any] = {}
        failure: SQLAlchemyError | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch, gone)
            try:
                answer = await self._until(time.monotonic() + seconds, gone)
            except SQLAlchemyError as error:
                # Raised below: out of the group it would come as an ExceptionGroup, which nobody handles.
                failure = error
            tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure
        return answer

    async def _until(self, deadline: float, gone: anyio.Event) -> dict[str, Any]:
        while True:
            ticket = self._state.hub.ticket()
            answer, context = await self._attempt()
            if gone.is_set():
                await self._give_back(context)
                return answer
            left = deadline - time.monotonic()
            is_over = context.is_over or self._state.hub.is_closed or left <= 0
            if is_over or context.leased or "errors" in answer:
                return answer
            await self._sleep(context, ticket, left, gone)
            if gone.is_set():
                return answer

    async def _sleep(self, context: Context, ticket: int, left: float, gone: anyio.Event) -> None:
        """Return when there is something to look at, the time is over, or the client is gone."""
        longest = left if self._state.store.is_sqlite else min(left, _LOOK_AGAIN)
        with anyio.move_on_after(longest):
            async with anyio.create_task_group() as tasks:

                async def until_gone() -> None:
                    await gone.wait()
                    tasks.cancel_scope.cancel()

                tasks.start_soon(until_gone)
                await self._state.hub.wait(context.awaited, ticket)
                tasks.cancel_scope.cancel()

    async def _watch(self, gone: anyio.Event) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        gone.set()

    async def _attempt(self) -> tuple[dict[str, Any], Context]:
        context = Context(
            unit=Unit(self._state.store),
            viewer=self._viewer,
            base_url=base_url(self._request),
            lease_seconds=self._state.lease_seconds,
            sign=self._state.files.sign,
            now=self._state.store.clock(),
        )
        answer = await anyio.to_thread.run_sync(execute.run, self._asked, context)
        self._state.hub.notify(context.notify)
        return answer, context

    async def _give_back(self, context: Context) -> None:
        def release() -> None:
            with self._state.store.writing() as connection:
                items.release(connection, context.leased)

        if context.leased:
            await anyio.to_thread.run_sync(release)
            self._state.hub.notify(key for key in context.awaited if key.startswith(queue_key("")))


def _parse(body: bytes) -> execute.Request:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Problem(400, f"the body is not JSON: {error}") from error
    if not isinstance(value, dict) or not isinstance(value.get("query"), str):
        raise Problem(400, "the body must be a JSON object with the text 'query'")
    variables = value.get("variables")
    operation = value.get("operationName")
    if variables is not None and not isinstance(variables, dict):
        raise Problem(400, "'variables' must be a JSON object")
    if operation is not None and not isinstance(operation, str):
        raise Problem(400, "'operationName' must be a text")
    return execute.Request(query=value["query"], variables=variables or {}, operation=operation or None)


def _hold(request: HttpRequest, asked: execute.Request) -> float:
    """For how many seconds the request may be held; 0 where it may not, or nobody asked."""
    found = _WAIT.search(request.headers.get("prefer", ""))
    if found is None or not documents.read(asked.query).may_be_held(asked.operation):
        return 0.0
    return min(float(found.group(1)), state_of(request).limits.hold)
