"""What travels from a job's code to a builder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildContext:
    """A folder to be built. `dockerfile` is its path below `directory`; `digest` (40 hex digits) names the
    content: files with their modes, Dockerfile, arguments and platform. `why` says in a sentence where the
    Dockerfile comes from; `text` is what it says, `is_generated` that we wrote it. `platform` is
    `linux/amd64` or the like, empty for the builder's own. `pack` gives the whole as a tar archive, piece by
    piece and always the same; who packs the folder by other means gets the same files."""

    directory: Path
    dockerfile: str
    digest: str
    why: str
    text: str = field(default="", repr=False)
    is_generated: bool = False
    build_args: Mapping[str, str] = field(default_factory=dict)
    platform: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    pack: Callable[[], Iterator[bytes]] | None = field(default=None, repr=False, compare=False)
