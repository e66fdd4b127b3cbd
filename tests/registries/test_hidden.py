"""Registries that deny what does not exist, as Docker Hub and GHCR do: the first push makes it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from launch_agent.clients.oci.dockerconfig import DockerConfig
from launch_agent.errors import RegistryDenied
from launch_agent.registries.generic import GenericRegistry
from launch_agent.spec.image import ImageRef
from tests.fakes.images import push_image
from tests.fakes.registry import NoRegistry, registry
from tests.fakes.token_server import PASSWORD, USER, TokenServer


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenServer]:
    rights = {"team/new": {"pull", "push"}, "team/other": {"pull"}, "team/jobs": {"pull", "push"}}
    folder = tmp_path_factory.mktemp("hidden-tokens")
    with TokenServer(folder=folder, rights=rights, hidden=frozenset({"team/new", "team/other"})) as server:
        yield server


@pytest.fixture(scope="module")
def host(tokens: TokenServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    try:
        with registry(tmp_path_factory.mktemp("hidden-registry"), tokens=tokens) as address:
            yield address
    except NoRegistry as reason:
        pytest.skip(str(reason))


def of(host: str, path: str, folder: Path, user: str = USER) -> GenericRegistry:
    file = folder / "config.json"
    entry = {"username": user, "password": PASSWORD}
    file.write_text(json.dumps({"auths": {host: entry} if user else {}}))
    return GenericRegistry(f"{host}/{path}", DockerConfig({}, file=file))


@pytest.mark.req("REG-9")
def test_who_may_push_finds_nothing_in_place_of_a_refusal(host: str, tmp_path: Path) -> None:
    found = of(host, "team/new", tmp_path)
    found.verify()
    assert found.exists(ImageRef.parse(f"{host}/team/new:v1")) == ""
    push_image(found.contents, "v1")
    found.close()


@pytest.mark.parametrize("user", [USER, ""], ids=["a-reader", "nobody"])
def test_who_may_not_push_is_refused(host: str, tmp_path: Path, user: str) -> None:
    found = of(host, "team/other", tmp_path, user)
    with pytest.raises(RegistryDenied, match=r"cannot look for .*team/other:v1"):
        found.exists(ImageRef.parse(f"{host}/team/other:v1"))
    found.close()


def test_many_at_once_ask_for_one_token(host: str, tokens: TokenServer, tmp_path: Path) -> None:
    found = of(host, "team/jobs", tmp_path)
    pushed = push_image(found.contents, "v1")
    found.close()
    ref = ImageRef.parse(f"{host}/team/jobs:v1")
    again = of(host, "team/jobs", tmp_path)
    again.contents.head("v1")
    again.client.keys._tokens.clear()
    tokens.asked.clear()
    with ThreadPoolExecutor(8) as threads:
        digests = set(threads.map(lambda _: again.exists(ref), range(16)))
    assert digests == {pushed.digest}
    assert tokens.asked == [["repository:team/jobs:pull"]]
    again.close()
