"""Names of build contexts in a store: below the prefix of the config, and told apart from all else there.

A sweep removes what has such a name and is old; so nothing of another program may look like one.
"""

from __future__ import annotations

import re
import uuid

from launch_agent.errors import StoreError

MARK = "launch-context-"
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}")


def name_of(prefix: str, key: str) -> str:
    """The name of the context `key`. Raises StoreError for a key that could leave the prefix."""
    if not _KEY.fullmatch(key):
        raise StoreError(f"{key!r} cannot name a build context: letters, digits, '.', '_' and '-' only")
    return f"{prefix}{MARK}{key}"


def prefix_of(path: str) -> str:
    """The path of a store's address as a prefix: empty, or with a final slash and no other at its ends."""
    path = path.strip("/")
    return f"{path}/" if path else ""


def probe() -> str:
    """A key for trying what may be done; each is another, since two agents may try at once."""
    return f"verify-{uuid.uuid4().hex}"
