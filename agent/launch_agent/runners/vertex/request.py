"""A run request as a CustomJob: the queue's own, with what makes it this run.

Queues hold what the Python SDK's `CustomJob(…)` and `.run(…)` take, under `spec` and `run`, in snake_case;
the names of the REST API are taken too, in either spelling. What is not known here passes through: the API
says what it does not know.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from launch_agent.errors import SubmitRejected
from launch_agent.runners import env
from launch_agent.spec.identity import agent_key, item_hash, object_name
from launch_agent.spec.model import RunIdentity, RunRequest

PLACE = "resource_args.vertex"
# The API gives no limit for a variable; a container's arguments and variables together have Linux's.
ENV_LIMIT = 32_000
AGENT_LABEL, ITEM_LABEL, MANAGED_LABEL = "launch-agent-key", "launch-item-key", "managed-by"
IDENTITY = "LAUNCH_AGENT_IDENTITY"
# Maps of names that users choose: no spelling of ours.
_FREE = frozenset({"labels"})
_SNAKE = re.compile(r"_([a-z0-9])")
# `.run(…)` of the SDK -> where the REST API has it. None: about the SDK's own waiting, without meaning here.
_RUN: Mapping[str, str | None] = {
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
    "sync": None,
    "createRequestTimeout": None,
}
# `CustomJob(…)` of the SDK beside the job's own spec.
_SPEC_ONLY = frozenset(
    {
        "stagingBucket",
        "baseOutputDir",
        "labels",
        "encryptionSpecKeyName",
        "encryptionSpec",
        "displayName",
        "project",
        "location",
        "jobSpec",
    }
)


def compose(request: RunRequest) -> dict[str, Any]:
    """The CustomJob to create. Raises SubmitRejected naming everything that is missing, with its path."""
    given = camel({key: value for key, value in request.resource_args.items() if key != "builder"})
    problems = [f"{PLACE}.{key} is no key (spec and run are)" for key in given if key not in ("spec", "run")]
    spec = _mapping(given, "spec", problems)
    run = _mapping(given, "run", problems)
    job = {
        **{key: value for key, value in spec.items() if key not in _SPEC_ONLY},
        **_mapping(spec, "jobSpec", problems),
    }
    _lay_over(job, run, problems)
    _output(job, spec, problems)
    _workers(job, request, problems)
    labels = _mapping(spec, "labels", problems)
    problems += [
        f"{PLACE}.spec.labels.{key} is the agent's own" for key in labels if key in _own(request.identity)
    ]
    if problems:
        raise SubmitRejected(
            f"the queue's configuration makes no custom job: {'; '.join(problems)}",
            hint="spec is what aiplatform.CustomJob takes, run is what its run method takes",
        )
    result: dict[str, Any] = {
        "displayName": object_name(request.identity),
        "jobSpec": job,
        "labels": {**{key: str(value) for key, value in labels.items()}, **_own(request.identity)},
    }
    key = spec.get("encryptionSpecKeyName")
    if encryption := spec.get("encryptionSpec") or ({"kmsKeyName": key} if key else None):
        result["encryptionSpec"] = encryption
    return result


def _own(identity: RunIdentity) -> dict[str, str]:
    return {
        MANAGED_LABEL: "launch-agent",
        AGENT_LABEL: agent_key(identity.agent),
        ITEM_LABEL: item_hash(identity),
    }


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


def camel(value: Any, name: str = "") -> Any:
    """A copy with all keys as the REST API spells them, but for those that users choose."""
    if isinstance(value, Mapping):
        keep = name in _FREE
        return {
            (key if keep else _SNAKE.sub(lambda found: found[1].upper(), str(key))): camel(item, str(key))
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [camel(item) for item in value]
    return value


def _mapping(given: Mapping[str, Any], key: str, problems: list[str]) -> dict[str, Any]:
    value = given.get(key) or {}
    if not isinstance(value, Mapping):
        problems.append(f"{PLACE}.{key} is no mapping")
        return {}
    return dict(value)


def _lay_over(job: dict[str, Any], run: Mapping[str, Any], problems: list[str]) -> None:
    for key, value in run.items():
        if key not in _RUN:
            problems.append(f"{PLACE}.run.{key} is no argument of a custom job's run")
            continue
        target = _RUN[key]
        if target is None or value is None:
            continue
        part, dot, name = target.partition(".")
        if dot:
            job[part] = {**(job.get(part) or {}), name: _duration(value) if name in _DURATIONS else value}
        else:
            job[part] = value


_DURATIONS = frozenset({"timeout", "maxWaitDuration"})


def _duration(value: Any) -> Any:
    """Seconds, as the API's JSON has them."""
    return f"{value}s" if isinstance(value, int | float) and not isinstance(value, bool) else value


def _output(job: dict[str, Any], spec: Mapping[str, Any], problems: list[str]) -> None:
    """Where the job's output goes; the SDK puts it below the staging bucket where nothing else is said."""
    bucket, folder = spec.get("stagingBucket"), spec.get("baseOutputDir")
    if job.get("baseOutputDirectory"):
        return
    if not bucket and not folder:
        problems.append(f"{PLACE}.spec.staging_bucket is missing (a gs:// bucket in the job's region)")
        return
    prefix = str(folder or f"{str(bucket).rstrip('/')}/launch-agent/${{run}}")
    if not prefix.startswith("gs://"):
        prefix = f"gs://{prefix}"
    job["baseOutputDirectory"] = {"outputUriPrefix": prefix}


def _workers(job: dict[str, Any], request: RunRequest, problems: list[str]) -> None:
    pools = job.get("workerPoolSpecs")
    if not isinstance(pools, list) or not pools:
        problems.append(f"{PLACE}.spec.worker_pool_specs is missing, or no list")
        return
    output = job.get("baseOutputDirectory")
    if output:
        output["outputUriPrefix"] = output["outputUriPrefix"].replace("${run}", object_name(request.identity))
    made = []
    for number, pool in enumerate(pools):
        place = f"{PLACE}.spec.worker_pool_specs[{number}]"
        # An empty pool keeps its place: the API tells chief, workers and servers by position.
        if not isinstance(pool, Mapping):
            problems.append(f"{place} is no mapping")
        elif not pool or "pythonPackageSpec" in pool:
            made.append(pool)
        else:
            made.append({**pool, "containerSpec": _container(pool, request, place, problems)})
    job["workerPoolSpecs"] = made
    if not any("containerSpec" in pool for pool in made):
        problems.append(f"{PLACE}.spec.worker_pool_specs has no pool that runs a container")


def _container(
    pool: Mapping[str, Any], request: RunRequest, place: str, problems: list[str]
) -> dict[str, Any]:
    container = pool.get("containerSpec") or {}
    if not isinstance(container, Mapping):
        problems.append(f"{place}.container_spec is no mapping")
        return {}
    result = dict(container)
    if not result.get("imageUri"):
        result["imageUri"] = request.image
        if not request.image:
            problems.append(f"{place}.container_spec.image_uri is missing, and the job brings no image")
    if request.entry_point:
        result["command"] = list(request.entry_point)
    if request.args:
        result["args"] = list(request.args)
    try:
        theirs = _variables(result.get("env"))
    except (ValueError, TypeError, KeyError):
        problems.append(f"{place}.container_spec.env is no list of {{name, value}}")
        return result
    merged = {
        **env.merged(request, theirs),
        IDENTITY: json.dumps(asdict(request.identity), separators=(",", ":")),
    }
    result["env"] = [{"name": name, "value": value} for name, value in merged.items()]
    return result


def _variables(given: Any) -> dict[str, str]:
    if isinstance(given, list) and all(isinstance(item, Mapping) for item in given):
        return env.pairs({item["name"]: item.get("value", "") for item in given})
    return env.pairs(given or {})
