"""What is put together without an engine runs in one: a Python, a package, and the job's code."""

from __future__ import annotations

import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from launch_agent.images.rootfs import image_from_host
from tests.builders.layers.test_builder import JOB, Site
from tests.fakes.docker_engine import TestEngine

pytestmark = pytest.mark.docker

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
TRAIN = """
import os, sys, greeting
print(sys.prefix, os.getcwd(), os.getuid(), sys.argv[1:])
print(greeting.__file__)
open("left", "w").close()
"""


@pytest.fixture
def python_base(docker_engine: TestEngine, docker_registry: str) -> Iterator[str]:
    """An image with the interpreter of these tests where the official ones have it, in the registry."""
    client = docker_engine.client
    name = f"launch-agent-test/base:{uuid.uuid4().hex[:8]}"
    pushed = f"{docker_registry}/python-{uuid.uuid4().hex[:8]}:1"
    with tempfile.TemporaryDirectory() as folder:
        archive = image_from_host(Path(folder, "image.tar"), ("sh", "ln"), python=True)
        client.import_image(str(archive), repository=name.partition(":")[0], tag=name.partition(":")[2])
        dockerfile = (
            f"FROM {name}\nENV PYTHON_VERSION={PYTHON}.0 PATH=/usr/local/bin:/usr/bin:/bin\n"
            f"COPY Dockerfile /usr/local/bin/\nRUN ln -s /usr/bin/python3 /usr/local/bin/python{PYTHON}\n"
        )
        context = Path(folder, "context")
        context.mkdir()
        (context / "Dockerfile").write_text(dockerfile)
        for event in client.build(path=str(context), tag=pushed, decode=True, rm=True):
            assert "error" not in event, event
        for event in client.push(pushed, stream=True, decode=True):
            assert "error" not in event, event
    yield pushed
    for each in (pushed, name):
        client.remove_image(each, force=True)


@pytest.mark.req("IMG-2")
def test_the_job_prints_and_ends(
    docker_engine: TestEngine, docker_registry: str, python_base: str, tmp_path: Path
) -> None:
    site = Site(docker_registry, tmp_path)
    made = site.context(
        {**JOB, "train.py": TRAIN},
        base=python_base,
        python=PYTHON,
        entry_point=["python", "train.py", "--lr"],
    )
    lines: list[str] = []
    found = site.build(made, lines)
    client = docker_engine.client
    reference = f"{found.repository}@{found.digest}"
    for event in client.pull(reference, stream=True, decode=True):
        assert "error" not in event, event
    container = client.create_container_from_config(
        {"Image": reference, "Cmd": ["a b"], "HostConfig": {"NetworkMode": "none"}},
        f"layers-{uuid.uuid4().hex[:8]}",
    )["Id"]
    try:
        client.start(container)
        ended = client.wait(container, timeout=60)
        said = client.logs(container).decode().splitlines()
        assert ended["StatusCode"] == 0, said
        assert said == [
            "/opt/venv /home/launch/job 1000 ['--lr', 'a b']",
            f"/opt/venv/lib/python{PYTHON}/site-packages/greeting.py",
        ]
    finally:
        client.remove_container(container, force=True)
        client.remove_image(reference, force=True)
