"""Jobs that `launch-agent job create` makes are jobs to the `wandb` package, unmodified."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.fakes.backend import Backend
from tests.fakes.command import command
from tests.fakes.wandb_sandbox import WandbSandbox

pytestmark = [pytest.mark.interop]

_READ = """
import json, os, wandb
job = wandb.Api().artifact("team/jobs/train:best", type="job")
folder = job.download()
with open(os.path.join(folder, "wandb-job.json")) as file:
    described = json.load(file)
code = wandb.Api().artifact("team/jobs/code-train:latest", type="code")
into = code.download()
walked = [os.path.join(where, name) for where, _, names in os.walk(into) for name in names]
files = sorted(os.path.relpath(path, into) for path in walked)
is_its_code = described["source"]["artifact"].endswith(code.id)
result([described, job.version, sorted(job.aliases), files, is_its_code])
"""


@pytest.mark.req("JOB-1")
def test_a_job_of_ours_is_read_listed_and_launched(
    backend: Backend, sandbox: WandbSandbox, tmp_path: Path
) -> None:
    code = tmp_path / "code"
    (code / "lib").mkdir(parents=True)
    (code / "train.py").write_text("print('training')\n")
    (code / "lib" / "a.py").write_text("")
    env = {"WANDB_BASE_URL": backend.url, "WANDB_API_KEY": backend.api_key, "HOME": str(tmp_path)}

    def create() -> str:
        made = command(
            *("job", "create", "code", str(code), "-p", "jobs", "-n", "train", "-E", "python train.py"),
            *("-r", "3.11", "-a", "best"),
            env=env,
        )
        assert made.code == 0, made.err
        return made.out

    assert "v0 is created" in create()
    described, version, aliases, files, is_its_code = read(sandbox)
    assert (described["source_type"], described["source"]["entrypoint"]) == (
        "artifact",
        ["python", "train.py"],
    )
    assert (version, aliases, is_its_code) == ("v0", ["best", "latest"], True)
    assert files == ["lib/a.py", "train.py"]
    assert "train -- versions (2): " in sandbox.wandb("job", "list", "-p", "jobs", "-e", backend.entity)

    backend.create_queue("from-ours", "local-container")
    arguments = ("-j", "team/jobs/train:latest", "-q", "from-ours", "-p", "jobs", "-e", backend.entity)
    sandbox.wandb("launch", *arguments)
    (item,) = backend.items("from-ours")
    assert item["runSpec"]["job"] == "team/jobs/train:latest"


def read(sandbox: WandbSandbox) -> Any:
    return sandbox.script(_READ)
