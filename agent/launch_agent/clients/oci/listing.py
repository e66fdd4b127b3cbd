"""Lists that come in pages."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from launch_agent.clients.oci.client import RegistryClient
from launch_agent.errors import RegistryError

# RFC 8288; the registries put the address first.
_NEXT = re.compile(r'<([^>]*)>\s*;[^,]*\brel="?next"?')
# A list that never ends is a mistake somewhere.
_MOST_PAGES = 10_000


def pages(
    client: RegistryClient,
    doing: str,
    url: str,
    scopes: Sequence[str],
    headers: Mapping[str, str] | None = None,
) -> Iterator[Mapping[str, Any]]:
    """The pages of a list, as JSON objects. Raises RegistryError."""
    seen: set[str] = set()
    while url and len(seen) < _MOST_PAGES:
        seen.add(url)
        answer = client.expect(doing, client.request(doing, "GET", url, scopes=scopes, headers=headers), 200)
        try:
            page = answer.json()
        except ValueError as error:
            raise RegistryError(f"cannot {doing}: the answer is not JSON: {error}") from error
        if not isinstance(page, dict):
            raise RegistryError(f"cannot {doing}: the answer is not a JSON object")
        yield page
        found = _NEXT.search(answer.headers.get("link", ""))
        following = client.locate(url, found[1]) if found else ""
        url = "" if following in seen else following
