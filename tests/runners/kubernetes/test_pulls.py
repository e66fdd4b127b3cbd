"""What opens an image's registry is there before the run's pods need it, and stays fresh."""

from __future__ import annotations

import base64
import json
import time

import pytest

from launch_agent.errors import RegistryDenied
from launch_agent.runners import tell_what_opens
from launch_agent.runners.kubernetes import pulls
from launch_agent.spec.model import Credentials, RunState
from launch_agent.spec.secret import Secret
from tests.fakes.eventually import eventually
from tests.fakes.fake_node import PodEnd
from tests.runners.kubernetes.bench import PATIENCE, KubernetesBench, await_state, job

pytestmark = pytest.mark.timeout(300)


class Tokens:
    """A registry's tokens, which last for `lasting` seconds; the second is not given at first."""

    def __init__(self, lasting: float) -> None:
        self.lasting = lasting
        self.given = 0
        self.refused = False

    def __call__(self) -> Credentials:
        if self.given == 1 and not self.refused:
            self.refused = True
            raise RegistryDenied("the cloud does not answer")
        self.given += 1
        return Credentials(
            host="registry.example.com",
            username="puller",
            password=Secret(f"token-{self.given}"),
            expires=time.time() + self.lasting,
        )


def password(bench: KubernetesBench) -> str:
    (found,) = [each for each in bench.secrets() if each["type"] == "kubernetes.io/dockerconfigjson"]
    config = json.loads(base64.b64decode(found["data"][".dockerconfigjson"]))
    return str(config["auths"]["registry.example.com"]["password"])


def test_it_is_renewed_while_the_run_goes_on(bench: KubernetesBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulls, "_LOOK_EVERY", 0.1)
    monkeypatch.setattr(pulls, "_LEAST_PAUSE", 0.3)
    monkeypatch.setattr(pulls, "_PAUSE_AFTER_FAILURE", 0.3)
    tokens = Tokens(5.0)
    run = bench.runner().submit(bench.request(job(PodEnd.NEVER), pull_credentials=tokens))
    (pod,) = eventually(lambda: bench.of("v1", "Pod"), within=PATIENCE)
    (reference,) = pod["spec"]["imagePullSecrets"]
    assert reference["name"] in {secret["metadata"]["name"] for secret in bench.secrets()}
    eventually(lambda: password(bench) not in ("token-1", "token-2"), within=PATIENCE)
    assert tokens.refused
    await_state(run, RunState.RUNNING)
    run.cancel()
    await_state(run, RunState.STOPPED)
    eventually(lambda: not bench.secrets(), within=PATIENCE, what="nothing is left")
    given = tokens.given
    assert given >= 3


def test_the_next_agent_goes_on_with_it(bench: KubernetesBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of runs whose images are in the config's registry, and of no others."""
    monkeypatch.setattr(pulls, "_LOOK_EVERY", 0.1)
    tokens = Tokens(43_200.0)
    first = bench.runner()
    first.submit(bench.request(job(PodEnd.NEVER), pull_credentials=tokens))
    first.submit(bench.request(job(PodEnd.NEVER)))
    first.close()
    assert password(bench) == "token-1"

    asked: list[str] = []

    def opens(image: str) -> Tokens:
        asked.append(image)
        return tokens

    second = bench.runner()
    tell_what_opens(second, opens)
    tokens.refused = True
    assert len(second.adopt(bench.agent)) == 2
    eventually(lambda: password(bench) == "token-2", within=PATIENCE)
    assert asked == ["registry.example.com/team/train:v3"]
    second.close()

    third = bench.runner()
    tell_what_opens(third, lambda image: None)
    assert len(third.adopt(bench.agent)) == 2
    assert tokens.given == 2


def test_what_does_not_open_fails_the_launch_before_anything_is_made(bench: KubernetesBench) -> None:
    def denied() -> Credentials:
        raise RegistryDenied("no such role")

    with pytest.raises(RegistryDenied):
        bench.runner().submit(bench.request(job(), pull_credentials=denied))
    assert not bench.jobs()


@pytest.mark.parametrize(
    ("left", "wait"), [(43_200.0, 34_560.0), (3600.0, 2880.0), (1200.0, 600.0), (300.0, 30.0), (-5.0, 30.0)]
)
def test_it_is_renewed_in_time(left: float, wait: float) -> None:
    assert pulls.pause(left) == wait
