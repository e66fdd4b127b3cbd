"""What the documents tell a reader to type or to open is there."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from launch_agent.cli.main import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted(path.name for path in ROOT.glob("*.md"))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


def make(*arguments: str) -> str:
    """Run make and return what it prints. The tests may themselves run below make: it must not know."""
    environment = {
        key: value
        for key, value in os.environ.items()
        if key not in {"STAGES", "MAKEFLAGS", "MFLAGS", "MAKELEVEL", "ARGS"}
    }
    done = subprocess.run(
        ["make", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", DOCUMENTS)
def test_make_targets_that_are_named_exist(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    named = set(re.findall(r"(?:`|^ {4,})make ([a-z][a-z-]*)", text, re.MULTILINE))
    assert named <= TARGETS


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_within_the_repository_lead_somewhere(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    local = [link.partition("#")[0] for link in links if "://" not in link and not link.startswith("#")]
    assert [link for link in local if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("name", ["README.md", "SECURITY.md"])
def test_commands_that_are_named_exist(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    # In code only: prose says "a launch-agent config".
    named = set(re.findall(r"(?:`|^ {4,}\$? ?|^\$ )launch-agent ([a-z]+)\b", text, re.MULTILINE))
    assert named <= set(COMMANDS)


def test_every_make_target_is_listed_by_help_and_can_be_planned() -> None:
    (phony,) = re.findall(r"^\.PHONY: (.*)$", MAKEFILE.replace("\\\n", " "), re.MULTILINE)
    assert set(phony.split()) == TARGETS
    listed = make("-s", "help")
    assert {line.split()[0] for line in listed.splitlines()} == TARGETS
    for target in sorted(TARGETS):
        make("-n", target)


def test_the_hook_and_the_action_call_the_lint() -> None:
    hook, values = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    assert hook["entry"] == "launch-agent lint"
    assert re.search(hook["files"], "clusters/a/launch-config.yaml")
    assert not re.search(hook["files"], "docs/launch-config.md")
    assert values["entry"] == "launch-agent lint --kind chart-values"
    for file in ("launch-agent.yaml", "clusters/eu/launch-agent-values.yml", "launch-agent/eu-1.yaml"):
        assert re.search(values["files"], file)
    assert not re.search(values["files"], "clusters/eu/values.yaml")
    action = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    script = action["runs"]["steps"][-1]["run"]
    assert 'launch-agent" lint --format github' in script
    # An expression inside of a script would let an input become program text.
    assert not any("${{" in step.get("run", "") for step in action["runs"]["steps"])
