"""The server's page: static files, which ask for everything else over GraphQL with the user's API key."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response

from launch_agent.server.http import Problem

_FOLDER = Path(__file__).parent / "web"
_ASSETS = {
    "app.css": "text/css",
    "app.js": "text/javascript",
    "api.js": "text/javascript",
    "examples.js": "text/javascript",
}
_HEADERS = {
    # Nothing from elsewhere, nothing inline: what a job calls itself cannot become a script here.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


async def page(_request: Request) -> Response:
    """The page itself; it holds no data, so it needs no key."""
    return FileResponse(_FOLDER / "index.html", media_type="text/html", headers=_HEADERS)


async def asset(request: Request) -> Response:
    """Its style and scripts."""
    name = request.path_params["name"]
    if name not in _ASSETS:
        raise Problem(404, f"there is no {name!r} here")
    return FileResponse(_FOLDER / name, media_type=_ASSETS[name], headers=_HEADERS)


async def to_project(request: Request) -> Response:
    """The address of a project, as official clients print it."""
    return _to("project", request)


async def to_run(request: Request) -> Response:
    """The address of a run, as official clients print it."""
    return _to("run", request)


def _to(view: str, request: Request) -> Response:
    parts = (quote(str(part), safe="") for part in request.path_params.values())
    return RedirectResponse(f"/#/{view}/{'/'.join(parts)}", 307, headers=_HEADERS)
