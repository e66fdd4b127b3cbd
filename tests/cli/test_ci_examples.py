"""The examples for CI do what they say: what they would run is run, on the example clusters."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
HOOKS = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))

pytestmark = pytest.mark.req("CARD-9")


def content(name: str) -> Any:
    return yaml.safe_load((ROOT / "examples" / "ci" / name).read_text(encoding="utf-8"))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """What the examples take for their own repository, with the command in place of its installation."""
    shutil.copytree(ROOT / "examples" / "values" / "many-clusters", tmp_path / "clusters")
    (tmp_path / "clusters" / "applicationset.yaml").unlink()
    programs = tmp_path / "launch-agent" / "bin"
    programs.mkdir(parents=True)
    command = programs / "launch-agent"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m launch_agent "$@"\n')
    command.chmod(0o755)
    return tmp_path


def break_cluster(repository: Path) -> None:
    file = repository / "clusters" / "lab.yaml"
    file.write_text(file.read_text().replace("max_jobs: 2", "max_jobs: two"))


def run(script: str, repository: Path, shell: str = "sh", **more: str) -> subprocess.CompletedProcess[str]:
    path = f"{repository / 'launch-agent' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "RUNNER_TEMP": str(repository), **more}
    return subprocess.run(
        [shell, "-e", "-c", script], cwd=repository, env=environment, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip


def action(repository: Path, **inputs: str) -> subprocess.CompletedProcess[str]:
    """The last step of the action, with its inputs as GitHub hands them over."""
    given = {name: str(each["default"]) for name, each in ACTION["inputs"].items()} | inputs
    step = ACTION["runs"]["steps"][-1]
    variables = {
        name: given[found[1]]
        for name, value in step["env"].items()
        if (found := re.fullmatch(r"\${{ inputs\.([a-z-]+) }}", value))
    }
    assert variables.keys() == step["env"].keys()
    return run(step["run"], repository, "bash", **variables)


def test_github(repository: Path) -> None:
    steps = content("github.yaml")["jobs"]["lint"]["steps"]
    inputs = {name: str(value).lower() for name, value in steps[-1]["with"].items()}
    assert inputs.keys() <= ACTION["inputs"].keys()
    done = action(repository, **inputs)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    break_cluster(repository)
    done = action(repository, **inputs)
    assert done.returncode == 1
    assert done.stdout.startswith("::error file=clusters/lab.yaml,line=5,col=13,title=wrong-type")


def test_the_action_merges(repository: Path) -> None:
    files = "clusters/base.yaml clusters/lab.yaml"
    assert action(repository, files=files, merge="true", strict="true").returncode == 0
    assert action(repository, files="clusters/base.yaml", merge="true").returncode == 1


def test_an_input_is_no_program_text(repository: Path) -> None:
    action(repository, files="$(touch made) ;touch made", base="`touch made`")
    assert not (repository / "made").exists()


def test_gitlab(repository: Path) -> None:
    install, lint = content("gitlab.yaml")["launch-agent-lint"]["script"]
    assert install.startswith("pip install")
    assert run(lint, repository).returncode == 0
    assert json.loads((repository / "code-quality.json").read_text()) == []
    break_cluster(repository)
    assert run(lint, repository).returncode == 1
    (row,) = json.loads((repository / "code-quality.json").read_text())
    assert row["location"] == {"path": "clusters/lab.yaml", "lines": {"begin": 5}}


def test_gitlab_builds_the_agents_image_of_each_cluster(repository: Path, docker_registry: str) -> None:
    """The configs and options are right: all that stops it is a base image that is not there."""
    job = content("agent-image-gitlab.yaml")["agent-image"]
    (clusters,) = job["parallel"]["matrix"]
    build = job["script"][-1]
    for cluster in clusters["CLUSTER"]:
        more = {
            "CLUSTER": cluster,
            "IMAGE": f"{docker_registry}/agent:{cluster}",
            "BASE": f"{docker_registry}/absent:1",
        }
        done = run(build, repository, **more)
        assert done.returncode == 3, done.stderr
        assert f"{docker_registry}/absent" in done.stderr


def test_pre_commit(repository: Path) -> None:
    (repo,) = content("pre-commit.yaml")["repos"]
    hooks = {hook["id"]: hook for hook in HOOKS}
    for used in repo["hooks"]:
        assert used["id"] in hooks
    hook = {**hooks[used["id"]], **used}
    files = sorted(
        name
        for file in (repository / "clusters").iterdir()
        if re.search(hook["files"], name := str(file.relative_to(repository)))
    )
    assert len(files) == 4
    line = shlex.join([*shlex.split(hook["entry"]), *hook["args"], *files])
    done = run(line, repository)
    assert done.returncode == 0, done.stdout
    break_cluster(repository)
    assert run(line, repository).returncode == 1
