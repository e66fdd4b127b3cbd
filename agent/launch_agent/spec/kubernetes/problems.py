"""Everything that is wrong with a manifest, collected, so that one message names it all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from launch_agent.errors import SubmitRejected
from launch_agent.spec.problem import Problem

ROOT = "resource_args.kubernetes"
SERVICES = "additional_services"
# A message is stored by the backend and shown on a page.
_MOST_SHOWN = 20


class Problems:
    """A growing list of problems. Readers go on after a problem with an empty value in place of the wrong
    one, so that the next problem is found too."""

    def __init__(self) -> None:
        # A mapping for its keys: two readers of one place say a thing once.
        self._found: dict[Problem, None] = {}

    def __iter__(self) -> Iterator[Problem]:
        return iter(tuple(self._found))

    def add(self, place: str, why: str, hint: str = "") -> None:
        self._found[Problem(place=place, why=why, hint=hint)] = None

    def check(self) -> None:
        """Raise SubmitRejected where anything was added."""
        if not self._found:
            return
        shown = list(self._found)[:_MOST_SHOWN]
        more = len(self._found) - len(shown)
        text = "; ".join(f"{path(each.place)} {each.why}" for each in shown)
        text += f"; and {more} more" if more else ""
        hint = "; ".join(dict.fromkeys(each.hint for each in shown if each.hint))
        raise SubmitRejected(f"the Kubernetes manifest cannot be used: {text}", hint=hint)

    def section(self, parent: dict[str, Any], key: str, place: str) -> dict[str, Any]:
        """The mapping at `key` of `parent`, put there where it is missing or null."""
        value = parent.get(key)
        if value is None:
            value = parent[key] = {}
        if not isinstance(value, dict):
            self.wrong_type(join(place, key), "a mapping", value)
            return {}
        return value

    def numbered(
        self, parent: dict[str, Any], key: str, place: str
    ) -> tuple[tuple[str, dict[str, Any]], ...]:
        """The mappings of the list at `key`, each with its place; empty where it is missing or null."""
        value = parent.get(key)
        if value is None:
            return ()
        if not isinstance(value, list):
            self.wrong_type(join(place, key), "a list", value)
            return ()
        found = []
        for number, item in enumerate(value):
            item_place = f"{join(place, key)}[{number}]"
            if isinstance(item, dict):
                found.append((item_place, item))
            else:
                self.wrong_type(item_place, "a mapping", item)
        return tuple(found)

    def wrong_type(self, place: str, wanted: str, value: object) -> None:
        self.add(place, f"is not {wanted} but {kind_of(value)}")


def path(place: str) -> str:
    """A place as a path of the run spec: services stand beside the resource's settings."""
    return place if place.startswith(f"{SERVICES}[") else join(ROOT, place)


def join(place: str, key: str) -> str:
    return f"{place}.{key}" if place and key else place or key


def kind_of(value: object) -> str:
    """The type of a JSON value in the words of its users."""
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "a switch"
    names = {str: "a text", int: "a number", float: "a number"}
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "a list"
    return names.get(type(value), type(value).__name__)
