"""Writes the Dockerfile of a job's image from a template, every value quoted for the place it stands in.

A job's author chooses file names, the command and the base image's reference. None of them can begin an
instruction: command and file names are JSON texts of plain ASCII, which hold no line end, no escape that
Docker knows, and, where Docker would fill in variables or patterns, no such character; the rest is checked.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from launch_agent.errors import ImageError
from launch_agent.images.job.dependencies import Dependencies, Method
from launch_agent.spec.image import ImageRef

DEFAULT_PYTHON = "3.12"
HOME = "/home/launch"
WORK = f"{HOME}/job"
_PYTHON = re.compile(r"3\.(?:[7-9]|[1-4]\d)")
# What stands for itself in a JSON text of an instruction; anything else is written as \uXXXX.
_LITERAL = frozenset(string.ascii_letters + string.digits + " _.,:;/@%+=~^!&()*?|-'")
# What pip, uv and Poetry read by themselves: the names of the config's build-secrets, and where.
_SECRETS = {"netrc": "/root/.netrc", "pip.conf": "/etc/pip.conf", "uv.toml": "/etc/uv/uv.toml"}
_PATH = re.compile(r"[A-Za-z0-9_.@+=,/-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """`base` is the image that the job's own starts from; empty for the slim image of `python`. `user` is the
    numeric id that the job runs as. `has_mounts` says that the builder knows BuildKit's cache mounts."""

    python: str
    dependencies: Dependencies
    entry_point: Sequence[str] = ()
    base: str = ""
    user: int = 1000
    has_mounts: bool = False


def dockerfile(recipe: Recipe) -> str:
    """Raises ImageError for a value that has no place in a Dockerfile."""
    if not _PYTHON.fullmatch(recipe.python):
        raise ImageError(
            f"{recipe.python[:20]!r} is not a version of Python that an image is made for",
            hint="3.7 or newer",
        )
    if not 0 <= recipe.user < 2**31:
        raise ImageError(f"{recipe.user} is not the id of a user")
    if recipe.base:
        ImageRef.parse(recipe.base)
    return (
        templates()
        .get_template("job.Dockerfile.j2")
        .render(
            recipe=recipe,
            needs=recipe.dependencies,
            method=recipe.dependencies.method,
            methods=Method,
            home=HOME,
            work=WORK,
            cache=_cache(recipe),
        )
    )


def words(values: Sequence[str]) -> str:
    """A command in exec form."""
    for value in values:
        if "\0" in value:
            raise ImageError("the job's entry point holds a character that no command can have")
    return f"[{', '.join(_text(value) for value in values)}]"


def path(value: str) -> str:
    """A path for COPY or a shell, which stands for itself."""
    if not _PATH.fullmatch(value) or value.startswith("-"):
        raise ImageError(f"{value[:100]!r} cannot be named in a Dockerfile")
    return value


def folder_of(value: str) -> str:
    """Where COPY puts a file: the same place as in the code."""
    above = value.rpartition("/")[0]
    return f"./{path(above)}/" if above else "./"


def image(value: str) -> str:
    """A reference for FROM."""
    return str(ImageRef.parse(value))


def _text(value: str) -> str:
    """A JSON text of characters that Docker takes as they are."""
    units = value.encode("utf-16-be", "surrogatepass")
    said = ""
    for high, low in zip(units[::2], units[1::2], strict=True):
        character = chr(high << 8 | low)
        said += character if character in _LITERAL else f"\\u{high:02x}{low:02x}"
    return f'"{said}"'


def _cache(recipe: Recipe) -> dict[str, str]:
    """What goes before a command so that its downloads are kept between builds, and its index's credentials
    are there where the builder has any (a secret that it lacks is left out)."""
    places = {"pip": "/root/.cache/pip", "uv": "/root/.cache/uv", "poetry": "/root/.cache/pypoetry"}
    if not recipe.has_mounts:
        return dict.fromkeys(places, "")
    secrets = "".join(f"--mount=type=secret,id={name},target={file} " for name, file in _SECRETS.items())
    return {name: f"--mount=type=cache,target={place} {secrets}" for name, place in places.items()}


def templates() -> jinja2.Environment:
    """The templates of all Dockerfiles."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parents[1] / "templates"),
        autoescape=False,  # noqa: S701 - no HTML; each value goes through one of the filters above
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(words=words, path=path, folder_of=folder_of, image=image)
    return environment
