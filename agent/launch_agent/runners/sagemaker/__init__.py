"""The target resource `sagemaker`: training jobs of Amazon SageMaker.

request     run request -> CreateTrainingJob's request (pure)
tags        identity <-> tags and the job's name (pure)
states      a job's description -> where the run is, with what to change (pure)
refusals    the service's errors -> errors of runners (pure)
service     the three services that are spoken to, with fresh credentials
listing     what all jobs are doing: a few requests a minute, however many there are
logs        the end of what a job printed, from CloudWatch Logs
runner, run create, find again, follow, stop
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from launch_agent import plugins
from launch_agent.errors import ConfigError
from launch_agent.runners import Runner
from launch_agent.runners.sagemaker import listing
from launch_agent.runners.sagemaker.runner import SageMakerRunner
from launch_agent.runners.sagemaker.service import Service


def create(options: Mapping[str, Any]) -> Runner:
    """The runner for `runner.sagemaker` of the config. Connects to nothing yet.

    `options["environment"]` is the config's `environment` part. Raises ConfigError where it is not AWS.
    """
    environment = options.get("environment") or {}
    if environment.get("type") != "aws":
        raise ConfigError(
            "jobs for SageMaker need credentials of AWS, and the config's environment is "
            f"{environment.get('type') or 'not set'}",
            path="environment.type",
            hint="set 'environment: {type: aws, region: …}' in the agent's config",
        )
    aws = plugins.load("environments", "aws").create(environment)
    return SageMakerRunner(
        Service(aws.session, region=aws.region, endpoints=options.get("endpoints", {})),
        key_secret=str(options.get("api-key-secret", "")),
        is_kept=bool(options.get("keep", True)),
        fresh=float(options.get("poll", listing.ROUND_SECONDS)),
    )
