"""A run request as the request of CreateTrainingJob: the queue's own, with what makes it this run.

Everything that the service's API knows passes through unchanged. Here stands where the image, the command and
the variables go; what no job can do without is in `spec.sagemaker`, which is asked before anything is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from launch_agent.runners import env
from launch_agent.runners.sagemaker import tags
from launch_agent.spec import cloud, sagemaker
from launch_agent.spec.model import RunRequest
from launch_agent.spec.problem import Problem

KEY = "WANDB_API_KEY"
KEY_ADDRESS = "WANDB_API_KEY_SECRET_ARN"
# The API has no working directory. The words behind the script are $0 and "$@", so that nothing is quoted.
_IN_FOLDER = ("sh", "-c", 'cd "$0" && exec "$@"')


def compose(request: RunRequest, *, key_secret: str = "") -> dict[str, Any]:
    """The request of CreateTrainingJob. `key_secret` names a secret of Secrets Manager that the job itself
    reads its API key from; empty hands the key over as a variable, which whoever may describe the job sees.

    Raises SubmitRejected naming everything that is missing or too long, with its path.
    """
    given = {key: value for key, value in request.resource_args.items() if key != "builder"}
    found = sagemaker.problems(given)
    cloud.refuse(sagemaker.RESOURCE, found)
    algorithm = _algorithm(request, given.get("AlgorithmSpecification") or {}, found)
    environment = _environment(request, given.get("Environment") or {}, key_secret, found)
    cloud.refuse(sagemaker.RESOURCE, found)
    return {
        **given,
        "TrainingJobName": tags.job_name(request.identity),
        "AlgorithmSpecification": algorithm,
        "Environment": environment,
        "Tags": [*(given.get("Tags") or ()), *tags.to_tags(request.identity)],
    }


def secrets(request: RunRequest) -> list[str]:
    """The texts in a request that nobody may read in a message, as a whole and in their quoted forms."""
    return [secret.reveal() for secret in request.secret_env.values() if secret]


def _algorithm(request: RunRequest, given: Mapping[str, Any], found: list[Problem]) -> dict[str, Any]:
    """The job's image and command. An image that the queue names stays, as does an algorithm's name."""
    place = "AlgorithmSpecification"
    algorithm = {"TrainingInputMode": "File", **given}
    if not algorithm.get("TrainingImage") and not algorithm.get("AlgorithmName"):
        algorithm["TrainingImage"] = request.image
        if not request.image:
            found.append(
                Problem(place=f"{place}.TrainingImage", why="is missing, and the job brings no image")
            )
    found += sagemaker.image(algorithm, f"{place}.TrainingImage")
    if request.entry_point:
        algorithm["ContainerEntrypoint"] = list(request.entry_point)
    if request.args:
        algorithm["ContainerArguments"] = list(request.args)
    if request.working_dir:
        words = algorithm.get("ContainerEntrypoint")
        if words:
            algorithm["ContainerEntrypoint"] = [*_IN_FOLDER, request.working_dir, *words]
        else:
            why = "is missing, and a working directory needs one: SageMaker has none of its own"
            found.append(Problem(place=f"{place}.ContainerEntrypoint", why=why))
    for key in ("ContainerEntrypoint", "ContainerArguments"):
        found += sagemaker.words(f"{place}.{key}", algorithm.get(key))
    return algorithm


def _environment(
    request: RunRequest, given: Mapping[str, Any], key_secret: str, found: list[Problem]
) -> dict[str, str]:
    try:
        merged = env.merged(request, env.pairs(given))
    except ValueError:
        found.append(Problem(place="Environment", why="is no mapping of names to texts"))
        return {}
    if key_secret and KEY in request.secret_env:
        merged.pop(KEY, None)
        merged[KEY_ADDRESS] = key_secret
    for name, value in merged.items():
        if len(value) > sagemaker.LONGEST_VALUE:
            why = f"has {len(value)} characters, {sagemaker.LONGEST_VALUE} at most"
            found.append(Problem(place=f"Environment.{name}", why=why))
    if len(merged) > sagemaker.MOST_VARIABLES:
        why = (
            f"and the run's own variables are {len(merged)}, {sagemaker.MOST_VARIABLES} at most (a large run "
            f"config takes one for each {sagemaker.LONGEST_VALUE} characters)"
        )
        found.append(Problem(place="Environment", why=why))
    return merged
