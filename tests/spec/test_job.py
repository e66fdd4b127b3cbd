"""A job that is written is the job that is read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from launch_agent.spec.job import Job, SourceKind, parse, to_json

CODE = Job(
    name="team/p/train:v0",
    kind=SourceKind.ARTIFACT,
    artifact="wandb-artifact://_id/abc",
    entry_point=("python", "train.py", "--lr", "a b"),
    runtime="3.12",
)


@pytest.mark.req("JOB-1")
@pytest.mark.parametrize(
    "job",
    [
        CODE,
        replace(CODE, entry_point=(), runtime=""),
        replace(CODE, build_context="src", dockerfile="docker/Dockerfile"),
        replace(CODE, kind=SourceKind.REPO, artifact="", remote="https://h/o/r", commit="a" * 40),
        replace(CODE, kind=SourceKind.REPO, artifact="", remote="https://h/o/r", submodules=False),
        replace(CODE, base_image="base:1"),
        replace(CODE, kind=SourceKind.IMAGE, artifact="", image="registry.example/x:1"),
    ],
)
def test_what_is_written_is_read(job: Job) -> None:
    assert parse(to_json(job), name=job.name) == job


def test_older_clients_are_told_of_paths_that_they_do_not_know() -> None:
    assert to_json(CODE)["_version"] == "v0"
    assert to_json(replace(CODE, dockerfile="D"))["_version"] == "0.17.0"
