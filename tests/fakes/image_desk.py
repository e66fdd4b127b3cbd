"""What an agent's image is put together from, small: packages of the tests' own, a base for two platforms."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from launch_agent.assembly import layer
from launch_agent.assembly.entries import Entry
from launch_agent.assembly.origin import Layout
from launch_agent.images.agent.assemble import Assembled, Bench, assemble
from launch_agent.images.agent.plan import Package, Plan
from tests.fakes import image_parts
from tests.fakes.image_parts import PYTHON

BOTH = ("linux/amd64", "linux/arm64")


@dataclass
class Desk:
    """Packages of the test's own, a base for two platforms, and a cache."""

    folder: Path
    packages: list[Package] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("index", "scratch"):
            (self.folder / name).mkdir(parents=True)
        files = {
            "speech/__init__.py": "import this\n",
            "speech/tests/test_it.py": "",
            "speech/very" * 30 + ".py": "",
        }
        self.packages.append(
            image_parts.wheel(
                self.folder / "index",
                "speech",
                files,
                metadata="License-Expression: MIT",
                commands={"speak": "speech:main"},
            )
        )
        code = {
            "launch_agent/__init__.py": "",
            "launch_agent/runners/x.py": "A = 1\n",
            "launch_agent/spec/y.py": "",
        }
        (self.folder / "own").mkdir()
        image_parts.wheel(
            self.folder / "own", "launch_agent", code, commands={"launch-agent": "launch_agent.x:main"}
        )
        self.base = self.make_base("base", {"usr/bin/python" + PYTHON: b"ELF"})

    def make_base(self, name: str, files: dict[str, bytes], env: dict[str, str] | None = None) -> Path:
        made = layer.write(
            [Entry(path=path, content=content) for path, content in files.items()],
            self.folder / f"{name}.tar.gz",
            title="base",
        )
        plain = self.folder / f"{name}.tar"
        with tarfile.open(made.path) as packed, tarfile.open(plain, "w") as out:
            for member in packed:
                out.addfile(member, packed.extractfile(member))
        return image_parts.write_layout(
            self.folder / name, {each: [plain] for each in BOTH}, env=env or {"PATH": "/usr/bin"}
        )

    def plan(self, **changes: Any) -> Plan:
        return replace(image_parts.plan(str(self.base), self.packages), **changes)

    def build(self, plan: Plan, **more: str) -> list[Assembled]:
        environment = {
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.folder / "index"),
            "HOME": str(self.folder),
        }
        bench = Bench(
            origin=Layout(Path(plan.base)),
            wheel=next((self.folder / "own").glob("*.whl")),
            cache=self.folder / "cache",
            scratch=self.folder / "scratch",
            environment={**environment, **more},
        )
        return assemble(plan, bench)
