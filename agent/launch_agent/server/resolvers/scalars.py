"""The scalars of the protocol."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from ariadne import ScalarType

json_string = ScalarType("JSONString")
json_value = ScalarType("JSON")
date_time = ScalarType("DateTime")
int64 = ScalarType("Int64")


@json_string.serializer
def _json_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@json_string.value_parser
def _text(value: Any) -> str:
    # Not parsed here: who uses it can say what is wrong with it, and queue configurations may be YAML.
    if not isinstance(value, str):
        raise ValueError("a JSONString is a text that holds JSON")  # noqa: TRY004 - what ariadne expects
    return value


@json_value.serializer
def _json(value: Any) -> Any:
    return value


@date_time.serializer
def _moment(value: float) -> str:
    return datetime.fromtimestamp(value, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@int64.serializer
def _number(value: Any) -> int:
    return int(value)


@int64.value_parser
def _parsed(value: Any) -> int:
    return int(value)


BINDABLES = [json_string, json_value, date_time, int64]
