"""What a schema cannot see: parts of a launch config that are right by themselves and wrong together.

Each check takes the normal form (see `dialects`) and adds findings to it. One of them also completes it:
where the address of the registry tells cloud and region, a missing `environment` is filled in with them.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from launch_agent.config import schema
from launch_agent.config.destination import CLOUD, Kind
from launch_agent.config.dialects import Normal
from launch_agent.config.finding import Finding, Path, Severity, dotted, nearest
from launch_agent.spec.docker_keys import canonical
from launch_agent.spec.policy.kubernetes import SERVICES
from launch_agent.spec.policy.kubernetes_rules import RULES

ERROR, WARNING, NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE

_CLOUD_NAME = {"aws": "Amazon's", "gcp": "Google's", "azure": "Azure's"}
_STORE_CLOUD = {"s3": "aws", "gs": "gcp", "https": "azure"}
_CONTINENTS = frozenset({"us", "europe", "asia"})
# Which builder has a use for which key; keys that are not here are everybody's.
_KEYS_OF = {
    "platform": ("docker", "buildkit", "layers"),
    "build-context-store": ("kaniko", "buildkit"),
    "build-context-key": ("kaniko", "buildkit"),
    "build-job-name": ("kaniko", "buildkit"),
    "secret-name": ("kaniko",),
    "secret-key": ("kaniko",),
    "kaniko-image": ("kaniko",),
    "kaniko-config": ("kaniko",),
    "buildkit-address": ("buildkit",),
    "buildkit-tls": ("buildkit",),
    "buildkit-image": ("buildkit",),
    "buildkit-config": ("buildkit",),
    "cache-repo": ("buildkit",),
    "build-secrets": ("buildkit",),
    # Where no type is given, it may be noop that comes of it.
    "base-image": ("noop", ""),
}
# Of the keys of `buildkit`, those that a build by a daemon has no use for.
_OF_A_JOB = (
    "build-context-store", "build-context-key", "build-job-name", "buildkit-image", "buildkit-config"
)  # fmt: skip
_BOTH_WAYS = "name one with builder.destination, or with a registry block (type and uri)"


def not_a_mapping(value: Any) -> Finding:
    what = "a list" if isinstance(value, list) else "empty" if value is None else "a single value"
    return Finding(
        severity=ERROR,
        code="wrong-type",
        message=f"the file must be a mapping of keys to values; it is {what}",
    )


def run(normal: Normal, *, claim: bool = False) -> None:
    """All cross-checks, added to `normal.findings`. `claim` says that a volume claim, which is named outside
    of the config, holds the build contexts."""
    if any(finding.severity is ERROR for finding in normal.findings):
        return  # what contradicts itself cannot be compared with something else
    _older_registry(normal)
    _registry_needs_environment(normal)
    _infer_environment(normal)
    _registry_in_environment(normal)
    _registry_block_names(normal)
    _image_name(normal)
    _builds_elsewhere(normal, claim)
    _daemon(normal)
    _store(normal)
    _unused_keys(normal)
    _advice(normal)
    _backend(normal)
    _policy(normal)


def _environment(normal: Normal) -> dict[str, str]:
    environment = normal.value.get("environment")
    return environment if isinstance(environment, dict) else {}


def _builder(normal: Normal) -> dict[str, Any]:
    builder = normal.value.get("builder")
    return builder if isinstance(builder, dict) else {}


def _older_registry(normal: Normal) -> None:
    if normal.registry and normal.destination is not None and normal.source[0] == "registry":
        normal.say(
            NOTE,
            "older-form",
            ("registry",),
            "'registry' is an older form",
            hint=f"the newer form is builder: {{destination: {normal.destination.uri}}}",
            at_key=True,
        )


def _registry_needs_environment(normal: Normal) -> None:
    """A `registry` block of a cloud's kind has credentials from that cloud's environment alone."""
    kind = normal.registry.get("type", "")
    cloud = CLOUD.get({"gcr": Kind.GAR}.get(kind, kind))
    if cloud is None:
        return
    given = _environment(normal).get("type", "")
    if given != cloud:
        has = f"the environment is {given!r}" if given else "there is none"
        normal.say(
            ERROR,
            "contradiction",
            ("registry", "type"),
            f"a registry of type {kind!r} needs an environment of type {cloud!r}; {has}",
            hint=_environment_hint(cloud),
        )


def _environment_hint(cloud: str) -> str:
    more = {"aws": ", region: …", "gcp": ", region: …, project: …"}.get(cloud, "")
    return f"write environment: {{type: {cloud}{more}}}"


def _infer_environment(normal: Normal) -> None:
    """No environment, and an address that tells the cloud: filled in, with a warning."""
    if _environment(normal).get("type") or normal.registry.get("type"):
        return
    found, source = normal.destination, normal.source
    store = str(_builder(normal).get("build-context-store", ""))
    inferred: dict[str, str] = {}
    if found is not None and found.cloud:
        inferred = {"type": found.cloud, "project": found.project}
        inferred["region"] = "" if found.region in _CONTINENTS else found.region
    elif store.startswith("https://") and "secret-name" not in _builder(normal):
        inferred, source = {"type": "azure"}, ("builder", "build-context-store")
    if not inferred:
        return
    environment = {key: value for key, value in inferred.items() if value}
    normal.value["environment"] = environment
    listed = ", ".join(f"{key}: {value}" for key, value in environment.items())
    normal.say(
        WARNING,
        "environment-inferred",
        source,
        f"no environment is given; from this address it is {environment['type']}",
        hint=f"write environment: {{{listed}}}",
    )


def _registry_in_environment(normal: Normal) -> None:
    """Cloud, region and project of the registry are the environment's."""
    found, environment = normal.destination, _environment(normal)
    cloud = environment.get("type", "")
    if found is None or not found.cloud or not cloud:
        return
    if cloud != found.cloud:
        if normal.registry.get("type"):
            return  # said already
        severity = WARNING if cloud == "local" else ERROR
        normal.say(
            severity,
            "contradiction",
            normal.source,
            f"images go to {_CLOUD_NAME[found.cloud]} registry {found.uri!r}, "
            f"and the environment is {cloud!r}",
            hint=_environment_hint(found.cloud),
        )
        return
    _same(normal, "region", found.region, in_region=True)
    _same(normal, "project", found.project)


def _same(normal: Normal, what: str, named: str, *, in_region: bool = False) -> None:
    given = _environment(normal).get(what, "")
    assert normal.destination is not None
    agrees = normal.destination.lies_in(given) if in_region else named == given
    if named and given and not agrees:
        normal.say(
            ERROR,
            "contradiction",
            normal.source,
            f"the registry's {what} is {named!r}, and the environment's is {given!r}",
            hint=f"make environment.{what} and {dotted(normal.source)} agree",
        )


def _registry_block_names(normal: Normal) -> None:
    """`registry.region` and `registry.project` say what the environment says."""
    for what in ("region", "project"):
        named, given = normal.registry.get(what, ""), _environment(normal).get(what, "")
        if named and given and named != given:
            normal.say(
                ERROR,
                "contradiction",
                ("registry", what),
                f"the registry's {what} is {named!r}, and the environment's is {given!r}",
                hint=f"remove registry.{what}: environment.{what} counts",
            )


def _image_name(normal: Normal) -> None:
    found = normal.destination
    if found is not None and found.kind is Kind.GAR and not found.image:
        normal.say(
            ERROR,
            "wrong-value",
            normal.source,
            f"{found.uri!r} names no image; Artifact Registry keeps images within a repository",
            hint=f"write {found.uri}/<image name>",
        )


def _builds_elsewhere(normal: Normal, claim: bool) -> None:
    """What the builders need that push to a registry, and those that are Jobs of the cluster."""
    builder = _builder(normal)
    kind = builder.get("type")
    if kind not in ("kaniko", "buildkit"):
        return
    path: Path = ("builder",)
    if normal.destination is None and not normal.repository:
        normal.say(
            ERROR,
            "missing-key",
            path,
            f"'builder' of type {kind!r} needs an image repository",
            hint=_BOTH_WAYS,
            at_key=True,
        )
    if claim or builder.get("buildkit-address"):
        return
    if "build-context-store" not in builder:
        normal.say(
            ERROR,
            "missing-key",
            (*path, "build-context-store"),
            f"the key is missing; 'builder' of type {kind!r} needs it",
            hint="or name the daemon that builds: buildkit-address" if kind == "buildkit" else "",
            at_key=True,
        )
    if kind == "kaniko" and not _environment(normal).get("type") and "secret-name" not in builder:
        normal.say(
            ERROR,
            "missing-key",
            path,
            "'builder' of type 'kaniko' needs an environment, or secret-name and secret-key",
            hint=_environment_hint(_store_cloud(builder) or "aws"),
            at_key=True,
        )


def _daemon(normal: Normal) -> None:
    """How a BuildKit daemon is reached, and what has no effect beside it or without it."""
    builder = _builder(normal)
    if builder.get("type") != "buildkit":
        return
    address = urlsplit(str(builder.get("buildkit-address", "")))
    unused = _OF_A_JOB if address.scheme else ()
    for key in unused:
        if key in builder:
            message = f"{key!r} has no effect: buildkit-address names a daemon, and no Job is made"
            normal.say(WARNING, "unused-key", ("builder", key), message, at_key=True)
    if address.scheme != "tcp" and "buildkit-tls" in builder:
        message = "'buildkit-tls' has no effect: it belongs to an address of the form tcp://"
        normal.say(WARNING, "unused-key", ("builder", "buildkit-tls"), message, at_key=True)


def _store_cloud(builder: dict[str, Any]) -> str:
    store = str(builder.get("build-context-store", ""))
    return _STORE_CLOUD.get(urlsplit(store).scheme, "")


def _store(normal: Normal) -> None:
    """The store of build contexts is the environment's cloud's."""
    builder = _builder(normal)
    cloud, given = _store_cloud(builder), _environment(normal).get("type", "")
    if cloud and given and cloud != given and not (given == "local" and "secret-name" in builder):
        reads = builder.get("type") in ("kaniko", "buildkit") and not builder.get("buildkit-address")
        severity = ERROR if reads else WARNING
        normal.say(
            severity,
            "contradiction",
            ("builder", "build-context-store"),
            f"build contexts go to {_CLOUD_NAME[cloud]} storage, and the environment is {given!r}",
            hint="use a store of the environment's cloud",
        )


def _unused_keys(normal: Normal) -> None:
    builder = _builder(normal)
    kind = builder.get("type", "")
    unused = [key for key in builder if key in _KEYS_OF and kind not in _KEYS_OF[key]]
    for key in unused:
        wanted = " or ".join(repr(each) for each in _KEYS_OF[key] if each)
        if kind == "noop":
            message = f"{key!r} has no effect: the builder 'noop' builds nothing, and jobs made of code fail"
        elif kind:
            message = f"{key!r} has no effect: it belongs to the builder {wanted}, and this one is {kind!r}"
        else:
            message = f"{key!r} has no effect: it belongs to the builder {wanted}, and no type is given"
        normal.say(WARNING, "unused-key", ("builder", key), message, at_key=True)


def _advice(normal: Normal) -> None:
    kind = _builder(normal).get("type", "")
    cloud = _environment(normal).get("type", "")
    if kind == "docker" and normal.value.get("runner", {}).get("kubernetes"):
        normal.say(
            NOTE,
            "builder-advice",
            ("builder", "type"),
            "an agent that runs in a cluster has no Docker engine to build with",
            hint="there, builder: {type: kaniko} builds without one; elsewhere docker is right",
        )
    if kind == "docker" and cloud in _CLOUD_NAME and normal.destination is None and not normal.repository:
        normal.say(
            NOTE,
            "images-stay",
            ("builder", "type"),
            "images stay on the machine that builds them, since no registry is named",
            hint=_BOTH_WAYS,
        )


def _backend(normal: Normal) -> None:
    value = normal.value
    address = urlsplit(str(value.get("base_url", "")))
    if address.scheme == "http" and address.hostname not in ("localhost", "127.0.0.1", "::1"):
        normal.say(
            WARNING,
            "plain-http",
            ("base_url",),
            f"the API key travels to {address.hostname} unencrypted",
            hint="use https:// where the server offers it",
        )
    wait, ready = value.get("poll-wait"), value.get("ready-after")
    if wait is not None and ready is not None and wait >= ready:
        normal.say(
            WARNING,
            "contradiction",
            ("ready-after",),
            f"a poll may take {wait} s, and after {ready} s without one the agent counts as not ready",
            hint="make ready-after longer than poll-wait",
        )


def _policy(normal: Normal) -> None:
    """Keys of `policy.allow` that open nothing, since no rule has that name."""
    for resource, keys in normal.value.get("policy", {}).get("allow", {}).items():
        known = _openable(resource)
        plain = {each.replace("-", "").replace("_", "").lower() for each in known}
        for key in keys:
            name = canonical(key) if resource == "local-container" else key
            if known and name.replace("-", "").replace("_", "").lower() not in plain:
                meant = nearest(key, known)
                normal.say(
                    WARNING,
                    "unused-key",
                    ("policy", "allow", resource, key),
                    f"{key!r} opens nothing: no rule for {resource} has that name",
                    hint=f"did you mean {meant!r}?" if meant else "",
                    at_key=True,
                )


def _openable(resource: str) -> frozenset[str]:
    """The names that `policy.allow` knows for the resource; empty where anything goes."""
    if resource == "kubernetes":
        return frozenset({SERVICES, *(rule.key for rule in RULES)})
    if resource == "local-container":
        options = schema.load("queue-config")["properties"][resource]["properties"]
        return frozenset(options)
    return frozenset({"entry-point"}) if resource == "local-process" else frozenset()
