from __future__ import annotations

import base64
import json
import logging
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from launch_agent.errors import ImageDenied, ImageNotFound, RegistryUnreachable, SubmitRejected
from launch_agent.runners.docker.pull import Puller, _failure, _progress
from launch_agent.spec.model import RunState
from tests.contracts.runner import end_of
from tests.fakes.docker_engine import TestEngine
from tests.fakes.registry import PASSWORD, USER

pytestmark = pytest.mark.docker
Bench = Any  # tests.runners.docker.conftest.DockerBench, which is no module to import


def push(engine: TestEngine, image: str, registry: str, auth: dict[str, str] | None = None) -> str:
    """Push an image under a new name, and forget it locally."""
    repository = f"{registry}/team/{uuid.uuid4().hex[:8]}"
    engine.client.tag(image, repository, "v1")
    try:
        said = engine.client.push(repository, tag="v1", auth_config=auth)
        assert "error" not in said, said
    finally:
        engine.client.remove_image(f"{repository}:v1")
    return f"{repository}:v1"


@pytest.fixture
def remote_image(docker_engine: TestEngine, tiny_image: str, docker_registry: str) -> Iterator[str]:
    """The name of an image that is in a registry and not in the engine."""
    name = push(docker_engine, tiny_image, docker_registry)
    yield name
    if docker_engine.client.images(name):
        docker_engine.client.remove_image(name, force=True)


@pytest.mark.req("JOB-4", "JOB-5")
def test_a_missing_image_is_pulled_with_a_word_about_it(
    bench: Bench, remote_image: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="launch_agent.runners.docker.pull")
    run = bench.runner().submit(bench.request(image=remote_image, entry_point=["echo", "pulled"]))
    assert end_of(run).state is RunState.FINISHED
    assert [record.getMessage() for record in caplog.records] == [
        f"pulling {remote_image}",
        f"pulled {remote_image}",
    ]


def test_an_image_by_digest_is_pulled(bench: Bench, remote_image: str) -> None:
    client = bench.engine.client
    client.pull(remote_image)
    digest = client.inspect_image(remote_image)["RepoDigests"][0]
    client.remove_image(remote_image)
    run = bench.runner().submit(bench.request(image=digest, entry_point=["true"]))
    assert end_of(run).state is RunState.FINISHED


def test_jobs_that_start_at_once_pull_once(
    bench: Bench, remote_image: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="launch_agent.runners.docker.pull")
    runner = bench.runner()
    requests = [bench.request(image=remote_image, entry_point=["true"]) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        runs = list(pool.map(runner.submit, requests))
    assert {end_of(run).state for run in runs} == {RunState.FINISHED}
    assert sum(record.getMessage().startswith("pulling") for record in caplog.records) == 1


@pytest.mark.parametrize("where", ["config", "queue"])
def test_never_means_never(bench: Bench, remote_image: str, where: str) -> None:
    runner = bench.runner(pull="never" if where == "config" else "missing")
    args = {"pull": "never"} if where == "queue" else {}
    with pytest.raises(ImageNotFound) as caught:
        runner.submit(bench.request(image=remote_image, entry_point=["true"], resource_args=args))
    assert "pull" in caught.value.hint


def test_always_asks_the_registry_each_time(bench: Bench, tiny_image: str, docker_registry: str) -> None:
    runner = bench.runner(pull="always")
    gone = f"{docker_registry}/gone:v1"
    bench.engine.client.tag(tiny_image, f"{docker_registry}/gone", "v1")
    try:
        with pytest.raises(ImageNotFound, match="gone"):
            runner.submit(bench.request(image=gone, entry_point=["true"]))
    finally:
        bench.engine.client.remove_image(gone)


def test_an_image_that_is_not_there_is_not_found(bench: Bench, docker_registry: str) -> None:
    with pytest.raises(ImageNotFound, match="cannot pull") as caught:
        bench.runner().submit(bench.request(image=f"{docker_registry}/no/such:v1", entry_point=["true"]))
    assert "name" in caught.value.hint
    assert not bench.left()


def test_a_registry_that_is_not_there_is_unreachable(bench: Bench) -> None:
    with pytest.raises(RegistryUnreachable) as caught:
        bench.runner().submit(bench.request(image="127.0.0.1:9/x:v1", entry_point=["true"]))
    assert caught.value.retryable


@pytest.mark.req("JOB-5")
def test_a_private_image_needs_credentials_and_gets_them_from_dockers_config(
    bench: Bench, tiny_image: str, private_registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    auth = {"username": USER, "password": PASSWORD}
    image = push(bench.engine, tiny_image, private_registry, auth)
    with pytest.raises(ImageDenied) as caught:
        bench.runner().submit(bench.request(image=image, entry_point=["true"]))
    assert "docker login" in caught.value.hint
    token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    config = {"auths": {private_registry: {"auth": token}}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    run = bench.runner().submit(bench.request(image=image, entry_point=["true"]))
    try:
        assert end_of(run).state is RunState.FINISHED
    finally:
        bench.engine.client.remove_image(image, force=True)


def test_a_name_that_is_none_is_refused(bench: Bench) -> None:
    with pytest.raises(SubmitRejected):
        bench.runner().submit(bench.request(image="Not An Image", entry_point=["true"]))


class SlowEngine:
    """Answers a pull with events, a clock tick apart."""

    def __init__(self, events: list[dict[str, Any]]) -> None:
        self.events = events
        self.now = 0.0

    def pull(self, *_: Any, **__: Any) -> Iterator[dict[str, Any]]:
        for event in self.events:
            self.now += 2.0
            yield event


def events(count: int) -> list[dict[str, Any]]:
    detail = {"current": 1_000_000, "total": 4_000_000}
    return [{"id": "a", "status": "Downloading", "progressDetail": detail}] * count


def test_a_pull_that_takes_too_long_is_given_up() -> None:
    engine = SlowEngine(events(100))
    puller = Puller(lambda: engine, timeout=20, clock=lambda: engine.now)  # type: ignore[arg-type,return-value]
    with pytest.raises(RegistryUnreachable, match="longer than 20 s") as caught:
        puller.pull("big:v1")
    assert "pull-timeout" in caught.value.hint


def test_progress_is_told_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    engine = SlowEngine(events(10))
    puller = Puller(lambda: engine, timeout=100, clock=lambda: engine.now)  # type: ignore[arg-type,return-value]
    puller.pull("big:v1")
    told = [record.getMessage() for record in caplog.records]
    assert told[1] == "pulling big:v1: 0 of 1 layers, 1 of 4 MB downloaded"
    assert len(told) == 2 + 3


def test_layers_are_counted() -> None:
    assert _progress({"a": (5, 5, True), "b": (0, 0, False)}) == "1 of 2 layers, 0 of 0 MB downloaded"


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("pull access denied for x, repository does not exist or may require 'docker login'", ImageDenied),
        ("unauthorized: authentication required", ImageDenied),
        ("manifest for x:v1 not found: manifest unknown: manifest unknown", ImageNotFound),
        ("no matching manifest for linux/arm64 in the manifest list entries", ImageNotFound),
        ("Get https://r.example/v2/: dial tcp: lookup r.example: no such host", RegistryUnreachable),
        ("net/http: TLS handshake timeout", RegistryUnreachable),
    ],
)
def test_what_the_engine_says_has_a_kind(said: str, kind: type) -> None:
    assert type(_failure("x:v1", said)) is kind


def test_no_lock_stays_behind() -> None:
    engine = SlowEngine([])
    puller = Puller(lambda: engine, timeout=1)  # type: ignore[arg-type,return-value]
    threads = [threading.Thread(target=puller.pull, args=(f"i:{n % 2}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not puller._in_flight
