"""Where a job's code comes from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """Code on disk. `id` names the content: equal ids, equal content."""

    id: str
    directory: Path


class Source(Protocol):
    """Fetches a job's code."""

    def fetch(self, into: Path) -> Checkout:
        """Put the code into an empty folder. Raises SourceError and its kinds."""
        ...
