"""A SageMaker queue's configuration, as far as it can be judged without AWS: before anything is built.

It is the request of CreateTrainingJob. Names and types are the service's own matter; here stand the parts
that no training job can do without, and the limits that a user meets.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from launch_agent.spec import shapes
from launch_agent.spec.problem import Problem

RESOURCE = "sagemaker"
# `TrainingEnvironmentValue`, `TrainingEnvironmentMap`, `TrainingContainerArgument(s)` and `TagList` of the
# API's model.
LONGEST_VALUE = 512
MOST_VARIABLES = 100
LONGEST_ARGUMENT = 256
MOST_ARGUMENTS = 100
MOST_TAGS = 50
OWN_TAG_PREFIX = "launch-agent/"
# How many tags the agent itself puts on a job, and room for more in a later release.
OWN_TAGS = 12
_ECR = re.compile(
    r"\d{12}\.dkr[.-]ecr(-fips)?\.[a-z0-9-]+\.(amazonaws\.com(\.cn)?|on\.aws|on\.amazonwebservices\.com\.cn)/.+"
)
# What the agent fills in.
_OURS = frozenset({"TrainingJobName", "AlgorithmSpecification.TrainingInputMode"})
NO_KEY = shapes.NO_KEY
_ECR_HINT = (
    "push the image to ECR in the job's region: builder.destination <account>.dkr.ecr.<region>.…/<name>"
)


def is_ecr(image: str) -> bool:
    """Whether an image, or a repository, is in a private ECR registry, the only one that training jobs read
    without further ado."""
    return _ECR.match(image) is not None


def problems(args: Mapping[str, Any]) -> list[Problem]:
    """Everything for which no training job can come of these arguments."""
    return list(_problems(args))


@cache
def api() -> shapes.Shape:
    """What the request of CreateTrainingJob may hold: an extract of the model that boto3 brings, without the
    lists of words, which grow with every new machine."""
    text = (Path(__file__).parent / "sagemaker_api.json").read_text(encoding="utf-8")
    return shapes.Shape(shapes=json.loads(text), name="CreateTrainingJobRequest")


def misfits(args: Mapping[str, Any]) -> list[Problem]:
    """What does not fit the API's own description, beside `problems`. A key that it does not know may as well
    be newer than this agent (`NO_KEY`); an agent asks the SDK that it has."""
    known = {problem.place for problem in problems(args)} | _OURS
    given = {key: value for key, value in args.items() if key != "builder"}
    found = shapes.problems(api(), shapes.fitted(api(), given))
    return [problem for problem in found if problem.place not in known]


def _problems(args: Mapping[str, Any]) -> Iterator[Problem]:
    if not _is_text(args.get("RoleArn")):
        yield _missing("RoleArn", "the role that the job runs as: arn:aws:iam::<account>:role/<name>")
    if "ServerlessJobConfig" not in args:
        yield from _resources(args.get("ResourceConfig"))
        if not args.get("StoppingCondition"):
            yield _missing("StoppingCondition", "StoppingCondition: {MaxRuntimeInSeconds: 86400}")
        yield from _spot(args)
    yield from _output(args.get("OutputDataConfig"))
    yield from _algorithm(args.get("AlgorithmSpecification"))
    yield from _environment(args.get("Environment"))
    yield from _tags(args.get("Tags"))


def _resources(given: Any) -> Iterator[Problem]:
    if not given:
        yield _missing("ResourceConfig", "it says on how many instances of which type the job runs")
        return
    if not isinstance(given, Mapping):
        yield Problem(place="ResourceConfig", why="is no mapping")
        return
    needed = [] if given.get("InstanceGroups") else ["InstanceCount"]
    if not (given.get("InstanceGroups") or given.get("InstancePreferences")):
        needed.insert(0, "InstanceType")
    if not given.get("InstancePreferences"):
        needed.append("VolumeSizeInGB")
    for key in needed:
        # 0 is a size: instance types with disks of their own take no other.
        if given.get(key) in (None, ""):
            yield _missing(f"ResourceConfig.{key}")


def _spot(args: Mapping[str, Any]) -> Iterator[Problem]:
    """Spot training has a time to wait for capacity, which holds the time to run as well."""
    given = args.get("StoppingCondition")
    if args.get("EnableManagedSpotTraining") is not True or not isinstance(given, Mapping) or not given:
        return
    place, runtime = "StoppingCondition.MaxWaitTimeInSeconds", given.get("MaxRuntimeInSeconds", 86_400)
    wait = given.get("MaxWaitTimeInSeconds")
    if wait is None:
        yield _missing(place, "spot training needs one: MaxRuntimeInSeconds and the time to wait together")
    elif isinstance(wait, int) and isinstance(runtime, int) and wait < runtime:
        yield Problem(place=place, why=f"is {wait}, less than MaxRuntimeInSeconds, which it has to hold")


def _output(given: Any) -> Iterator[Problem]:
    if not given:
        yield _missing("OutputDataConfig", "OutputDataConfig: {S3OutputPath: s3://<bucket>/<folder>}")
    elif not isinstance(given, Mapping):
        yield Problem(place="OutputDataConfig", why="is no mapping")
    elif not _is_text(given.get("S3OutputPath")):
        yield _missing("OutputDataConfig.S3OutputPath", "s3://<bucket>/<folder>")


def _algorithm(given: Any) -> Iterator[Problem]:
    if given is None:
        return
    place = "AlgorithmSpecification"
    if not isinstance(given, Mapping):
        yield Problem(place=place, why="is no mapping")
        return
    for key in ("ContainerEntrypoint", "ContainerArguments"):
        yield from words(f"{place}.{key}", given.get(key))
    yield from image(given, f"{place}.TrainingImage")


def image(algorithm: Mapping[str, Any], place: str) -> Iterator[Problem]:
    """What is wrong with the image of an AlgorithmSpecification; a macro will be one that the agent knows."""
    named = str(algorithm.get("TrainingImage") or "")
    if named and "${" not in named and not algorithm.get("TrainingImageConfig") and not is_ecr(named):
        yield Problem(
            place=place,
            why=f"is {named!r}, and training jobs read images of ECR alone, or of a registry in their VPC "
            "that TrainingImageConfig opens",
            hint=_ECR_HINT,
        )


def words(place: str, given: Any) -> Iterator[Problem]:
    """What is wrong with a command line: the service takes no long words, and none with a line's end."""
    if given is None:
        return
    if not isinstance(given, list | tuple):
        yield Problem(place=place, why="is no list of texts")
        return
    if len(given) > MOST_ARGUMENTS:
        yield Problem(place=place, why=f"has {len(given)} words, {MOST_ARGUMENTS} at most")
    for number, word in enumerate(given):
        text = str(word)
        if len(text) > LONGEST_ARGUMENT:
            hint = "hand long values over in the run's config, or in a file"
            why = f"has {len(text)} characters, {LONGEST_ARGUMENT} at most"
            yield Problem(place=f"{place}[{number}]", why=why, hint=hint)
        elif "\n" in text or "\r" in text:
            why = "holds the end of a line, which SageMaker does not take in a command"
            yield Problem(place=f"{place}[{number}]", why=why, hint="put the script into the image")


def _environment(given: Any) -> Iterator[Problem]:
    if given is None:
        return
    if not isinstance(given, Mapping):
        yield Problem(place="Environment", why="is no mapping of names to texts")
        return
    for name, value in given.items():
        if not isinstance(value, str | int | float) or "\0" in str(value):
            yield Problem(place=f"Environment.{name}", why="has no text as its value")
        elif len(str(value)) > LONGEST_VALUE:
            why = f"has {len(str(value))} characters, {LONGEST_VALUE} at most"
            yield Problem(place=f"Environment.{name}", why=why)


def _tags(given: Any) -> Iterator[Problem]:
    if not given:
        return
    if not isinstance(given, list | tuple) or not all(
        isinstance(tag, Mapping) and isinstance(tag.get("Key"), str) and "Value" in tag for tag in given
    ):
        yield Problem(place="Tags", why="is no list of {Key, Value}")
        return
    for number, tag in enumerate(given):
        if tag["Key"].startswith(OWN_TAG_PREFIX) or tag["Key"] == "app.kubernetes.io/managed-by":
            yield Problem(place=f"Tags[{number}].Key", why=f"is {tag['Key']!r}, which is the agent's own tag")
    if len(given) > MOST_TAGS - OWN_TAGS:
        why = f"has {len(given)}, {MOST_TAGS - OWN_TAGS} at most beside the agent's own"
        yield Problem(place="Tags", why=why)


def _missing(place: str, hint: str = "") -> Problem:
    return Problem(place=place, why="is missing", hint=hint)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)
