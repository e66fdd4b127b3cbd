"""The run spec of the wire, read into a `RunSpec`.

The wire is liberal: an empty map may be null or missing, a list may be one text, an image has two places. All
of that ends here. The JSON schema has looked at types before; what is left are contradictions, each of which
is one LaunchError. No message shows a value that could be the submitter's key.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from launch_agent.errors import LaunchError
from launch_agent.spec.model import Lease, Overrides, RunSpec
from launch_agent.spec.secret import Secret

# What the official client writes into `uri` for a sweep's scheduler; only the beginning counts to its agent.
SCHEDULER_URI = "placeholder-uri"
_SCHEDULER_COMMAND = ("wandb", "scheduler")
_RESOURCE_NAMES = {"gcp-vertex": "vertex"}
# The characters that W&B refuses in a run id, and control characters, which no environment can carry.
# Far more than any job needs, and far less than Python's own recursion takes.
_DEEPEST = 100
_MOST_USERS = 2**31
_RUN_ID = re.compile(r"[^/\\#?%:\x00-\x1f\x7f]{1,128}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def parse(lease: Lease) -> RunSpec:
    """Read a lease's spec. Raises LaunchError where it contradicts itself or lacks what a run needs."""
    raw = lease.spec
    overrides = _mapping(raw, "overrides")
    image, job, scheduler = _source(raw)
    resource, resource_args = _resource(raw)
    if image and resource == "local-process":
        raise LaunchError(
            "the job names a container image, and its resource 'local-process' runs no containers",
            hint="submit it to a queue for local-container or another container platform",
        )
    entry_point = _words(overrides, "overrides.entry_point")
    # The official client marks any bare command with the scheduler's uri; what it runs tells them apart.
    command = resource == "local-process" and bool(entry_point) and entry_point[:2] != _SCHEDULER_COMMAND
    scheduler = scheduler and not command
    if not (image or job or scheduler or command):
        raise LaunchError(
            "the run spec names nothing to run",
            hint="set docker.docker_image to a container image, or job to entity/project/name:alias",
        )
    if scheduler:
        # It runs beside the agent: what a queue sets for its target is not meant for it.
        resource_args = {}
    builder = resource_args.pop("builder", None) or {}
    if not isinstance(builder, Mapping):
        raise _wrong_type(f"resource_args.{resource}.builder", "a mapping", builder)
    return RunSpec(
        entity=_required(raw, "entity"),
        project=_required(raw, "project"),
        resource=resource,
        resource_args=resource_args,
        builder=builder,
        image=image,
        job=job,
        scheduler=scheduler,
        name=_text(raw, "name"),
        run_id=_run_id(raw),
        author=_text(raw, "author"),
        sweep_id=_text(raw, "sweep_id"),
        resume_count=_count(raw, "_resume_count"),
        user_id=_user_id(raw),
        overrides=Overrides(
            entry_point=entry_point,
            args=_unquoted(overrides) if scheduler else _words(overrides, "overrides.args"),
            run_config=_mapping(overrides, "overrides.run_config"),
            files=_mapping(overrides, "overrides.files"),
            artifacts=_mapping(overrides, "overrides.artifacts"),
            dockerfile=_text(overrides, "overrides.dockerfile"),
            working_dir=_text(overrides, "overrides.working_dir"),
        ),
        api_key=Secret(_text(raw, "_wandb_api_key")),
        services=() if scheduler else _services(raw),
    )


def check_depth(raw: Mapping[str, Any]) -> None:
    """Raise LaunchError for a spec that is nested so deeply that whoever walks through it would fail."""
    here: list[Any] = [raw]
    for _ in range(_DEEPEST):
        here = [
            child
            for value in here
            for child in (value.values() if isinstance(value, Mapping) else value)
            if isinstance(child, Mapping | list)
        ]
        if not here:
            return
    raise LaunchError(f"the run spec is nested more than {_DEEPEST} levels deep", hint="nest it less deeply")


def _source(raw: Mapping[str, Any]) -> tuple[str, str, bool]:
    """Image, job and whether it is a scheduler: one of the three at the most is set.

    A job that also carries the scheduler's uri is a scheduler that was packed as a job; it runs as that job.
    """
    image = _text(_mapping(raw, "docker"), "docker.docker_image") or _text(raw, "image_uri")
    job = _text(raw, "job")
    uri = _text(raw, "uri")
    if image and job:
        raise LaunchError(
            f"the run spec names both the image {image!r} and the job {job!r}",
            hint="submit either docker.docker_image or job, not both",
        )
    return image, job, uri.startswith(SCHEDULER_URI) and not (image or job)


def _resource(raw: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The resource's name in our spelling, and its own arguments (a copy, so that keys can be taken out).

    Where the spec names no resource but has the arguments of exactly one, that one is meant.
    """
    every = _mapping(raw, "resource_args")
    given = _text(raw, "resource") or (next(iter(every)) if len(every) == 1 else "")
    if not given:
        raise LaunchError(
            "the run spec does not say on which resource to run",
            hint="set resource, e.g. to local-container or kubernetes",
        )
    name = _RESOURCE_NAMES.get(given, given)
    merged: dict[str, Any] = {}
    for key in every:
        if _RESOURCE_NAMES.get(key, key) == name:
            merged |= _mapping(every, f"resource_args.{key}")
    return name, merged


def _services(raw: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    services = raw.get("additional_services") or ()
    if isinstance(services, str) or not isinstance(services, Sequence):
        raise _wrong_type("additional_services", "a list of mappings", services)
    for service in services:
        if not isinstance(service, Mapping):
            raise _wrong_type("additional_services", "a list of mappings", service)
    return tuple(services)


def _required(raw: Mapping[str, Any], key: str) -> str:
    text = _text(raw, key)
    if not text:
        raise LaunchError(f"the run spec has no {key}", hint=f"set {key}: it says where the run is recorded")
    return text


def _run_id(raw: Mapping[str, Any]) -> str:
    text = _text(raw, "run_id")
    if text and not _RUN_ID.fullmatch(text):
        raise LaunchError(
            f"the run spec's run_id {text[:40]!r} is not a legal run id",
            hint="a run id has 1 to 128 characters, none of them / \\ # ? % : or a control character",
        )
    return text


def _text(parent: Mapping[str, Any], path: str) -> str:
    """The text at the last part of `path`; empty for null, missing and the `{}` that stands for no sweep."""
    value = parent.get(path.rpartition(".")[2])
    if not value and value != 0:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _wrong_type(path, "a text", value)
    text = str(value)
    if path != "overrides.dockerfile" and _CONTROL.search(text):
        raise LaunchError(
            f"the run spec's {path} holds a control character", hint="use printable characters only"
        )
    return text


def _mapping(parent: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    # A resource's name may hold a dot no more than any other key does.
    value = parent.get(path.rpartition(".")[2])
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        if not value:
            return {}  # some clients write [] or "" for "nothing"
        raise _wrong_type(path, "a mapping", value)
    return value


def _words(parent: Mapping[str, Any], path: str) -> Sequence[str]:
    """A command line as words: a list as it is, a text split the way a shell does."""
    value = parent.get(path.rpartition(".")[2])
    if not value:
        return ()
    if isinstance(value, str):
        try:
            return tuple(shlex.split(value))
        except ValueError as error:
            raise LaunchError(
                f"the run spec's {path} cannot be split into words: {error}",
                hint="balance the quotes, or give a list of texts",
            ) from error
    if not isinstance(value, Sequence):
        raise _wrong_type(path, "a list of texts", value)
    for word in value:
        if not isinstance(word, str | int | float):
            raise _wrong_type(path, "a list of texts", word)
    return tuple(str(word) for word in value)


def _unquoted(overrides: Mapping[str, Any]) -> Sequence[str]:
    """A scheduler's arguments as a shell would read them: the official client quotes the names of queue,
    project and job for one, and its command takes the quotes as parts of the names."""
    plain = []
    for word in _words(overrides, "overrides.args"):
        try:
            plain.append("".join(shlex.split(word)) if word[:1] in ("'", '"') else word)
        except ValueError:
            plain.append(word)  # no quoting after all
    return tuple(plain)


def _user_id(raw: Mapping[str, Any]) -> int | None:
    """The number of the user that a built image runs as; None where the spec leaves that to the agent."""
    value = _mapping(raw, "docker").get("user_id")
    if value is None or value == "":
        return None
    text = str(value)
    if isinstance(value, bool) or not text.isascii() or not text.isdigit() or int(text) >= _MOST_USERS:
        raise _wrong_type("docker.user_id", "the number of a user", value)
    return int(text)


def _count(raw: Mapping[str, Any], key: str) -> int:
    value = raw.get(key) or 0
    if not isinstance(value, int) or value < 0:
        raise _wrong_type(key, "a whole number from 0", value)
    return int(value)


def _wrong_type(path: str, wanted: str, value: object) -> LaunchError:
    return LaunchError(
        f"the run spec's {path} is not {wanted} but {type(value).__name__}", hint=f"give {wanted}"
    )
