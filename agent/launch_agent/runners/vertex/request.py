"""A run request as a CustomJob: the queue's own, with what makes it this run.

What a queue may hold is `spec.vertex`'s matter, which is asked before anything is built; here it gets the
spelling and the types of the REST API, and the run's image, command, variables and labels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from launch_agent.runners import env
from launch_agent.spec import cloud, vertex
from launch_agent.spec.identity import agent_key, item_hash, object_name
from launch_agent.spec.model import RunIdentity, RunRequest
from launch_agent.spec.problem import Problem

# The API gives no limit for a variable; a container's arguments and variables together have Linux's.
ENV_LIMIT = 32_000
# With underscores: in a filter of the API a dash could mean "not".
AGENT_LABEL, ITEM_LABEL, MANAGED_LABEL = "launch_agent_key", "launch_item_key", "managed_by"
# "Maximum limit is 100" (ContainerSpec.env).
MOST_VARIABLES = 100
IDENTITY = "LAUNCH_AGENT_IDENTITY"
# The API has no working directory. The words behind the script are $0 and "$@", so that nothing is quoted.
_IN_FOLDER = ("sh", "-c", 'cd "$0" && exec "$@"')
# What belongs to the job and not to its `jobSpec`, and what only the SDK has.
_OF_THE_JOB = frozenset({"displayName", "labels", "encryptionSpec", "encryptionSpecKeyName"})
_OF_THE_SDK = frozenset({vertex.STAGING, vertex.FOLDER, "project", "location"})


def compose(request: RunRequest, *, project: str = "", region: str = "") -> dict[str, Any]:
    """The CustomJob to create in a project and region. Raises SubmitRejected naming everything that is wrong,
    with its path."""
    args = {key: value for key, value in request.resource_args.items() if key != "builder"}
    found = vertex.problems(args)
    cloud.refuse(vertex.RESOURCE, found)
    values = vertex.flat(args)
    found += _elsewhere(values, project, region)
    own = _labels(request.identity)
    labels = values.get("labels") or {}
    found += [
        Problem(place=f"spec.labels.{key}", why="is the agent's own label") for key in labels if key in own
    ]
    job = {key: value for key, value in values.items() if key not in _OF_THE_JOB | _OF_THE_SDK}
    job = _of_api(job, "CustomJobSpec")
    _schedule(job, args.get("run") or {})
    job["baseOutputDirectory"] = {"outputUriPrefix": _output(job, values, request.identity)}
    job["workerPoolSpecs"] = _workers(job["workerPoolSpecs"], request, found)
    cloud.refuse(vertex.RESOURCE, found)
    result: dict[str, Any] = {
        "displayName": object_name(request.identity),
        "jobSpec": job,
        "labels": {**{key: str(value) for key, value in labels.items()}, **own},
    }
    if encryption := values.get("encryptionSpec"):
        result["encryptionSpec"] = _of_api(encryption, "EncryptionSpec")
    elif key := values.get("encryptionSpecKeyName"):
        result["encryptionSpec"] = {"kmsKeyName": key}
    return result


def secrets(request: RunRequest) -> list[str]:
    """The texts in a request that nobody may read in a message."""
    return [secret.reveal() for secret in request.secret_env.values() if secret]


def identity_of(job: Mapping[str, Any]) -> RunIdentity | None:
    """The identity that `compose` wrote. A job's labels are too short for it, so it stands among the
    variables of the first pool; None where the job is not one of ours."""
    for pool in job.get("jobSpec", {}).get("workerPoolSpecs", ()):
        for variable in pool.get("containerSpec", {}).get("env", ()):
            if variable.get("name") == IDENTITY:
                try:
                    return RunIdentity(**json.loads(variable["value"]))
                except (ValueError, TypeError, KeyError):
                    return None
    return None


def _labels(identity: RunIdentity) -> dict[str, str]:
    return {
        MANAGED_LABEL: "launch-agent",
        AGENT_LABEL: agent_key(identity.agent),
        ITEM_LABEL: item_hash(identity),
    }


def _elsewhere(values: Mapping[str, Any], project: str, region: str) -> list[Problem]:
    """A queue that names another place than the agent's would be followed in the wrong one."""
    return [
        Problem(place=f"spec.{key}", why=f"is {values[key]!r}, and this agent starts jobs in {own!r}")
        for key, own in (("project", project), ("location", region))
        if values.get(key) and own and values[key] != own
    ]


def _of_api(value: Any, kind: str) -> Any:
    """A copy as the API's JSON has it: its spelling, its types, nothing that is null."""
    messages = vertex.api()["messages"]
    if kind in messages and isinstance(value, Mapping):
        spelt = ((vertex.camel(str(key)), item) for key, item in value.items() if item is not None)
        return {key: _of_api(item, messages[kind].get(key, "any")) for key, item in spelt}
    if kind.startswith("[") and kind != "[EnvVar]" and isinstance(value, list | tuple):
        return [_of_api(item, kind[1:-1]) for item in value]
    if kind == "integer" and isinstance(value, str):
        return int(value)
    return _duration(value) if kind == "duration" else value


def _duration(value: Any) -> str:
    """Seconds, as the API's JSON has them."""
    text = str(value)
    return text if text.endswith("s") else f"{text}s"


def _schedule(job: dict[str, Any], run: Mapping[str, Any]) -> None:
    """Lay over the job what `run` says of its scheduling."""
    given = {}
    for key, value in run.items():
        part, dot, name = vertex.RUN_KEYS[vertex.camel(str(key))].partition(".")
        if dot and part == "scheduling" and value is not None:
            given[name] = value
    if given:
        job["scheduling"] = {**(job.get("scheduling") or {}), **_of_api(given, "Scheduling")}


def _output(job: Mapping[str, Any], values: Mapping[str, Any], identity: RunIdentity) -> str:
    """Where the job's output goes: below the staging bucket where nothing else is said, as the SDK has it,
    in a folder that is the run's own."""
    named = (job.get("baseOutputDirectory") or {}).get("outputUriPrefix") or values.get(vertex.FOLDER)
    prefix = str(named or f"{str(values[vertex.STAGING]).rstrip('/')}/launch-agent/{object_name(identity)}")
    return prefix if prefix.startswith("gs://") else f"gs://{prefix}"


def _workers(pools: Any, request: RunRequest, found: list[Problem]) -> list[Any]:
    made = []
    for number, pool in enumerate(pools):
        place = f"spec.worker_pool_specs[{number}].container_spec"
        # An empty pool keeps its place: the API tells chief, workers and servers by position.
        if not pool or "pythonPackageSpec" in pool:
            made.append(pool)
        else:
            container = _container(pool.get("containerSpec") or {}, request, place, found)
            made.append({**pool, "containerSpec": container})
    return made


def _container(
    given: Mapping[str, Any], request: RunRequest, place: str, found: list[Problem]
) -> dict[str, Any]:
    result = dict(given)
    if not result.get("imageUri"):
        result["imageUri"] = request.image
        if not request.image:
            found.append(Problem(place=f"{place}.image_uri", why="is missing, and the job brings no image"))
    found += vertex.image(str(result["imageUri"]), f"{place}.image_uri")
    if request.entry_point:
        result["command"] = list(request.entry_point)
    if request.args:
        result["args"] = list(request.args)
    if request.working_dir:
        words = result.get("command")
        if words:
            result["command"] = [*_IN_FOLDER, request.working_dir, *words]
        else:
            why = "is missing, and a working directory needs one: Vertex AI has none of its own"
            found.append(Problem(place=f"{place}.command", why=why))
    try:
        merged = env.merged(request, _variables(result.get("env")))
    except ValueError:
        found.append(Problem(place=f"{place}.env", why="is no list of {name, value}"))
        return result
    identity = json.dumps(asdict(request.identity), separators=(",", ":"))
    variables = [{"name": name, "value": value} for name, value in {**merged, IDENTITY: identity}.items()]
    if len(variables) > MOST_VARIABLES:
        why = f"and the run's own variables are {len(variables)}, {MOST_VARIABLES} at most"
        found.append(Problem(place=f"{place}.env", why=why))
    result["env"] = variables
    return result


def _variables(given: Any) -> dict[str, str]:
    if isinstance(given, list | tuple) and all(isinstance(item, Mapping) for item in given):
        return env.pairs({item["name"]: item["value"] for item in given})
    return env.pairs(given or {})
