"""The configuration of the real node's programs: containerd, the pod network, kubelet and kube-proxy.

Two settings are for machines like those of CI: `restrict_oom_score_adj`, since a root without
CAP_SYS_RESOURCE cannot make a process less likely to be killed, and no sandbox would start;
`localStorageCapacityIsolation` off, since the kubelet cannot find out about every root device. So limits of
ephemeral storage are not kept.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.fakes.node_machine import Link, group

PAUSE = "test.invalid/pause:1"
_PLUGINS_OFF = [
    "io.containerd.nri.v1.nri",
    "io.containerd.internal.v1.opt",
    *(f"io.containerd.snapshotter.v1.{name}" for name in ("btrfs", "zfs", "devmapper", "erofs", "blockfile")),
]
_CNI_PROGRAMS = "/usr/lib/cni"


def write(folder: Path, link: Link, taint: str, *, minor: int) -> None:
    """All files into the node's folder, for a Kubernetes 1.MINOR."""
    (folder / "cni").mkdir()
    (folder / "registries").mkdir()
    (folder / "containerd.toml").write_text(_containerd(folder))
    (folder / "cni" / "10-pods.conflist").write_text(json.dumps(_network(folder, link)))
    (folder / "kubelet.json").write_text(json.dumps(_kubelet(folder, link, taint, minor)))
    # Of the pods. Nothing answers there: names are not resolved, as there is no DNS in the cluster.
    (folder / "resolv.conf").write_text(f"nameserver {link.outside}\n")


def _containerd(folder: Path) -> str:
    # The strings of JSON are strings of TOML, and so are its lists.
    return f"""version = 3
root = {json.dumps(f"{folder}/containerd")}
state = "/run/containerd"
disabled_plugins = {json.dumps(_PLUGINS_OFF)}
[grpc]
address = {json.dumps(f"{folder}/containerd.sock")}
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = {json.dumps(PAUSE)}
[plugins.'io.containerd.cri.v1.images'.registry]
config_path = {json.dumps(f"{folder}/registries")}
[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.containerd]
default_runtime_name = "runc"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
SystemdCgroup = false
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = [{json.dumps(_CNI_PROGRAMS)}]
conf_dir = {json.dumps(f"{folder}/cni")}
"""


def _network(folder: Path, link: Link) -> dict[str, Any]:
    addresses = {
        "type": "host-local",
        "dataDir": f"{folder}/addresses",
        "ranges": [[{"subnet": link.pods}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {"type": "bridge", "bridge": "pods", "isGateway": True, "ipMasq": True, "hairpinMode": True}
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "1.0.0", "name": "pods", "plugins": [{**bridge, "ipam": addresses}, ports]}


def _kubelet(folder: Path, link: Link, taint: str, minor: int) -> dict[str, Any]:
    # Otherwise an image that was imported would be pulled once one with the same content has been.
    unverified = {"imagePullCredentialsVerificationPolicy": "NeverVerify"} if minor >= 35 else {}
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": link.inside,
        "healthzBindAddress": "127.0.0.1",
        "registerWithTaints": [{"key": taint, "effect": "NoSchedule"}],
        "containerRuntimeEndpoint": f"unix://{folder}/containerd.sock",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": group(folder),
        "failCgroupV1": False,
        "failSwapOn": False,
        "localStorageCapacityIsolation": False,
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "serializeImagePulls": False,
        **unverified,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{folder.parent}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        # Without one, each pod would get a warning about it among its events.
        "clusterDNS": ["10.96.0.10"],
        "clusterDomain": "cluster.local",
        "resolvConf": f"{folder}/resolv.conf",
        "volumePluginDir": f"{folder}/volume-plugins",
        "podLogsDir": f"{folder}/pod-logs",
    }


def containerd(folder: Path) -> list[str]:
    return ["--config", f"{folder}/containerd.toml"]


def kubelet(folder: Path, name: str, link: Link) -> list[str]:
    return [
        f"--config={folder}/kubelet.json", f"--kubeconfig={folder}/kubelet.kubeconfig",
        f"--root-dir={folder}/kubelet", f"--cert-dir={folder}/kubelet-keys",
        f"--hostname-override={name}", f"--node-ip={link.inside}",
    ]  # fmt: skip


def proxy(folder: Path, name: str, link: Link) -> list[str]:
    """kube-proxy's. It leaves the system's table of connections as large as it is."""
    return [
        f"--kubeconfig={folder}/proxy.kubeconfig", f"--hostname-override={name}", "--proxy-mode=iptables",
        f"--cluster-cidr={link.pods}", "--conntrack-max-per-core=0", "--conntrack-min=0",
        "--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0",
    ]  # fmt: skip
