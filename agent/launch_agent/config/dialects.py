"""The older and newer spellings of a launch config, turned into one normal form.

`SPELLINGS` is the whole table. Nothing behind this file sees an old name: no `registry` block, no
`builder.uri`, no `queue`, no `verbosity`. The input has passed the schema, so types are what they must be.

Where two spellings of one thing are both there, equal values are a warning and different ones an error that
shows both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from launch_agent.config import destination
from launch_agent.config.destination import Destination, Kind
from launch_agent.config.finding import Finding, Path, Severity, dotted
from launch_agent.errors import ImageError


@dataclass(slots=True, kw_only=True)
class Normal:
    """A config in its normal form. `value` has the schema's shape without older keys; `repository` is an ECR
    repository whose account only AWS can tell; `source` is the path of the key that named the destination."""

    value: dict[str, Any]
    destination: Destination | None = None
    repository: str = ""
    source: Path = ()
    registry: dict[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def say(
        self, severity: Severity, code: str, path: Path, message: str, *, hint: str = "", at_key: bool = False
    ) -> None:
        self.findings.append(
            Finding(severity=severity, code=code, path=path, message=message, hint=hint, at_key=at_key)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Spelling:
    """An older way to write something. `new` is the way to write it now, empty where it means nothing any
    more. `apply` moves the value to its normal place; `severity` says how lint mentions it (None: both
    spellings are equally good)."""

    old: Path
    new: str
    apply: Callable[[Normal, Any], None]
    severity: Severity | None


def normalise(raw: Mapping[str, Any]) -> Normal:
    """The normal form of a config that has passed the schema, with findings about its spellings."""
    value = {key: _copy(item) for key, item in raw.items() if item is not None}
    normal = Normal(value=value, registry=dict(raw.get("registry") or {}))
    for spelling in SPELLINGS:
        holder: Any = value
        for part in spelling.old[:-1]:
            holder = holder.get(part, {})
        if spelling.old[-1] not in holder:
            continue
        item = holder.pop(spelling.old[-1])
        if spelling.new and spelling.severity is not None:
            _mention(normal, spelling)
        elif spelling.severity is not None:
            _mention_useless(normal, spelling)
        spelling.apply(normal, item)
    value.pop("registry", None)
    return normal


def _copy(item: Any) -> Any:
    return {key: part for key, part in item.items() if part is not None} if isinstance(item, dict) else item


def _mention(normal: Normal, spelling: Spelling) -> None:
    assert spelling.severity is not None
    normal.say(
        spelling.severity,
        "older-form",
        spelling.old,
        f"{dotted(spelling.old)!r} is an older form",
        hint=f"the newer form is {spelling.new}",
        at_key=True,
    )


def _mention_useless(normal: Normal, spelling: Spelling) -> None:
    normal.say(
        Severity.WARNING,
        "unused-key",
        spelling.old,
        f"{spelling.old[-1]!r} has no effect: credentials are the environment's",
        hint="remove it",
        at_key=True,
    )


def _queue(normal: Normal, item: Any) -> None:
    names = [item] if isinstance(item, str) else list(item)
    normal.value["queues"] = list(dict.fromkeys([*normal.value.get("queues", []), *names]))


def _verbosity(normal: Normal, item: Any) -> None:
    normal.value["log"] = {"level": "debug" if item else "info", **normal.value.get("log", {})}


def _credentials(normal: Normal, item: Any) -> None:
    """Taken out; the mention is all."""


def _destination(path: Path) -> Callable[[Normal, Any], None]:
    def apply(normal: Normal, item: Any) -> None:
        _set_destination(normal, path, str(item))

    return apply


def _registry(normal: Normal, item: Any) -> None:
    """The `registry` block: a URI, or the names from which the environment makes one."""
    block = {key: part for key, part in item.items() if part is not None}
    environment = normal.value.get("environment", {})
    kind = block.get("type", "")
    region = block.get("region") or environment.get("region", "")
    project = block.get("project") or environment.get("project", "")
    repository = str(block.get("repository") or block.get("repo_name") or "")
    _check_twins(normal, block)
    if block.get("uri"):
        _set_destination(normal, ("registry", "uri"), str(block["uri"]))
        _check_kind(normal, kind)
        _check_names(normal, block, repository)
    elif kind in ("gcr", "gar") and region and project and repository:
        uri = destination.of_gar(
            region=region, project=project, repository=repository, image=str(block["image-name"])
        )
        _set_destination(normal, ("registry", "repository"), uri)
    elif kind == "ecr" and block.get("account_id") and region and repository:
        uri = destination.of_ecr(account=str(block["account_id"]), region=region, repository=repository)
        _set_destination(normal, ("registry", "repository" if "repository" in block else "repo_name"), uri)
    elif kind == "ecr" and repository:
        _set_repository(normal, repository)


def _set_repository(normal: Normal, repository: str) -> None:
    path: Path = ("registry", "repository")
    known = normal.destination
    if known is None:
        normal.repository, normal.source = repository, path
    elif known.uri.endswith(f"/{repository}"):
        _say_twice(normal, path)
    else:
        normal.say(
            Severity.ERROR,
            "contradiction",
            path,
            f"the repository is {repository!r} here and {known.uri!r} in {dotted(normal.source)}",
            hint="keep builder.destination alone",
        )


def _say_twice(normal: Normal, path: Path) -> None:
    normal.say(
        Severity.WARNING,
        "said-twice",
        path,
        f"the image repository is named in {dotted(normal.source)} too",
        hint="keep builder.destination alone",
    )


def _set_destination(normal: Normal, path: Path, text: str) -> None:
    try:
        found = destination.parse(text)
    except ImageError as error:
        normal.say(Severity.ERROR, "wrong-value", path, error.message, hint=error.hint)
        return
    if found.tag:
        normal.say(
            Severity.WARNING,
            "tag-ignored",
            path,
            f"the tag {found.tag!r} is dropped: images are tagged with a hash of their content",
            hint=f"write {found.uri}",
        )
    if normal.destination is None:
        normal.destination, normal.source = found, path
    elif normal.destination.uri == found.uri:
        _say_twice(normal, path)
    else:
        normal.say(
            Severity.ERROR,
            "contradiction",
            path,
            f"images go to {found.uri!r} here and to {normal.destination.uri!r} in {dotted(normal.source)}",
            hint="keep builder.destination alone",
        )


def _check_twins(normal: Normal, block: Mapping[str, Any]) -> None:
    if "repository" in block and "repo_name" in block and block["repository"] != block["repo_name"]:
        normal.say(
            Severity.ERROR,
            "contradiction",
            ("registry", "repo_name"),
            f"the repository is {block['repo_name']!r} here and {block['repository']!r} in "
            "registry.repository",
            hint="keep registry.repository alone",
        )


def _check_kind(normal: Normal, kind: str) -> None:
    found = normal.destination
    wanted = {"gcr": Kind.GAR}.get(kind, kind)
    if not kind or found is None or found.kind == wanted or normal.source != ("registry", "uri"):
        return
    what = (
        f"an address of type {found.kind.value!r}"
        if found.kind is not Kind.GENERIC
        else "of another registry"
    )
    normal.say(
        Severity.ERROR,
        "contradiction",
        ("registry", "uri"),
        f"the registry's type is {kind!r}, and {found.uri!r} is {what}",
        hint="registries of no cloud are named with builder.destination, without a registry block"
        if found.kind is Kind.GENERIC
        else "",
    )


def _check_names(normal: Normal, block: Mapping[str, Any], repository: str) -> None:
    """`repository` beside `uri`: equal or an error."""
    found = normal.destination
    if not repository or found is None:
        return
    names = "/".join(part for part in (repository, str(block.get("image-name", ""))) if part)
    if not found.uri.endswith(f"/{names}"):
        normal.say(
            Severity.ERROR,
            "contradiction",
            ("registry", "repository"),
            f"the repository is {names!r} here and {found.uri!r} in registry.uri",
            hint="keep registry.uri alone",
        )


# Applied in this order: builder.destination is first, so that older forms are compared with it.
SPELLINGS = (
    Spelling(old=("queue",), new="queues: [<name>]", apply=_queue, severity=Severity.WARNING),
    Spelling(old=("verbosity",), new="log: {level: debug}", apply=_verbosity, severity=None),
    Spelling(
        old=("builder", "destination"),
        new="builder.destination",
        apply=_destination(("builder", "destination")),
        severity=None,
    ),
    Spelling(
        old=("builder", "uri"),
        new="builder: {destination: …}",
        apply=_destination(("builder", "uri")),
        severity=Severity.WARNING,
    ),
    Spelling(old=("registry", "credentials"), new="", apply=_credentials, severity=Severity.WARNING),
    Spelling(old=("builder", "credentials"), new="", apply=_credentials, severity=Severity.WARNING),
    Spelling(old=("registry",), new="builder: {destination: …}", apply=_registry, severity=None),
)
