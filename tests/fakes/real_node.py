"""A real node for the tests' cluster: containerd, kubelet and kube-proxy in a machine of their own.

Pods run, fail to pull, run out of memory and are evicted as anywhere. The node belongs to the control plane:
it is started by the first who asks, serves all test processes, and goes with the cluster. There is no DNS in
it: pods reach the API server at its service address, and what a test serves at `Node.outside`.

Needs root on Linux, Debian's CNI plugins and socat; `check_possible` says what is missing.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from launch_agent.images.rootfs import image_from_host
from tests.fakes import detached, node_configs, node_images, node_machine
from tests.fakes.cluster_keys import NODE, write_kubeconfig
from tests.fakes.docker_engine import locked
from tests.fakes.eventually import eventually
from tests.fakes.kube import Kube
from tests.fakes.node_machine import Link
from tests.fakes.nodes import await_ready, namespace_on
from tools import go_tools

NAME = NODE
TAINT = "test.launch-agent/real"
_PROGRAMS = ("containerd", "containerd-shim-runc-v2", "ctr", "runc", "kubelet", "kube-proxy")
_NEEDED = ("ip", "unshare", "nsenter", "iptables", "socat")
_SECONDS = 120.0
_TINY = (
    "sh",
    "sleep",
    "echo",
    "cat",
    "env",
    "true",
    "false",
    "printf",
    "head",
    "tail",
    "yes",
    "id",
    "ls",
    "kill",
)


class NoNode(Exception):
    """Why there can be no node for the tests on this machine: they are left out."""


class NodeFailed(Exception):
    """A node that could be had did not come up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """`outside` is the test's own address as pods see it: what listens there, and only there, serves them."""

    folder: Path
    link: Link

    @property
    def outside(self) -> str:
        return self.link.outside

    def trust(self, registry: str) -> None:
        """Pull from a registry (`host:port`) over HTTP."""
        folder = self.folder / "registries" / registry
        folder.mkdir(exist_ok=True)
        (folder / "hosts.toml").write_text(
            f'server = "http://{registry}"\n[host."http://{registry}"]\ncapabilities = ["pull", "resolve"]\n'
        )

    def import_image(self, name: str, programs: Sequence[str] = _TINY, *, python: bool = False) -> str:
        """Put an image of this machine's programs on the node, where it is not there; returns its name."""
        with locked(self.folder / "images.lock"):
            if name not in self.ctr("images", "list", "--quiet").split():
                _import(self, name, programs, python=python)
        return name

    def ctr(self, *arguments: str) -> str:
        """What containerd's own client says, in the namespace of Kubernetes."""
        program = _tools()["ctr"]
        socket = f"--address={self.folder}/containerd.sock"
        done = subprocess.run(
            [program, socket, "--namespace=k8s.io", *arguments],
            check=True, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        return done.stdout

    def stop_kubelet(self) -> None:
        """Lose the node: nobody reports about it and its pods any more."""
        for pid in node_machine.processes("kubelet", self.folder):
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: not node_machine.processes("kubelet", self.folder), within=20, what="it is gone")

    def start_kubelet(self) -> None:
        _spawn(self.folder, "kubelet", node_configs.kubelet(self.folder, NAME, self.link))


def _import(node: Node, name: str, programs: Sequence[str], *, python: bool = False) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        layer = image_from_host(Path(scratch, "layer.tar"), programs, python=python)
        entrypoint = ["/usr/bin/sleep", "infinity"] if name == node_configs.PAUSE else []
        whole = node_images.archive(layer, name, Path(scratch, "image.tar"), entrypoint)
        node.ctr("images", "import", str(whole))


def check_possible() -> None:
    """Raise NoNode where no node can run."""
    if not sys.platform.startswith("linux"):
        raise NoNode("a Kubernetes node needs Linux")
    if os.getuid() != 0:
        raise NoNode("only root may start a Kubernetes node")
    if missing := [name for name in _NEEDED if shutil.which(name) is None]:
        raise NoNode(f"{missing[0]} is not installed (`make system`)")
    if not Path("/usr/lib/cni/bridge").exists():
        raise NoNode("containernetworking-plugins are not installed (`make system`)")
    if missing := [name for name, path in _tools().items() if not path.exists()]:
        raise NoNode(f"{missing[0]} is not built (`make tools`)")


def _tools() -> dict[str, Path]:
    """kubelet and kube-proxy are of the control plane's version."""
    version = os.environ.get("LAUNCH_AGENT_TEST_KUBERNETES", "")
    found = {}
    for tool in go_tools.TOOLS:
        if tool.name in _PROGRAMS:
            other = version and tool.module == "kubernetes"
            home = go_tools.kubernetes_home(version) if other else go_tools.home()
            found[tool.name] = go_tools.program(tool, home)
    return found


def node(cluster: Path, kube: Kube) -> Node:
    """The node of the cluster in a folder, started where it does not run. Raises NoNode, NodeFailed."""
    check_possible()
    folder = cluster / "node"
    with locked(cluster / "node.lock"):
        if not (folder / "up").exists():
            stop(cluster)
            folder.mkdir(mode=0o700)
            try:
                _start(folder, kube)
            except (AssertionError, subprocess.SubprocessError) as error:
                said = detached.last_words(folder, "machine", "containerd", "kubelet", "kube-proxy", "relay")
                stop(cluster)
                raise NodeFailed(f"the node was started and did not come up: {error}: {said}") from error
            (folder / "up").touch()
    return Node(folder=folder, link=node_machine.link_of(folder))


def _start(folder: Path, kube: Kube) -> None:
    link = node_machine.start(folder)
    port = kube.url.rpartition(":")[2]
    node_configs.write(folder, link, TAINT, minor=int(kube.call("GET", "/version")["minor"]))
    for user in ("kubelet", "proxy"):
        write_kubeconfig(folder.parent, user, f"https://{link.outside}:{port}", folder)
    # The API server listens on loopback; the machine reaches it at the link's address, and nobody else does.
    relay = [f"TCP-LISTEN:{port},bind={link.outside},fork,reuseaddr", f"TCP:127.0.0.1:{port}"]
    detached.spawn(folder, "relay", ["socat", "-lp", f"{folder}/relay", *relay])
    _spawn(folder, "containerd", node_configs.containerd(folder))
    made = Node(folder=folder, link=link)
    eventually(partial(_answers, made), within=_SECONDS, every=0.1, what="containerd answers")
    _import(made, node_configs.PAUSE, ("sleep",))
    made.start_kubelet()
    _spawn(folder, "kube-proxy", node_configs.proxy(folder, NAME, link))
    _serve_api(kube, link, int(port))
    await_ready(kube, NAME, within=_SECONDS)


def _answers(made: Node) -> bool:
    try:
        made.ctr("version")
    except subprocess.CalledProcessError:
        return False
    return True


def _serve_api(kube: Kube, link: Link, port: int) -> None:
    """Say where the service `kubernetes` leads: the API server itself does not, as it is on loopback."""
    kube.delete("discovery.k8s.io/v1", "EndpointSlice", "default", "kubernetes")
    labels = {"kubernetes.io/service-name": "kubernetes"}
    kube.create(
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": "kubernetes", "labels": labels},
            "addressType": "IPv4",
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
            "endpoints": [{"addresses": [link.outside], "conditions": {"ready": True}}],
        },
        "default",
    )


def _spawn(folder: Path, name: str, flags: Sequence[str]) -> None:
    tools = _tools()
    # runc and the shim are found by PATH; some machines have older ones.
    path = ":".join([str(tools["runc"].parent), "/usr/sbin", "/sbin"])
    detached.spawn(folder, name, node_machine.enter(folder, [tools[name], *flags]), path=path)


@contextmanager
def namespace(kube: Kube, labels: Mapping[str, str] | None = None) -> Iterator[str]:
    """A namespace whose pods run on the node."""
    with namespace_on(kube, NAME, TAINT, labels) as name:
        yield name


def stop(cluster: Path) -> None:
    """Remove the node of a cluster, also what a killed session has left of one."""
    folder = cluster / "node"
    if not folder.exists():
        return
    node_machine.stop(folder)
    if pid := detached.pid_of(folder, "relay"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # with the process of each connection
    shutil.rmtree(folder)
