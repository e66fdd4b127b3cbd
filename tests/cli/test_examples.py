"""The examples say what they show, and the linter has nothing to say about them, not even with --strict."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from launch_agent.cli.lint import command
from launch_agent.config.judge import Kind, kind_of

EXAMPLES = Path(__file__).parents[2] / "examples"
VALUES = sorted((EXAMPLES / "values").glob("*.yaml"))
MANY = EXAMPLES / "values" / "many-clusters"
CLUSTERS = ["eu-1.yaml", "lab.yaml", "us-1.yaml"]


def lint(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(command, list(map(str, arguments)))
    return result.exit_code, result.stdout + result.stderr.partition(": ")[2].replace("no findings\n", "")


def content(file: Path) -> Any:
    return yaml.safe_load(file.read_text(encoding="utf-8"))


SHOWS = {
    "aks-access-key": pytest.mark.req("CHART-24", "KAN-29"),
    "aks-workload-identity": pytest.mark.req("CHART-20", "CON-11", "KAN-23", "SEC-6"),
    "eks-kaniko": pytest.mark.req("CON-16", "KAN-23"),
    "gke-kaniko": pytest.mark.req("CHART-20", "KAN-23", "SEC-6"),
    "git-ssh": pytest.mark.req("CON-14", "GIT-2", "GIT-3", "GIT-7"),
    "on-premises": pytest.mark.req("CHART-11"),
}


@pytest.mark.req("CARD-9")
@pytest.mark.parametrize("file", [pytest.param(f, marks=SHOWS.get(f.stem, ())) for f in VALUES])
def test_values_are_in_order(file: Path) -> None:
    assert lint("--strict", file) == (0, "")
    assert kind_of(content(file)) is Kind.CHART_VALUES


@pytest.mark.req("CARD-8", "CARD-9")
def test_all_clusters_are_in_order_over_their_base() -> None:
    assert lint("--strict", "--base", MANY / "base.yaml", *(MANY / name for name in CLUSTERS)) == (0, "")
    for name in CLUSTERS:
        assert lint("--strict", "--merge", MANY / "base.yaml", MANY / name) == (0, "")


@pytest.mark.req("CARD-9", "GAP-12")
@pytest.mark.parametrize("folder", ["launch-configs", "queue-configs"])
def test_configs_are_in_order(folder: str) -> None:
    assert lint("--strict", EXAMPLES / folder) == (0, "")


@pytest.mark.req("CARD-8")
def test_helmfile_and_argo_lay_the_same_files_over_each_other() -> None:
    environments, releases = yaml.safe_load_all((MANY / "helmfile.yaml.gotmpl").read_text(encoding="utf-8"))
    assert sorted(f"{name}.yaml" for name in environments["environments"]) == CLUSTERS
    (release,) = releases["releases"]
    assert release["values"] == ["base.yaml", "{{ .Environment.Name }}.yaml"]
    chart, values = content(MANY / "applicationset.yaml")["spec"]["template"]["spec"]["sources"]
    assert chart["helm"]["valueFiles"] == [
        f"${values['ref']}/clusters/base.yaml",
        f"${values['ref']}/clusters/{{{{ .name }}}}.yaml",
    ]


def test_every_values_file_is_listed() -> None:
    listed = re.findall(r"\]\((values/[^)]+)\)", (EXAMPLES / "README.md").read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(f"values/{file.name}" for file in [*VALUES, MANY])


@pytest.mark.req("GIT-7")
def test_both_ways_of_git_credentials_are_shown() -> None:
    assert content(EXAMPLES / "values" / "git-ssh.yaml")["sshAuthSecrets"][0]["host"] == "github.com"
    https = (EXAMPLES / "values" / "on-premises.yaml").read_text(encoding="utf-8")
    assert "https://user:token@" in https
    assert content(EXAMPLES / "values" / "on-premises.yaml")["gitCredsSecret"]["name"]


def test_no_example_has_a_credential() -> None:
    for file in EXAMPLES.rglob("*.yaml"):
        text = file.read_text(encoding="utf-8")
        assert "apiKey:" not in text
        assert "PRIVATE KEY" not in text
