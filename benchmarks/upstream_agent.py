"""Runs the official agent, `wandb launch-agent`, against a server of ours, to measure both agents alike.

The package lives in the virtual environment that `tools/interop_venv.py` makes. What is measured is what its
user has: the command itself with `wandb-core` and every other process that it starts.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.fakes.wandb_sandbox import WandbSandbox
from tools import interop_venv


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Memory of several processes together, in bytes. `rss` counts a shared page once for each of them, `pss`
    (Linux) once in all."""

    processes: int
    rss: int
    pss: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamAgent:
    """A running `wandb launch-agent`."""

    command: subprocess.Popen[bytes]
    sandbox: WandbSandbox

    def memory(self) -> Memory:
        return memory_of(self.sandbox.pids())

    def log(self) -> str:
        return self.sandbox.read("agent.log")


@contextmanager
def upstream_agent(
    base_url: str,
    api_key: str,
    entity: str,
    queues: Sequence[str],
    *,
    max_jobs: int = 1,
    environment: Mapping[str, str] | None = None,
    kubeconfig: str = "",
) -> Iterator[UpstreamAgent]:
    """Start the official agent; it and all its processes are ended and its files removed at the end.

    The environment is made first where it is missing, which takes a network and some seconds. `base_url` may
    be a `CountingProxy`'s, to count its requests; `environment` is laid over the sandbox's. A job's
    containers are not the agent's: stop them yourself. `kubeconfig` is the text
    of `~/.kube/config`, the one place where its runner looks; with it comes what that runner imports.
    """
    lock = interop_venv.KUBERNETES_LOCK if kubeconfig else interop_venv.LOCK
    folder = interop_venv.home(lock)
    interop_venv.make(folder, lock)
    sandbox = WandbSandbox(interop_venv.interpreter(folder), base_url, api_key)
    sandbox.env.update(environment or {})
    if kubeconfig:
        home = sandbox.folder / ".kube"
        home.mkdir()
        (home / "config").write_text(kubeconfig, encoding="utf-8")
    try:
        arguments = [word for queue in queues for word in ("-q", queue)]
        command = sandbox.start(
            ["wandb", "launch-agent", *arguments, "-e", entity, "-j", str(max_jobs)], "agent.log"
        )
        yield UpstreamAgent(command=command, sandbox=sandbox)
    finally:
        sandbox.close()


def memory_of(pids: Sequence[int]) -> Memory:
    """The memory of processes by their ids (Linux only); one that ended meanwhile counts nothing."""
    rss, pss, alive = 0, 0, 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines[1:] if line.endswith("kB")}
        rss += sizes.get("Rss", 0)
        pss += sizes.get("Pss", 0)
        alive += 1
    return Memory(processes=alive, rss=rss, pss=pss)
