"""Everything there is to say about values files: by the chart's schema, by that of the launch config in them,
and by both together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from launch_agent.config import document, load, placeholder, schema
from launch_agent.config.document import Document
from launch_agent.config.finding import Finding, Path, Severity, follow
from launch_agent.config.merge import merge
from launch_agent.config.values import checks, credentials, recognise
from launch_agent.config.values.recognise import CONFIG_KEYS, SCHEMA
from launch_agent.config.values.view import View, filled_later, unreadable, view
from launch_agent.errors import ConfigError

# Values that hold other people's manifests: `<` may be meant there.
_FREE = frozenset({"extraObjects", "initContainers", "extraVolumes", "extraContainers"})
# What SOPS writes beside the values that it has encrypted.
_SOPS = "sops"


def judge(layers: Sequence[Document], *, complete: bool = False) -> dict[str, list[Finding]]:
    """The findings of each file, in its order; later layers go before earlier ones, as in
    `helm install -f first -f second`. `complete` says that the layers are all there is: then what is
    missing is wrong."""
    merged = merge(layers)
    found: dict[str, list[Finding]] = {layer.file: [] for layer in layers}
    for prefix in recognise.parts(merged.value) or [()]:
        seen = view(merged, prefix)
        _config(seen, complete)
        _values(seen)
        _replaced(seen)
        checks.run(seen, complete=complete)
        credentials.run(seen)
        for file, findings in seen.findings.items():
            found[file] += findings
    return {file: _in_order(findings) for file, findings in found.items()}


def _in_order(findings: list[Finding]) -> list[Finding]:
    unique = {(each.path, each.code, each.message, each.line): each for each in findings}
    return sorted(unique.values(), key=lambda each: (each.line, each.column, each.key))


def _values(seen: View) -> None:
    """By the chart's schema. The launch config is checked by its own, which knows more."""
    known = schema.load(SCHEMA)
    value = {key: item for key, item in seen.value.items() if not _is_config(key, item)}
    if isinstance(value.get(_SOPS), Mapping):
        del value[_SOPS]
    value = as_helm_checks(value, known)
    found = [
        *placeholder.findings({key: item for key, item in value.items() if key not in _FREE}),
        *placeholder.findings({key: item for key, item in value.items() if key in _FREE}, free=True),
    ]
    unset = {finding.path for finding in found}
    found += [each for each in schema.findings(SCHEMA, value) if each.path not in unset]
    for finding in found:
        if not filled_later(follow(value, finding.path)):
            seen.add(finding)


def _is_config(key: str, item: Any) -> bool:
    return key in CONFIG_KEYS and isinstance(item, str | Mapping)


def as_helm_checks(value: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """What Helm hands to the schema, which is a merge with the chart's own values: a mapping that is required
    is there, and a null takes a default away and is gone itself."""
    parts = known.get("properties", {})
    result = {
        key: as_helm_checks({}, parts[key])
        for key in known.get("required", ())
        if key not in value and "properties" in parts.get(key, {})
    }
    for key, item in value.items():
        part = parts.get(key, {})
        if item is None and (part.get("default") is not None or "properties" in part):
            continue
        result[key] = as_helm_checks(item, part) if isinstance(item, Mapping) else item
    return result


def _config(seen: View, complete: bool) -> None:
    """By the schema and the checks of the launch config."""
    if not seen.key:
        _no_config(seen, complete)
        return
    given = seen.value[seen.key]
    if filled_later(given) and "\n" not in given.strip():
        message = "the launch config is filled in later, so that it cannot be checked here"
        seen.say(Severity.NOTE, "not-checked", (seen.key,), message)
        return
    if not isinstance(given, str | Mapping):
        return  # the chart's schema says what it must be
    try:
        value = seen.read_config()
    except ConfigError as error:
        unreadable(seen, error)
        return
    claim = bool(seen.get("kanikoPvcName"))
    _, found = load.examine_value(value, claim=claim)
    for finding in found:
        if finding.code != "builder-advice" and not filled_later(follow(value, finding.path)):
            said = _in_values(finding, seen, complete)
            seen.add(replace(said, path=(seen.key, *finding.path)))
    failed = any(finding.severity is Severity.ERROR for finding in found)
    if seen.config and not failed and not (seen.config.get("queues") or seen.config.get("queue")):
        _no_queue(seen, complete)


def _in_values(finding: Finding, seen: View, complete: bool) -> Finding:
    """The finding in words that fit a config which is not a file, and may come from several."""
    if not finding.path:
        return replace(finding, message=finding.message.replace("the file", "the launch config", 1))
    if finding.code == "missing-key" and not (complete or seen.is_text or finding.hint):
        return replace(
            finding, hint="if another values file adds it, lint them together: see --merge and --base"
        )
    is_null = finding.code == "wrong-type" and seen.of_config(*finding.path) is None
    if is_null and not seen.is_text and len(seen.merged.layers) > 1:
        return replace(
            finding, hint="a null takes away what the chart itself sets, not what another file does"
        )
    return finding


def _no_config(seen: View, complete: bool) -> None:
    severity = Severity.WARNING if complete else Severity.NOTE
    hint = "write launchConfig, or give it with --set-file launchConfig=<file>"
    if not complete:
        hint = "if these values are laid over others, lint them together: --merge <base> <file>"
    seen.say(severity, "no-config", (), "there is no launch config in these values", hint=hint)


def _no_queue(seen: View, complete: bool) -> None:
    """A text is never merged, so that no other file can add a queue to it."""
    severity = Severity.ERROR if complete or seen.is_text else Severity.NOTE
    message = "no queue is named here, and the chart does not install without one"
    seen.say(severity, "no-queue", (seen.key,), message, hint="write queues: [<queue>]", at_key=True)


def _replaced(seen: View) -> None:
    """A launch config that takes the place of another as a whole, where that may not be what is meant."""
    if not seen.key:
        return
    path = (*seen.prefix, seen.key)
    stack = [(layer, follow(layer.value, path)) for layer in seen.merged.layers]
    stack = [(layer, value) for layer, value in stack if value]
    for (below, lower), (above, upper) in pairwise(stack):
        if isinstance(lower, str) != isinstance(upper, str):
            kinds = ("text", "mapping") if isinstance(lower, str) else ("mapping", "text")
            message = f"this {kinds[1]} takes the place of the {kinds[0]} in {below.file} as a whole"
            hint = "write both as mappings, which are merged"
            _at_key(seen, above, path, Severity.WARNING, message, hint)
        elif isinstance(lower, str) and (lost := _lost(below, path, lower, upper)):
            message = f"this text takes the place of that in {below.file}; {', '.join(lost)} is gone"
            hint = "write both as mappings, which are merged"
            _at_key(seen, above, path, Severity.NOTE, message, hint)


def _lost(below: Document, path: Path, lower: str, upper: str) -> list[str]:
    """The keys of the lower text that the upper one lacks; none where one of them cannot be read."""
    try:
        values = [document.read(text.encode(), file=below.file).value for text in (lower, upper)]
    except ConfigError:
        return []
    if not all(isinstance(value, dict) for value in values):
        return []
    return [key for key in values[0] if key not in values[1]]


def _at_key(seen: View, layer: Document, path: Path, severity: Severity, message: str, hint: str) -> None:
    line, column = layer.place(path, at_key=True)
    finding = Finding(
        severity=severity,
        code="replaced-whole",
        message=message,
        hint=hint,
        path=path,
        line=line,
        column=column,
    )
    seen.put(layer.file, finding)
