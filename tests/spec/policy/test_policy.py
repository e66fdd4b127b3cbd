"""The policy as a whole: everything refused at once, schedulers, processes, and what is left alone."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from launch_agent.errors import Refused
from launch_agent.spec.model import Overrides, RunSpec
from launch_agent.spec.policy import Policy, check

COMMAND = ("wandb", "scheduler", "WANDB_SWEEP_ID")


def spec(resource: str = "local-container", entry_point: tuple[str, ...] = (), **fields: Any) -> RunSpec:
    return RunSpec(
        entity="e",
        project="p",
        resource=resource,
        overrides=Overrides(entry_point=entry_point, args=("--queue", "q")),
        **fields,
    )


def test_everything_is_named_at_once_with_one_piece_of_yaml_that_opens_it() -> None:
    asks = spec(image="i", resource_args={"v": "/data:/data", "net": "host", "privileged": True, "cpus": 1})
    with pytest.raises(Refused) as raised:
        check(asks, Policy())
    assert "refuses 3 things" in raised.value.message
    for key in ("v", "net", "privileged"):
        assert f"resource_args.local-container.{key} " in raised.value.message
    text = "policy: {allow: {local-container: {volume: ['/data:/data'], network: [host], privileged: true}}}"
    assert text in raised.value.hint
    check(asks, Policy(allow=yaml.safe_load(text)["policy"]["allow"]))


def test_the_exact_line_for_the_host_network() -> None:
    with pytest.raises(Refused) as raised:
        check(spec(image="i", resource_args={"network": "host"}), Policy())
    assert "`policy: {allow: {local-container: {network: [host]}}}`" in raised.value.hint


def test_an_opening_holds_for_its_own_resource() -> None:
    asks = spec("kubernetes", image="i", resource_args={"spec": {"hostNetwork": True}})
    with pytest.raises(Refused):
        check(asks, Policy(allow={"local-container": {"hostNetwork": True}}))
    check(asks, Policy(allow={"kubernetes": {"hostNetwork": True}}))


def test_a_key_is_known_by_dashes_and_underscores_alike() -> None:
    asks = spec("kubernetes", image="i", resource_args={"spec": {"hostNetwork": True}})
    for key in ("hostNetwork", "host-network", "host_network"):
        check(asks, Policy(allow={"kubernetes": {key: True}}))


def test_a_scheduler_of_a_sweep_is_shut_by_default() -> None:
    asks = spec("local-process", COMMAND, scheduler=True)
    with pytest.raises(Refused) as raised:
        check(asks, Policy(allow={"local-process": {"sweep-schedulers": True, "entry-point": True}}))
    assert "sweep-schedulers: true" in raised.value.hint
    check(asks, Policy(sweep_schedulers=True))
    check(asks, Policy(sweep_schedulers=True, secure_mode=True))


@pytest.mark.parametrize(
    "entry_point",
    [
        (),
        ("wandb",),
        ("sh", "-c", "wandb scheduler x"),
        ("/tmp/wandb", "scheduler", "x"),
        ("wandb", "login"),
        ("wandb scheduler", "x"),
    ],
)
def test_a_scheduler_runs_one_command_and_no_other(entry_point: tuple[str, ...]) -> None:
    policy = Policy(sweep_schedulers=True, allow={"local-process": {"entry-point": True}})
    with pytest.raises(Refused, match="wandb scheduler"):
        check(spec("local-process", entry_point, scheduler=True), policy)


def test_a_process_runs_a_submitters_command_only_where_that_is_opened() -> None:
    asks = spec("local-process", ("python", "train.py"))
    with pytest.raises(Refused) as raised:
        check(asks, Policy())
    assert "policy: {allow: {local-process: {entry-point: [python train.py]}}}" in raised.value.hint
    check(asks, Policy(allow={"local-process": {"entry-point": True}}))
    check(asks, Policy(allow={"local-process": {"entry_point": ["python *.py"]}}))
    with pytest.raises(Refused):
        check(asks, Policy(allow={"local-process": {"entry-point": ["make *"]}}))
    check(spec("local-process", job="e/p/j:v0"), Policy())


def test_a_process_gets_no_variables_where_not_any_command_may_run() -> None:
    for variables in ({"PATH": "/tmp"}, ["PATH=/tmp"], "PATH=/tmp"):
        asks = spec("local-process", ("python", "t.py"), resource_args={"env": variables})
        only_python = {"entry-point": ["python *"]}
        with pytest.raises(Refused) as raised:
            check(asks, Policy(allow={"local-process": only_python}))
        assert "{local-process: {env: [PATH=/tmp]}}" in raised.value.hint
        check(asks, Policy(allow={"local-process": {**only_python, "env": ["PATH=*"]}}))
        check(asks, Policy(allow={"local-process": {"entry-point": True}}))
    check(spec("local-process", job="e/p/j:v0", resource_args={"env": None}), Policy())


def test_values_are_judged_as_they_will_be_where_the_macros_are_known() -> None:
    def reads(secret: str) -> RunSpec:
        env_from = [{"secretRef": {"name": secret}}]
        return spec("kubernetes", image="i", resource_args={"containers": [{"envFrom": env_from}]})

    known = {"author": "alice", "run_name": "wandb-api-key-prod", "image_uri": ""}
    with pytest.raises(Refused):
        check(reads("creds-${author}"), Policy())
    check(reads("creds-${author}"), Policy(), known)
    for name in ("${run_name}", "${image_uri}", "${OTHER}"):
        with pytest.raises(Refused, match="own secrets"):
            check(reads(name), Policy(), known)
    opened = Policy(allow={"local-container": {"volume": ["/data/*"]}})
    asks = spec(image="i", resource_args={"volume": "/data/${author}:/d"})
    check(asks, opened, known)
    with pytest.raises(Refused):
        check(asks, opened, {"author": "../etc"})
    check(spec(image="i", resource_args={"env": {"A": "${author}"}}), Policy(), known)


def test_secure_mode_leaves_the_entry_point_to_the_job() -> None:
    allow = {resource: {"entry-point": True} for resource in ("local-container", "local-process")}
    for resource in ("local-container", "kubernetes", "sagemaker", "vertex", "local-process"):
        check(spec(resource, image="i"), Policy(secure_mode=True))
        with pytest.raises(Refused, match="secure mode"):
            check(spec(resource, ("sh",), image="i"), Policy(secure_mode=True, allow=allow))


def test_resources_without_a_table_take_their_arguments_as_they_are() -> None:
    for resource in ("sagemaker", "vertex", "third-party"):
        check(spec(resource, image="i", resource_args={"hostNetwork": True, "v": "/:/"}), Policy())
