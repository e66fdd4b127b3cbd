"""The ASGI application: routes, limits, and the task that gives back leases nobody acked."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from launch_agent.server.graphql import graphql
from launch_agent.server.http import Problem, body_of, state_of
from launch_agent.server.pages import asset, page, to_project, to_run
from launch_agent.server.resolvers.context import queue_key
from launch_agent.server.state import State
from launch_agent.server.store import items
from launch_agent.server.uploads import file_stream, get_file, put_file

_log = logging.getLogger(__name__)

# Leases that are over are also given back by the next pop; the sweep is for held requests, which sleep.
_LONGEST_PAUSE = 5.0
_SHORTEST_PAUSE = 0.05


def create_app(state: State) -> Starlette:
    """The application of one server."""

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        state.hub.open()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_sweep, state)
            yield
            tasks.cancel_scope.cancel()

    app = Starlette(
        routes=[
            Route("/graphql", graphql, methods=["POST"]),
            Route("/", page, methods=["GET"]),
            Route("/launch", page, methods=["GET"]),
            Route("/assets/{name}", asset, methods=["GET"]),
            Route("/healthz", _healthz, methods=["GET"]),
            Route("/storage/{run_id}/{name:path}", put_file, methods=["PUT"]),
            Route("/storage/{run_id}/{name:path}", get_file, methods=["GET"]),
            Route("/files/{entity}/{project}/{run}/file_stream", file_stream, methods=["POST"]),
            Route("/sdk/otel/v1/{signal}", _telemetry, methods=["POST"]),
            Route("/{entity}/{project}", to_project, methods=["GET"]),
            Route("/{entity}/{project}/runs/{run}", to_run, methods=["GET"]),
        ],
        middleware=[Middleware(GZipMiddleware, minimum_size=2048)],
        exception_handlers={Problem: _answer_problem, SQLAlchemyError: _answer_failure},
        lifespan=lifespan,
    )
    app.state.launch = state
    return app


async def _answer_problem(_request: Request, problem: Exception) -> Response:
    assert isinstance(problem, Problem)
    return problem.response()


async def _answer_failure(_request: Request, error: Exception) -> Response:
    """The database failed, which may be over soon: clients repeat what is answered so."""
    _log.error("the database failed", exc_info=error)
    problem = Problem(503, f"the server's database failed ({type(error).__name__}); try again")
    return problem.response()


async def _healthz(request: Request) -> Response:
    """Whether the database answers; needs no key and tells nothing else."""
    store = state_of(request).store

    def ask() -> None:
        with store.reading() as connection:
            items.next_expiry(connection)

    try:
        await anyio.to_thread.run_sync(ask)
    except SQLAlchemyError:
        return JSONResponse({"status": "the database does not answer"}, 503)
    return JSONResponse({"status": "ok"})


async def _telemetry(request: Request) -> Response:
    """Official clients send telemetry here, without a key, and complain to their users where it is not taken:
    taken, and forgotten. The one request besides the page and /healthz that needs no key."""
    await body_of(request, state_of(request).limits.telemetry)
    return Response(status_code=200, media_type="application/x-protobuf")


async def _sweep(state: State) -> None:
    """Give back leases at the moment they end, and wake the requests that wait for an item."""

    def once() -> tuple[set[str], float | None]:
        now = state.store.clock()
        with state.store.reading() as connection:
            moment = items.next_expiry(connection)
        if moment is None or moment > now:
            return set(), moment
        with state.store.writing() as connection:
            return items.requeue_expired(connection, now), items.next_expiry(connection)

    while True:
        # A lease that is made during the pause cannot end before it does.
        pause = min(_LONGEST_PAUSE, state.lease_seconds)
        try:
            queues, moment = await anyio.to_thread.run_sync(once)
            state.hub.notify(queue_key(queue) for queue in queues)
            if moment is not None:
                pause = min(max(moment - state.store.clock(), _SHORTEST_PAUSE), _LONGEST_PAUSE)
        except SQLAlchemyError:
            _log.exception("leases that are over could not be given back; trying again")
        await anyio.sleep(pause)
