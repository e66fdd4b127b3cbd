"""The first process of a container: hands signals on, waits for orphans, ends as its child does.

Each test makes a namespace of processes, in which the program is process 1 for real.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.eventually import eventually

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or os.getuid() != 0, reason="only root makes namespaces of processes"
)
# The command line is replaced by what a test wants to run below.
_PROGRAM = """
import sys, types
sys.path.insert(0, {agent!r})
import launch_agent.init as init
stand_in = types.ModuleType("launch_agent.cli.main")
exec({body!r}, stand_in.__dict__)
sys.modules["launch_agent.cli.main"] = stand_in
init.main()
"""


def started(body: str) -> subprocess.Popen[str]:
    program = _PROGRAM.format(agent=str(ROOT / "agent"), body=body)
    command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", sys.executable, "-c", program]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    said, errors = process.communicate(timeout=30)
    assert "Traceback" not in errors, errors
    return process.returncode, said


@pytest.mark.parametrize(
    ("ending", "code"), [("sys.exit(3)", 3), ("os.kill(os.getpid(), 9)", 137), ("pass", 0)]
)
def test_it_ends_as_its_child_does(ending: str, code: int) -> None:
    assert end(started(f"import os, sys\ndef main(): {ending}"))[0] == code


def test_the_child_gets_the_signals_and_orphans_are_waited_for() -> None:
    body = """
import os, signal, sys, time
def zombies():
    found = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with open(f"/proc/{pid}/stat") as file:
            found += file.read().rpartition(")")[2].split()[0] == "Z"
    return found
def main():
    got = []
    signal.signal(signal.SIGTERM, lambda *_: got.append(1))
    assert os.getppid() == 1
    if os.fork() == 0:
        if os.fork() == 0:
            os._exit(0)
        os._exit(0)
    os.wait()
    until = time.monotonic() + 10
    while zombies() and time.monotonic() < until:
        time.sleep(0.01)
    print("ready", zombies(), flush=True)
    while not got and time.monotonic() < until + 20:
        signal.sigtimedwait([], 0.05)
    print("got", len(got))
"""
    process = started(body)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready 0\n"
    first = first_below(process.pid)
    os.kill(first, signal.SIGTERM)
    assert end(process) == (0, "got 1\n")


def first_below(pid: int) -> int:
    """The process that is number 1 in its namespace, by its number here."""

    def found() -> int:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(children[0]) if children else 0

    return eventually(found)


def test_elsewhere_nothing_stands_between() -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'agent')!r}); sys.argv = ['x', '--version']\n"
        "from launch_agent import init; init.main()"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.split(",")[0]) == (0, "launch-agent")
