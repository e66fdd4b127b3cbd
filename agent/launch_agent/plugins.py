"""Finds the implementation of a kind by its name, and imports only that one.

`load("runners", "docker")` imports `launch_agent.runners.docker` and hands it back; where no such built-in
kind exists, an installed package may have registered one under the entry-point group
`launch_agent.runners`. What the config does not name is never imported, so it costs neither memory nor image
size.
"""

from __future__ import annotations

import importlib
import importlib.util
from importlib.metadata import entry_points
from typing import Any

from launch_agent.errors import LaunchError


def load(socket: str, kind: str) -> Any:
    """Import the module (built-in) or object (entry point) that implements `kind` of `socket`.

    Raises LaunchError where nothing implements the kind, or where its optional dependency is missing; the
    hint names the extra to install.
    """
    name = f"launch_agent.{socket}.{kind.replace('-', '_')}"
    if importlib.util.find_spec(name) is not None:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            missing = error.name or "a package"
            raise LaunchError(
                f"{socket[:-1]} {kind!r} needs the Python package {missing!r}, which is not installed",
                hint=f"pip install 'launch-agent[{_extra(missing)}]'",
            ) from error
    for found in entry_points(group=f"launch_agent.{socket}", name=kind):
        return found.load()
    raise LaunchError(
        f"no {socket[:-1]} of kind {kind!r} is built in or installed",
        hint=f"third-party kinds register the entry point 'launch_agent.{socket}'",
    )


def _extra(package: str) -> str:
    roots = {
        "docker": "docker",
        "kubernetes": "kubernetes",
        "boto3": "aws",
        "google": "gcp",
        "azure": "azure",
    }
    return roots.get(package.split(".", maxsplit=1)[0], "all")
