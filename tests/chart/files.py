"""The values files of the repository: one list for every test that takes them all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.fakes.helm import CHART

ROOT = CHART.parents[1]
EXAMPLES = ROOT / "examples" / "values"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Values files as somebody gives them to Helm, in their order: a base, and what is laid over it."""

    name: str
    files: tuple[Path, ...]

    def flags(self) -> list[str]:
        return [word for file in self.files for word in ("-f", str(file))]

    def names(self) -> list[str]:
        """Those that the files choose themselves, in place of ones made from the release's."""
        contents = [yaml.safe_load(file.read_text(encoding="utf-8")) for file in self.files]
        names = [each.get("fullnameOverride") for each in contents]
        return [
            name
            for name in [*names, *(each.get("serviceAccount", {}).get("name") for each in contents)]
            if name
        ]


def of_the_chart() -> list[Case]:
    """What chart-testing takes too: one feature each."""
    return [Case(name=file.stem, files=(file,)) for file in sorted((CHART / "ci").glob("*-values.yaml"))]


def of_the_examples() -> list[Case]:
    """Every values file below examples/. Where a folder has a `base.yaml`, its other files are laid over it,
    and the base alone is no installation."""
    cases = []
    for file in sorted(EXAMPLES.rglob("*.yaml")):
        if file.name == "base.yaml" or not is_values(file):
            continue
        base = file.with_name("base.yaml")
        files = (base, file) if base.exists() else (file,)
        cases.append(Case(name=str(file.relative_to(EXAMPLES)), files=files))
    return cases


def is_values(file: Path) -> bool:
    """Whether a YAML file is values for the chart, and not meant for another program."""
    known = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))["properties"]
    content, *more = yaml.safe_load_all(file.read_text(encoding="utf-8"))
    return not more and isinstance(content, Mapping) and bool(content) and set(content) <= set(known)


CASES = [*of_the_chart(), *of_the_examples()] if (CHART / "values.schema.json").exists() else []
