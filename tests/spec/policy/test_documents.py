"""The examples of docs/kubernetes-queues.md are what they say they are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from launch_agent.config import schema
from launch_agent.runners.env import IDENTITY_KEYS
from launch_agent.spec.kubernetes import defaults
from launch_agent.spec.policy.kubernetes_limits import Limits

TEXT = (Path(__file__).parents[3] / "docs" / "kubernetes-queues.md").read_text(encoding="utf-8")
QUEUE, POLICY = (yaml.safe_load(each) for each in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL))


@pytest.mark.req("K8S-7")
def test_the_least_configuration_is_whole() -> None:
    assert defaults.with_defaults(QUEUE)["kind"] == "Job"


def test_what_is_added_is_what_the_table_says() -> None:
    rows = dict(
        re.findall(r"^\| (?:Job|Job and Pod|every container): `(\S+)` \| `(.+)` \|$", TEXT, re.MULTILINE)
    )
    job: dict[str, Any] = defaults.with_defaults({})
    pod = job["spec"]["template"]["spec"]
    found = {
        "spec.backoffLimit": job["spec"]["backoffLimit"],
        "spec.ttlSecondsAfterFinished": job["spec"]["ttlSecondsAfterFinished"],
        "restartPolicy": pod["restartPolicy"],
    }
    context = pod["containers"][0]["securityContext"]
    found["securityContext.allowPrivilegeEscalation"] = context["allowPrivilegeEscalation"]
    found["securityContext.capabilities.drop"] = context["capabilities"]["drop"]
    found["securityContext.seccompProfile.type"] = context["seccompProfile"]["type"]
    assert {key: yaml.safe_load(value) for key, value in rows.items()} == found


def test_the_bounds_are_legal_and_complete() -> None:
    assert schema.findings("policy", POLICY["policy"]) == []
    bounds = POLICY["policy"]["kubernetes"]
    assert bounds.keys() == schema.load("policy")["properties"]["kubernetes"]["properties"].keys()
    assert Limits.of(bounds).max_memory == 2 * 2**40


def test_the_names_that_tell_runs_apart_are_all_there() -> None:
    for name in IDENTITY_KEYS:
        assert f"`{name}`" in TEXT
