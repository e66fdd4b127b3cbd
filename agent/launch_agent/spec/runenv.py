"""The environment variables that tie a run to its queue item and hand it its overrides.

The names are the contract of the official client: `wandb.init()` reads them inside the run. Texts that are
longer than a platform's variables may be are cut into `NAME_0`, `NAME_1`, …, which the client joins again
where `NAME` itself is absent; so never both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from launch_agent.errors import LaunchError
from launch_agent.spec.model import RunIdentity, RunSpec
from launch_agent.spec.secret import Secret

# The slot under which the client records the job as an input of the run (`wandb.util` of the client).
_JOB_SLOT = "_wandb_job"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnv:
    """`env` may be seen by anybody, `secret_env` may not."""

    env: Mapping[str, str]
    secret_env: Mapping[str, Secret]


def make(
    spec: RunSpec,
    identity: RunIdentity,
    *,
    base_url: str,
    api_key: Secret,
    env_limit: int,
    image: str = "",
) -> RunEnv:
    """The environment of one run.

    `api_key` is the agent's own, used where the submitter's does not travel with the job. `env_limit` is the
    longest value in characters; it holds for bytes too, because every text that is cut is ASCII. Raises
    LaunchError where a text that cannot be cut is too long.
    """
    env = {
        "WANDB_BASE_URL": base_url,
        "WANDB_PROJECT": identity.project,
        "WANDB_ENTITY": identity.entity,
        "WANDB_LAUNCH": "True",
        "WANDB_RUN_ID": identity.run_id,
        "WANDB_LAUNCH_QUEUE_NAME": identity.queue,
        "WANDB_LAUNCH_QUEUE_ENTITY": identity.queue_entity,
        "WANDB_LAUNCH_TRACE_ID": identity.item_id,
        "WANDB_DOCKER": image,
        "WANDB_NAME": spec.name,
        # A run under the submitter's own key is the submitter's already.
        "WANDB_USERNAME": "" if spec.api_key else spec.author,
        "WANDB_SWEEP_ID": spec.sweep_id,
        "WANDB_RESUME": "allow" if spec.resume_count else "",
    }
    env = {name: value for name, value in env.items() if value}
    # Set even when empty: the client's helpers for jobs fail where neither WANDB_CONFIG nor chunks exist.
    env |= chunks("WANDB_CONFIG", _json(spec.overrides.run_config), env_limit)
    if spec.overrides.files:
        env |= chunks("WANDB_LAUNCH_FILE_OVERRIDES", _json(spec.overrides.files), env_limit)
    env |= _artifacts(spec, env_limit)
    key = spec.api_key or api_key
    return RunEnv(env=env, secret_env={"WANDB_API_KEY": key} if key else {})


def chunks(name: str, text: str, limit: int) -> dict[str, str]:
    """`text` as one variable where it fits into `limit` characters, else as `NAME_0`, `NAME_1`, …"""
    if limit < 1:
        raise ValueError(f"a limit of {limit} characters leaves no room")
    if len(text) <= limit:
        return {name: text}
    starts = range(0, len(text), limit)
    return {f"{name}_{number}": text[start : start + limit] for number, start in enumerate(starts)}


def _artifacts(spec: RunSpec, limit: int) -> dict[str, str]:
    """The client reads this one whole only, so it cannot be cut."""
    artifacts = {_JOB_SLOT: spec.job} if spec.job else {}
    artifacts |= spec.overrides.artifacts
    if not artifacts:
        return {}
    text = _json(artifacts)
    if len(text) > limit:
        raise LaunchError(
            f"the job's artifact overrides make {len(text)} characters, and an environment variable on "
            f"{spec.resource} holds {limit}",
            hint="override fewer artifacts in one job",
        )
    return {"WANDB_ARTIFACTS": text}


def _json(value: Mapping[str, Any]) -> str:
    """Compact and pure ASCII: no platform's encoding can change it, and characters are bytes."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True)
