"""A run request as the request of CreateTrainingJob: the queue's own, with what makes it this run.

Everything that the service's API knows passes through unchanged; names, types and lengths are checked against
the API's own model by the service's client before a byte is sent. Here stands what the model does not say:
which parts a job cannot do without, and where the image, the command and the variables go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from launch_agent.errors import SubmitRejected
from launch_agent.runners import env
from launch_agent.runners.sagemaker import tags
from launch_agent.spec.model import RunRequest

PLACE = "resource_args.sagemaker"
# Without these the service refuses a job, or runs it nowhere (documentation of CreateTrainingJob).
REQUIRED = ("RoleArn", "ResourceConfig", "StoppingCondition", "OutputDataConfig")
# `TrainingEnvironmentValue`, `TrainingEnvironmentMap` and `TrainingContainerArgument` of the API's model.
ENV_LIMIT = 512
_MOST_VARIABLES = 100
_LONGEST_ARGUMENT = 256
_MOST_TAGS = 50
KEY = "WANDB_API_KEY"
KEY_ADDRESS = "WANDB_API_KEY_SECRET_ARN"


def compose(request: RunRequest, *, key_secret: str = "") -> dict[str, Any]:
    """The request of CreateTrainingJob. `key_secret` names a secret of Secrets Manager that the job itself
    reads its API key from; empty hands the key over as a variable, which whoever may describe the job sees.

    Raises SubmitRejected naming everything that is missing or too long, with its path.
    """
    given = {key: value for key, value in request.resource_args.items() if key != "builder"}
    problems = [f"{PLACE}.{key} is missing" for key in REQUIRED if not given.get(key)]
    if "ResourceConfig" in given and isinstance(given["ResourceConfig"], Mapping):
        problems += _resource_problems(given["ResourceConfig"])
    algorithm = _algorithm(request, given.get("AlgorithmSpecification"), problems)
    environment = _environment(request, given.get("Environment"), key_secret, problems)
    theirs = _their_tags(given.get("Tags"), problems)
    if problems:
        raise SubmitRejected(
            f"the queue's configuration makes no training job: {'; '.join(problems)}",
            hint="the keys are those of CreateTrainingJob in the SageMaker API reference",
        )
    return {
        **given,
        "TrainingJobName": tags.job_name(request.identity),
        "AlgorithmSpecification": algorithm,
        "Environment": environment,
        "Tags": [*theirs, *tags.to_tags(request.identity)],
    }


def _resource_problems(config: Mapping[str, Any]) -> list[str]:
    if config.get("InstanceGroups") or config.get("TrainingPlanArn"):
        return []
    needed = ("InstanceType", "InstanceCount", "VolumeSizeInGB")
    return [f"{PLACE}.ResourceConfig.{key} is missing" for key in needed if not config.get(key)]


def _algorithm(request: RunRequest, given: Any, problems: list[str]) -> dict[str, Any]:
    """The job's image and command. An image that the queue names stays, as does an algorithm's name."""
    if given is not None and not isinstance(given, Mapping):
        problems.append(f"{PLACE}.AlgorithmSpecification is no mapping")
        return {}
    algorithm = {"TrainingInputMode": "File", **(given or {})}
    if not algorithm.get("TrainingImage") and not algorithm.get("AlgorithmName"):
        algorithm["TrainingImage"] = request.image
        if not request.image:
            problems.append(
                f"{PLACE}.AlgorithmSpecification.TrainingImage is missing, and the job brings no image"
            )
    if request.entry_point:
        algorithm["ContainerEntrypoint"] = list(request.entry_point)
    if request.args:
        algorithm["ContainerArguments"] = list(request.args)
    for key in ("ContainerEntrypoint", "ContainerArguments"):
        for number, text in enumerate(algorithm.get(key) or ()):
            if len(str(text)) > _LONGEST_ARGUMENT:
                problems.append(
                    f"{PLACE}.AlgorithmSpecification.{key}[{number}] has {len(str(text))} characters, "
                    f"{_LONGEST_ARGUMENT} at most"
                )
    return algorithm


def _environment(request: RunRequest, given: Any, key_secret: str, problems: list[str]) -> dict[str, str]:
    try:
        theirs = env.pairs(given or {})
    except ValueError:
        problems.append(f"{PLACE}.Environment is no mapping of names to texts")
        return {}
    merged = env.merged(request, theirs)
    if key_secret and KEY in request.secret_env:
        merged.pop(KEY, None)
        merged[KEY_ADDRESS] = key_secret
    for name, value in merged.items():
        if len(value) > ENV_LIMIT:
            problems.append(f"{PLACE}.Environment.{name} has {len(value)} characters, {ENV_LIMIT} at most")
    if len(merged) > _MOST_VARIABLES:
        problems.append(
            f"{PLACE}.Environment and the run's own variables are {len(merged)}, {_MOST_VARIABLES} at most "
            "(a large run config takes one for each 512 characters)"
        )
    return merged


def _their_tags(given: Any, problems: list[str]) -> Sequence[Mapping[str, str]]:
    given = given or []
    if not isinstance(given, list | tuple) or not all(
        isinstance(tag, Mapping) and "Key" in tag for tag in given
    ):
        problems.append(f"{PLACE}.Tags is no list of {{Key, Value}}")
        return []
    kept = [tag for tag in given if not str(tag["Key"]).startswith("launch-agent/")]
    if len(kept) < len(given):
        problems.append(f"{PLACE}.Tags has keys that begin with launch-agent/, which are the agent's own")
    if len(kept) > _MOST_TAGS - 10:
        problems.append(f"{PLACE}.Tags has {len(kept)}, {_MOST_TAGS - 10} at most beside the agent's own")
    return kept
