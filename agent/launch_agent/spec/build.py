"""What travels from a job's code to a builder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRecipe:
    """What a Dockerfile of ours does, for builders that do it by other means.

    `base` is the image it begins with, `python` the version that the job wants (`3.12`). `method` is the
    program that installs (`requirements`, `uv`, `poetry`, `conda`, `nothing`), `requirements` what pip
    installs first, `files` what that draws in, `whole` what is installed of the code itself; paths are below
    the context's root. The code lies in `workdir` and runs as the numeric `user`.
    """

    base: str
    python: str
    method: str
    requirements: str = ""
    files: Sequence[str] = ()
    whole: str = ""
    entry_point: Sequence[str] = ()
    user: int = 1000
    home: str = "/home/launch"
    workdir: str = "/home/launch/job"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildContext:
    """A folder to be built. `dockerfile` is its path below `directory`; `digest` (40 hex digits) names the
    content: files with their modes, Dockerfile, arguments and platform. `why` says in a sentence where the
    Dockerfile comes from; `text` is what it says, `is_generated` that we wrote it. `platform` is
    `linux/amd64` or the like, empty for the builder's own. `pack` gives the whole as a tar archive, piece by
    piece and always the same; who packs the folder by other means gets the same files. `recipe` is there
    where `is_generated`."""

    directory: Path
    dockerfile: str
    digest: str
    why: str
    text: str = field(default="", repr=False)
    is_generated: bool = False
    build_args: Mapping[str, str] = field(default_factory=dict)
    platform: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    recipe: BuildRecipe | None = field(default=None, repr=False)
    pack: Callable[[], Iterator[bytes]] | None = field(default=None, repr=False, compare=False)
