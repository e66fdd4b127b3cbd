"""Finds the pods of a manifest, whatever its kind.

Custom resources put pod templates anywhere, and new ones appear all the time; a pod spec, however, always
has a list `containers`. So templates are found by that shape, below any key. Some kinds describe a pod in
words of their own (TrainJob, SparkApplication, Workflow); what they have in place of a container takes part
as one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from launch_agent.spec.kubernetes.kinds import SPARK, TRAIN_JOB, WORKFLOW, kind_name, known
from launch_agent.spec.kubernetes.problems import Problems, join

DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"


@dataclass(frozen=True, slots=True, kw_only=True)
class PodTemplate:
    """One pod template of a manifest; its mappings are the manifest's own, to be read or changed.

    `place` is the path of the template, `holder` the mapping that has (or may have) the pod's `metadata`,
    None where the kind has no place for it, `spec` the pod's spec, None where the kind has no such thing.
    `containers` are those that run side by side, `first` those that run before them. `owner` is the object
    that the template belongs to and `kind` what that is; `owner_place` its path. `helper` is whether the pods
    serve the run and do not do its work.
    """

    place: str
    kind: str
    owner: dict[str, Any]
    owner_place: str
    holder: dict[str, Any] | None
    spec: dict[str, Any] | None
    containers: tuple[tuple[str, dict[str, Any]], ...]
    first: tuple[tuple[str, dict[str, Any]], ...] = ()
    helper: bool = False

    @property
    def every_container(self) -> tuple[tuple[str, dict[str, Any]], ...]:
        return (*self.first, *self.containers)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Owner:
    kind: str
    value: dict[str, Any]
    place: str


def find(manifest: dict[str, Any], problems: Problems, place: str = "") -> list[PodTemplate]:
    """Every pod template, those of the leading role first, else in the manifest's order; helpers last.
    `place` is the manifest's own path."""
    nobody = _Owner(kind="", value=manifest, place=place)
    found = list(_find(manifest, place, nobody, problems))
    return sorted(found, key=_rank)


def _rank(template: PodTemplate) -> tuple[bool, int]:
    leaders = known(template.kind).leaders
    keys = template.place.replace("[", ".").split(".")
    ranks = [number for number, leader in enumerate(leaders) if leader in keys]
    return template.helper, min(ranks, default=len(leaders))


def _find(value: Any, place: str, owner: _Owner, problems: Problems) -> Iterator[PodTemplate]:
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from _find(item, f"{place}[{number}]", owner, problems)
    if not isinstance(value, dict):
        return
    if isinstance(value.get("apiVersion"), str) and isinstance(value.get("kind"), str):
        owner = _Owner(kind=kind_name(value["apiVersion"], value["kind"]), value=value, place=place)
        if owner.kind in (TRAIN_JOB, SPARK):
            yield from _in_own_words(owner, problems)
            return
    if owner.kind == WORKFLOW and isinstance(value.get("container"), dict):
        step = (join(place, "container"), value["container"])
        yield _without_spec(owner, place, step, holder=value)
        return
    spec = value.get("spec")
    if isinstance(spec, dict) and _is_pod_spec(spec):
        yield _template(value, spec, place, join(place, "spec"), owner, problems)
    elif _is_pod_spec(value):
        yield _template(None, value, place, place, owner, problems)
    else:
        for key, item in value.items():
            yield from _find(item, join(place, str(key)), owner, problems)


def _is_pod_spec(value: Mapping[str, Any]) -> bool:
    # Null counts as not given, so that a template without containers is not taken for one.
    return value.get("containers") is not None


def _template(
    holder: dict[str, Any] | None,
    spec: dict[str, Any],
    place: str,
    spec_place: str,
    owner: _Owner,
    problems: Problems,
) -> PodTemplate:
    if spec["containers"] == []:
        hint = "a pod has one container at least; {} is enough"
        problems.add(join(spec_place, "containers"), "is empty", hint)
    return PodTemplate(
        place=place,
        kind=owner.kind,
        owner=owner.value,
        owner_place=owner.place,
        holder=holder,
        spec=spec,
        containers=problems.numbered(spec, "containers", spec_place),
        first=problems.numbered(spec, "initContainers", spec_place),
        helper=place.rpartition(".")[2] in known(owner.kind).helpers,
    )


def _in_own_words(owner: _Owner, problems: Problems) -> Iterator[PodTemplate]:
    """The pods of kinds that describe them without a template. What else they have of pods' specs (patches
    of a runtime, a template below Spark's driver) takes some fields only, so it is left as it is."""
    spec_place = join(owner.place, "spec")
    spec = problems.section(owner.value, "spec", owner.place)
    for key in ("trainer",) if owner.kind == TRAIN_JOB else ("driver", "executor"):
        place = join(spec_place, key)
        yield _without_spec(owner, place, (place, problems.section(spec, key, spec_place)))


def _without_spec(
    owner: _Owner, place: str, container: tuple[str, dict[str, Any]], holder: dict[str, Any] | None = None
) -> PodTemplate:
    return PodTemplate(
        place=place,
        kind=owner.kind,
        owner=owner.value,
        owner_place=owner.place,
        holder=holder,
        spec=None,
        containers=(container,),
    )


def main_container(template: PodTemplate) -> tuple[str, dict[str, Any]] | None:
    """The container that does the run's work: the one that the annotation names, else the first; None where
    the template has none."""
    metadata = (template.holder or {}).get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, Mapping) else None
    named = annotations.get(DEFAULT_CONTAINER) if isinstance(annotations, Mapping) else None
    by_name = [found for found in template.containers if named and found[1].get("name") == named]
    return next(iter([*by_name, *template.containers]), None)


def metadata_map(template: PodTemplate, key: str, problems: Problems) -> dict[str, Any] | None:
    """The pods' `labels` or `annotations`, made where missing; None where the kind has no place for them."""
    if template.holder is not None:
        metadata = problems.section(template.holder, "metadata", template.place)
        return problems.section(metadata, key, join(template.place, "metadata"))
    if template.kind == SPARK:
        return problems.section(template.containers[0][1], key, template.place)
    return None


def mentions(value: Any, text: str) -> bool:
    """Whether a text occurs in any text of a JSON value."""
    if isinstance(value, str):
        return text in value
    if isinstance(value, Mapping):
        return any(mentions(item, text) for item in value.values())
    return isinstance(value, list) and any(mentions(item, text) for item in value)
