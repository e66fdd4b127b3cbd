from __future__ import annotations

from typing import Any

import pytest

from launch_agent.runners.docker.arguments import parse
from launch_agent.runners.docker.creation import Creation, make
from launch_agent.spec import identity
from launch_agent.spec.model import RunRequest
from launch_agent.spec.secret import Secret
from tests.contracts.runner import identity_for


def creation(
    resource_args: dict[str, Any] | None = None, *, network: str = "", desktop: bool = False, **fields: Any
) -> Creation:
    request = RunRequest(identity=identity_for("agent", "item"), image="image", **fields)
    return make(request, parse(resource_args or {}), network=network, desktop=desktop)


def test_a_bare_request_leaves_all_to_the_image() -> None:
    made = creation()
    assert not {"Entrypoint", "Cmd", "WorkingDir", "User"} & made.body.keys()
    assert made.name == identity.object_name(identity_for("agent", "item"))
    assert made.body["Labels"] == identity.to_labels(identity_for("agent", "item"))


def test_the_jobs_entry_point_and_arguments_win() -> None:
    made = creation({"entrypoint": "theirs", "command": ["b"]}, entry_point=["ours"], args=["", "x y"])
    assert (made.body["Entrypoint"], made.body["Cmd"]) == (["ours"], ["", "x y"])


def test_a_command_of_the_queue_is_not_given_to_the_jobs_entry_point() -> None:
    assert "Cmd" not in creation({"command": ["b"]}, entry_point=["ours"]).body


def test_the_queues_entry_point_and_command_are_used_where_the_job_has_none() -> None:
    made = creation({"entrypoint": ["theirs", "-x"], "command": ["b"], "workdir": "/w"})
    assert (made.body["Entrypoint"], made.body["Cmd"], made.body["WorkingDir"]) == (
        ["theirs", "-x"],
        ["b"],
        "/w",
    )


def test_the_jobs_working_directory_wins() -> None:
    assert creation({"workdir": "/theirs"}, working_dir="/ours").body["WorkingDir"] == "/ours"


def test_the_queues_variables_win_but_for_those_that_say_whose_run_it_is() -> None:
    env = {"WANDB_PROJECT": "ours", "WANDB_MODE": "online"}
    secret = {"WANDB_API_KEY": Secret("ours")}
    theirs = {"WANDB_PROJECT": "x", "WANDB_API_KEY": "x", "WANDB_MODE": "offline", "WANDB_ENTITY": "theirs"}
    made = creation({"env": theirs}, env=env, secret_env=secret)
    assert sorted(made.body["Env"]) == [
        "WANDB_API_KEY=ours",
        "WANDB_ENTITY=theirs",
        "WANDB_MODE=offline",
        "WANDB_PROJECT=ours",
    ]


def test_the_queue_names_the_network_before_the_config_does() -> None:
    assert creation({"network": "theirs"}, network="ours").body["HostConfig"]["NetworkMode"] == "theirs"
    assert creation(network="ours").body["HostConfig"]["NetworkMode"] == "ours"
    assert "NetworkMode" not in creation().body["HostConfig"]


LOCAL = ["http://localhost:8080", "http://127.0.0.1:8080", "https://[::1]:8080", "http://wandb.localhost"]


@pytest.mark.parametrize("url", LOCAL)
def test_a_backend_on_this_machine_is_reached_through_the_hosts_network(url: str) -> None:
    made = creation(env={"WANDB_BASE_URL": url})
    assert made.body["HostConfig"]["NetworkMode"] == "host"
    assert made.body["Env"] == [f"WANDB_BASE_URL={url}"]


def test_docker_desktop_has_a_name_for_this_machine() -> None:
    made = creation(
        {"add-host": "a:1.2.3.4"}, env={"WANDB_BASE_URL": "http://localhost:8080/x"}, desktop=True
    )
    assert made.body["Env"] == ["WANDB_BASE_URL=http://host.docker.internal:8080/x"]
    assert made.body["HostConfig"]["ExtraHosts"] == ["a:1.2.3.4", "host.docker.internal:host-gateway"]
    assert "NetworkMode" not in made.body["HostConfig"]


@pytest.mark.parametrize("url", ["https://api.wandb.ai", "http://10.0.0.1:8080", "", "not a url"])
def test_a_backend_elsewhere_changes_nothing(url: str) -> None:
    assert "NetworkMode" not in creation(env={"WANDB_BASE_URL": url}).body["HostConfig"]


def test_a_network_that_was_named_is_kept_for_a_backend_on_this_machine() -> None:
    made = creation(network="training", env={"WANDB_BASE_URL": LOCAL[0]})
    assert made.body["HostConfig"]["NetworkMode"] == "training"


def test_published_ports_are_exposed() -> None:
    made = creation({"publish": "8080:80"})
    assert made.body["ExposedPorts"] == {"80/tcp": {}}
