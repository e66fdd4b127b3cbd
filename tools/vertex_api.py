"""Writes what a custom job may hold, from Vertex AI's discovery document, in a form small enough to ship.

    python tools/vertex_api.py [--check]

The document comes with google-api-python-client, which is far too large for an agent; of its four megabytes a
custom job needs a few kilobytes. Fields that only the service writes are left out.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import googleapiclient

DOCUMENT = Path(googleapiclient.__file__).parent / "discovery_cache" / "documents" / "aiplatform.v1.json"
TARGET = Path(__file__).parents[1] / "agent" / "launch_agent" / "spec" / "vertex_api.json"
_ROOT = "GoogleCloudAiplatformV1CustomJob"
_PREFIX = "GoogleCloudAiplatformV1"


def table() -> dict[str, Any]:
    """`messages` maps a message to its fields and their types: a word, another message, `[type]` for lists,
    `{type}` for maps; `enums` maps `Message.field` to its values."""
    document = json.loads(DOCUMENT.read_text(encoding="utf-8"))
    schemas = document["schemas"]
    messages: dict[str, dict[str, str]] = {}
    enums: dict[str, list[str]] = {}
    waiting = [_ROOT]
    while waiting:
        name = waiting.pop()
        fields = messages.setdefault(_short(name), {})
        for field, shape in schemas[name].get("properties", {}).items():
            if shape.get("readOnly"):
                continue
            fields[field] = _type(shape)
            if "enum" in shape:
                enums[f"{_short(name)}.{field}"] = shape["enum"]
            inner = shape.get("$ref") or shape.get("items", {}).get("$ref")
            if inner and _short(inner) not in messages:
                waiting.append(inner)
    return {
        "document": f"aiplatform.v1 of {document['revision']}",
        "messages": dict(sorted(messages.items())),
        "enums": dict(sorted(enums.items())),
    }


def _type(shape: dict[str, Any]) -> str:
    if "$ref" in shape:
        return _short(shape["$ref"])
    if shape["type"] == "array":
        return f"[{_type(shape['items'])}]"
    if shape["type"] == "object":
        return f"{{{_type(shape['additionalProperties'])}}}"
    if shape.get("format") in ("int32", "int64"):
        return "integer"
    if shape.get("format") == "google-duration":
        return "duration"
    return "enum" if "enum" in shape else str(shape["type"])


def _short(name: str) -> str:
    return name.removeprefix(_PREFIX)


def text() -> str:
    """The file's whole text."""
    return json.dumps(table(), indent=1) + "\n"


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        sys.exit(0 if TARGET.read_text(encoding="utf-8") == text() else f"{TARGET} is stale: run {__file__}")
    TARGET.write_text(text(), encoding="utf-8")
