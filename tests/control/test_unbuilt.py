"""Which jobs that are code run without a build, and in which image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from launch_agent.clients.http import HttpClient, HttpSettings
from launch_agent.config import load
from launch_agent.control.unbuilt import Unbuilt
from launch_agent.control.wiring import runner_options
from launch_agent.errors import ImageError, Refused
from launch_agent.runners.kubernetes.options import options_from
from launch_agent.sources import order
from launch_agent.sources.artifact import Backend
from launch_agent.sources.git.access import Access
from launch_agent.spec.job import Job, SourceKind
from launch_agent.spec.model import Overrides, RunSpec
from launch_agent.spec.secret import Secret

IN_QUEUE = {"spec": {"template": {"spec": {"containers": [{"image": "queue:1"}]}}}}
MACRO = {"spec": {"template": {"spec": {"containers": [{"image": "${image_uri}"}]}}}}


@pytest.fixture(scope="module")
def http() -> Iterator[HttpClient]:
    client = HttpClient(HttpSettings())
    yield client
    client.close()


@pytest.fixture
def unbuilt(http: HttpClient, tmp_path: Path) -> Unbuilt:
    return made(http, tmp_path)


def made(http: HttpClient, home: Path, base_image: str = "") -> Unbuilt:
    return Unbuilt(
        base_image=base_image,
        requirements=True,
        backend=Backend("http://backend.invalid", Secret("agents-key"), http),
        api_key=Secret("agents-key"),
        access=Access(environment={"PATH": "/usr/bin:/bin", "HOME": str(home)}),
    )


def job(**fields: Any) -> Job:
    usual = {"name": "team/p/train:v1", "kind": SourceKind.ARTIFACT, "artifact": "x", "entry_point": ("go",)}
    return Job(**{**usual, **fields})


def spec(resource: str, args: Mapping[str, Any] | None = None, **fields: Any) -> RunSpec:
    return RunSpec(entity="team", project="p", resource=resource, resource_args=args or {}, **fields)


BASE = {"builder": {"base_image": "queue-base:1"}}
FAST = {"builder": {"accelerator": {"base_image": "gpu:1"}, "base_image": "queue-base:1"}}


@pytest.mark.req("BLD-13")
@pytest.mark.parametrize(
    ("config", "the_job", "the_spec", "can_build", "image"),
    [
        ("", job(base_image="mine:1"), spec("kubernetes"), True, "mine:1"),
        ("", job(base_image="mine:1"), spec("local-container", **BASE), False, "mine:1"),
        ("", job(base_image="mine:1"), spec("sagemaker"), True, None),
        ("base:1", job(), spec("local-container", **FAST), False, "gpu:1"),
        ("base:1", job(), spec("kubernetes", IN_QUEUE, **BASE), False, "queue-base:1"),
        ("base:1", job(), spec("kubernetes", IN_QUEUE), False, ""),
        ("base:1", job(), spec("kubernetes", MACRO), False, "base:1"),
        ("base:1", job(), spec("kubernetes"), False, "base:1"),
        ("base:1", job(), spec("vertex"), False, None),
        ("base:1", job(), spec("kubernetes", IN_QUEUE, **BASE), True, None),
        ("", job(), spec("kubernetes"), False, None),
        ("", job(), spec("local-container"), False, None),
    ],
)
def test_the_image_of_code(
    http: HttpClient,
    tmp_path: Path,
    config: str,
    the_job: Job,
    the_spec: RunSpec,
    can_build: bool,
    image: str | None,
) -> None:
    assert made(http, tmp_path, config).image(the_job, the_spec, can_build=can_build) == image


def test_a_dockerfile_of_the_run_is_built_where_it_can_be(unbuilt: Unbuilt) -> None:
    named = spec("kubernetes", overrides=Overrides(dockerfile="Dockerfile"))
    assert unbuilt.image(job(base_image="mine:1"), named, can_build=True) is None
    assert unbuilt.image(job(base_image="mine:1"), named, can_build=False)


def test_what_is_no_image_is_named(unbuilt: Unbuilt) -> None:
    with pytest.raises(ImageError):
        unbuilt.image(job(base_image="Not An Image"), spec("kubernetes"), can_build=False)


def test_for_a_cluster_nothing_is_fetched_and_the_submitters_key_goes_before(
    unbuilt: Unbuilt, tmp_path: Path
) -> None:
    folder = tmp_path / "builds"
    ready = unbuilt.prepare(job(), spec("kubernetes"), "base:1", folder)
    assert not folder.exists()
    assert ready.code.order[order.API_KEY] == Secret("agents-key")
    assert ready.code.requirements
    theirs = spec("kubernetes", api_key=Secret("their-key"))
    assert unbuilt.prepare(job(), theirs, "base:1", folder).code.order[order.API_KEY] == Secret("their-key")
    ready.release()


@pytest.mark.parametrize(("fields", "said"), [
    ({"entry_point": ()}, "nothing says what it runs"), ({"is_notebook": True}, "runs a notebook"),
])  # fmt: skip
def test_what_cannot_run_is_refused(
    unbuilt: Unbuilt, tmp_path: Path, fields: Mapping[str, Any], said: str
) -> None:
    with pytest.raises((Refused, ImageError), match=said):
        unbuilt.prepare(job(**fields), spec("kubernetes"), "base:1", tmp_path)


@pytest.mark.parametrize(("own", "image"), [("", "agent:1"), ("mine:2", "mine:2")])
def test_an_agent_in_a_pod_is_told_of_its_image(tmp_path: Path, own: str, image: str) -> None:
    """By the chart; the config's own word goes before that."""
    runner = f"runner: {{kubernetes: {{fetch-image: '{own}'}}}}\n" if own else ""
    (tmp_path / "launch-config.yaml").write_text(f"queues: [q]\n{runner}")
    config = load.load(tmp_path, {"WANDB_API_KEY": "k" * 40, "HOME": str(tmp_path)})
    told = runner_options(config, {"LAUNCH_AGENT_IMAGE": "agent:1"})["kubernetes"]
    assert options_from(told).fetching.image == image
    assert options_from(runner_options(config, {})["kubernetes"]).fetching.image == own
