"""Shows which promises of the product's documents are shown by a test that names their id.

The promises are `tests/requirements.tsv`; a test claims one with `@pytest.mark.req("CFG-4")`. The claims are
read from the source, so this needs no test run: `make test` says whether they hold. Chart tests, which are
YAML, claim with a comment `# req: CHART-4 CHART-5`. A claim of an id that does not exist is an error.
"""

from __future__ import annotations

import argparse
import ast
import csv
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
YAML_CLAIM = re.compile(r"#\s*req:\s*([A-Z0-9 ,-]+)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """One row of the table: the id, the subject it belongs to, one sentence."""

    id: str
    group: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A place in a test file that says which promise is shown there."""

    id: str
    place: str


def promises(text: str) -> dict[str, Promise]:
    """The table by id, in its order. Tab-separated, first line the column names."""
    rows = csv.reader(text.splitlines()[1:], delimiter="\t", quoting=csv.QUOTE_NONE)
    return {row[0]: Promise(id=row[0], group=row[1], text=row[2]) for row in rows}


def python_claims(text: str, path: str) -> Iterator[Claim]:
    """Every `pytest.mark.req(...)` in a file: on tests, classes, modules and single parameters.

    Raises TypeError where an id is not written out, since a reader could not search for it either.
    """
    for node in ast.walk(ast.parse(text)):
        if not (isinstance(node, ast.Call) and ast.unparse(node.func).endswith("mark.req")):
            continue
        for argument in node.args:
            if not (isinstance(argument, ast.Constant) and isinstance(argument.value, str)):
                raise TypeError(f"{path}:{node.lineno}: write requirement ids as plain strings")
            yield Claim(id=argument.value, place=f"{path}:{node.lineno}")


def yaml_claims(text: str, path: str) -> Iterator[Claim]:
    """Every `# req: …` comment in a file."""
    for number, line in enumerate(text.splitlines(), start=1):
        if found := YAML_CLAIM.search(line.rstrip()):
            for name in re.split(r"[ ,]+", found[1].strip()):
                yield Claim(id=name, place=f"{path}:{number}")


def claims(root: Path) -> Iterator[Claim]:
    """All claims of the Python tests and of the chart's own."""
    for file in sorted((root / "tests").rglob("*.py")):
        yield from python_claims(file.read_text(encoding="utf-8"), file.relative_to(root).as_posix())
    for file in sorted((root / "charts").rglob("*_test.yaml")):
        yield from yaml_claims(file.read_text(encoding="utf-8"), file.relative_to(root).as_posix())


def report(known: Mapping[str, Promise], made: Iterable[Claim], verbose: bool) -> Iterator[str]:
    """A line per group with its figures, then the open ids; with `verbose` each row and where it is shown."""
    places: dict[str, list[str]] = {}
    for claim in made:
        places.setdefault(claim.id, []).append(claim.place)
    groups: dict[str, list[Promise]] = {}
    for promise in known.values():
        groups.setdefault(promise.id.split("-")[0], []).append(promise)
    for short, members in groups.items():
        still_open = [promise.id for promise in members if promise.id not in places]
        shown = len(members) - len(still_open)
        yield f"{short:<6} {shown:>3}/{len(members):<3} {members[0].group}"
        if verbose:
            for promise in members:
                where = ", ".join(places.get(promise.id, ["open"]))
                yield f"    {promise.id:<9} {promise.text}\n              {where}"
        elif shown and still_open:
            yield f"               open: {' '.join(still_open)}"
    yield f"all    {len(known.keys() & places.keys()):>3}/{len(known)}"


def main(arguments: list[str] | None = None) -> int:
    """0 and the report; 1 where a claim names an id that the table does not have."""
    parser = argparse.ArgumentParser(description="Which promises are shown by tests.")
    parser.add_argument("-v", "--verbose", action="store_true", help="every promise, and where it is shown")
    options = parser.parse_args(arguments)
    known = promises((ROOT / "tests" / "requirements.tsv").read_text(encoding="utf-8"))
    try:
        made = list(claims(ROOT))
    except TypeError as error:
        print(error, file=sys.stderr)
        return 1
    unknown = [claim for claim in made if claim.id not in known]
    for claim in unknown:
        print(f"{claim.place}: no requirement {claim.id!r} in tests/requirements.tsv", file=sys.stderr)
    print("\n".join(report(known, made, options.verbose)))
    return 1 if unknown else 0


if __name__ == "__main__":
    sys.exit(main())
