"""An agent's name of its own, a namespace whose pods the fake node plays, and runners as after a restart."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from launch_agent.clients.kube import access
from launch_agent.clients.kube.api import KubeApi
from launch_agent.runners import Run
from launch_agent.runners.kubernetes.options import Options, options_from
from launch_agent.runners.kubernetes.runner import KubernetesRunner
from launch_agent.spec.identity import AGENT_KEY, agent_key
from launch_agent.spec.model import RunRequest, RunState, RunStatus
from launch_agent.spec.secret import Secret
from tests.contracts.runner import identity_for
from tests.fakes import fake_node
from tests.fakes.control_plane import Cluster
from tests.fakes.eventually import eventually
from tests.fakes.fake_node import PodEnd
from tests.fakes.kube import Kube, Object
from tests.fakes.kube_proxy import KubeProxy

KEY = "local-0123456789abcdef"
# Seconds: a control plane on a busy machine.
PATIENCE = 30.0


def access_to(kube: Kube, url: str = "") -> access.Access:
    """What the test client may do; `url` may be a proxy's."""
    headers = {"Authorization": f"Bearer {kube.bearer}"} if kube.bearer else {}
    return access.Access(
        url=url or kube.url,
        credentials=lambda _fresh: headers,
        tls=lambda: access.context(kube.authority, certificate=kube.certificate),
    )


@dataclass(slots=True)
class KubernetesBench:
    """One namespace, and whoever starts runs in it. `connect` may be replaced, by a proxy's say."""

    cluster: Cluster
    namespace: str
    agent: str = field(default_factory=lambda: f"agent-{uuid.uuid4().hex[:8]}")
    made: list[KubernetesRunner] = field(default_factory=list)

    def connect(self, options: Options) -> KubeApi:
        return KubeApi(
            access_to(self.cluster.kube), qps=options.qps, burst=options.burst, timeout=options.timeout
        )

    def through(self, proxy: KubeProxy) -> Callable[[Options], KubeApi]:
        """Connects by way of a proxy, and gives up soon."""
        return lambda options: KubeApi(
            access.Access(url=proxy.url, credentials=lambda _fresh: {}),
            qps=options.qps,
            burst=options.burst,
            timeout=5.0,
            patience=1.0,
        )

    def runner(
        self,
        connect: Callable[[Options], KubeApi] | None = None,
        *,
        verify: bool = True,
        clock: Callable[[], float] = time.monotonic,
        utc: Callable[[], float] = time.time,
        **options: Any,
    ) -> KubernetesRunner:
        """A new runner, as after a restart of the agent."""
        chosen = options_from({"namespace": self.namespace, **options})
        made = KubernetesRunner(chosen, lambda: (connect or self.connect)(chosen), clock=clock, utc=utc)
        self.made.append(made)
        if verify:
            made.verify()
        return made

    def request(self, resource_args: Mapping[str, Any] | None = None, **fields: Any) -> RunRequest:
        usual: dict[str, Any] = {
            "identity": identity_for(self.agent),
            "image": "registry.example.com/team/train:v3",
            "env": {"WANDB_PROJECT": "p"},
            "secret_env": {"WANDB_API_KEY": Secret(KEY)},
        }
        return RunRequest(**{**usual, "resource_args": resource_args or {}, **fields})

    def close(self) -> None:
        for runner in self.made:
            runner.close()

    def jobs(self) -> Sequence[Object]:
        return self.of("batch/v1", "Job")

    def of(self, version: str, kind: str) -> Sequence[Object]:
        """This agent's objects of a kind."""
        selector = f"{AGENT_KEY}={agent_key(self.agent)}"
        return self.cluster.kube.items(version, kind, self.namespace, labelSelector=selector)

    def secrets(self) -> Sequence[Object]:
        return self.of("v1", "Secret")

    def services(self) -> Sequence[Object]:
        return self.cluster.kube.items("v1", "Service", self.namespace)


def job(end: PodEnd = PodEnd.COMPLETED, spec: Mapping[str, Any] | None = None, **how: Any) -> dict[str, Any]:
    """A queue's configuration for a Job whose pods end so."""
    annotations = fake_node.ends_with(end, **how)
    return {"spec": {"template": {"metadata": {"annotations": annotations}}, **(spec or {})}}


def pod(end: PodEnd = PodEnd.COMPLETED, **how: Any) -> dict[str, Any]:
    annotations = fake_node.ends_with(end, **how)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"annotations": annotations}}


def end_of(run: Run, *, within: float = PATIENCE) -> RunStatus:
    def ended() -> RunStatus:
        status = run.status()
        assert status.state.is_terminal, status
        return status

    return eventually(ended, within=within, every=0.05, what=f"{run.id} ends")


def await_state(run: Run, *states: RunState) -> RunStatus:
    def reached() -> RunStatus:
        status = run.status()
        assert status.state in states, status
        return status

    return eventually(reached, within=PATIENCE, every=0.05, what=f"{run.id} is {states}")
