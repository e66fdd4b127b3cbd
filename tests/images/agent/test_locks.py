"""The lock of all extras, and the closure of some of them: what pip would install, and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from launch_agent.assembly.wheels import normal
from launch_agent.errors import ConfigError, ImageError
from launch_agent.images.agent import locks

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
EXTRAS = ("docker", "kubernetes", "aws", "gcp", "azure", "image", "server")


def closure(name: str, extras: frozenset[str], seen: set[tuple[str, frozenset[str]]]) -> Iterator[str]:
    """What the installed packages themselves say that they need."""
    if (name, extras) in seen:
        return
    seen.add((name, extras))
    for text in metadata.requires(name) or ():
        requirement = Requirement(text)
        told = [{"extra": extra} for extra in (extras or {""})]
        if requirement.marker is None or any(requirement.marker.evaluate(each) for each in told):
            yield normal(requirement.name)
            yield from closure(normal(requirement.name), frozenset(requirement.extras), seen)


@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.skipif(sys.platform != "linux", reason="the lock is compared with what is installed here")
def test_an_extra_s_packages_are_those_that_it_needs(extra: str) -> None:
    machine = "linux/amd64"
    found = {each.name for each in locks.subset([extra], PYTHON, machine)}
    assert found == set(closure("launch-agent", frozenset({extra}), set())) - {"launch-agent"}


@pytest.mark.req("CARD-2")
def test_the_lock_has_the_packages_that_the_product_is_made_of() -> None:
    names = {each.name for each in locks.read()}
    assert {"jinja2", "pyyaml", "jsonschema", "kubernetes", "boto3", "google-cloud-storage"} <= names
    assert {"azure-storage-blob", "docker"} <= names


def test_versions_are_those_that_the_tests_run_with() -> None:
    for entry in locks.subset(EXTRAS, PYTHON, "linux/amd64"):
        assert metadata.version(entry.name) == entry.version


def test_what_is_left_out_takes_along_what_only_it_needs() -> None:
    whole = {each.name for each in locks.subset(["kubernetes"], PYTHON, "linux/amd64")}
    less = {each.name for each in locks.subset(["kubernetes"], PYTHON, "linux/amd64", omit=["aiohttp"])}
    assert {"aiohttp", "yarl", "multidict"} <= whole - less
    assert "kubernetes" in less


def test_markers_are_judged_by_the_target() -> None:
    entry = locks.Entry(
        name="six",
        version="1",
        hashes=("sha256:" + "0" * 64,),
        marker="platform_machine == 'aarch64'",
        wanted_by=("python-dateutil",),
    )
    others = [each for each in locks.read() if each.name != "six"]
    found = {
        platform: {each.name for each in locks.subset(["aws"], PYTHON, platform, entries=[*others, entry])}
        for platform in ("linux/amd64", "linux/arm64")
    }
    assert found["linux/arm64"] - found["linux/amd64"] == {"six"}
    merged = locks.for_platforms(
        list(found), lambda platform: locks.subset(["aws"], PYTHON, platform, entries=[*others, entry])
    )
    assert {each.name: each.platforms for each in merged}["six"] == ("linux/arm64",)


def test_an_extra_that_there_is_not_is_named() -> None:
    with pytest.raises(ConfigError, match="oracle"):
        locks.subset(["oracle"], PYTHON, "linux/amd64")


@pytest.mark.parametrize(
    "text", ["", "six==1.0\n", "not a lock\n", "six==1.0 ; python ==== 3 \\\n    --hash=sha256:" + "0" * 64]
)
def test_a_damaged_lock_is_one_clear_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "lock").write_text(text)
    with pytest.raises(ImageError, match="lock"):
        locks.read(tmp_path / "lock")
