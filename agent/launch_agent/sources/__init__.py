"""Where a job's code comes from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """Code on disk. `id` names the content: equal ids, equal content. `revision` and `origin` are the commit
    (or version) and the address that it came from, where it has them; the origin holds no password."""

    id: str
    directory: Path
    revision: str = ""
    origin: str = ""


class Source(Protocol):
    """Fetches a job's code."""

    def fetch(self, into: Path) -> Checkout:
        """Put the code into an empty folder. Raises SourceError and its kinds."""
        ...
