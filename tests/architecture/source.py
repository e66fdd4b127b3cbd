"""The package as parsed files: what each module is called, what it imports, how long it is."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "launch_agent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """One file; `name` is relative to the package: `control.loop`, or `runners` for its `__init__`."""

    name: str
    path: str
    text: str
    tree: ast.Module
    is_package: bool = False

    @classmethod
    def parse(cls, path: str, text: str) -> Module:
        """`path` is relative to the package's folder, as in `control/loop.py`."""
        parts = path.removesuffix(".py").split("/")
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        return cls(name=name, path=path, text=text, tree=ast.parse(text), is_package=is_package)


def load(folder: Path = ROOT / "agent" / PACKAGE) -> dict[str, Module]:
    """Every module below `folder`, by name."""
    found = {}
    for file in sorted(folder.rglob("*.py")):
        module = Module.parse(file.relative_to(folder).as_posix(), file.read_text(encoding="utf-8"))
        found[module.name] = module
    return found


def imports(module: Module) -> Iterator[tuple[int, str]]:
    """Each import as (line, absolute dotted name), wherever in the file it stands.

    `from a import b` gives `a.b`: whether b is a module or a name in one is for the reader to find out.
    """
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(filter(None, [_anchor(module, node.level), node.module]))
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"


def _anchor(module: Module, level: int) -> str:
    """The package that `level` leading dots mean in this module; empty for an absolute import."""
    if level == 0:
        return ""
    parts = [PACKAGE, *filter(None, module.name.split("."))]
    up = level - 1 if module.is_package else level
    return ".".join(parts[: len(parts) - up])


def own_imports(module: Module, modules: Mapping[str, Module]) -> Iterator[tuple[int, str]]:
    """The imports of our own modules, as (line, name relative to the package)."""
    for line, target in imports(module):
        if target == PACKAGE:
            yield line, ""
        elif target.startswith(f"{PACKAGE}."):
            name = target.removeprefix(f"{PACKAGE}.")
            while name and name not in modules:
                name = name.rpartition(".")[0]
            yield line, name
