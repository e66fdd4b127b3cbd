"""Judges requests by the model of an AWS service, as the service itself does: lengths and patterns included.

botocore's own check, which every client makes before it sends, leaves those out.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import botocore.session
from botocore.validate import ParamValidator

# The one class of patterns in the model that Python does not know: `[\p{L}\p{Z}\p{N}_.:/=+\-@]*`.
_UNICODE = r"\p{"
_TAG_MARKS = "_.:/=+-@"


@cache
def model(service: str) -> Any:
    return botocore.session.get_session().get_service_model(service)


def complaint(service: str, operation: str, request: Mapping[str, Any]) -> str:
    """What the service would say against a request, empty for one that it takes. Its words print values."""
    shape = model(service).operation_model(operation).input_shape
    report = ParamValidator().validate(dict(request), shape)
    if report.has_errors():
        return str(report.generate_report())
    found = list(_constraints(shape, request, ""))
    return f"{len(found)} validation error detected: {'; '.join(found)}" if found else ""


def _constraints(shape: Any, value: Any, place: str) -> Iterator[str]:
    if shape.type_name == "structure":
        for key, item in value.items():
            inner = f"{place}.{_lower(key)}" if place else _lower(key)
            yield from _constraints(shape.members[key], item, inner)
        return
    if shape.type_name == "list":
        yield from _length(shape, len(value), value, place)
        for number, item in enumerate(value):
            yield from _constraints(shape.member, item, f"{place}.{number + 1}.member")
    elif shape.type_name == "map":
        yield from _length(shape, len(value), value, place)
        for key, item in value.items():
            # The service names the map and prints all of it.
            if [*_constraints(shape.key, key, place), *_constraints(shape.value, item, place)]:
                text = ", ".join(f"{name}={each}" for name, each in value.items())
                yield f"Value '{{{text}}}' at '{place}' failed to satisfy constraint: Map value must fit"
    elif shape.type_name == "string":
        yield from _length(shape, len(value), value, place)
        pattern = shape.metadata.get("pattern")
        if pattern and not _fits(pattern, value):
            yield f"Value '{value}' at '{place}' failed to satisfy regular expression pattern: {pattern}"
        if shape.enum and value not in shape.enum:
            yield f"Value '{value}' at '{place}' failed to satisfy constraint: enum value set"


def _length(shape: Any, size: int, value: Any, place: str) -> Iterator[str]:
    least, most = shape.metadata.get("min", 0), shape.metadata.get("max", size)
    if not least <= size <= most:
        yield f"Value '{value}' at '{place}' failed to satisfy constraint: length from {least} to {most}"


def _fits(pattern: str, value: str) -> bool:
    if _UNICODE in pattern:
        return all(char in _TAG_MARKS or unicodedata.category(char)[0] in "LZN" for char in value)
    return re.fullmatch(pattern, value) is not None


def _lower(key: str) -> str:
    return key[:1].lower() + key[1:]
