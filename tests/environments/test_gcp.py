"""The Google Cloud environment: the real google-auth against a token server of the tests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from launch_agent import plugins
from launch_agent.environments import Environment
from launch_agent.environments.gcp import create
from launch_agent.errors import CloudError
from tests.fakes.google_tokens import GoogleTokens

OPTIONS = {"type": "gcp", "region": "europe-west4", "project": "treasure"}


@pytest.fixture
def tokens(tmp_path: Path) -> Iterator[GoogleTokens]:
    with GoogleTokens(tmp_path) as server:
        yield server


@pytest.mark.req("ENV-1", "GCP-1", "GCP-2", "GCP-3", "GCP-4")
def test_the_credentials_are_those_that_google_auth_finds(
    tokens: GoogleTokens, bare_environment: pytest.MonkeyPatch
) -> None:
    bare_environment.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tokens.key_file))
    environment: Environment = plugins.load("environments", "gcp").create(OPTIONS)
    environment.verify()
    assert (environment.region, environment.project) == ("europe-west4", "treasure")
    assert tokens.issued == 1
    assert environment.session() is not environment.session()
    assert environment.build_pod().env == ()


def test_a_key_that_was_renewed_is_read(tokens: GoogleTokens, bare_environment: pytest.MonkeyPatch) -> None:
    bare_environment.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tokens.key_file))
    environment = create(OPTIONS)
    key = json.loads(tokens.key_file.read_text())
    tokens.key_file.write_text(json.dumps(key | {"client_email": "new@treasure.iam.gserviceaccount.com"}))
    assert environment.session().service_account_email.startswith("new@")


def test_no_credentials(bare_environment: pytest.MonkeyPatch) -> None:
    with pytest.raises(CloudError, match="cannot find Google Cloud credentials") as caught:
        create(OPTIONS).verify()
    assert "GOOGLE_APPLICATION_CREDENTIALS" in caught.value.hint


@pytest.mark.parametrize("content", [None, "", "{", '{"type": "other"}'])
def test_a_key_file_that_is_none(
    bare_environment: pytest.MonkeyPatch, tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "key.json"
    if content is not None:
        file.write_text(content)
    bare_environment.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    with pytest.raises(CloudError, match=r"cannot find Google Cloud credentials.*key\.json"):
        create(OPTIONS).verify()


def test_an_account_that_google_does_not_accept(
    tokens: GoogleTokens, bare_environment: pytest.MonkeyPatch
) -> None:
    bare_environment.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tokens.key_file))
    tokens.disabled = True
    with pytest.raises(CloudError, match=r"cannot get an access token.*account not found") as caught:
        create(OPTIONS).verify()
    assert "not disabled" in caught.value.hint
    tokens.close()
    with pytest.raises(CloudError, match="cannot get an access token") as unreachable:
        create(OPTIONS).verify()
    assert unreachable.value.retryable
