"""A queue's configuration: how it is read, and how a job's own wishes are laid over it.

Merge rule (one for every resource): maps are merged key by key, at every depth; anything else that the job
sets, a list too, replaces the queue's value. List entries have no identity, so merging them by position would
surprise whoever reorders a list.

Template variables: `{{name}}` in the queue's configuration stands for a value that the submitter gives and
the variable's JSON Schema allows. A text that is nothing but `{{name}}` becomes the value itself, with its
type; within a longer text the value is written out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from jsonschema import Draft7Validator
from jsonschema.exceptions import SchemaError, best_match
from referencing import Registry
from referencing.exceptions import Unresolvable

from launch_agent.config import document
from launch_agent.errors import ConfigError, LaunchError
from launch_agent.server.store.rows import ResourceConfigRow
from launch_agent.spec import runspec
from launch_agent.spec.kubernetes import defaults
from launch_agent.spec.model import Resource

# The target resources. Official clients say gcp-vertex where the agent's own word is vertex.
RESOURCES = ("local-container", "local-process", "kubernetes", "sagemaker", "gcp-vertex", "vertex")

# How official clients mark the item that runs a sweep's scheduler; it goes where it says, not where the queue
# points to.
SCHEDULER_URI = "placeholder-uri-scheduler"

_PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z0-9_.-]+)\s*\}\}")


def read_config(text: str, resource: str) -> dict[str, Any]:
    """JSON or YAML to `{"resource_args": {resource: …}}`; the resource's part alone is accepted, too.

    What agents add to the pods that a Kubernetes queue describes is written down in it, so that everybody can
    see and change it.
    Raises ConfigError for what is neither, is no map, or belongs to another resource.
    """
    if resource not in RESOURCES:
        raise ConfigError(
            f"{resource!r} is not a target resource", path="resource", hint=f"one of {', '.join(RESOURCES)}"
        )
    value = _read(text, "configuration")
    if "resource_args" not in value:
        return {"resource_args": {resource: _with_additions(value, resource)}}
    args = value["resource_args"]
    if not isinstance(args, dict):
        raise ConfigError("resource_args must be a map", path="configuration.resource_args")
    aliased = {_same(key, resource): part for key, part in args.items()}
    others = [key for key in aliased if key != resource]
    if others:
        raise ConfigError(
            f"the configuration is for {', '.join(others)}, the queue is for {resource}",
            path="configuration.resource_args",
            hint="choose the resource that the configuration is for",
        )
    if not isinstance(aliased.get(resource, {}), dict):
        raise ConfigError("must be a map", path=f"configuration.resource_args.{resource}")
    return {**value, "resource_args": {resource: _with_additions(aliased.get(resource, {}), resource)}}


def _with_additions(part: dict[str, Any], resource: str) -> dict[str, Any]:
    if resource != Resource.KUBERNETES or not part.get("spec"):
        return part
    try:
        return defaults.with_defaults(part)
    except LaunchError:
        # A template variable may stand for a whole mapping; and whatever is wrong, lint and agents name it.
        return part


def read_variables(text: str | None) -> dict[str, dict[str, Any]]:
    """The template variables that a client declares: names to `{"schema": …, "description": …}`.

    Raises ConfigError naming the variable whose schema is none.
    """
    variables: dict[str, dict[str, Any]] = {}
    for name, declared in (_read(text, "template variables") if text else {}).items():
        if not isinstance(declared, dict):
            raise ConfigError("must be a map with the key 'schema'", path=f"template variables.{name}")
        schema = declared.get("schema", {})
        if isinstance(schema, str):
            schema = _read(schema, f"template variables.{name}.schema")
        try:
            Draft7Validator.check_schema(schema)
        except SchemaError as error:
            raise ConfigError(
                f"the schema is no JSON Schema: {error.message}", path=f"template variables.{name}.schema"
            ) from error
        variables[name] = {"schema": schema, "description": str(declared.get("description") or "")}
    return variables


def merge_spec(
    config: ResourceConfigRow | None, spec: Mapping[str, Any], values: Mapping[str, Any]
) -> dict[str, Any]:
    """The run spec that the agent gets: the queue's configuration, filled, under the job's own wishes.

    Raises ConfigError for values that the queue's variables do not allow.
    """
    given = {**_as_map(spec.get("template_variables"), "template_variables"), **values}
    merged = {key: value for key, value in spec.items() if key != "template_variables"}
    if spec.get("uri") == SCHEDULER_URI:
        return merged
    if config is None:
        if given:
            raise ConfigError(
                "the queue has no configuration, so there are no template variables to set",
                path=f"template variables.{next(iter(given))}",
            )
        return merged
    filled = fill(config.config["resource_args"], config.variables, given)
    wishes = _as_map(spec.get("resource_args"), "resource_args")
    aliased = {_same(key, config.resource): part for key, part in wishes.items()}
    return {**merged, "resource": config.resource, "resource_args": merge(filled, aliased)}


def merge(base: Any, over: Any) -> Any:
    """`over` laid over `base`: maps merge at every depth, anything else of `over` replaces."""
    if not isinstance(base, Mapping) or not isinstance(over, Mapping):
        return over
    merged = dict(base)
    for key, value in over.items():
        merged[key] = merge(base[key], value) if key in base else value
    return merged


def fill(config: Any, variables: Mapping[str, Mapping[str, Any]], values: Mapping[str, Any]) -> Any:
    """The configuration with every declared `{{name}}` replaced; texts that name no variable stay.

    Raises ConfigError for a value that is missing, unknown or not allowed.
    """
    unknown = sorted(set(values) - set(variables))
    if unknown:
        known = ", ".join(sorted(variables)) or "none"
        raise ConfigError(
            f"the queue has no template variable {unknown[0]!r}",
            path=f"template variables.{unknown[0]}",
            hint=f"its variables: {known}",
        )
    chosen = {name: _choose(name, declared, values) for name, declared in variables.items()}
    return _fill(config, chosen)


def _choose(name: str, declared: Mapping[str, Any], values: Mapping[str, Any]) -> Any:
    schema = declared["schema"]
    if name in values:
        value = values[name]
    elif isinstance(schema, dict) and "default" in schema:
        value = schema["default"]
    else:
        raise ConfigError(
            f"the template variable {name!r} has no value, and the queue gives no default",
            path=f"template variables.{name}",
            hint=f"give one that matches {json.dumps(schema)}",
        )
    try:
        # An empty registry: a schema must not make the server fetch what a $ref names.
        error = best_match(Draft7Validator(schema, registry=Registry()).iter_errors(value))
    except (Unresolvable, RecursionError) as cause:
        raise ConfigError(
            f"the schema of template variable {name!r} cannot be used: {cause}",
            path=f"template variables.{name}",
            hint="a schema can refer to its own parts only",
        ) from cause
    if error is not None:
        raise ConfigError(
            f"the value {json.dumps(value)} of template variable {name!r} is not allowed: {error.message}",
            path=f"template variables.{name}",
            hint=f"it must match {json.dumps(schema)}",
        )
    return value


def _fill(value: Any, chosen: Mapping[str, Any]) -> Any:
    if isinstance(value, dict):
        return {_fill_text(key, chosen, whole=False): _fill(part, chosen) for key, part in value.items()}
    if isinstance(value, list):
        return [_fill(part, chosen) for part in value]
    return _fill_text(value, chosen, whole=True) if isinstance(value, str) else value


def _fill_text(text: str, chosen: Mapping[str, Any], *, whole: bool) -> Any:
    only = _PLACEHOLDER.fullmatch(text)
    if whole and only is not None and only.group(1) in chosen:
        return chosen[only.group(1)]

    def written(found: re.Match[str]) -> str:
        name = found.group(1)
        if name not in chosen:
            return found.group(0)
        value = chosen[name]
        return value if isinstance(value, str) else json.dumps(value)

    return _PLACEHOLDER.sub(written, text)


def _same(key: str, resource: str) -> str:
    """The queue's own word for its resource where `key` is another word for the same one."""
    vertex = ("gcp-vertex", "vertex")
    return resource if key in vertex and resource in vertex else key


def read_json_map(text: str | None, what: str) -> dict[str, Any]:
    """A JSON object from a request; empty where none is given. Raises ConfigError for anything else."""
    if text is None:
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"is not JSON: {error}", path=what) from error
    return _as_map(value, what)


def _as_map(value: Any, what: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError("must be a map", path=what)
    try:
        # What can be read once more deeply nested than this cannot always be written again.
        runspec.check_depth(value)
    except LaunchError as error:
        raise ConfigError("is nested too deeply", path=what, hint=error.hint) from error
    return value


def _read(text: str, what: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = document.read(text.encode(), file=what).value
    return _as_map(value, what)
