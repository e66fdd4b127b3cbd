"""Makes the ids and keys that the server hands out."""

from __future__ import annotations

import hashlib
import secrets


def new_id(kind: str) -> str:
    """A random id that tells its kind: `rqi-…` for an item. 80 bits: none is ever made twice."""
    return f"{kind}-{secrets.token_hex(10)}"


def new_api_key() -> str:
    """40 hexadecimal digits (160 bits), the form that official clients accept."""
    return secrets.token_hex(20)


def number_of(entity: str, project: str) -> int:
    """A number for a project, always the same: some clients insist on one. 48 bits."""
    return int.from_bytes(hashlib.sha256(f"{entity}/{project}".encode()).digest()[:6])


def digest_of(api_key: str) -> str:
    """What is stored of a key.

    A plain SHA-256 is enough: a key is 160 random bits, so there is no dictionary to try, and a slow hash
    would be paid by every single request.
    """
    return hashlib.sha256(api_key.encode()).hexdigest()
