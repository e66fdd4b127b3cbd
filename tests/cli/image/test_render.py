"""`launch-agent image render` and the options that it shares with `build`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from launch_agent.cli.image.engine import build as build_with_engine
from launch_agent.cli.main import cli
from launch_agent.errors import ConfigError, ImageError, LaunchError
from launch_agent.images.agent import choose, needs, solve
from launch_agent.images.agent.plan import Index, Package
from launch_agent.spec.secret import Secret
from tests.fakes import image_parts
from tests.fakes.image_parts import OWN, PYTHON

VALUES = Path(__file__).parents[3] / "examples" / "values"
EKS = str(VALUES / "eks-kaniko.yaml")


def image(*arguments: str, env: Mapping[str, str] | None = None) -> Result:
    return CliRunner().invoke(cli, ["image", *arguments], env=dict(env or {}))


def test_explain_says_what_is_needed_and_why_and_writes_nothing() -> None:
    done = image("render", "-c", EKS, "--explain", "--extra", "docker", "--system", "jq")
    assert done.exit_code == 0, done.output
    assert "extra aws\n    environment.type is aws" in done.output
    assert "extra docker\n    --extra" in done.output
    assert "program jq\n    --system" in done.output
    assert "Kubernetes is reached by the pod's service account" in done.output
    assert "google" not in done.output.partition("left out:")[0]


def test_values_of_one_installation_are_laid_over_each_other(tmp_path: Path) -> None:
    many = VALUES / "many-clusters"
    out = tmp_path / "image"
    done = image("render", "-c", str(many / "base.yaml"), "-c", str(many / "eu-1.yaml"), "-o", str(out))
    assert done.exit_code == 0, done.output
    assert done.output.strip() == f"{out}/Dockerfile"
    assert "boto3==" in (out / "requirements.txt").read_text()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["render", "-c", "/nonexistent.yaml", "-o", "x"], "no such file"),
        (["render", "-c", EKS], "name the folder"),
        (
            ["render", "-c", EKS, "-o", "x", "--index", "https://u:p@pypi.example.com/simple"],
            "holds a password",
        ),
        (["render", "-c", EKS, "-o", "x", "--index", "pypi"], "no address of an index"),
        (["render", "-c", EKS, "-o", "x", "--index-user", "u"], "goes with --index"),
        (["render", "-c", EKS, "-o", "x", "--index-ca", "/none"], "no file /none"),
        (["render", "-c", EKS, "-o", "x", "--file", "a"], "SRC:DST"),
        (["render", "-c", EKS, "-o", "x", "--file", "/none:/etc/x"], "there is no /none"),
        (["render", "-c", EKS, "-o", "x", "--label", "a"], "NAME=VALUE"),
        (["render", "-c", EKS, "-o", "x", "--python", "2.7"], "not a version"),
        (["render", "-c", EKS, "-o", "x", "--with", "-r/etc/passwd"], "names no package"),
        (["build", "-c", EKS], "to be called"),
        (["build", "-c", EKS, "-t", "x", "--to", "registry"], "goes with --daemonless"),
        (["build", "-c", EKS, "-t", "x", "--daemonless", "--push"], "--push is for builds by an engine"),
    ],
)
def test_what_is_wrong_is_one_clear_error(arguments: list[str], says: str) -> None:
    done = image(*arguments)
    assert done.exit_code != 0
    error = done.exception
    said = f"{error}" if isinstance(error, LaunchError) else done.output
    assert says in said, (said, done.output)


def test_a_password_comes_by_a_variable_only() -> None:
    arguments = [
        "render",
        "-c",
        EKS,
        "-o",
        "x",
        "--index",
        "https://i.example.com/simple",
        "--index-user",
        "u",
    ]
    assert "LAUNCH_AGENT_INDEX_PASSWORD" in str(image(*arguments).exception)


def test_the_time_of_files_is_that_of_the_variable() -> None:
    done = image("render", "-c", EKS, "-o", "x", env={"SOURCE_DATE_EPOCH": "yesterday"})
    assert "no number of seconds" in str(done.exception)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"platforms": ("linux/amd64", "linux/arm64")}, "--daemonless"),
        ({"base": "/tmp"}, "--daemonless"),
    ],
)
def test_what_an_engine_cannot_do_is_said_before_anything_is_done(
    change: dict[str, object], says: str
) -> None:
    found = choose.make(needs.Needs(name="x"), choose.Choices(**change))  # type: ignore[arg-type] # a test's words
    with pytest.raises(ConfigError) as refused:
        build_with_engine(found, "x:1", push=False, quiet=True, environment={})
    assert says in refused.value.hint


class TestSolve:
    @pytest.fixture
    def index(self, tmp_path: Path) -> dict[str, str]:
        """Variables with which pip knows three packages and no index."""
        needs_base = "Requires-Dist: base==1.0"
        image_parts.wheel(tmp_path, "tool", {"tool.py": ""}, metadata=needs_base, version="2.0")
        image_parts.wheel(tmp_path, "base", {"base.py": ""}, version="1.0")
        image_parts.wheel(tmp_path, "base", {"base.py": ""}, version="3.0")
        return {
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(tmp_path),
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
        }

    def solve(self, index: Mapping[str, str], *wanted: str, own: tuple[Package, ...] = ()) -> list[Package]:
        return solve.solve(wanted, own, PYTHON, OWN, index=Index(), environment=index)

    def test_a_package_comes_with_what_it_needs_and_hashes(self, index: dict[str, str]) -> None:
        found = {each.name: each for each in self.solve(index, "tool")}
        assert {name: each.version for name, each in found.items()} == {"tool": "2.0", "base": "1.0"}
        assert all(each.hashes[0].startswith("sha256:") for each in found.values())

    def test_versions_of_the_agent_s_own_packages_stay(self, index: dict[str, str]) -> None:
        own = Package(name="base", version="3.0", hashes=("sha256:" + "0" * 64,))
        with pytest.raises(ImageError, match="does not go with the versions"):
            self.solve(index, "tool", own=(own,))
        own = Package(name="base", version="1.0", hashes=("sha256:" + "0" * 64,))
        assert [each.name for each in self.solve(index, "tool", own=(own,))] == ["tool"]

    def test_what_opens_an_index_is_seen_by_nobody(self, tmp_path: Path) -> None:
        index = Index(url="http://127.0.0.1:9/simple", user="u", password=Secret("open sesame"))
        variables = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
        with pytest.raises(ImageError) as failed:
            solve.solve(["tool"], (), PYTHON, OWN, index=index, environment=variables)
        assert "sesame" not in f"{failed.value}"
        assert "the index does not answer" in f"{failed.value}"

    @pytest.mark.parametrize("wrong", ["a==b==1", "-r x", "x @ https://e/x", "./x", "", "x; a=='b'", "é"])
    def test_what_is_no_requirement_is_named(self, index: dict[str, str], wrong: str) -> None:
        with pytest.raises(ConfigError, match="names no package of an index"):
            self.solve(index, wrong)

    @pytest.mark.parametrize("right", ["tool", " tool==2.0", "tool >=1,<3", "tool~=2.0"])
    def test_names_go_with_versions(self, index: dict[str, str], right: str) -> None:
        assert "tool" in {each.name for each in self.solve(index, right)}

    def test_a_package_that_there_is_not_is_named(self, index: dict[str, str]) -> None:
        with pytest.raises(ImageError, match="--with nothing has no wheel"):
            self.solve(index, "nothing")
