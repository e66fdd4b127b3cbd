"""An agent's surroundings on a cluster: queue server, namespace, service account, and pods that are played.

The agent is a process here, with the files and variables that a pod would have; API server, token and Role
are real. Its rights are those that the chart gives, so that what works here works there.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from launch_agent.spec.identity import AGENT_KEY, agent_key
from tests.fakes import fake_node
from tests.fakes.agent_process import AgentProcess
from tests.fakes.backend import Backend
from tests.fakes.control_plane import Cluster
from tests.fakes.eventually import eventually
from tests.fakes.fake_node import PodEnd
from tests.fakes.kube import Kube, Object

# The Secret that keeps launches under way.
STATE = "agent-state"
# As in the chart's Role (tests/chart/test_rbac.py compares that one with what the server says).
RULES: Sequence[Mapping[str, Sequence[str]]] = (
    {
        "apiGroups": ["batch"],
        "resources": ["jobs"],
        "verbs": ["create", "get", "list", "watch", "patch", "delete"],
    },
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]},
    {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["list"]},
    {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create", "patch"]},
    {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [STATE], "verbs": ["get"]},
    {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create", "get", "update"]},
)
_RBAC = "rbac.authorization.k8s.io/v1"
QUEUE = "q"


@dataclass(slots=True, kw_only=True)
class Site:
    """`account` is the folder with the token and the authority of the agent's service account. `url` is where
    the agents find the API server, a proxy's perhaps."""

    kube: Kube
    namespace: str
    backend: Backend
    folder: Path
    account: Path
    url: str
    name: str = field(default_factory=lambda: f"agent-{uuid.uuid4().hex[:8]}")
    agents: list[AgentProcess] = field(default_factory=list)

    def agent(
        self, place: str = "one", variables: Mapping[str, str] | None = None, **config: Any
    ) -> AgentProcess:
        """An agent that was not started yet; those of different places have different state folders.
        `variables` are laid over a pod's."""
        folder = self.folder / place
        folder.mkdir(exist_ok=True)
        there = urlsplit(self.url)
        environment = {
            "KUBERNETES_SERVICE_HOST": str(there.hostname),
            "KUBERNETES_SERVICE_PORT": str(there.port),
            **(variables or {}),
        }
        options = {"namespace": self.namespace, "credentials": str(self.account)}
        usual: dict[str, Any] = {
            "name": self.name,
            "entity": self.backend.entity,
            "runner": {"kubernetes": options},
            "policy": {},
            "max_jobs": -1,
        }
        made = AgentProcess(
            folder, self.backend.url, self.backend.api_key, environment=environment, **{**usual, **config}
        )
        self.agents.append(made)
        return made

    def push(
        self,
        end: PodEnd = PodEnd.COMPLETED,
        spec: Mapping[str, Any] | None = None,
        namespace: str = "",
        **how: Any,
    ) -> str:
        """Queue a Job whose pod ends so; `spec` is laid over the Job's."""
        annotations = fake_node.ends_with(end, **how)
        manifest = {"spec": {"template": {"metadata": {"annotations": annotations}}, **(spec or {})}}
        place = {"metadata": {"namespace": namespace}} if namespace else {}
        return self.push_manifest({**place, **manifest})

    def push_manifest(self, manifest: Mapping[str, Any], **spec: Any) -> str:
        return self.backend.push(
            QUEUE,
            {
                "project": "p",
                "resource": "kubernetes",
                "docker": {"docker_image": "registry.example.com/team/train:v3"},
                "resource_args": {"kubernetes": manifest},
                **spec,
            },
        )

    def jobs(self) -> list[Object]:
        return self.of("batch/v1", "Job")

    def of(self, version: str, kind: str) -> list[Object]:
        """The agent's objects of a kind."""
        selector = f"{AGENT_KEY}={agent_key(self.name)}"
        return self.kube.items(version, kind, self.namespace, labelSelector=selector)

    def item(self, item_id: str) -> dict[str, Any]:
        return self.backend.item(item_id)

    def state(self, item_id: str) -> str:
        return str(self.item(item_id)["detailedState"])

    def await_state(self, item_id: str, state: str, *, within: float = 60.0) -> dict[str, Any]:
        def reached() -> dict[str, Any]:
            found = self.item(item_id)
            assert found["detailedState"] == state, (found, self.agents and self.agents[-1].log[-3000:])
            return found

        return eventually(reached, within=within, every=0.1)

    def close(self) -> None:
        for agent in self.agents:
            agent.kill()


@contextmanager
def site_on(
    cluster: Cluster, namespace: str, backend: Backend, folder: Path, *, account_name: str = "", url: str = ""
) -> Iterator[Site]:
    """A site in a namespace; its agents are gone at the end. They work as the account that is named; not
    named, one is made that has the chart's rights."""
    kube = cluster.kube
    if not account_name:
        account_name = "agent"
        give_rights(kube, namespace, account_name, RULES)
    account = folder / "account"
    account.mkdir(parents=True)
    (account / "token").write_text(kube.token(namespace, account_name))
    (account / "ca.crt").write_bytes(kube.authority.read_bytes())
    (account / "namespace").write_text(namespace)
    backend.create_queue(QUEUE, "kubernetes")
    site = Site(
        kube=kube, namespace=namespace, backend=backend, folder=folder, account=account, url=url or kube.url
    )
    try:
        yield site
    finally:
        site.close()


def give_rights(
    kube: Kube, namespace: str, account: str, rules: Sequence[Mapping[str, Any]], *, of: str = ""
) -> None:
    """A service account that may do so much in its namespace, and no more; or one that there is, of another
    namespace (`of`)."""
    if not of:
        kube.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account}}, namespace)
    kube.create(
        {"apiVersion": _RBAC, "kind": "Role", "metadata": {"name": account}, "rules": rules}, namespace
    )
    kube.create(
        {
            "apiVersion": _RBAC,
            "kind": "RoleBinding",
            "metadata": {"name": account},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": account},
            "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": of or namespace}],
        },
        namespace,
    )
