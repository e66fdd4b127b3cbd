"""The tag: equal content is one image wherever it comes from, and different content never is."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launch_agent.errors import ImageError
from launch_agent.images.job import Options, plan
from launch_agent.images.job.tag import tag
from launch_agent.images.job.tree import Entry, Tree
from launch_agent.spec.job import Job, SourceKind

JOB = Job(
    name="team/jobs/train:v3",
    kind=SourceKind.ARTIFACT,
    artifact="x",
    runtime="3.11",
    entry_point=("python", "train.py"),
)


def make(folder: Path) -> Path:
    (folder / "lib").mkdir(parents=True)
    (folder / "train.py").write_text("print(1)\n")
    (folder / "lib" / "run.sh").write_text("#!/bin/sh\n")
    (folder / "lib" / "run.sh").chmod(0o755)
    (folder / "link").symlink_to("train.py")
    return folder


def tag_of(folder: Path, job: Job = JOB, **options: object) -> str:
    return plan(folder, job, Options(**options), write=False).digest  # type: ignore[arg-type] # the tests' own words


@pytest.mark.req("IMG-1", "IMG-5", "GAP-6")
def test_dates_owners_umasks_and_places_do_not_matter(tmp_path: Path) -> None:
    one, other = make(tmp_path / "one"), make(tmp_path / "deep" / "other")
    for path in [other, *other.rglob("*")]:
        if not path.is_symlink():
            os.utime(path, (1, 1))
            path.chmod(0o700 if path.is_dir() or path.name == "run.sh" else 0o600)
    (other / "empty" / "folders").mkdir(parents=True)
    (other / "__pycache__").mkdir()
    (other / "__pycache__" / "train.cpython-311.pyc").write_bytes(b"x")
    assert tag_of(one) == tag_of(other)
    assert len(tag_of(one)) == 40
    assert int(tag_of(one), 16)


@pytest.mark.req("IMG-5", "JOB-8")
def test_commit_job_and_project_do_not_matter(tmp_path: Path) -> None:
    folder = make(tmp_path / "one")
    other = Job(
        name="others/project/another:v9",
        kind=SourceKind.REPO,
        remote="https://git.example/x",
        runtime="3.11",
        entry_point=JOB.entry_point,
    )
    assert tag_of(folder) == tag_of(folder, other)
    labelled = plan(folder, JOB, Options(), revision="c0ffee", origin="https://git.example/x", write=False)
    assert labelled.digest == tag_of(folder)
    assert labelled.labels == {
        "org.opencontainers.image.title": "train",
        "org.opencontainers.image.source": "https://git.example/x",
        "org.opencontainers.image.revision": "c0ffee",
    }


@pytest.mark.req("IMG-1", "IMG-5", "GAP-6")
def test_everything_else_matters(tmp_path: Path) -> None:
    def changed(number: int) -> Path:
        folder = tmp_path / str(number)
        shutil.copytree(first, folder, symlinks=True)
        return folder

    first = make(tmp_path / "first")
    content = changed(1)
    (content / "train.py").write_text("print(2)\n")
    mode = changed(2)
    (mode / "lib" / "run.sh").chmod(0o644)
    name = changed(3)
    (name / "lib" / "run.sh").rename(name / "lib" / "go.sh")
    link = changed(4)
    (link / "link").unlink()
    (link / "link").symlink_to("lib/run.sh")
    file_for_link = changed(5)
    (file_for_link / "link").unlink()
    shutil.copy(file_for_link / "train.py", file_for_link / "link")
    more = changed(6)
    (more / "empty").touch()
    tags = [tag_of(folder) for folder in (first, content, mode, name, link, file_for_link, more)]
    tags += [
        tag_of(first, platform="linux/arm64"),
        tag_of(first, build_args={"A": "1"}),
        tag_of(first, build_args={"A": "2"}),
        tag_of(first, base_image="nvidia/cuda:1"),
        tag_of(first, user=0),
        tag_of(first, Job(name=JOB.name, kind=JOB.kind, artifact="x", runtime="3.12", entry_point=("a",))),
    ]
    assert len(set(tags)) == len(tags)


NAME = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=4)
TREE = st.dictionaries(
    NAME, st.tuples(st.sampled_from(["file", "program", "link"]), st.text(min_size=1, max_size=4)), max_size=4
)
BUILD = st.tuples(
    TREE, st.text(max_size=4), st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2)
)


@given(BUILD, BUILD)
@settings(max_examples=200)
def test_no_two_builds_are_named_alike(one: object, other: object) -> None:
    def named(build: object) -> str:
        tree, dockerfile, arguments = build  # type: ignore[misc] # what BUILD gives
        entries = [
            Entry(path=path, target=text)
            if kind == "link"
            else Entry(
                path=path, is_executable=kind == "program", content=text.encode("utf-8", "surrogatepass")
            )
            for path, (kind, text) in tree.items()
        ]
        return tag(Path(), entries, dockerfile=dockerfile, build_args=arguments, platform="")

    assert (named(one) == named(other)) == (one == other)


def test_what_cannot_be_in_a_context_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ImageError, match="neither a file nor a folder"):
        Tree(root=tmp_path).entries()
    (tmp_path / "pipe").unlink()
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")).touch()
    with pytest.raises(ImageError, match="not UTF-8"):
        Tree(root=tmp_path).entries()


def test_a_link_that_leads_out_by_another_link_is_refused(tmp_path: Path) -> None:
    code = tmp_path / "code"
    (code / "a" / "b").mkdir(parents=True)
    (tmp_path / "secret").touch()
    (code / "far").symlink_to("a/b")
    # By its text it stays within; in fact `far/..` is `a`, and three up from there is outside.
    (code / "a" / "b" / "out").symlink_to("../../far/../../../secret")
    with pytest.raises(ImageError, match="leads out"):
        Tree(root=code).entries()
