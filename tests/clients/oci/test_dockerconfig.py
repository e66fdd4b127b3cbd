"""Credentials from Docker's files and helper programs."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch_agent.clients.oci.dockerconfig import (
    TOKEN_USER,
    DockerConfig,
    document_with,
    for_build,
    helper_answer,
)
from launch_agent.errors import RegistryError
from launch_agent.spec.model import Credentials
from launch_agent.spec.secret import Secret

AUTH = base64.b64encode(b"ali:open:sesame").decode()


def config(folder: Path, document: Any, **environment: str) -> DockerConfig:
    (folder / "config.json").write_text(json.dumps(document))
    return DockerConfig({"DOCKER_CONFIG": str(folder), "PATH": str(folder), **environment})


def helper(folder: Path, name: str, script: str) -> None:
    program = folder / f"docker-credential-{name}"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


@pytest.mark.parametrize(
    ("key", "host"),
    [
        ("registry.example.com:5000", "registry.example.com:5000"),
        ("https://registry.example.com", "registry.example.com"),
        ("https://registry.example.com/v2/", "registry.example.com"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("docker.io", "docker.io"),
    ],
)
def test_an_entry_is_found_by_any_of_its_names(tmp_path: Path, key: str, host: str) -> None:
    found = config(tmp_path, {"auths": {key: {"auth": AUTH}}}).credentials(host)
    assert found is not None
    assert (found.host, found.username, found.password.reveal()) == (host, "ali", "open:sesame")
    assert "sesame" not in repr(found)


def test_other_registries_have_no_credentials(tmp_path: Path) -> None:
    assert config(tmp_path, {"auths": {"a.example.com": {"auth": AUTH}}}).credentials("b.example.com") is None
    assert config(tmp_path, {"auths": {"a.example.com": {}}}).credentials("a.example.com") is None
    assert config(tmp_path, {}).credentials("a.example.com") is None
    assert DockerConfig({}).credentials("a.example.com") is None
    assert DockerConfig({"HOME": str(tmp_path / "no")}).credentials("a.example.com") is None


def test_the_narrowest_entry_wins(tmp_path: Path) -> None:
    auths = {
        "quay.io": {"username": "all", "password": "1"},
        "quay.io/team": {"username": "t", "password": "2"},
    }
    file = tmp_path / "auth.json"
    file.write_text(json.dumps({"auths": auths}))
    found = DockerConfig({"REGISTRY_AUTH_FILE": str(file)})
    assert getattr(found.credentials("quay.io", "team/image"), "username", "") == "t"
    assert getattr(found.credentials("quay.io", "other/image"), "username", "") == "all"


def test_an_identity_token_is_told_apart(tmp_path: Path) -> None:
    found = config(tmp_path, {"auths": {"r.azurecr.io": {"auth": AUTH, "identitytoken": "it"}}})
    credentials = found.credentials("r.azurecr.io")
    assert credentials is not None
    assert (credentials.username, credentials.password.reveal()) == (TOKEN_USER, "it")


def test_a_helper_is_asked_on_its_standard_input(tmp_path: Path) -> None:
    helper(
        tmp_path,
        "cave",
        '[ "$1" = get ] || exit 2; read -r host; [ -z "$WANDB_API_KEY" ] || exit 3; '
        'echo "{\\"ServerURL\\": \\"$host\\", \\"Username\\": \\"$NAME\\", \\"Secret\\": \\"at $host\\"}"',
    )
    document = {"credHelpers": {"a.example.com": "cave"}, "auths": {"a.example.com": {"auth": AUTH}}}
    found = config(tmp_path, document, NAME="cassim", WANDB_API_KEY="secret")
    credentials = found.credentials("a.example.com")
    assert credentials is not None
    assert (credentials.username, credentials.password.reveal()) == ("cassim", "at a.example.com")


def test_the_helper_for_all_is_asked_for_docker_hub_by_its_old_name(tmp_path: Path) -> None:
    helper(tmp_path, "store", 'read -r host; echo "{\\"Username\\": \\"$host\\", \\"Secret\\": \\"x\\"}"')
    found = config(tmp_path, {"credsStore": "store"}).credentials("docker.io")
    assert found is not None
    assert found.username == "https://index.docker.io/v1/"


def test_a_helper_that_knows_nothing_leaves_the_file(tmp_path: Path) -> None:
    helper(tmp_path, "store", "echo credentials not found in native keychain; exit 1")
    found = config(tmp_path, {"credsStore": "store", "auths": {"a.example.com": {"auth": AUTH}}})
    assert getattr(found.credentials("a.example.com"), "username", "") == "ali"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (None, "docker-credential-bad is not installed"),
        ("echo no such account; exit 1", "docker-credential-bad says: no such account"),
        ("echo '[]'", "answered in an unknown form"),
        ("echo", "answered in an unknown form"),
        ("exec sleep 60", "did not answer in 0.2 s"),
    ],
)
def test_a_helper_that_fails_is_named(tmp_path: Path, script: str | None, message: str) -> None:
    if script is not None:
        helper(tmp_path, "bad", script)
    (tmp_path / "config.json").write_text(json.dumps({"credsStore": "bad"}))
    environment = {"DOCKER_CONFIG": str(tmp_path), "PATH": f"{tmp_path}:/usr/bin:/bin"}
    with pytest.raises(RegistryError, match=message):
        DockerConfig(environment, timeout=0.2 if script and "sleep" in script else 20).credentials(
            "a.example"
        )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "is not a JSON object"),
        ('{"auths": {"a.example": {"auth": "%%"}}}', "the 'auth' of 'a.example' is not base64"),
        ('{"credsStore": "../../bin/sh"}', "which is no name"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(RegistryError, match=message):
        DockerConfig({"DOCKER_CONFIG": str(tmp_path)}).credentials("a.example")


@given(
    user=st.text(min_size=1).filter(lambda text: ":" not in text and text != TOKEN_USER),
    password=st.text(min_size=1).filter(lambda text: not text.endswith("\0")),
)
def test_what_a_build_is_given_reads_back(
    tmp_path_factory: pytest.TempPathFactory, user: str, password: str
) -> None:
    folder = tmp_path_factory.mktemp("build", numbered=True)
    given_ = Credentials(host="docker.io", username=user, password=Secret(password))
    (folder / "config.json").write_text(for_build("docker.io", given_).reveal())
    assert DockerConfig({}, file=folder).credentials("docker.io") == given_


@pytest.mark.parametrize("document", [{}, {"credsStore": "all"}, {"credHelpers": {"h.example": "one"}}])
def test_credentials_above_a_config_win_over_its_helpers(tmp_path: Path, document: dict[str, Any]) -> None:
    """And what opens other registries stays."""
    for name in ("all", "one"):
        helper(tmp_path, name, 'echo \'{"Username": "of a helper", "Secret": "x"}\'')
    other = {"auths": {"other.example": {"auth": AUTH}}, **document}
    config(tmp_path, other)
    environment = {"DOCKER_CONFIG": str(tmp_path), "PATH": f"{tmp_path}:/usr/bin:/bin"}
    lent = Credentials(host="h.example", username="me", password=Secret("lent"))
    merged = json.loads(document_with(environment, "h.example", lent).reveal())
    # For Docker's client, which reads this, an empty name stands for the file itself.
    assert merged["credHelpers"]["h.example"] == ""
    (tmp_path / "config.json").write_text(json.dumps(merged))
    found = DockerConfig(environment).credentials("other.example")
    assert found is not None
    assert found.username == ("of a helper" if "credsStore" in document else "ali")
    assert merged["auths"]["h.example"]["auth"] == base64.b64encode(b"me:lent").decode()


def test_a_helper_takes_the_place_of_an_entry(tmp_path: Path) -> None:
    config(tmp_path, {"auths": {"https://index.docker.io/v1/": {"auth": AUTH}}, "credHelpers": []})
    lent = Credentials(host="docker.io", username=TOKEN_USER, password=Secret("lent"))
    merged = document_with({"DOCKER_CONFIG": str(tmp_path)}, "docker.io", lent, helper="launch-agent")
    document = json.loads(merged.reveal())
    assert document == {"auths": {}, "credHelpers": {"https://index.docker.io/v1/": "launch-agent"}}
    assert json.loads(helper_answer(lent).reveal()) == {
        "ServerURL": "docker.io",
        "Username": TOKEN_USER,
        "Secret": "lent",
    }


def test_a_config_that_is_broken_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(RegistryError, match="not JSON"):
        document_with({"DOCKER_CONFIG": str(tmp_path)}, "h.example", None)
    assert document_with({}, "h.example", None).reveal() == "{}"
