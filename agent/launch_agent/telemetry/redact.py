"""Takes credentials out of texts before anybody sees them: the known ones, and what looks like one.

Known secrets are registered while they are in use. Patterns catch the rest by what stands before a value
(`Authorization:`, `api_key=`, `https://user:…@`), never by the look of the value: 40 hex digits are as often
a commit.
"""

from __future__ import annotations

import base64
import re
import threading
from collections import Counter

from launch_agent.spec.secret import Secret

MASK = "***"
# Shorter texts would be found inside ordinary words.
_SHORTEST = 6
# No prefix such as `\w*`: it would make a long line without any name cost the square of its length.
_NAME = r"(?:api[_-]?key|password|passwd|secret[_-]?(?:access[_-]?)?key|access[_-]?key|token)"
_PATTERNS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        # Authorization: Basic …, in a header, a mapping's repr or JSON
        r"(authorization[\"']?\s*[:=]\s*[\"']?)(?:(?:basic|bearer|token)\s+)?[^\s\"',}]+",
        # A scheme and what is too long to be a word of a sentence
        r"\b((?:basic|bearer)\s+)[A-Za-z0-9+/=._~-]{16,}",
        # X-Api-Key: …, api_key: …
        r"(api[_-]?key[\"']?\s*[:=]\s*[\"']?)[^\s\"',;&}]+",
        # password=…, "token": "…"
        rf"({_NAME}(?:[\"']\s*:\s*[\"']|\s*=\s*[\"']?))[^\s\"',;&}}]+",
        # Signed addresses of object stores
        r"([?&](?:X-Amz-Signature|X-Amz-Credential|X-Goog-Signature|X-Goog-Credential|sig|signature)=)[^&\s\"']+",
        # https://user:password@host and https://token@host; `git@` is a name that everybody knows
        r"\b([a-z][a-z0-9+.-]{0,20}://)(?!git@)[^\s/@]+(?=@)",
    )
)

_lock = threading.Lock()
_known: Counter[str] = Counter()


def hide(secret: Secret) -> None:
    """Mask a secret from now on, in clear and as HTTP basic credentials; as often as `forget` is called."""
    with _lock:
        _known.update(_forms(secret))


def forget(secret: Secret) -> None:
    """Undo one `hide`: a secret that is no longer in use need not be searched for."""
    with _lock:
        _known.subtract(_forms(secret))
        for form in _forms(secret):
            if _known[form] <= 0:
                del _known[form]


def redact(text: str) -> str:
    """The text without what is secret in it."""
    with _lock:
        # Longest first, so that a secret which contains another leaves nothing of itself.
        forms = sorted(_known, key=len, reverse=True)
    for form in forms:
        text = text.replace(form, MASK)
    for pattern in _PATTERNS:
        text = pattern.sub(rf"\1{MASK}", text)
    return text


def _forms(secret: Secret) -> tuple[str, ...]:
    text = secret.reveal()
    if len(text) < _SHORTEST:
        return ()
    return text, base64.b64encode(f"api:{text}".encode()).decode()
