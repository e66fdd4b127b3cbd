"""What a JSON Schema validator found, in words for the person who wrote the file.

A schema may carry `x-expects`, a phrase that says what a value must be where keywords say it badly
(patterns, `not`), and `x-missing`, what else would do in place of a missing key. Values of keys that hold
credentials are marked `writeOnly` and are never repeated.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from launch_agent.config.finding import Finding, Path, Severity, nearest

_TYPES = {
    "object": "a mapping",
    "array": "a list",
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "empty",
}
_LONGEST_SHOWN = 60


def complaints(error: Any) -> Iterator[Finding]:
    """The findings that one `jsonschema.ValidationError` amounts to."""
    path: Path = tuple(error.absolute_path)
    keyword = error.validator
    if keyword == "additionalProperties":
        yield from _unknown_keys(error, path)
    elif keyword == "required":
        yield from _missing_keys(error, path)
    elif keyword == "dependencies":
        yield from _missing_companions(error, path)
    elif keyword == "enum":
        yield _not_among(error, path)
    else:
        yield _wrong_value(error, path)


def _finding(
    code: str, message: str, path: Path, *, hint: str = "", meant: str = "", at_key: bool = False
) -> Finding:
    if meant:
        hint = f"did you mean {meant!r}?"
    return Finding(
        severity=Severity.ERROR,
        code=code,
        message=message,
        path=path,
        hint=hint,
        meant=meant,
        at_key=at_key,
    )


def _unknown_keys(error: Any, path: Path) -> Iterator[Finding]:
    known = list(error.schema.get("properties", {}))
    for key in error.instance:
        if key in known:
            continue
        meant = nearest(key, known)
        hint = f"the keys here are {_listed(known)}" if known else ""
        yield _finding(
            "unknown-key",
            f"there is no key {key!r} here",
            (*path, key),
            hint=hint,
            meant=meant,
            at_key=True,
        )


def _missing_keys(error: Any, path: Path) -> Iterator[Finding]:
    kind = error.instance.get("type")
    owner = repr(path[-1]) if path else "the file"
    if path and isinstance(path[-1], int):
        owner = "each entry"
    if isinstance(kind, str) and len(kind) <= _LONGEST_SHOWN:
        owner += f" of type {kind!r}"
    instead = error.schema.get("x-missing")
    for key in error.validator_value:
        if key not in error.instance:
            message = f"{owner} needs {instead}" if instead else f"the key is missing; {owner} needs it"
            yield _finding("missing-key", message, (*path, key), at_key=True)


def _missing_companions(error: Any, path: Path) -> Iterator[Finding]:
    for key, companions in error.validator_value.items():
        if key not in error.instance:
            continue
        for companion in companions:
            if companion not in error.instance:
                message = f"the key is missing; {key!r} needs it"
                yield _finding("missing-key", message, (*path, companion), at_key=True)


def _not_among(error: Any, path: Path) -> Finding:
    allowed = [str(value) for value in error.validator_value]
    value = error.instance
    hint = meant = ""
    if isinstance(value, str):
        parts = [part.strip(" <>") for part in value.split("|")]
        if len(parts) > 1 and any(part in allowed for part in parts):
            hint = "the '|' separates alternatives: write one of them"
        else:
            meant = nearest(value, allowed)
    message = f"must be one of {_listed(allowed)}, not {_shown(error)}"
    return _finding("wrong-value", message, path, hint=hint, meant=meant)


def _wrong_value(error: Any, path: Path) -> Finding:
    schema = error.schema if isinstance(error.schema, Mapping) else {}
    limit = error.validator_value
    keyword = error.validator
    expects = schema.get("x-expects")
    if keyword == "type":
        kinds = [limit] if isinstance(limit, str) else [kind for kind in limit if kind != "null"]
        wanted = expects or " or ".join(_TYPES[kind] for kind in kinds)
        plain = "string" in kinds and isinstance(error.instance, int | float)
        hint = "put it in quotes" if plain else ""
        return _finding("wrong-type", f"must be {wanted}, not {_shown(error)}", path, hint=hint)
    if not expects:
        expects = {
            "minimum": f"at least {limit}",
            "maximum": f"at most {limit}",
            "exclusiveMinimum": f"more than {limit}",
            "minLength": "a text that is not empty" if limit == 1 else f"at least {limit} characters long",
            "maxLength": f"at most {limit} characters long",
            "minItems": f"a list of at least {limit}",
            "uniqueItems": "a list without repetitions",
        }.get(keyword, f"as the schema's {keyword!r} has it")
    return _finding("wrong-value", f"must be {expects}, not {_shown(error)}", path)


def _shown(error: Any) -> str:
    """The value as the file has it, shortened; only its kind where it is long or may be a credential."""
    value = error.instance
    if isinstance(error.schema, Mapping) and error.schema.get("writeOnly"):
        return "this value"
    if value is None:
        return "empty"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, str):
        shown = value if len(value) <= _LONGEST_SHOWN else value[:_LONGEST_SHOWN] + "…"
        return f"the text {json.dumps(shown, ensure_ascii=False)}"
    text = json.dumps(value, ensure_ascii=False)
    if len(text) <= _LONGEST_SHOWN:
        return text
    return "this list" if isinstance(value, list) else "this number"


def _listed(words: list[str]) -> str:
    return ", ".join(words[:-1]) + f" or {words[-1]}" if len(words) > 1 else "".join(words)
