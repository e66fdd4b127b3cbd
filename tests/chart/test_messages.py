"""Values that cannot work fail before anything is created, and the message says where and what to change."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.fakes.helm import CHART, Helm, HelmFailed

GOOD: dict[str, Any] = {"agent": {"apiKey": "0" * 40}, "launchConfig": {"queues": ["gpu"]}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bad:
    """What is laid over GOOD (or given as flags), and what the message must contain; all of it."""

    name: str
    values: dict[str, Any] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    says: tuple[str, ...]


SCHEMA = [
    Bad(
        name="a number for a text",
        values={"agent": {"apiKey": 5}},
        says=("'/agent/apiKey'", "got number, want string"),
    ),
    Bad(
        name="a text for a list",
        values={"additionalTargetNamespaces": "training"},
        says=("'/additionalTargetNamespaces'", "got string, want null or array"),
    ),
    Bad(
        name="a text for a truth value",
        values={"rbac": {"create": "yes"}},
        says=("'/rbac/create'", "got string, want boolean"),
    ),
    Bad(
        name="a misspelt key",
        values={"launchconfig": "queues: [gpu]"},
        says=("additional properties 'launchconfig' not allowed",),
    ),
    Bad(
        name="a misspelt key of the agent",
        values={"agent": {"apikey": "x"}},
        says=("'/agent'", "additional properties 'apikey' not allowed"),
    ),
    Bad(
        name="a misspelt key of the launch config",
        values={"launchConfig": {"queus": ["gpu"]}},
        says=("'/launchConfig'", "'queus'"),
    ),
    Bad(
        name="a wrong type in the launch config",
        values={"launchConfig": {"queues": ["gpu"], "max_jobs": "many"}},
        says=("'/launchConfig/max_jobs'",),
    ),
    Bad(
        name="a kind of builder that does not exist",
        values={"launchConfig": {"queues": ["gpu"], "builder": {"type": "kanico"}}},
        says=("'/launchConfig/builder/type'", "'kaniko'"),
    ),
    Bad(
        name="a pull policy that does not exist",
        values={"agent": {"imagePullPolicy": "Sometimes"}},
        says=("'/agent/imagePullPolicy'", "'Always'", "'IfNotPresent'", "'Never'"),
    ),
    Bad(
        name="an address that is none",
        flags=("--set", "baseUrl=wandb.example.com"),
        says=("'/baseUrl'",),
    ),
]

TEMPLATES = [
    Bad(
        name="no API key",
        flags=("--set", "agent.apiKey="),
        says=("agent.apiKey: ", "agent.apiKeySecret.name"),
    ),
    Bad(
        name="an API key in two lines",
        values={"agent": {"apiKey": "0000\n1111"}},
        says=("agent.apiKey: it holds white space",),
    ),
    Bad(
        name="no launch config",
        flags=("--set-json", "launchConfig=null"),
        says=("launchConfig: there is no launch config", "queues"),
    ),
    Bad(
        name="an empty launch config",
        values={"launchConfig": "\n"},
        says=("launchConfig: there is no launch config",),
    ),
    Bad(
        name="a launch config with a tab",
        values={"launchConfig": "queues:\n- gpu\nbuilder:\n\ttype: noop\n"},
        says=("launchConfig: line 4 ", "tab"),
    ),
    Bad(
        name="a launch config that is not YAML",
        values={"launchConfig": "queues: [gpu\nmax_jobs: 2\n"},
        says=("launchConfig: it is not a launch config: ", "line", "launch-agent lint"),
    ),
    Bad(
        name="a launch config that is a list",
        values={"launchConfig": "- queues\n- gpu\n"},
        says=("launchConfig: it is not a launch config: it is not a mapping",),
    ),
    Bad(
        name="a launch config without queues",
        values={"launchConfig": "max_jobs: 2\n"},
        says=("launchConfig.queues: no queue is named",),
    ),
    Bad(
        name="an alias without queues",
        values={"launchConfig": None, "agentConfig": "max_jobs: 2\n"},
        says=("agentConfig.queues: no queue is named",),
    ),
    Bad(
        name="a placeholder that was left",
        values={"launchConfig": "queues:\n- <queue name>\n"},
        says=("launchConfig: ", "<queue name>"),
    ),
    Bad(
        name="both names of the launch config",
        values={"agentConfig": "queues: [cpu]\n"},
        says=("agentConfig: launchConfig is set too", "Keep launchConfig"),
    ),
    Bad(
        name="SSH keys without known hosts",
        values={"sshAuthSecrets": [{"name": "deploy-key", "host": "git.example.com"}]},
        says=("knownHosts: ", "ssh-keyscan git.example.com", "strictHostKeyChecking"),
    ),
    Bad(
        name="a service account that nobody makes",
        values={"serviceAccount": {"create": False}},
        says=("serviceAccount.name: ",),
    ),
    Bad(
        name="both limits of disruption",
        values={"podDisruptionBudget": {"minAvailable": 1, "maxUnavailable": 1}},
        says=("podDisruptionBudget: minAvailable and maxUnavailable are both set",),
    ),
]


def laid_over(values: dict[str, Any]) -> dict[str, Any]:
    """GOOD with values merged in as Helm merges two files, a launch config replaced whole."""
    merged = {**GOOD, **values}
    merged["agent"] = {**GOOD["agent"], **values.get("agent", {})}
    return merged


def message(helm: Helm, bad: Bad, *command: str) -> str:
    """What Helm says of the values; they must fail."""
    text = json.dumps(laid_over(bad.values))
    with pytest.raises(HelmFailed) as failed:
        helm.run(*command, "gpu", str(CHART), "-f", "-", *bad.flags, stdin=text)
    return str(failed.value)


@pytest.mark.req("CARD-6", "CARD-9")
@pytest.mark.parametrize("bad", [*SCHEMA, *TEMPLATES], ids=lambda bad: bad.name)
def test_bad_values_are_refused_with_the_path(helm: Helm, bad: Bad) -> None:
    said = message(helm, bad, "template")
    missing = [words for words in bad.says if words not in said]
    assert not missing, f"{missing} not in: {said}"


def test_good_values_are_not(helm: Helm) -> None:
    assert helm.template(GOOD)


@pytest.mark.parametrize("bad", SCHEMA, ids=lambda bad: bad.name)
def test_lint_says_the_same(helm: Helm, bad: Bad) -> None:
    """`helm lint`, which has no release name, is what most teams run first."""
    text = json.dumps(laid_over(bad.values))
    with pytest.raises(HelmFailed) as failed:
        helm.run("lint", str(CHART), "-f", "-", *bad.flags, stdin=text)
    assert bad.says[0] in str(failed.value)


def test_all_that_is_wrong_is_said_at_once(helm: Helm) -> None:
    both = Bad(name="two", values={"agent": {"apiKey": ""}, "launchConfig": "max_jobs: 1\n"}, says=())
    said = message(helm, both, "template")
    assert "agent.apiKey: " in said
    assert "launchConfig.queues: " in said


@pytest.mark.timeout(300)
@pytest.mark.parametrize("bad", [SCHEMA[0], SCHEMA[3], TEMPLATES[0], TEMPLATES[2]], ids=lambda bad: bad.name)
def test_a_refused_install_creates_nothing(cluster_helm: Helm, namespace: str, bad: Bad) -> None:
    said = message(cluster_helm, bad, "install", "-n", namespace)
    assert all(words in said for words in bad.says), said
    assert cluster_helm.json("list", "-n", namespace) == []
