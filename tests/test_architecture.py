"""The package keeps the house rules, and every rule is shown to catch what it is there for."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.architecture import import_probe, rules
from tests.architecture.source import PACKAGE, ROOT, Module, load, own_imports

MODULES = load()
Rule = Callable[[Module], Iterator[str]]
RULES: dict[str, Rule] = {
    "layers": lambda module: rules.layers(module, MODULES),
    "sizes": rules.sizes,
    "broad_excepts": rules.broad_excepts,
    "import_time": rules.import_time,
    "sdk_imports": rules.sdk_imports,
    "prints": rules.prints,
    "docstrings": rules.docstrings,
    "names": rules.names,
    "socket_checks": rules.socket_checks,
}


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a fresh interpreter of this environment; output as text."""
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("name", RULES)
def test_the_package_keeps_the_rule(name: str) -> None:
    broken = [f"{module.path}: {said}" for module in MODULES.values() for said in RULES[name](module)]
    assert not broken, "\n".join(broken)


def test_the_package_has_no_import_cycle() -> None:
    assert list(rules.cycles(MODULES)) == []


BAD = [
    ("layers", "spec/model.py", "from launch_agent.config import model"),
    ("layers", "runners/docker.py", "from launch_agent.queues import QueueClient"),
    ("layers", "runners/docker.py", "from ..control import loop"),
    ("layers", "control/tracker.py", "def f():\n    from launch_agent.control import pipeline"),
    ("layers", "control/wiring.py", "import launch_agent.cli.main"),
    ("layers", "attic/box.py", "import launch_agent.errors"),
    ("layers", "__init__.py", "from launch_agent.errors import LaunchError"),
    ("sizes", "spec/x.py", "\n" * 401),
    ("sizes", "spec/x.py", "def f():\n" + "    g()\n" * 60),
    ("broad_excepts", "spec/x.py", "try:\n    f()\nexcept:\n    pass"),
    ("broad_excepts", "spec/x.py", "try:\n    f()\nexcept (ValueError, Exception):\n    pass"),
    ("broad_excepts", "control/tracker.py", "try:\n    f()\nexcept builtins.BaseException:\n    pass"),
    ("broad_excepts", "spec/x.py", "with contextlib.suppress(Exception):\n    f()"),
    ("import_time", "spec/x.py", "HOME = os.environ['HOME']"),
    ("import_time", "spec/x.py", "from os import environ\nHOME = environ.get('HOME')"),
    ("import_time", "spec/x.py", "TEXT = Path(__file__).with_name('a').read_text()"),
    ("import_time", "spec/x.py", "class A:\n    text = open('a')"),
    ("import_time", "spec/x.py", "def f(home=Path.home()):\n    pass"),
    ("import_time", "spec/x.py", "@cached(os.getenv('A'))\ndef f():\n    pass"),
    ("sdk_imports", "control/loop.py", "import docker"),
    ("sdk_imports", "builders/docker.py", "from google.cloud import storage"),
    ("sdk_imports", "builders/docker.py", "def f():\n    import docker.errors"),
    ("sdk_imports", "cli/server.py", "import uvicorn"),
    ("prints", "spec/x.py", "print('here')"),
    ("docstrings", "spec/x.py", "A = 1"),
    ("names", "spec/utils.py", ""),
    ("names", "spec/x.py", "class RunManager:\n    pass"),
    ("socket_checks", "control/loop.py", "isinstance(x, runners.Runner)"),
    ("socket_checks", "control/loop.py", "isinstance(x, (str, Run))"),
    ("socket_checks", "control/loop.py", "isinstance(x, str | Builder)"),
    ("socket_checks", "control/loop.py", "match x:\n    case Registry():\n        pass"),
]

GOOD = [
    ("layers", "control/loop.py", "from launch_agent.control import pipeline, tracker"),
    ("layers", "config/load.py", "from launch_agent.spec.model import Lease"),
    ("layers", "cli/start.py", "def f():\n    from launch_agent.control import wiring"),
    ("layers", "runners/docker.py", "from launch_agent.runners import Run\nfrom launch_agent import plugins"),
    ("broad_excepts", "control/pipeline.py", "try:\n    f()\nexcept Exception:\n    pass"),
    ("broad_excepts", "spec/x.py", "try:\n    f()\nexcept OSError:\n    pass"),
    ("import_time", "spec/x.py", "def f():\n    return os.environ['HOME'], open('a')"),
    ("import_time", "spec/x.py", "f = lambda: open('a')"),
    ("import_time", "spec/x.py", "if __name__ == '__main__':\n    open('a')"),
    ("sdk_imports", "builders/docker.py", "import docker\nfrom docker import errors"),
    ("sdk_imports", "server/store.py", "import sqlalchemy as sa"),
    ("docstrings", "spec/x.py", '"""What it is."""'),
    ("socket_checks", "control/loop.py", "isinstance(x, RunSpec)"),
]


@pytest.mark.parametrize(("name", "path", "text"), BAD)
def test_the_rule_catches(name: str, path: str, text: str) -> None:
    assert list(RULES[name](Module.parse(path, text)))


@pytest.mark.parametrize(("name", "path", "text"), GOOD)
def test_the_rule_lets_pass(name: str, path: str, text: str) -> None:
    assert list(RULES[name](Module.parse(path, text))) == []


def test_a_cycle_is_caught_through_functions_and_relative_imports() -> None:
    parsed = [
        Module.parse("spec/a.py", "from . import b"),
        Module.parse("spec/b.py", "def f():\n    from launch_agent.spec.c import thing"),
        Module.parse("spec/c.py", "from launch_agent.spec import a"),
        Module.parse("spec/__init__.py", ""),
    ]
    modules = {module.name: module for module in parsed}
    assert [target for _, target in own_imports(modules["spec.b"], modules)] == ["spec.c"]
    (cycle,) = rules.cycles(modules)
    assert set(cycle.split(" <- ")) == {"spec.a", "spec.b", "spec.c"}


def dotted(module: Module) -> str:
    return ".".join(filter(None, [PACKAGE, module.name]))


def test_importing_any_module_touches_nothing() -> None:
    names = [dotted(module) for module in MODULES.values() if module.name != "__main__"]
    done = python(import_probe.__file__, str(ROOT / "agent" / PACKAGE), *names)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["findings"] == []
    sdks = {line.rpartition(": ")[2].split(".")[0] for line in seen["missing"]}
    assert sdks <= set(rules.SDKS), f"not installed: {seen['missing']}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import pathlib\npathlib.Path(__file__).read_text()", "open"),
        ("import os\nos.environ.get('HOME')", "HOME"),
        ("import socket\nsocket.getaddrinfo('localhost', 80)", "getaddrinfo"),
        ("import os\nos.listdir('.')", "listdir"),
        ("import subprocess, sys\nsubprocess.run([sys.executable, '-c', ''])", "Popen"),
    ],
)
def test_the_import_probe_catches(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "meddler.py").write_text(text)
    program = (
        f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]\n"
        "from tests.architecture.import_probe import probe\n"
        f"print(probe({str(tmp_path)!r}, ['meddler'])['findings'])"
    )
    done = python("-c", program)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout


def test_the_import_probe_lets_imports_pass(tmp_path: Path) -> None:
    (tmp_path / "meddler.py").write_text("import json, http.client, click, yaml")
    program = (
        f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]\n"
        "from tests.architecture.import_probe import probe\n"
        f"print(probe({str(tmp_path)!r}, ['meddler'])['findings'])"
    )
    assert python("-c", program).stdout.strip() == "[]"


@pytest.mark.parametrize("module", [PACKAGE, f"{PACKAGE}.cli", f"{PACKAGE}.cli.main"])
def test_the_command_line_is_light(module: str) -> None:
    heavy = sorted({*rules.SDKS, "jsonschema", "rich", "jinja2", "urllib3", "prometheus_client"})
    done = python("-c", f"import sys, {module}\nprint(*(set({heavy!r}) & set(sys.modules)))")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_the_module_is_the_command() -> None:
    done = python("-m", PACKAGE, "--help")
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout
    assert "demo" in done.stdout
