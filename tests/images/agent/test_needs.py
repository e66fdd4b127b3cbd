"""What a config needs, with its reasons; what cannot be told is one clear error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import yaml

from launch_agent.errors import ConfigError
from launch_agent.images.agent import needs

EXAMPLES = Path(__file__).parents[3] / "examples"


def read(*values: Mapping[str, object]) -> needs.Needs:
    return needs.read(
        {f"{number}.yaml": yaml.safe_dump(dict(each)).encode() for number, each in enumerate(values)}
    )


def chart(config: Mapping[str, object], **values: object) -> Mapping[str, object]:
    return {"agent": {"apiKeySecret": {"name": "k"}}, "launchConfig": {"queues": ["q"], **config}, **values}


AWS = {"environment": {"type": "aws", "region": "us-east-1"}}


@pytest.mark.parametrize(
    ("config", "extras", "programs"),
    [
        ({"builder": {"type": "noop"}}, [], []),
        ({**AWS, "builder": {"type": "noop"}}, ["aws"], []),
        ({"environment": {"type": "azure"}, "builder": {"type": "noop"}}, ["azure"], []),
        ({"builder": {"type": "noop"}, "runner": {"kubernetes": {"context": "lab"}}}, ["kubernetes"], []),
        ({"builder": {"type": "noop"}, "runner": {"local-container": {}}}, ["docker"], []),
        ({"builder": {"type": "layers", "destination": "registry.example.com/jobs"}}, ["image"], ["git"]),
        (
            {
                "builder": {
                    "type": "buildkit",
                    "destination": "registry.example.com/jobs",
                    "buildkit-address": "tcp://b:1",
                }
            },
            [],
            ["buildctl", "git"],
        ),
        # A registry of a cloud that the environment is not of is opened by a Docker config.
        ({"builder": {"type": "docker", "destination": "registry.example.com/jobs"}}, ["docker"], ["git"]),
    ],
)
def test_the_chart_s_agent_needs_what_its_config_names(
    config: Mapping[str, object], extras: Sequence[str], programs: Sequence[str]
) -> None:
    found = read(chart(config))
    assert list(found.extras) == extras
    assert list(found.programs) == programs
    assert all(reasons for reasons in (*found.extras.values(), *found.programs.values()))


def test_variables_and_secrets_of_the_values_count() -> None:
    noop = {"builder": {"type": "noop"}}
    assert list(read(chart(noop, additionalEnvVars={"KUBECONFIG": "/x"})).extras) == ["kubernetes"]
    variables = [{"name": "DOCKER_HOST", "value": "tcp://x:1"}]
    assert list(read(chart(noop, additionalEnvVars=variables)).extras) == ["docker"]
    ssh = [{"host": "github.com", "name": "key"}]
    assert list(read(chart(noop, sshAuthSecrets=ssh)).programs) == ["openssh-client"]


def test_later_values_are_laid_over_earlier_ones() -> None:
    found = read(chart({"builder": {"type": "noop"}}), {"launchConfig": {"environment": {"type": "azure"}}})
    assert list(found.extras) == ["azure"]


def test_a_config_outside_of_a_cluster_may_meet_an_engine() -> None:
    found = read({"queues": ["q"]})
    assert list(found.extras) == ["docker"]
    assert (
        list(read({"queues": ["q"], "runner": {"kubernetes": {}}, "builder": {"type": "noop"}}).extras) == []
    )


def test_the_port_of_the_health_check_is_the_config_s() -> None:
    assert read({"queues": ["q"], "metrics": {"port": 9191}}).port == 9191


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ([{"agent": {"apiKey": "k"}, "kanikoPvcName": "c"}], "there is no launch config"),
        ([{"queues": ["q"]}, {"queues": ["r"]}], "several launch configs"),
        ([{"queues": ["q"], "builder": {"type": "magic"}}], "magic"),
        ([chart({"builder": {"type": "magic"}})], "magic"),
        ([{"launchConfig": "ENC[AES256_GCM,data:abc]", "gitCreds": ""}], "encrypted"),
        ([{"resource_args": {"kubernetes": {"kind": "Job"}}}], "queue's configuration"),
    ],
)
def test_what_cannot_be_told_is_one_clear_error(files: list[Mapping[str, object]], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        read(*files)
