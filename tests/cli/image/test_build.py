"""`launch-agent image build` by a real engine: the image of an example, run for real without any rights."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import pytest
from click.testing import CliRunner, Result

from launch_agent.cli.main import cli
from tests.fakes.backend import Backend
from tests.fakes.docker_engine import TestEngine
from tests.fakes.eventually import eventually
from tests.fakes.server_process import ServerProcess

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples" / "values"
_SECRET = "correct-horse-battery-staple"
_CONFIG = {
    "name": "imaged",
    "entity": "team",
    "queues": ["q"],
    "poll-interval": 0.2,
    "metrics": {"port": 9817},
    "state-dir": "/tmp/state",
    "runner": {"local-process": {"enabled": True, "work-dir": "/tmp/runs"}},
    "policy": {"allow": {"local-process": {"entry-point": True}}},
}


def build(engine: TestEngine, *arguments: str, env: Mapping[str, str] | None = None) -> Result:
    return CliRunner().invoke(
        cli, ["image", "build", *arguments], env={"DOCKER_HOST": engine.host, **(env or {})}
    )


@pytest.fixture(scope="module")
def image(
    docker_engine: TestEngine, python_image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The image for EKS, with a file of ours and a password that pip may have been given."""
    name = f"launch-agent-test/built:{os.getpid()}"
    extra = tmp_path_factory.mktemp("extra") / "motto.txt"
    extra.write_text("festina lente")
    done = build(
        docker_engine,
        *("-c", str(EXAMPLES / "eks-kaniko.yaml"), "-t", name, "--base", python_image, "--quiet"),
        *("--without", "git", "--file", f"{extra}:/etc/launch-agent/motto.txt", "--label", "team=ml"),
        env={"PIP_EXTRA_INDEX_URL": f"http://user:{_SECRET}@127.0.0.1:9/simple", "PIP_RETRIES": "0"},
    )
    assert done.exit_code == 0, (done.output, done.exception)
    yield name
    docker_engine.client.remove_image(name, force=True)


@pytest.mark.docker
@pytest.mark.timeout(240)
@pytest.mark.req("CARD-1")
def test_the_image_runs_read_only_as_any_user_and_runs_a_job(
    docker_engine: TestEngine, image: str, tmp_path: Path
) -> None:
    client = docker_engine.client
    with ServerProcess(tmp_path / "server") as server:
        backend = Backend(url=server.url, api_key=server.api_key, entity="team")
        backend.create_queue("q", "local-process")
        spec = {
            "project": "p",
            "resource": "local-process",
            "overrides": {"entry_point": ["sh", "-c", "id -u; cat /etc/launch-agent/motto.txt"]},
        }
        item = backend.push("q", spec)
        config = tmp_path / "launch-config.yaml"
        config.write_text(json.dumps({**_CONFIG, "base_url": server.url}))
        container = client.create_container(
            image,
            user="12345:0",
            environment={"WANDB_API_KEY": server.api_key, "LAUNCH_AGENT_METRICS_PORT": "9817"},
            host_config=client.create_host_config(
                read_only=True,
                cap_drop=["ALL"],
                security_opt=["no-new-privileges"],
                network_mode="host",
                tmpfs={"/tmp": ""},
                binds=[f"{config}:/home/launch_agent/.config/wandb/launch-config.yaml:ro"],
            ),
        )["Id"]
        try:
            client.start(container)

            def ended() -> bool:
                found = backend.item(item)
                said = client.logs(container).decode()[-3000:]
                assert found["detailedState"] == "FINISHED", (found, said)
                return True

            eventually(ended, within=60, every=0.2)
            told = client.inspect_image(image)["Config"]
            check = client.exec_create(container, told["Healthcheck"]["Test"][1:])
            client.exec_start(check)
            assert client.exec_inspect(check)["ExitCode"] == 0
            client.stop(container, timeout=20)
            assert client.inspect_container(container)["State"]["ExitCode"] == 0
        finally:
            client.remove_container(container, force=True)


@pytest.mark.docker
@pytest.mark.timeout(240)
def test_it_holds_what_was_needed_and_nothing_of_what_made_it(
    docker_engine: TestEngine, image: str, tmp_path: Path
) -> None:
    client = docker_engine.client
    told = client.inspect_image(image)["Config"]
    assert told["User"] == "1000:0"
    assert told["Labels"]["launch-agent.extras"] == "aws"
    assert told["Labels"]["team"] == "ml"
    archive = tmp_path / "image.tar"
    with archive.open("wb") as file:
        for chunk in client.get_image(image):
            file.write(chunk)
    names: dict[str, int] = {}
    with tarfile.open(archive) as outer:
        for member in outer.getmembers():
            content = outer.extractfile(member)
            if content is None:
                continue
            if member.name.endswith(".json"):
                assert _SECRET.encode() not in content.read()
            elif member.name.endswith("layer.tar") or "/blobs/" in f"/{member.name}":
                _search(content, names)
    archive.unlink()
    site = [name for name in names if name.startswith("opt/launch-agent/lib/") and "site-packages/" in name]
    packages = {name.split("site-packages/")[1].split("/")[0] for name in site}
    assert {"boto3", "botocore", "launch_agent", "yaml"} <= packages
    assert not {"pip", "google", "azure", "kubernetes", "docker", "hypothesis", "pygments"} & packages
    assert not [name for name in site if name.endswith((".pyi", "py.typed")) or "/tests/" in name]
    assert [name for name in site if "botocore/__pycache__/session.cpython-3" in name]
    assert not [name for name in names if name.startswith("build/")]


def _search(content: IO[bytes], names: dict[str, int]) -> None:
    """Each file of a layer by its size; none holds the password."""
    head = content.read(512)
    content.seek(0)
    if head[257:262] != b"ustar" and head[:2] != b"\x1f\x8b":
        return
    with tarfile.open(fileobj=content) as layer:
        for member in layer:
            names[member.name] = member.size
            inner = layer.extractfile(member) if member.isfile() else None
            if inner is not None and member.size < 1_000_000:
                assert _SECRET.encode() not in inner.read(), member.name


@pytest.mark.docker
@pytest.mark.timeout(120)
def test_a_base_that_is_not_there_is_one_clear_error(docker_engine: TestEngine) -> None:
    done = build(
        docker_engine,
        *("-c", str(EXAMPLES / "images-only.yaml"), "-t", "launch-agent-test/none:1", "--quiet"),
        *("--base", "127.0.0.1:1/nothing:1"),
    )
    error = done.exception
    assert error is not None
    assert "127.0.0.1:1/nothing:1" in str(error), str(error)
