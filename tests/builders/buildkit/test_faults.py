"""What the words of BuildKit, registries and connections mean, as they were seen."""

from __future__ import annotations

import pytest

from launch_agent.builders.buildkit import faults
from launch_agent.errors import BuildError, RegistryDenied, RegistryUnavailable

SOLVE = "error: failed to solve: "


@pytest.mark.parametrize(
    ("said", "kind", "hint", "passes"),
    [
        ('process "/bin/sh -c x" did not complete successfully: exit code: 3', BuildError, "log", False),
        ('process "/bin/sh -c x" did not complete successfully: exit code: 137', BuildError, "memory", False),
        ("failed to copy: write /x: no space left on device", BuildError, "disk", False),
        ("failed to load LLB: network.host is not allowed", BuildError, "privileges", False),
        ("failed to push r/a:1: unexpected status: 403 Forbidden", RegistryDenied, "push", False),
        ("failed to push r/a:1: server message: insufficient_scope", RegistryDenied, "push", False),
        ("failed to push r/a:1: dial tcp: i/o timeout", RegistryUnavailable, "reach", True),
        ("failed to push r/a:1: x509: certificate signed by unknown", RegistryUnavailable, "trust", True),
        ("failed to push r/a:1: unexpected status: 404 Not Found", BuildError, "repository", False),
        ("a: failed to resolve source metadata for a: pull access denied", BuildError, "base image", False),
        ("a: failed to resolve source metadata for a: 503 Service Unavailable", BuildError, "base", True),
        ("failed to fetch oauth token: unexpected status: 401", RegistryDenied, "credentials", False),
        ("something new", BuildError, "log", False),
    ],
)
def test_a_failed_build(said: str, kind: type[Exception], hint: str, passes: bool) -> None:
    log = f"#5 0.1 error: of the job's own, no space left\n#5 ERROR: x\n------\n{SOLVE}{said}"
    assert not faults.is_lost(log)
    error = faults.failure(log)
    assert type(error) is kind
    assert said in error.message
    assert hint in error.hint
    assert error.retryable == passes


@pytest.mark.parametrize(
    "said",
    [
        "failed to receive status: rpc error: code = Unavailable desc = error reading from server: EOF",
        "listing workers for Build: failed to list workers: Unavailable: connection error: desc = refused",
        "failed to solve: Unavailable: closing transport due to: connection error",
        "failed to solve: Canceled: context canceled",
        "failed to solve: no active session for 8y: context deadline exceeded",
    ],
)
def test_a_lost_connection(said: str) -> None:
    assert faults.is_lost(f"#1 DONE 0.0s\nerror: {said}")


def test_what_a_step_prints_is_no_failure_of_the_daemon() -> None:
    said = "#5 0.1 rpc error: code = Unavailable desc = of the job's own\n"
    assert not faults.is_lost(f'{said}{SOLVE}process "x" did not complete successfully: exit code: 1')


def test_silence_is_an_error_too() -> None:
    assert "it says nothing" in faults.failure("").message
    assert faults.unreachable("tcp://h:1", "").retryable
    assert faults.not_started("") is None
