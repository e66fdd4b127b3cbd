"""The command lines of the tests' control plane, for programs that listen on loopback ports only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.fakes import fake_node


def _etcd(folder: Path, ports: dict[str, int]) -> list[str]:
    clients = f"http://127.0.0.1:{ports['etcd']}"
    return [
        f"--data-dir={folder}/etcd", f"--listen-client-urls={clients}", f"--advertise-client-urls={clients}",
        f"--listen-peer-urls=http://127.0.0.1:{ports['peers']}", "--unsafe-no-fsync", "--log-level=error",
    ]  # fmt: skip


def _api_server(folder: Path, ports: dict[str, int]) -> list[str]:
    return [
        f"--etcd-servers=http://127.0.0.1:{ports['etcd']}", "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none", f"--secure-port={ports['api']}",
        f"--tls-cert-file={folder}/apiserver.crt", f"--tls-private-key-file={folder}/apiserver.key",
        f"--client-ca-file={folder}/ca.crt", f"--service-account-key-file={folder}/sa.pub",
        f"--service-account-signing-key-file={folder}/sa.key",
        "--service-account-issuer=https://kubernetes.default.svc", "--authorization-mode=Node,RBAC",
        "--service-cluster-ip-range=10.96.0.0/16", "--shutdown-delay-duration=0s",
        f"--kubelet-client-certificate={folder}/admin.crt", f"--kubelet-client-key={folder}/admin.key",
        "--kubelet-preferred-address-types=InternalIP", "--allow-privileged=true",
        # These two let a namespace say where its pods run, whatever their manifests say.
        "--enable-admission-plugins=PodNodeSelector,PodTolerationRestriction",
        f"--audit-policy-file={folder}/audit.json", f"--audit-log-path={folder}/audit.log",
        "--audit-log-mode=blocking",
    ]  # fmt: skip


def _manager(folder: Path, ports: dict[str, int]) -> list[str]:
    return [
        *_component(f"{folder}/manager.kubeconfig", ports["manager"]),
        f"--service-account-private-key-file={folder}/sa.key", f"--root-ca-file={folder}/ca.crt",
        f"--cluster-signing-cert-file={folder}/ca.crt", f"--cluster-signing-key-file={folder}/ca.key",
        "--use-service-account-credentials", f"--cert-dir={folder}/manager",
    ]  # fmt: skip


def _scheduler(folder: Path, ports: dict[str, int]) -> list[str]:
    return [
        *_component(f"{folder}/scheduler.kubeconfig", ports["scheduler"]),
        f"--cert-dir={folder}/scheduler",
    ]


def _component(config: str, port: int) -> list[str]:
    """What controllers and scheduler have in common. By default they ask 20 to 50 times a second, and that
    would be the measure of how fast Jobs start."""
    return [
        f"--kubeconfig={config}", f"--authentication-kubeconfig={config}",
        f"--authorization-kubeconfig={config}", "--leader-elect=false", "--bind-address=127.0.0.1",
        f"--secure-port={port}", "--kube-api-qps=1000", "--kube-api-burst=2000",
    ]  # fmt: skip


FLAGS: dict[str, Callable[[Path, dict[str, int]], list[str]]] = {
    "etcd": _etcd,
    "kube-apiserver": _api_server,
    "kube-controller-manager": _manager,
    "kube-scheduler": _scheduler,
    "kwok": lambda folder, ports: fake_node.flags(folder, ports["kubelet"]),
}
"""The command line of each program, given the cluster's folder and the ports by name."""
