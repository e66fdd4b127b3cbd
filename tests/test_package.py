"""What is built for users holds what it needs and nothing else, and runs where only it is installed."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCHEMAS = sorted(file.name for file in (ROOT / "schemas").glob("*.json"))

pytestmark = pytest.mark.xdist_group("package")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source distribution."""
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--directory", str(folder)],
        cwd=ROOT, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's content, as pip would lay it down."""
    folder = tmp_path_factory.mktemp("site")
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def test_the_wheel_is_the_package_and_its_data(installed: Path) -> None:
    assert {path.name.split("-")[0] for path in installed.iterdir()} == {"launch_agent"}
    source = ROOT / "agent" / "launch_agent"
    wanted = {path.relative_to(source) for path in source.rglob("*") if path.is_file()}
    wanted = {path for path in wanted if "__pycache__" not in path.parts}
    have = {
        path.relative_to(installed / "launch_agent")
        for path in (installed / "launch_agent").rglob("*")
        if path.is_file()
    }
    assert wanted - have == set()
    assert have - wanted == {Path("schemas") / name for name in SCHEMAS}


def test_the_source_distribution_can_build_the_wheel(built: Path) -> None:
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as files:
        names = {name.partition("/")[2] for name in files.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"} <= names
    assert {f"schemas/{name}" for name in SCHEMAS} <= names
    assert not [name for name in names if name.startswith(("tests/", ".venv", "benchmarks/"))]


def test_the_installed_command_runs_and_finds_its_schemas(installed: Path, tmp_path: Path) -> None:
    config = tmp_path / "launch-config.yaml"
    config.write_text("queues: [gpu]\nmax_jobs: 2\n")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("WANDB")}
    environment["PYTHONPATH"] = str(installed)
    done = subprocess.run(
        [sys.executable, "-m", "launch_agent", "lint", str(config)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    where = subprocess.run(
        [sys.executable, "-c", "import launch_agent; print(launch_agent.__file__)"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert where.stdout.startswith(str(installed))


def test_the_version_has_one_source() -> None:
    from launch_agent import __version__

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert __version__ == project["version"] or "version" in project.get("dynamic", [])
