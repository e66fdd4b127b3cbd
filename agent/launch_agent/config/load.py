"""From a file, the environment and flags to an `AgentConfig`: file < environment < flags.

Whatever the user wrote wrong becomes one ConfigError that names the place; `launch-agent lint` shows all
findings at once.
"""

from __future__ import annotations

import math
import socket
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from launch_agent.config import checks, document, key, model, placeholder, schema
from launch_agent.config.dialects import Normal, normalise
from launch_agent.config.document import Document
from launch_agent.config.finding import Finding, Severity, stop
from launch_agent.config.model import AgentConfig
from launch_agent.errors import ConfigError

SCHEMA = "launch-config"
FILE_NAME = "launch-config.yaml"

# Environment variable -> key of the config that it goes before, dots between nested keys.
VARIABLES = {
    "WANDB_BASE_URL": "base_url",
    "WANDB_ENTITY": "entity",
    "WANDB_LAUNCH_MAX_JOBS": "max_jobs",
    "WANDB_LAUNCH_START_TIMEOUT": "start-timeout",
    "LAUNCH_AGENT_NAME": "name",
    "LAUNCH_AGENT_STATE_DIR": "state-dir",
    "LAUNCH_AGENT_LEASE": "leader-election.lease",
    "LAUNCH_AGENT_STATE_SECRET": "state-secret.name",
    "LAUNCH_AGENT_METRICS_HOST": "metrics.host",
    "LAUNCH_AGENT_METRICS_PORT": "metrics.port",
}
# Environment variable -> list of the config that it adds to, commas between items. The Helm chart tells with
# these what only the chart knows, and what the file says stays.
ADDITIONS = {
    "LAUNCH_AGENT_TARGET_NAMESPACES": "runner.kubernetes.target-namespaces",
    "LAUNCH_AGENT_PROTECTED_SECRETS": "policy.protected-secrets",
}

# Names the volume claim in which Kaniko's build contexts are kept, in place of a store.
CLAIM = "WANDB_LAUNCH_KANIKO_PVC_NAME"


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """What the command line says; None, empty and 0 where it says nothing. `verbose` counts the `-v`."""

    queues: tuple[str, ...] = ()
    entity: str | None = None
    max_jobs: int | None = None
    log_file: str | None = None
    verbose: int = 0


def load(path: Path | None, env: Mapping[str, str], flags: Flags | None = None) -> AgentConfig:
    """The config of an agent that is about to start.

    `path` is a file, or a folder that holds `launch-config.yaml`; None means the default place, where a
    missing file is not an error. Raises ConfigError for anything that cannot be used, a missing queue or API
    key included.
    """
    flags = flags or Flags()
    file = find(path, env)
    normal, warnings = Normal(value={}), tuple[str, ...]()
    if file is not None:
        read = document.read(fetch(file), file=str(file))
        normal, found = examine(read, claim=bool(env.get(CLAIM)))
        stop(found, file=str(file), see="launch-agent lint shows all")
        warnings = tuple(
            f"{file}:{each.line}:{each.column}: {each.key}: {each.message} ({each.hint or each.code})"
            for each in found
            if each.severity is Severity.WARNING
        )
    value = {**_over(normal.value, _from_environment(env)), **_from_flags(flags)}
    _apply_verbose(value, flags)
    filled = schema.fill(SCHEMA, value)
    _add_from_environment(filled, env)
    if not filled["queues"]:
        raise ConfigError(
            "no queue is named",
            path="queues",
            file=str(file) if file else "",
            hint="name one with -q <queue>, or with 'queues: [<queue>]' in the config file",
        )
    filled.setdefault("name", env.get("WANDB_RELEASE_NAME") or socket.gethostname())
    home = home_of(env)
    filled["state-dir"] = _expand(filled["state-dir"], home)
    for part in ("leader-election", "state-secret"):
        filled[part]["credentials"] = _expand(filled[part]["credentials"], home)
    _expand_git(filled["git"], home)
    secret = key.find(filled["base_url"], filled.get("api-key-file", ""), file, env, home)
    config = model.make(
        filled, normal.destination, normal.repository, secret, schema.fill("registry", normal.registry)
    )
    return replace(config, warnings=warnings)


def find(path: Path | None, env: Mapping[str, str]) -> Path | None:
    """The file to read: as given, in the given folder, or at the default place if there is one."""
    wanted = path or Path("~/.config/wandb") / FILE_NAME
    wanted = Path(_expand(str(wanted), home_of(env)))
    try:
        is_folder = stat.S_ISDIR(wanted.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return wanted if path else None
    except OSError as error:
        raise _unreadable(wanted, error) from error
    return wanted / FILE_NAME if is_folder else wanted


def fetch(file: Path) -> bytes:
    """The file's bytes, at most one more than a config may have. Raises ConfigError where there are none."""
    try:
        with file.open("rb") as stream:
            return stream.read(document.LARGEST + 1)
    except FileNotFoundError as error:
        raise ConfigError("there is no such file", file=str(file), hint="check the path") from error
    except OSError as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: OSError) -> ConfigError:
    reason = (error.strerror or str(error)).lower()
    return ConfigError(f"the file cannot be read: {reason}", file=str(file))


def examine(read: Document, *, claim: bool = False) -> tuple[Normal, list[Finding]]:
    """Everything there is to say about a launch config by itself; the normal form is complete only where no
    finding is an error. `claim` is that of `checks.run`."""
    normal, found = examine_value(read.value, claim=claim)
    return normal, schema.placed(found, read)


def examine_value(value: Any, *, claim: bool = False) -> tuple[Normal, list[Finding]]:
    """As `examine`, for a value that stands in no file of its own: the findings have no places."""
    if not isinstance(value, dict):
        return Normal(value={}), [checks.not_a_mapping(value)]
    found = placeholder.findings(value)
    unset = {finding.path for finding in found}
    found += [each for each in schema.findings(SCHEMA, value) if each.path not in unset]
    if any(finding.severity is Severity.ERROR for finding in found):
        return Normal(value={}), found
    normal = normalise(value)
    checks.run(normal, claim=claim)
    return normal, normal.findings


def home_of(env: Mapping[str, str]) -> Path:
    """The home folder; the root folder for a user that has none, as in a container with a made-up user id."""
    if env.get("HOME"):
        return Path(env["HOME"])
    try:
        return Path.home()
    except RuntimeError:
        return Path("/")


def _expand(text: str, home: Path) -> str:
    return str(home / text[2:]) if text.startswith("~/") else text


def _expand_git(git: dict[str, Any], home: Path) -> None:
    for name in ("credentials", "known-hosts"):
        if name in git:
            git[name] = _expand(git[name], home)
    git["ssh-keys"] = {host: _expand(file, home) for host, file in git["ssh-keys"].items()}


def _from_environment(env: Mapping[str, str]) -> dict[str, Any]:
    known = {".".join(map(str, path)): part for path, part in schema.properties(SCHEMA)}
    values: dict[str, Any] = {}
    for variable, name in VARIABLES.items():
        if text := env.get(variable, "").strip():
            value = _nested(name, _typed(known[name], text))
            values = _over(values, _checked(value, f"environment variable {variable}"))
    return values


def _add_from_environment(filled: dict[str, Any], env: Mapping[str, str]) -> None:
    for variable, name in ADDITIONS.items():
        items = [item for each in env.get(variable, "").split(",") if (item := each.strip())]
        if items:
            _checked(_nested(name, list(dict.fromkeys(items))), f"environment variable {variable}")
            *outer, last = name.split(".")
            part = filled
            for step in outer:
                part = part[step]
            part[last] = list(dict.fromkeys([*part[last], *items]))


def _nested(name: str, value: Any) -> dict[str, Any]:
    """`{"a": {"b": value}}` for `a.b`."""
    for part in reversed(name.split(".")):
        value = {part: value}
    assert isinstance(value, dict)
    return value


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """One mapping laid over the other, key by key."""
    result = dict(below)
    for name, value in above.items():
        lower = result.get(name)
        result[name] = (
            _over(lower, value) if isinstance(lower, Mapping) and isinstance(value, Mapping) else value
        )
    return result


def _typed(part: Mapping[str, Any], text: str) -> Any:
    """The text as the type that the schema asks for; unchanged where it is none, for the schema to say."""
    cast = {"integer": int, "number": float}.get(str(part["type"]))
    try:
        value = cast(text) if cast else text
    except ValueError:
        return text
    return text if isinstance(value, float) and not math.isfinite(value) else value


def _from_flags(flags: Flags) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if flags.queues:
        values["queues"] = _checked({"queues": list(dict.fromkeys(flags.queues))}, "option --queue")["queues"]
    if flags.entity:
        values["entity"] = flags.entity
    if flags.max_jobs is not None:
        values["max_jobs"] = _checked({"max_jobs": flags.max_jobs}, "option --max-jobs")["max_jobs"]
    return values


def _apply_verbose(value: dict[str, Any], flags: Flags) -> None:
    log = dict(value.get("log", {}))
    if flags.verbose:
        log["level"] = "debug"
    if flags.log_file is not None:
        log["file"] = flags.log_file
    value["log"] = log


def _checked(value: dict[str, Any], source: str) -> dict[str, Any]:
    """The value, a part of a config, if the schema takes it; ConfigError that names the source if not."""
    found = [replace(finding, path=()) for finding in schema.findings(SCHEMA, value)]
    stop(found, file=source)
    return value
