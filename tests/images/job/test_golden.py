"""Each folder of tests/golden/dockerfiles is a job's code with the Dockerfile that is written for it.

`code/` is the code, `job.yaml` what its job and its queue say; `Dockerfile`, `why.txt`, `files.txt` (what is
left of the code) and `tag.txt` what comes of it, or `error.txt`. With `UPDATE_GOLDEN=1` in the environment
this test writes them anew: read the diff before you commit it. Another tag means that every image is built
once more.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from launch_agent.errors import ImageError
from launch_agent.images.job import Options, base_image_of, plan
from launch_agent.spec.job import Job, parse
from tests.images.job.dockerfile_parser import parse as parse_dockerfile

FOLDER = Path(__file__).parents[2] / "golden" / "dockerfiles"
CASES = sorted(path.parent.name for path in FOLDER.glob("*/job.yaml"))
SHOWS = {"requirements": pytest.mark.req("BLD-10", "JOB-2", "JOB-3", "JOB-8")}


def read(case: str, code: Path) -> tuple[Job, Options]:
    told: dict[str, Any] = yaml.safe_load((FOLDER / case / "job.yaml").read_text(encoding="utf-8"))
    raw = {"source_type": "artifact", **told["job"]}
    raw["source"] = {"artifact": "wandb-artifact://_id/1", **raw["source"]}
    frozen = told.get("frozen", "").encode()
    build = told.get("build", {})
    options = Options(
        base_image=base_image_of(told.get("queue", {})),
        dockerfile=build.get("dockerfile", ""),
        has_mounts=build.get("mounts", False),
        user=build.get("user", 1000),
        platform=build.get("platform", ""),
        build_args=build.get("args", {}),
    )
    shutil.copytree(FOLDER / case / "code", code, symlinks=True)
    return parse(raw, name="team/jobs/train:v3", frozen=frozen), options


def expected(case: str, name: str, text: str | None) -> None:
    """What is there must be what came; nothing must be there where nothing came."""
    file = FOLDER / case / name
    if os.environ.get("UPDATE_GOLDEN"):
        file.unlink(missing_ok=True)
        if text is not None:
            file.write_text(text, encoding="utf-8")
    assert (file.read_text(encoding="utf-8") if file.exists() else None) == text


@pytest.mark.parametrize("case", [pytest.param(case, marks=SHOWS.get(case, ())) for case in CASES])
def test_a_job_and_its_dockerfile(case: str, tmp_path: Path) -> None:
    job, options = read(case, tmp_path / "code")
    try:
        context = plan(tmp_path / "code", job, options, revision="c0ffee", origin="https://git.example/code")
    except ImageError as error:
        expected(case, "error.txt", f"{error}\n")
        expected(case, "Dockerfile", None)
        return
    text = (context.directory / context.dockerfile).read_text(encoding="utf-8")
    parse_dockerfile(text)
    expected(case, "error.txt", None)
    expected(case, "why.txt", f"{context.why}\n")
    expected(case, "Dockerfile", text if context.is_generated else None)
    expected(case, "tag.txt", f"{context.digest}\n")
    files = sorted(
        path.relative_to(context.directory).as_posix()
        for path in context.directory.rglob("*")
        if not path.is_dir() or path.is_symlink()
    )
    expected(case, "files.txt", "".join(f"{name}\n" for name in files))


def test_a_preview_changes_nothing(tmp_path: Path) -> None:
    job, options = read("requirements", tmp_path / "code")
    before = sorted(tmp_path.rglob("*"))
    preview = plan(tmp_path / "code", job, options, write=False)
    assert sorted(tmp_path.rglob("*")) == before
    assert plan(tmp_path / "code", job, options).digest == preview.digest
    # Looked at once more, now that it is prepared, it is still the same.
    assert plan(tmp_path / "code", job, options).digest == preview.digest
