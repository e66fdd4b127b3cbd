"""Helm as a program: the one that `make tools` builds, with folders of its own and nothing of the user's.

A user's repositories, plugins and contexts neither help nor harm a test, and a test leaves no trace in them.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tools import go_tools

CHART = Path(__file__).resolve().parents[2] / "charts" / "launch-agent"

# A render takes a fifth of a second; an install waits for an API server that may have two cores for all.
_SECONDS = 90


class NoHelm(Exception):
    """Why there is no Helm for the tests."""


class HelmFailed(Exception):
    """Helm ended with an error; the message is all that it wrote (lint says what is wrong as its output)."""


def built(name: str) -> Path:
    """The program `helm` or `helm3`. Raises NoHelm where it is not built."""
    (tool,) = (each for each in go_tools.TOOLS if each.name == name)
    program = go_tools.program(tool, go_tools.home())
    if not program.exists():
        raise NoHelm(f"{name} is not built (`make tools`)")
    return program


@dataclass(frozen=True, slots=True, kw_only=True)
class Helm:
    """`folder` holds what Helm keeps for a user; `kubeconfig` is set where there is a cluster to talk to."""

    folder: Path
    kubeconfig: Path | None = None
    program: Path = field(default_factory=lambda: built("helm"))

    def environment(self) -> dict[str, str]:
        """Of a process that runs Helm, or that runs a program which does."""
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("HELM_", "KUBE"))
        }
        return {
            **inherited,
            "PATH": f"{self.program.parent}{os.pathsep}{inherited.get('PATH', os.defpath)}",
            "KUBECONFIG": str(self.kubeconfig or self.folder / "no-cluster"),
            "HELM_PLUGINS": str(self.program.parents[1] / "plugins"),
            **{f"HELM_{kind}_HOME": str(self.folder / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")},
        }

    def run(self, *arguments: str | Path, stdin: str = "") -> str:
        """Run a command and return its standard output. Raises HelmFailed."""
        done = subprocess.run(
            [self.program, *arguments], input=stdin, env=self.environment(), capture_output=True, text=True,
            timeout=_SECONDS, check=False,
        )  # fmt: skip
        if done.returncode:
            raise HelmFailed(f"{done.stdout}{done.stderr}".strip())
        return done.stdout

    def json(self, *arguments: str | Path) -> Any:
        """What a command prints with `--output json`."""
        return json.loads(self.run(*arguments, "--output", "json"))

    def template(
        self,
        values: Mapping[str, Any] | str,
        *arguments: str | Path,
        name: str = "gpu",
        namespace: str = "ml",
    ) -> list[dict[str, Any]]:
        """The objects that the chart renders from values (a mapping or a file's text), hooks included."""
        # As JSON: PyYAML leaves texts unquoted that Helm takes for numbers.
        text = values if isinstance(values, str) else json.dumps(values)
        said = self.run("template", name, CHART, "-n", namespace, "-f", "-", *arguments, stdin=text)
        return list(documents(said))


def documents(text: str) -> Iterator[dict[str, Any]]:
    """The objects of a multi-document YAML text; empty documents are left out."""
    for document in yaml.safe_load_all(text):
        if document:
            yield document


def one(objects: list[dict[str, Any]], kind: str, name: str | None = None) -> dict[str, Any]:
    """The only object of a kind (and name). Raises AssertionError where there are none or several."""
    found = [each for each in objects if each["kind"] == kind and name in (None, each["metadata"]["name"])]
    assert len(found) == 1, f"{len(found)} objects of kind {kind}, name {name or 'any'}"
    return found[0]
