"""Builds by Jobs: on the real node, with the real BuildKit in the pod, and where the pod cannot be.

The published image cannot be pulled here. One of this machine's stands in for it: the same programs for the
same user, with a few lines in place of its script `buildctl-daemonless.sh`. The Job is the one of any build:
a pod without root or privileges.
"""

from __future__ import annotations

import functools
import http.server
import io
import shutil
import struct
import tarfile
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from launch_agent.builders import Parts
from launch_agent.builders.buildkit.job import BuildkitJobBuilder
from launch_agent.builders.buildkit.settings import Settings
from launch_agent.builders.jobs.follow import End
from launch_agent.builders.jobs.manifest import BUILD_OF
from launch_agent.clients.oci.dockerconfig import DockerConfig
from launch_agent.errors import BuildError
from launch_agent.images.rootfs import image_from_host
from launch_agent.registries.generic import GenericRegistry
from launch_agent.spec.build import BuildContext
from launch_agent.spec.image import ImageRef
from launch_agent.spec.model import Credentials
from launch_agent.spec.secret import Secret
from launch_agent.stores.pvc import ClaimStore
from tests.fakes import node_images
from tests.fakes.build_account import connector
from tests.fakes.control_plane import Cluster
from tests.fakes.eventually import eventually
from tests.fakes.real_node import Node
from tests.fakes.registry import PASSWORD, USER, registry
from tests.fixtures.cluster import await_account
from tools import buildkit_tools, go_tools

pytestmark = pytest.mark.timeout(240)
_DAEMONLESS = """\
#!/bin/sh
addr=unix://$XDG_RUNTIME_DIR/s
rootlesskit buildkitd $BUILDKITD_FLAGS --addr=$addr >/tmp/log 2>&1 &
tries=0
until buildctl --addr=$addr debug workers >/dev/null 2>&1; do
    tries=$((tries + 1))
    if [ $tries -gt 150 ]; then
        echo "could not connect to $addr after $tries trials" >&2
        cat /tmp/log >&2
        exit 1
    fi
    sleep 0.1
done
buildctl --addr=$addr "$@"
"""
_PROGRAMS = ("sh", "sleep", "cat", "id", "grep", "tar", "gzip", "mkdir", "chmod", "mount", "ip")
# Each with its capability (the bits of <linux/capability.h>): Debian's, unlike the published image's, do not
# give up root by themselves before they write a map, for which root in a container lacks CAP_SYS_ADMIN.
_MAPPERS = {"newuidmap": 1 << 7, "newgidmap": 1 << 6}
_ENV = {
    "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
    "HOME": "/home/user",
    "USER": "user",
    "XDG_RUNTIME_DIR": "/run/user/1000",
}


class LinkStore(ClaimStore):
    """Contexts in a folder that is served at an address, as those of a cloud's store are."""

    def __init__(self, folder: Path, url: str) -> None:
        super().__init__("none", folder)
        self.url = url
        self.ends: list[float] = []

    def link(self, key: str, seconds: float) -> Secret:
        self.ends.append(seconds)
        return Secret(f"{self.url}/launch-context-{key}?sig=hush")


@pytest.fixture(scope="module")
def image(node: Node) -> str:
    programs = [*buildkit_tools.programs().values(), go_tools.home() / "bin" / "runc"]
    for program in programs:
        if not program.exists():
            pytest.skip(f"{program.name} is not built (`make tools`)")
    if missing := [name for name in _MAPPERS if shutil.which(name) is None]:
        pytest.skip(f"{missing[0]} is not installed (`make system`)")
    name = "test.invalid/buildkit:rootless-3"
    if name in node.ctr("images", "list", "--quiet").split():
        return name
    with tempfile.TemporaryDirectory() as scratch:
        wanted = [*_PROGRAMS, *_MAPPERS, *map(str, programs)]
        layer = image_from_host(Path(scratch, "layer.tar"), wanted)
        with tarfile.open(layer, "a") as tar:
            _add_user(tar)
            for member in list(tar.getmembers()):
                if Path(member.name).name in {program.name for program in programs}:
                    link = tarfile.TarInfo(f"usr/bin/{Path(member.name).name}")
                    link.type, link.linkname = tarfile.SYMTYPE, f"/{member.name}"
                    tar.addfile(link)
                if bits := _MAPPERS.get(Path(member.name).name):
                    _add(tar, member.name, Path("/", member.name).read_bytes(), 0o755, bits)
            _add(tar, "usr/bin/buildctl-daemonless.sh", _DAEMONLESS.encode(), 0o755)
        whole = node_images.archive(layer, name, Path(scratch, "image.tar"), env=_ENV)
        node.ctr("images", "import", str(whole))
    return name


def _add_user(tar: tarfile.TarFile) -> None:
    """The user that the published image is made for."""
    passwd = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n"
    ranges = "user:100000:65536\n"
    files = {"passwd": passwd, "group": "root:x:0:\nuser:x:1000:\n", "subuid": ranges, "subgid": ranges}
    for name, text in files.items():
        _add(tar, f"etc/{name}", text.encode(), 0o644)
    for path in ("home/user", "home/user/.local", "home/user/.local/share", "run/user/1000"):
        folder = tarfile.TarInfo(path)
        folder.type, folder.mode, folder.uid, folder.gid = tarfile.DIRTYPE, 0o755, 1000, 1000
        tar.addfile(folder)


def _add(tar: tarfile.TarFile, name: str, data: bytes, mode: int, capabilities: int = 0) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), mode
    if capabilities:
        # struct vfs_cap_data: revision 2, effective; then what is permitted, in its lower half.
        packed = struct.pack("<5I", 0x02000001, capabilities, 0, 0, 0)
        text = packed.decode("utf-8", "surrogateescape")
        info.pax_headers = {"SCHILY.xattr.security.capability": text}
    tar.addfile(info, io.BytesIO(data))


@pytest.fixture
def store(node: Node, tmp_path: Path) -> Iterator[LinkStore]:
    folder = tmp_path / "contexts"
    folder.mkdir()
    serve = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer((node.outside, 0), serve) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield LinkStore(folder, f"http://{node.outside}:{server.server_address[1]}")
        server.shutdown()
        thread.join()


class Bench:
    def __init__(self, cluster: Cluster, namespace: str, folder: Path) -> None:
        self.kube, self.namespace, self.folder = cluster.kube, namespace, folder
        self._connect = connector(cluster.kube, namespace, folder)
        self.made: list[BuildkitJobBuilder] = []

    def builder(
        self, registry: str | GenericRegistry, store: ClaimStore, image: str, **settings: Any
    ) -> BuildkitJobBuilder:
        if isinstance(registry, str):
            registry = GenericRegistry(f"{registry}/jobs", DockerConfig({}), plain=True)
        parts = Parts(agent="me", registry=registry, store=store)
        told = {"image": image, "is_plain": True, "timeout": 120.0, **settings}
        made = BuildkitJobBuilder(self._connect, parts, Settings(**told))
        self.made.append(made)
        return made

    def left(self) -> list[Any]:
        secrets = self.kube.items("v1", "Secret", self.namespace)
        ours = [each for each in secrets if BUILD_OF in each["metadata"].get("labels", {})]
        return [*self.kube.items("batch/v1", "Job", self.namespace), *ours]


@pytest.fixture
def bench(cluster: Cluster, node_namespace: str, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(cluster, node_namespace, tmp_path)
    yield made
    for each in made.made:
        each.close()


def context(files: Mapping[str, str | Path], **fields: Any) -> BuildContext:
    def pack() -> Iterator[bytes]:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            for name, content in files.items():
                data = content.read_bytes() if isinstance(content, Path) else content.encode()
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        yield packed.getvalue()

    digest = uuid.uuid4().hex
    return BuildContext(
        **{
            "directory": Path(),
            "dockerfile": "Dockerfile",
            "digest": digest,
            "why": "",
            "pack": pack,
            **fields,
        }
    )


class Lent(GenericRegistry):
    """A registry whose credentials end, as a cloud's do."""

    def credentials(self) -> Credentials:
        return Credentials(
            host=self.host, username=USER, password=Secret(PASSWORD), expires=time.time() + 3600
        )


@pytest.fixture
def private_registry_of_pods(node: Node, tmp_path: Path) -> Iterator[str]:
    with registry(tmp_path / "registry", host=node.outside, private=True) as address:
        yield address


def test_a_job_builds_pushes_and_leaves_nothing(
    bench: Bench, store: LinkStore, image: str, private_registry_of_pods: str, tmp_path: Path
) -> None:
    root = image_from_host(tmp_path / "root.tar", ("sh", "cat", "echo"))
    netrc = tmp_path / "netrc"
    netrc.write_text("machine index password hush\n")
    lent = Lent(f"{private_registry_of_pods}/jobs", DockerConfig({}), plain=True)
    builder = bench.builder(lent, store, image, secrets={"netrc": str(netrc)})
    builder.verify()
    step = "RUN --mount=type=secret,id=netrc,target=/netrc cat /netrc > /copy; echo hello $WHO"
    made = context(
        {"below/Dockerfile": f"FROM scratch\nADD root.tar /\nARG WHO\n{step}\n", "root.tar": root},
        dockerfile="below/Dockerfile",
        build_args={"WHO": "a b,c"},
        labels={"a": "b"},
    )
    ref = ImageRef.parse(f"{builder.repository}:{made.digest}")
    lines: list[str] = []
    found = builder.build(made, ref, log=lines.append, stop=threading.Event())
    assert found.digest == builder.find(ref).digest  # type: ignore[union-attr]
    assert lent.contents.config(lent.contents.manifest(found.digest))["config"]["Labels"] == {"a": "b"}
    assert any("hello a b,c" in line for line in lines)
    assert not {"hush", PASSWORD} & set(" ".join(lines).split())
    eventually(lambda: not bench.left(), within=60, every=0.2, what="Job and Secrets are gone")
    assert not list((tmp_path / "contexts").iterdir())
    assert store.ends == [120 + 3600]


def test_a_job_runs_no_step_that_an_earlier_one_has_run(
    bench: Bench, store: LinkStore, image: str, node_registry: str, tmp_path: Path
) -> None:
    """Each has a daemon of its own, which knows nothing but what lies in the registry."""
    root = image_from_host(tmp_path / "root.tar", ("sh", "cat", "echo"))
    builder = bench.builder(node_registry, store, image, cache=f"{node_registry}/cache-{tmp_path.name}")
    text = "FROM scratch\nADD root.tar /\nCOPY needs.txt /\nRUN cat needs.txt; echo re''peated\nCOPY . /job\n"
    said = []
    for code in ("1", "2"):
        files = {"Dockerfile": text, "needs.txt": "tree\n", "root.tar": root, "train.py": code}
        made, lines = context(files, text=text), list[str]()
        ref = ImageRef.parse(f"{builder.repository}:{made.digest}")
        builder.build(made, ref, log=lines.append, stop=threading.Event())
        said.append("\n".join(lines))
    assert "repeated" in said[0]
    assert "repeated" not in said[1], said[1]


def test_a_job_whose_step_fails_tells_its_log(
    bench: Bench, store: LinkStore, image: str, node_registry: str, tmp_path: Path
) -> None:
    root = image_from_host(tmp_path / "root.tar", ("sh", "echo"))
    text = "FROM scratch\nADD root.tar /\nRUN echo out of cheese; exit 3\n"
    made = context({"Dockerfile": text, "root.tar": root})
    builder = bench.builder(node_registry, store, image)
    with pytest.raises(BuildError, match="exit code: 3") as failed:
        builder.build(made, ImageRef.parse(f"{builder.repository}:1"), log=_nobody, stop=threading.Event())
    assert "out of cheese" in failed.value.log
    store.url += "/absent"
    with pytest.raises(BuildError, match="cannot read its context") as away:
        builder.build(made, ImageRef.parse(f"{builder.repository}:2"), log=_nobody, stop=threading.Event())
    assert "hush" not in str(away.value) + away.value.log


def test_a_namespace_that_does_not_admit_the_pod_says_so_at_once(cluster: Cluster, tmp_path: Path) -> None:
    manifest = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "generateName": "test-buildkit-",
            "labels": {"pod-security.kubernetes.io/enforce": "baseline"},
        },
    }
    name = cluster.kube.create(manifest)["metadata"]["name"]
    try:
        await_account(cluster.kube, name)
        (tmp_path / "contexts").mkdir()
        bench = Bench(cluster, name, tmp_path)
        store = LinkStore(tmp_path / "contexts", "http://store.invalid")
        builder = bench.builder("registry.invalid", store, "test.invalid/none:1")
        ref = ImageRef.parse(f"{builder.repository}:1")
        with pytest.raises(BuildError, match=r"does not admit the build's pod.*seccompProfile") as refused:
            builder.build(context({"Dockerfile": ""}), ref, log=_nobody, stop=threading.Event())
        assert "kaniko and layers need less" in refused.value.hint
        eventually(lambda: not bench.left(), within=60, every=0.2, what="Job and Secrets are gone")
        builder.close()
    finally:
        cluster.kube.delete("v1", "Namespace", "", name)


def test_a_daemon_that_does_not_start_is_told_of(tmp_path: Path) -> None:
    """What the image's own script says after its last try."""
    said = (
        "could not connect to unix:///run/user/1000/buildkit/buildkitd.sock after 60 trials\n"
        "========== log ==========\n[rootlesskit:parent] error: failed to start: permission denied\n"
    )
    builder = BuildkitJobBuilder.__new__(BuildkitJobBuilder)
    error = builder.explain(End(is_good=False, exit_code=1), said)
    assert "BuildKit does not start" in error.message
    assert "permission denied" in error.message
    assert "seccomp" in error.hint


def test_a_secret_that_is_none_is_named(tmp_path: Path) -> None:
    from launch_agent.builders.buildkit.job import _read

    with pytest.raises(BuildError, match=r"build-secrets\.netrc"):
        _read({"netrc": str(tmp_path / "absent")})
    large = tmp_path / "large"
    large.write_bytes(bytes(600_000))
    with pytest.raises(BuildError, match="too large"):
        _read({"netrc": str(large)})


def _nobody(_: str) -> None: ...
