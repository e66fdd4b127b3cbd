"""Checks the schemas themselves and writes what is generated from them: self-contained copies and tables.

    python schemas/bundle.py            write
    python schemas/bundle.py --check    write nothing; exit with 1 where a schema is wrong or a file is stale

Editors take the self-contained copies:
`# yaml-language-server: $schema=<path of docs/reference/launch-config.schema.json>`. The chart gets its
`values.yaml`, its `values.schema.json`, by which Helm checks what users give, and the table in its README.
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft7Validator

from launch_agent.cli.report import RULES
from launch_agent.config.schema import bundle

SOURCE = Path(__file__).parent
TARGET = SOURCE.parent / "docs" / "reference"
CHART = SOURCE.parent / "charts" / "launch-agent"
DRAFT = "http://json-schema.org/draft-07/schema#"
# Schemas that stand for a whole file; the others are parts of these.
WHOLE = ("launch-config", "queue-config", "run-spec")
# Keys of ours beside draft-07's: see launch_agent/config/complaint.py, and `deprecated` of later drafts.
OWN_KEYWORDS = frozenset({"x-expects", "x-missing", "deprecated"})
_TYPES = {
    "object": "mapping",
    "array": "list",
    "string": "text",
    "integer": "whole number",
    "number": "number",
}


def problems(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with a bundled schema by the rules of this house: draft-07, closed, described."""
    if schema.get("$schema") != DRAFT:
        yield f"{name}: $schema is not {DRAFT}"
    for error in Draft7Validator(Draft7Validator.META_SCHEMA).iter_errors(schema):
        yield f"{name}: {'/'.join(map(str, error.absolute_path))}: {error.message}"
    yield from _part_problems(name, schema)


def _part_problems(place: str, part: Mapping[str, Any]) -> Iterator[str]:
    if not str(part.get("description", "")).strip().endswith((".", "`")):
        yield f"{place}: has no description that is a sentence"
    types = part.get("type", [])
    types = [types] if isinstance(types, str) else types
    if not types:
        yield f"{place}: has no type"
    if "object" in types and "additionalProperties" not in part and part.get("maxProperties") != 0:
        yield f"{place}: does not say whether other keys are allowed"
    if "array" in types and "items" not in part and part.get("maxItems") != 0:
        yield f"{place}: does not say what its items are"
    for value in [*([part["default"]] if "default" in part else []), *part.get("examples", [])]:
        for error in Draft7Validator(dict(part)).iter_errors(value):
            yield f"{place}: a default or example is wrong: {error.message}"
    children = dict(part.get("properties", {}))
    for key in ("items", "additionalProperties"):
        if isinstance(part.get(key), Mapping):
            children[f"<{key}>"] = part[key]
    for key, child in children.items():
        yield from _part_problems(f"{place}.{key}", child)


def table(schema: Mapping[str, Any]) -> str:
    """The schema as a Markdown page: one row for each key, nested keys with their path."""
    rows = [
        f"| `{path}` | {_kind(part)} | {_default(part)} | {_meaning(part)} |" for path, part in _rows(schema)
    ]
    head = [
        f"# {schema['title']}",
        "",
        str(schema["description"]),
        "",
        "Made from the schemas by `schemas/bundle.py`; change it there.",
        "",
        "| Key | Type | Default | Meaning |",
        "|---|---|---|---|",
    ]
    return "\n".join([*head, *rows]) + "\n"


def _rows(schema: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    for key, part in schema.get("properties", {}).items():
        yield f"{prefix}{key}", part
        yield from _rows(part, f"{prefix}{key}.")


def _kind(part: Mapping[str, Any]) -> str:
    if "enum" in part:
        return ", ".join(f"`{value}`" for value in part["enum"])
    types = [part["type"]] if isinstance(part["type"], str) else part["type"]
    words = [_TYPES.get(each, "true or false") for each in types if each != "null"]
    if (
        words == ["list"]
        and isinstance(part.get("items"), Mapping)
        and isinstance(part["items"]["type"], str)
    ):
        return f"list of {_TYPES[part['items']['type']]}s"
    return " or ".join(words)


def _default(part: Mapping[str, Any]) -> str:
    if part.get("default") in (None, {}):
        return ""
    return f"`{json.dumps(part['default'])}`"


def _meaning(part: Mapping[str, Any]) -> str:
    text = str(part["description"]).replace("|", "\\|")
    if part.get("deprecated"):
        text = f"*Older form.* {text}"
    if part.get("examples") and not isinstance(part["examples"][0], dict | list):
        shown = ", ".join(f"`{example}`" for example in part["examples"])
        text += f" Example: {shown}."
    return text


def codes() -> str:
    """The codes of lint's findings as a Markdown page."""
    head = [
        "# Findings of `launch-agent lint`",
        "",
        "Each finding has a severity and a code. Errors keep the agent from starting and make `lint` exit",
        "with 1; warnings do so with `--strict`; notes are advice.",
        "",
        "Made from `launch_agent/cli/report.py` by `schemas/bundle.py`; change it there.",
        "",
        "| Code | Meaning |",
        "|---|---|",
    ]
    return "\n".join([*head, *(f"| `{code}` | {meaning}. |" for code, meaning in RULES.items())]) + "\n"


def values_schema(schema: Any) -> Any:
    """The schema without the keywords that only this project reads, for Helm."""
    if isinstance(schema, list):
        return [values_schema(part) for part in schema]
    if not isinstance(schema, Mapping):
        return schema
    return {key: values_schema(part) for key, part in schema.items() if not key.startswith("x-")}


def values_file(schema: Mapping[str, Any]) -> str:
    """The chart's values.yaml: every key with its default, described. Keys without a default are comments."""
    head = [
        "# Values of the chart launch-agent. The launch config's own keys: docs/reference/launch-config.md.",
        "# Made from schemas/chart-values.json by schemas/bundle.py; change it there.",
    ]
    return "\n".join([*head, *_value_lines(schema, "")]) + "\n"


def _value_lines(schema: Mapping[str, Any], indent: str) -> Iterator[str]:
    for key, part in schema["properties"].items():
        if not indent:
            yield ""
        text = f"Older form: {part['description']}" if part.get("deprecated") else part["description"]
        yield from (f"{indent}# {line}" for line in textwrap.wrap(text, 108 - len(indent)))
        if part.get("examples") and not part.get("default"):
            example = textwrap.indent(_value(key, part["examples"][0]), f"{indent}#   ")
            yield from (f"{indent}# For example:", *example.splitlines())
        if "default" not in part and "properties" in part and not _is_config(part):
            yield f"{indent}{key}:"
            yield from _value_lines(part, indent + "  ")
        elif "default" not in part:
            yield f"{indent}# {key}:"
        else:
            yield from textwrap.indent(_value(key, part["default"]), indent).splitlines()


def _value(key: str, value: Any) -> str:
    if isinstance(value, dict | list) and value:
        return yaml.dump({key: value}, Dumper=_Indented, sort_keys=False, default_flow_style=False)
    return f"{key}: {json.dumps(value)}"


class _Indented(yaml.SafeDumper):
    """Writes lists further in than their key, as the chart's lint wants it."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _is_config(part: Mapping[str, Any]) -> bool:
    """Whether these are the keys of the launch config, which has a page of its own."""
    return "string" in part["type"]


def values_table(schema: Mapping[str, Any]) -> str:
    """Rows for the chart's README; keys of list items have `[]` in their path."""
    rows = [
        f"| `{path}` | {_kind(part)} | {_default(part)} | {_meaning(part)} |"
        for path, part in _value_rows(schema, "")
    ]
    return "\n".join(["| Key | Type | Default | Meaning |", "|---|---|---|---|", *rows])


def _value_rows(schema: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for key, part in schema.get("properties", {}).items():
        if "properties" not in part or "default" in part or _is_config(part):
            yield f"{prefix}{key}", part
        if not _is_config(part):
            yield from _value_rows(part, f"{prefix}{key}.")
        items = part.get("items")
        if isinstance(items, Mapping) and "object" not in part["type"]:
            yield from _value_rows(items, f"{prefix}{key}[].")


def between(text: str, begin: str, end: str, new: str) -> str:
    """The text with what stands between two marker lines replaced."""
    before, _, rest = text.partition(f"{begin}\n")
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n{new}\n{end}{after}"


def chart_files() -> dict[Path, str]:
    """What the chart gets."""
    schema = bundle("chart-values", SOURCE)
    readme = CHART / "README.md"
    text = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    table_of_values = values_table(schema)
    for_helm = values_schema(schema)
    # The same once more would cost Helm a tenth of the time that rendering takes.
    for_helm["properties"]["agentConfig"] = {"$ref": "#/properties/launchConfig"}
    return {
        CHART / "values.schema.json": json.dumps(for_helm, indent=2, ensure_ascii=False) + "\n",
        CHART / "values.yaml": values_file(schema),
        readme: between(text, "<!-- values -->", "<!-- end of values -->", table_of_values),
    }


def generated() -> dict[Path, str]:
    """Every generated file and what it must hold."""
    files = {TARGET / "lint.md": codes(), **chart_files()}
    for name in WHOLE:
        schema = bundle(name, SOURCE)
        files[TARGET / f"{name}.schema.json"] = json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
        files[TARGET / f"{name}.md"] = table(schema)
    return files


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, say what is wrong")
    check = parser.parse_args().check
    found = [
        problem
        for path in sorted(SOURCE.glob("*.json"))
        for problem in problems(path.stem, bundle(path.stem, SOURCE))
    ]
    for path, text in generated().items():
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        name = path.relative_to(SOURCE.parent)
        if check:
            found.append(f"{name}: is stale; run python schemas/bundle.py")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote {name}")
    print("\n".join(found) if found else "the schemas are in order", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
