"""What the chart's README and UPGRADING tell people to write works as it stands there."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tests.fakes.helm import CHART, Helm

FILES = ("README.md", "UPGRADING.md")
BLOCK = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MINIMAL: dict[str, Any] = {"agent": {"apiKey": "0123456789"}, "launchConfig": {"queues": ["gpu"]}}


def blocks() -> list[tuple[str, str]]:
    """Name and text of each values file that is shown."""
    found = []
    for name in FILES:
        text = (CHART / name).read_text(encoding="utf-8")
        found += [(f"{name}-{number}", block[1]) for number, block in enumerate(BLOCK.finditer(text))]
    return found


@pytest.mark.req("GIT-7", "GAP-16")
@pytest.mark.parametrize("text", [text for _, text in blocks()], ids=[name for name, _ in blocks()])
def test_what_is_shown_renders(helm: Helm, text: str) -> None:
    shown: dict[str, Any] = yaml.safe_load(text)
    values = {**MINIMAL, **shown}
    if "apiKeySecret" not in shown.get("agent", {}):
        values["agent"] = {**MINIMAL["agent"], **shown.get("agent", {})}
    if "sshAuthSecrets" not in shown:
        values.setdefault("sshAuthSecrets", [{"name": "key", "host": "github.com"}] * ("knownHosts" in shown))
    assert helm.template(values)


@pytest.mark.req("SEC-1", "SEC-2", "GAP-22", "GIT-4", "K8S-22", "CW-2", "CW-3", "CW-4")
def test_what_has_to_be_said_is_said() -> None:
    text = " ".join((CHART / "README.md").read_text(encoding="utf-8").split())
    for words in (
        "That of a service account is best: the agent then depends on no person",
        "each run shows who submitted it",
        "helm install launch wandb/launch-agent --namespace wandb --values values.yaml",
        "helm upgrade launch wandb/launch-agent --namespace wandb --values values.yaml",
        "The form of a job's repository address decides",
        "EKS, GKE and AKS give such identities; on other clusters",
        "CoreWeave, a cloud made for GPU workloads",
        "with an account there and its documentation on W&B at hand",
    ):
        assert words in text


def test_every_alert_is_listed(helm: Helm) -> None:
    values = {**MINIMAL, "metrics": {"prometheusRule": {"enabled": True}}}
    rules = next(each for each in helm.template(values) if each["kind"] == "PrometheusRule")
    alerts = [rule["alert"] for rule in rules["spec"]["groups"][0]["rules"]]
    text = (CHART / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(LaunchAgent\w+)`", text, re.MULTILINE) == alerts
