"""A Vertex AI queue's configuration in the API's spelling, and what can be judged of it without Google Cloud.

Queues hold what the Python SDK's `CustomJob(…)` and `.run(…)` take, under `spec` and `run`, in snake_case;
the names of the REST API are taken too, in either spelling. Names and types are compared with the API's own
description (`vertex_api.json`, from its discovery document). Words that a list of the API does not have are
only doubted: it grows with every new machine.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from launch_agent.spec.problem import Problem

RESOURCE = "vertex"
STAGING, FOLDER = "stagingBucket", "baseOutputDir"
# `CustomJob(…)` of the SDK beside the fields of the API. Credentials are the agent's own.
_SDK: Mapping[str, str] = {
    STAGING: "string",
    FOLDER: "string",
    "encryptionSpecKeyName": "string",
    "project": "string",
    "location": "string",
}
# `.run(…)` of the SDK -> where the API has it. Empty: about the SDK's own waiting, without meaning here.
RUN_KEYS: Mapping[str, str] = {
    "serviceAccount": "serviceAccount",
    "network": "network",
    "tensorboard": "tensorboard",
    "experiment": "experiment",
    "experimentRun": "experimentRun",
    "enableWebAccess": "enableWebAccess",
    "enableDashboardAccess": "enableDashboardAccess",
    "persistentResourceId": "persistentResourceId",
    "pscInterfaceConfig": "pscInterfaceConfig",
    "reservedIpRanges": "reservedIpRanges",
    "timeout": "scheduling.timeout",
    "restartJobOnWorkerRestart": "scheduling.restartJobOnWorkerRestart",
    "disableRetries": "scheduling.disableRetries",
    "schedulingStrategy": "scheduling.strategy",
    "maxWaitDuration": "scheduling.maxWaitDuration",
    "sync": "",
    "createRequestTimeout": "",
}
_SNAKE = re.compile(r"_([a-z0-9])")
_DURATION = re.compile(r"\d+(\.\d{1,9})?s")
_SECONDS = re.compile(r"\d+(\.\d+)?")
# "Label keys and values can be no longer than 64 characters, can only contain lowercase letters, numeric
# characters, underscores and dashes" (CustomJob.labels); keys begin with a letter.
_LABEL = re.compile(r"[\w-]{0,63}")
# Docker Hub (no host in the reference), Artifact Registry and Container Registry.
_CLOUD = re.compile(r"([a-z0-9-]+-docker\.pkg\.dev|([a-z]+\.)?gcr\.io|docker\.io|index\.docker\.io)/.+")
_CLOUD_HINT = "push the image to Artifact Registry: <region>-docker.pkg.dev/<project>/<repository>/<name>"


@cache
def api() -> Mapping[str, Any]:
    """What a custom job may hold: `messages` of fields and their types, `enums` with their values."""
    text = (Path(__file__).parent / "vertex_api.json").read_text(encoding="utf-8")
    loaded: Mapping[str, Any] = json.loads(text)
    return loaded


def camel(key: str) -> str:
    """A key as the API spells it."""
    return _SNAKE.sub(lambda found: found[1].upper(), key)


def is_open(value: Any) -> bool:
    """Whether a value is a template's or holds a macro: what it will be is not known yet."""
    return isinstance(value, str) and ("${" in value or "{{" in value)


def can_pull(image: str) -> bool:
    """Whether custom jobs can read an image, or a repository, by its address: Artifact Registry, Container
    Registry or Docker Hub."""
    host, slash, _ = image.partition("/")
    is_hub = not slash or not ("." in host or ":" in host or host == "localhost")
    return is_hub or _CLOUD.match(image) is not None


def problems(args: Mapping[str, Any]) -> list[Problem]:
    """Everything for which no custom job can come of these arguments; places are spelled as there."""
    return list(_problems(args))


def doubts(args: Mapping[str, Any]) -> list[Problem]:
    """What looks like a slip of the pen, and may as well be newer than this agent."""
    spec = args.get("spec")
    if not isinstance(spec, Mapping):
        return []
    found = [*_words(spec, "CustomJobSpec", "spec")]
    run = args.get("run")
    for key, value in run.items() if isinstance(run, Mapping) else ():
        if camel(str(key)) == "schedulingStrategy":
            found += _word(value, "Scheduling.strategy", f"run.{key}")
    return found


def _problems(args: Mapping[str, Any]) -> Iterator[Problem]:
    for key in args.keys() - {"spec", "run", "builder"}:
        yield Problem(place=str(key), why="is no key (spec and run are)")
    run = args.get("run")
    if run is not None and not isinstance(run, Mapping):
        yield Problem(place="run", why="is no mapping")
    else:
        yield from _run(run or {})
    spec = args.get("spec")
    if not isinstance(spec, Mapping):
        yield Problem(place="spec", why="is missing, or no mapping")
        return
    known = {**api()["messages"]["CustomJobSpec"], **api()["messages"]["CustomJob"], **_SDK}
    yield from _fields(spec, known, "spec", "is no key of a custom job")
    yield from _parts(spec)


def _run(run: Mapping[str, Any]) -> Iterator[Problem]:
    messages = api()["messages"]
    known = {}
    for key, target in RUN_KEYS.items():
        message, dot, field = target.partition(".")
        known[key] = messages["Scheduling"][field] if dot else messages["CustomJobSpec"].get(message, "any")
    yield from _fields(run, known, "run", "is no argument of a custom job's run")


def _parts(spec: Mapping[str, Any]) -> Iterator[Problem]:
    """What the API's description does not say: which parts there must be."""
    flat, places = _flat(spec)
    if not (flat.get(STAGING) or flat.get(FOLDER) or flat.get("baseOutputDirectory")):
        hint = "a bucket in the job's region: staging_bucket: gs://<bucket>"
        yield Problem(place="spec.staging_bucket", why="is missing", hint=hint)
    output = flat.get("baseOutputDirectory")
    if isinstance(output, Mapping) and not any(camel(str(key)) == "outputUriPrefix" for key in output):
        yield Problem(place=places["baseOutputDirectory"], why="has no output_uri_prefix")
    yield from _labels(flat.get("labels"), places.get("labels", ""))
    pools = flat.get("workerPoolSpecs")
    if not isinstance(pools, list | tuple) or not pools:
        if pools is None or pools == []:
            yield Problem(place="spec.worker_pool_specs", why="is missing, or empty")
        return
    spelt = [{camel(str(key)): pool[key] for key in pool} for pool in pools if isinstance(pool, Mapping)]
    place = places["workerPoolSpecs"]
    if spelt and not any(pool and "pythonPackageSpec" not in pool for pool in spelt):
        yield Problem(place=place, why="has no pool that runs a container")
    for number, pool in enumerate(pools):
        for key, container in pool.items() if isinstance(pool, Mapping) else ():
            if camel(str(key)) == "containerSpec" and isinstance(container, Mapping):
                yield from _image(container, f"{place}[{number}].{key}")


def _flat(spec: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The values of `spec`, and of a `job_spec` inside of it, by the API's names, and where each stands."""
    values: dict[str, Any] = {}
    places: dict[str, str] = {}
    inner = next((key for key in spec if camel(str(key)) == "jobSpec"), None)
    nested = spec[inner] if inner is not None and isinstance(spec[inner], Mapping) else {}
    for prefix, part in (("spec", spec), (f"spec.{inner}", nested)):
        for key, value in part.items():
            if value is not None and key != inner:
                values[camel(str(key))] = value
                places[camel(str(key))] = f"{prefix}.{key}"
    return values, places


def flat(args: Mapping[str, Any]) -> dict[str, Any]:
    """What the arguments say of the job, by the API's names: `spec`, a `job_spec` inside of it, and what
    `run` says of the job itself (its scheduling left out). Values keep their spelling."""
    spec, run = args.get("spec"), args.get("run")
    values = _flat(spec)[0] if isinstance(spec, Mapping) else {}
    for key, value in run.items() if isinstance(run, Mapping) else ():
        target = RUN_KEYS.get(camel(str(key)), "")
        if value is not None and target and "." not in target:
            values[target] = value
    return values


def _labels(labels: Any, place: str) -> Iterator[Problem]:
    for key, value in labels.items() if isinstance(labels, Mapping) else ():
        text = str(value)
        if not is_open(value) and not (_LABEL.fullmatch(text) and text == text.lower()):
            why = f"is {text[:80]!r}, and labels have at most 63 lower-case letters, digits, _ and -"
            yield Problem(place=f"{place}.{key}", why=why)


def _image(container: Mapping[str, Any], place: str) -> Iterator[Problem]:
    for key, value in container.items():
        if camel(str(key)) == "imageUri" and isinstance(value, str) and value:
            yield from image(value, f"{place}.{key}")


def image(named: str, place: str) -> Iterator[Problem]:
    """What is wrong with an image; a macro will be one that the agent knows."""
    if not is_open(named) and not can_pull(named):
        why = f"is {named!r}, and custom jobs read images of Artifact Registry and Docker Hub alone"
        yield Problem(place=place, why=why, hint=_CLOUD_HINT)


def _fields(
    given: Mapping[str, Any], known: Mapping[str, str], place: str, unknown: str
) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for key, value in given.items():
        name, here = camel(str(key)), f"{place}.{key}"
        if name in seen:
            yield Problem(place=here, why=f"is {seen[name]} once more, in another spelling")
        seen[name] = str(key)
        if name not in known:
            near = difflib.get_close_matches(name, list(known), n=1)
            hint = f"did you mean {_like(near[0], str(key))}?" if near else ""
            yield Problem(place=here, why=unknown, hint=hint)
        elif value is not None:
            yield from _value(value, known[name], here)


def _like(name: str, spelling: str) -> str:
    """A name of the API in the spelling that somebody uses."""
    if "_" not in spelling and spelling != spelling.lower():
        return name
    return re.sub(r"([A-Z])", lambda found: f"_{found[1].lower()}", name)


def _value(value: Any, kind: str, place: str) -> Iterator[Problem]:
    """`kind` is a type of `api()`."""
    if is_open(value) or kind == "any":
        return
    if kind == "[EnvVar]":
        yield from _variables(value, place)
    elif kind.startswith("["):
        if not isinstance(value, list | tuple):
            yield Problem(place=place, why="is no list")
            return
        for number, item in enumerate(value):
            yield from _value(item, kind[1:-1], f"{place}[{number}]")
    elif kind.startswith("{"):
        yield from _texts(value, place)
    elif kind in api()["messages"]:
        if not isinstance(value, Mapping):
            yield Problem(place=place, why="is no mapping")
            return
        yield from _fields(value, api()["messages"][kind], place, "is no field of the API's")
    elif not _fits(value, kind):
        yield Problem(place=place, why=f"is not {_WANTED[kind]}")


def _texts(value: Any, place: str) -> Iterator[Problem]:
    if not isinstance(value, Mapping):
        yield Problem(place=place, why="is no mapping of names to texts")
        return
    for key, item in value.items():
        if isinstance(item, Mapping | list | tuple) or item is None:
            yield Problem(place=f"{place}.{key}", why="is no text")


_WANTED = {
    "string": "a text",
    "enum": "a text",
    "boolean": "true or false",
    "integer": "a whole number",
    "duration": "a number of seconds, nor a text such as 3600s",
}


def _fits(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    match kind:
        case "integer":
            return isinstance(value, int) or (isinstance(value, str) and value.isdecimal())
        case "duration":
            if isinstance(value, str):
                return bool(_DURATION.fullmatch(value) or _SECONDS.fullmatch(value))
            return isinstance(value, int | float) and value >= 0
        case "string" | "enum":
            return isinstance(value, str)
    return False


def _variables(value: Any, place: str) -> Iterator[Problem]:
    """`{name, value}` as the API has them, or `NAME=VALUE`, or a mapping."""
    if isinstance(value, Mapping):
        value = [{"name": key, "value": item} for key, item in value.items()]
    if not isinstance(value, list | tuple):
        yield Problem(place=place, why="is no list of {name, value}")
        return
    for number, item in enumerate(value):
        if isinstance(item, str) and "=" in item:
            continue
        fits = isinstance(item, Mapping) and item.keys() <= {"name", "value"} and item.get("name")
        if not fits or (item.get("value") is None or isinstance(item["value"], Mapping | list | tuple)):
            yield Problem(place=f"{place}[{number}]", why="is no variable with a name and a value")


def _words(given: Any, kind: str, place: str) -> Iterator[Problem]:
    """Doubtful words of the API's lists, below a message."""
    if kind.startswith("["):
        for number, item in enumerate(given if isinstance(given, list | tuple) else ()):
            yield from _words(item, kind[1:-1], f"{place}[{number}]")
        return
    fields = {**api()["messages"].get(kind, {}), "jobSpec": "CustomJobSpec"}
    for key, value in given.items() if isinstance(given, Mapping) else ():
        name = camel(str(key))
        if fields.get(name) == "enum":
            yield from _word(value, f"{kind}.{name}", f"{place}.{key}")
        elif name in fields:
            yield from _words(value, fields[name], f"{place}.{key}")


def _word(value: Any, name: str, place: str) -> Iterator[Problem]:
    values = api()["enums"].get(name, ())
    if isinstance(value, str) and value not in values and not is_open(value):
        near = difflib.get_close_matches(value.upper(), values, n=1)
        why = f"is {value!r}, which is in no list of the API that this release knows"
        yield Problem(place=place, why=why, hint=f"did you mean {near[0]}?" if near else "")
