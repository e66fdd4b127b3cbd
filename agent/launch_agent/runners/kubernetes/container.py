"""Puts a run into the containers of its pods: image, command, arguments, variables.

Who gets what:

- the *main* container of a pod is the one that the annotation `kubectl.kubernetes.io/default-container`
  names, else the first; sidecars are left alone;
- an *image* goes to every container that has none. Where all have one and the job's is nowhere in the
  manifest (`${image_uri}`), it replaces that of the main containers: the job is what was asked for;
- *variables* go to the main container of each pod, and to any that runs the job's image;
- a *command* and arguments of the job go to the main container of the leading pod, and to those of other
  pods that would have run the same as it: the workers of a PyTorchJob run the program of its master, while
  a parameter server or an MPI worker goes on doing something else.
"""

from __future__ import annotations

import copy
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from launch_agent.runners.env import IDENTITY_KEYS, scalar
from launch_agent.runners.kubernetes import authorities
from launch_agent.spec.kubernetes.kinds import RAY_JOB, SPARK, TRAIN_JOB, WORKFLOW, known
from launch_agent.spec.kubernetes.problems import Problems, join
from launch_agent.spec.kubernetes.templates import (
    DEFAULT_CONTAINER,
    PodTemplate,
    main_container,
    mentions,
    metadata_map,
)
from launch_agent.spec.model import RunRequest

Place = tuple[str, dict[str, Any]]
Main = tuple[PodTemplate, str, dict[str, Any]]
_COMMAND = ("command", "args")


def fill(
    manifest: dict[str, Any],
    templates: Sequence[PodTemplate],
    request: RunRequest,
    secret_name: str,
    problems: Problems,
) -> None:
    """Put the request into the manifest's containers, in place. `secret_name` is the Secret that holds the
    secret variables by their names."""
    mains = [
        (template, *found)
        for template in templates
        if not template.helper and (found := main_container(template))
    ]
    _place_image(manifest, templates, mains, request.image, problems)
    for template, place, container in _alike(mains):
        _place_command(template, container, place, request, problems)
    ours = _variables(request, secret_name)
    workers = _workers(templates, mains, request.image)
    for place, container in workers:
        _place_env(container, place, ours, problems)
    if request.authorities:
        for template in templates:
            own = [found for found in workers if any(found[1] is one for _, one in template.every_container)]
            authorities.add(template, own, request.authorities, problems)
    for template in templates:
        _place_names(template, problems)


def _place_image(
    manifest: dict[str, Any],
    templates: Sequence[PodTemplate],
    mains: Sequence[Main],
    image: str,
    problems: Problems,
) -> None:
    named = bool(image) and mentions(manifest, image)
    bare = False
    for template in templates:
        for place, holder in _image_holders(template, template.every_container):
            if holder.get("image") in (None, ""):
                bare = True
                _give_image(template, holder, place, image, problems)
            elif not isinstance(holder["image"], str):
                problems.wrong_type(join(place, "image"), "a text", holder["image"])
    if image and not bare and not named:
        for template, place, container in mains:
            for _, holder in _image_holders(template, [(place, container)]):
                holder["image"] = image


def _give_image(
    template: PodTemplate, holder: dict[str, Any], place: str, image: str, problems: Problems
) -> None:
    if image:
        holder["image"] = image
    elif template.kind != TRAIN_JOB:  # its runtime has an image
        problems.add(
            join(place, "image"), "is missing", "the job brings no image, so the queue has to name one"
        )


def _image_holders(template: PodTemplate, containers: Sequence[Place]) -> Sequence[Place]:
    """What has the field `image` of these containers. Spark's pods share one, unless they have their own."""
    if template.kind != SPARK:
        return containers
    spec = template.owner["spec"]
    shared = (join(template.owner_place, "spec"), spec)
    return [found if found[1].get("image") else shared for found in containers]


def _alike(mains: Sequence[Main]) -> Sequence[Main]:
    """The leading pod's main container, and those that would have run the same as it."""
    if not mains:
        return ()
    leader, _, first = mains[0]
    if known(leader.kind).alone or leader.kind in (RAY_JOB, SPARK):
        return mains[:1]
    wanted = [first.get(key) or None for key in _COMMAND]
    # Taken before anything is changed.
    return [found for found in mains if [found[2].get(key) or None for key in _COMMAND] == wanted]


def _place_command(
    template: PodTemplate, container: dict[str, Any], place: str, request: RunRequest, problems: Problems
) -> None:
    entry_point = [_literal(word) for word in request.entry_point]
    args = [_literal(word) for word in request.args]
    if template.kind == RAY_JOB:
        _place_ray(template, request, problems)
    elif template.kind == SPARK:
        _place_spark(template, request, problems)
    else:
        if entry_point:
            container["command"] = entry_point
            # Arguments of the queue belong to its command, not to the job's.
            container.pop("args", None)
        if args:
            container["args"] = args
        if request.working_dir and template.spec is not None:
            container["workingDir"] = request.working_dir


def _place_ray(template: PodTemplate, request: RunRequest, problems: Problems) -> None:
    """Ray starts the job's command itself, by a shell, once its cluster is up. It cannot tell a program from
    its arguments, so arguments alone come after what the queue has."""
    spec = problems.section(template.owner, "spec", template.owner_place)
    words = shlex.join([*request.entry_point, *request.args])
    given = "" if request.entry_point else str(spec.get("entrypoint") or "")
    if words:
        spec["entrypoint"] = f"{given} {words}".strip()


def _place_spark(template: PodTemplate, request: RunRequest, problems: Problems) -> None:
    spec = problems.section(template.owner, "spec", template.owner_place)
    if request.entry_point:
        problems.add(
            join(join(template.owner_place, "spec"), "mainApplicationFile"),
            "is what a SparkApplication runs, and the job brings an entry point",
            "submit the job without an entry point, or set mainApplicationFile",
        )
    if request.args:
        spec["arguments"] = list(request.args)


def _workers(templates: Sequence[PodTemplate], mains: Sequence[Main], image: str) -> list[Place]:
    # Of a workflow's steps only the job's own is one: the others may run anything.
    steps = [found for found in mains if found[0].kind != WORKFLOW or found is mains[0]]
    main_ids = {id(container) for _, _, container in steps}
    return [
        (place, container)
        for template in templates
        if not template.helper
        for place, container in template.every_container
        if id(container) in main_ids or (image and container.get("image") == image)
    ]


def _variables(request: RunRequest, secret_name: str) -> dict[str, dict[str, Any]]:
    ours: dict[str, dict[str, Any]] = {
        name: {"name": name, "value": _literal(value)} for name, value in request.env.items()
    }
    for name in request.secret_env:
        ours[name] = {"name": name, "valueFrom": {"secretKeyRef": {"name": secret_name, "key": name}}}
    return ours


def _place_env(
    container: dict[str, Any], place: str, ours: Mapping[str, dict[str, Any]], problems: Problems
) -> None:
    """The queue's variables win, but for those that say which run this is. Ours come first: a variable can
    refer to those before it."""
    theirs = []
    for entry_place, entry in problems.numbered(container, "env", place):
        name = entry.get("name")
        if not isinstance(name, str) or not name:
            problems.add(join(entry_place, "name"), "is no variable's name", "write `- name: NAME`")
            continue
        if name in IDENTITY_KEYS and name in ours:
            continue
        theirs.append(_as_text(entry, entry_place, problems))
    names = {entry["name"] for entry in theirs}
    # Programs read either spelling of these; ours beside a queue's would leave open which one counts.
    names |= {name.upper() for name in names if name.lower().endswith("_proxy")}
    names |= {name.lower() for name in names if name.lower().endswith("_proxy")}
    container["env"] = [copy.deepcopy(entry) for name, entry in ours.items() if name not in names]
    container["env"] += theirs


def _as_text(entry: dict[str, Any], place: str, problems: Problems) -> dict[str, Any]:
    """A number or a switch as the text that was meant: Kubernetes takes texts only."""
    if entry.get("value") is None:
        return entry
    try:
        return {**entry, "value": scalar(entry["value"])}
    except ValueError:
        problems.wrong_type(join(place, "value"), "a text", entry["value"])
        return entry


def _place_names(template: PodTemplate, problems: Problems) -> None:
    """Names for containers without one, and the mark that says which is the main one: a webhook may put
    others before it."""
    if template.spec is None:
        return
    taken = {str(container.get("name")) for _, container in template.every_container}
    main = main_container(template)
    for number, (_, container) in enumerate(template.every_container):
        if container.get("name") in (None, ""):
            base = known(template.kind).container if main and container is main[1] else f"container-{number}"
            container["name"] = _free(base, taken)
    if not main or template.helper:
        return
    annotations = metadata_map(template, "annotations", problems)
    if annotations is not None:
        annotations.setdefault(DEFAULT_CONTAINER, main[1]["name"])


def _free(base: str, taken: set[str]) -> str:
    name, number = base, 2
    while name in taken:
        name, number = f"{base}-{number}", number + 1
    taken.add(name)
    return name


def _literal(text: str) -> str:
    """A text in a field where Kubernetes would put a variable's value for `$(NAME)`."""
    return text.replace("$", "$$")
