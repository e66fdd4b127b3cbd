"""What the schemas of values and launch config cannot see, since it takes both: parts that contradict each
other, have no effect together, or cannot work in a cluster.

Whatever makes the chart refuse to install is an error here too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from launch_agent.config import schema
from launch_agent.config.finding import Path, Severity, dotted, follow
from launch_agent.config.values.recognise import SCHEMA
from launch_agent.config.values.view import View, filled_later

ERROR, WARNING = Severity.ERROR, Severity.WARNING

_MISSING = object()
_AZURE_IDENTITY = "azure.workload.identity/client-id"
# Values for one builder only: where they stand, and what they are of use for.
_OF_KANIKO: tuple[Path, ...] = (
    ("kanikoPvcName",),
    ("kanikoDockerConfigSecret",),
    ("azureStorageAccessKey",),
    ("azureStorageAccessKeySecret", "name"),
)
_OF_BUILDKIT: tuple[Path, ...] = (("buildkitTlsSecret",), ("buildSecretsSecret",))
_MAKE_JOBS = ("kaniko", "buildkit")
_LOCAL = ("localhost", "127.0.0.1", "::1")


def run(view: View, *, complete: bool) -> None:
    """All checks, added to the view's findings. `complete` says that no other file adds to these values."""
    _older_names(view)
    _exclusive(view)
    _ssh(view, complete=complete)
    _service_account(view)
    _backend(view)
    if view.config:
        _builder(view)
        _azure(view)
        _namespaces(view)
        _overridden(view)
        _draining(view)


def _older_names(view: View) -> None:
    if _given(view, "agentConfig"):
        if _given(view, "launchConfig"):
            view.say(
                ERROR,
                "contradiction",
                ("agentConfig",),
                "launchConfig is set too, and they mean the same",
                hint="keep launchConfig",
                at_key=True,
            )
        else:
            view.say(
                WARNING,
                "older-form",
                ("agentConfig",),
                "'agentConfig' is an older form",
                hint="the newer form is launchConfig",
                at_key=True,
            )
    if view.get("volcano") is not None:
        view.say(
            WARNING,
            "unused-key",
            ("volcano",),
            "'volcano' has no effect: the chart installs no scheduler",
            hint="install Volcano by its own chart, and give the agent rights with rbac.customResources",
            at_key=True,
        )
    if view.get("agent", "minAvailable") is not None:
        view.say(
            WARNING,
            "older-form",
            ("agent", "minAvailable"),
            "'agent.minAvailable' is an older form",
            hint="the newer form is podDisruptionBudget.minAvailable; without any, drains are not blocked",
            at_key=True,
        )


def _exclusive(view: View) -> None:
    """Pairs of which the chart takes one."""
    pairs: tuple[tuple[Path, Path], ...] = (
        (("customCABundle", "certificates"), ("customCABundle", "configMap", "name")),
        (("podDisruptionBudget", "minAvailable"), ("podDisruptionBudget", "maxUnavailable")),
    )
    for one, other in pairs:
        if _given(view, *one) and _given(view, *other):
            view.say(
                ERROR,
                "contradiction",
                one,
                f"{dotted(other)} is set too",
                hint="keep one of the two",
                at_key=True,
            )
    by_name: tuple[tuple[Path, Path], ...] = (
        (("agent", "apiKey"), ("agent", "apiKeySecret", "name")),
        (("gitCreds",), ("gitCredsSecret", "name")),
        (("azureStorageAccessKey",), ("azureStorageAccessKeySecret", "name")),
        (("knownHosts",), ("knownHostsConfigMap", "name")),
    )
    for inline, name in by_name:
        if _given(view, *inline) and _given(view, *name):
            view.say(
                WARNING,
                "said-twice",
                inline,
                f"it has no effect, since {dotted(name)} names where to find it",
                hint="keep one of the two",
                at_key=True,
            )


def _ssh(view: View, *, complete: bool) -> None:
    if not _given(view, "sshAuthSecrets"):
        return
    if not _default(view, "strictHostKeyChecking"):
        view.say(
            WARNING,
            "unknown-host",
            ("strictHostKeyChecking",),
            "whoever answers for a Git server is trusted",
            hint="put the checked output of ssh-keyscan into knownHosts, and leave this out",
        )
        return
    if _given(view, "knownHosts") or _given(view, "knownHostsConfigMap", "name"):
        return
    view.say(
        ERROR if complete else WARNING,
        "missing-key",
        ("sshAuthSecrets",),
        "there is no known host for these keys, so that every connection would be refused",
        hint="put the checked output of ssh-keyscan into knownHosts, or set strictHostKeyChecking to false",
        at_key=True,
    )


def _service_account(view: View) -> None:
    account = ("serviceAccount", "name")
    if _default(view, "serviceAccount", "create") or _given(view, *account):
        return
    if _default(view, "rbac", "create"):
        view.say(
            ERROR,
            "missing-key",
            account,
            "the agent's rights would go to the namespace's default account, which every pod has",
            hint="name the account to use, or let the chart create one",
            at_key=True,
        )


def _backend(view: View) -> None:
    """Which server the agent talks to: `baseUrl` goes before the launch config's `base_url` where it is given
    and is not the default."""
    given = view.get("baseUrl")
    if isinstance(given, str) and not filled_later(given):
        address = urlsplit(given)
        if address.scheme == "http" and address.hostname not in _LOCAL:
            view.say(
                WARNING,
                "plain-http",
                ("baseUrl",),
                f"the API key travels to {address.hostname} unencrypted",
                hint="use https:// where the server offers it",
            )
    inner, ours = view.of_config("base_url"), schema.load(SCHEMA)["properties"]["baseUrl"]["default"]
    if not isinstance(inner, str) or not isinstance(given, str) or given == ours:
        return
    if inner.rstrip("/") != given.rstrip("/"):
        view.say(
            WARNING,
            "contradiction",
            (view.key, "base_url"),
            f"it has no effect: baseUrl is {given} and goes before it",
            hint=f"write baseUrl: {inner}",
            at_key=True,
        )


def _builder(view: View) -> None:
    kind = view.of_config("builder", "type")
    if kind == "docker":
        view.say(
            WARNING,
            "builder-advice",
            (view.key, "builder", "type"),
            "an agent that runs in a cluster has no Docker engine to build with",
            hint="kaniko builds without one; noop starts images that are built already",
        )
    address = _buildkit(view, kind)
    if kind not in _MAKE_JOBS or address:
        builds = "builder is 'noop'" if kind == "noop" else "builder is not kaniko"
        builds = "builder is a daemon" if address else builds
        _unused_values(view, _OF_KANIKO, f"the {builds}", f"write {view.key}: builder: {{type: kaniko}}")
    elif _given(view, "kanikoPvcName") and view.of_config("builder", "build-context-store"):
        view.say(
            WARNING,
            "unused-key",
            (view.key, "builder", "build-context-store"),
            "it has no effect: build contexts are kept in the volume claim that kanikoPvcName names",
            hint="keep one of the two",
            at_key=True,
        )


def _buildkit(view: View, kind: object) -> str:
    """The address of the daemon that builds; empty where there is none."""
    if kind != "buildkit":
        why = f"the builder is {kind or 'noop'!r}"
        _unused_values(view, _OF_BUILDKIT, why, f"write {view.key}: builder: {{type: buildkit}}")
        return ""
    address = str(view.of_config("builder", "buildkit-address") or "")
    if not address.startswith("tcp://"):
        why = "buildkit-address names no daemon at tcp://"
        _unused_values(view, _OF_BUILDKIT[:1], why, f"write {view.key}: builder: {{buildkit-address: …}}")
    elif not _given(view, "buildkitTlsSecret") and not view.of_config("builder", "buildkit-tls"):
        view.say(
            WARNING,
            "plain-http",
            (view.key, "builder", "buildkit-address"),
            "code and credentials travel to this daemon unencrypted, and whoever reaches it builds with it",
            hint="start it with certificates, and name a Secret with the agent's in buildkitTlsSecret",
        )
    return address


def _unused_values(view: View, paths: tuple[Path, ...], why: str, otherwise: str) -> None:
    for path in paths:
        if _given(view, *path):
            view.say(
                WARNING,
                "unused-key",
                path,
                f"it has no effect: {why}",
                hint=f"remove it, or {otherwise}",
                at_key=True,
            )


def _azure(view: View) -> None:
    """Who opens the storage account of build contexts."""
    if view.of_config("builder", "type") not in _MAKE_JOBS:
        return
    has_key = _given(view, "azureStorageAccessKey") or _given(view, "azureStorageAccessKeySecret", "name")
    store = str(view.of_config("builder", "build-context-store") or "")
    in_azure = (urlsplit(store).hostname or "").endswith(".blob.core.windows.net")
    path: Path = (view.key, "builder", "build-context-store")
    if has_key and store and not in_azure and not filled_later(store):
        key = "azureStorageAccessKey"
        view.say(
            WARNING,
            "unused-key",
            (key,) if _given(view, key) else (f"{key}Secret", "name"),
            "it has no effect: build contexts are not kept in Azure's storage",
            hint="remove it, or write build-context-store: https://<account>.blob.core.windows.net/<container>",
            at_key=True,
        )
    if not in_azure or has_key or _given(view, "kanikoPvcName") or view.of_config("builder", "secret-name"):
        return
    annotations = view.get("serviceAccount", "annotations")
    if isinstance(annotations, Mapping) and annotations.get(_AZURE_IDENTITY):
        return
    if not _default(view, "serviceAccount", "create"):
        return  # the account's annotations are somebody else's
    view.say(
        WARNING,
        "no-credentials",
        path,
        "nothing here opens this storage account: neither an identity nor an access key",
        hint=f"set serviceAccount.annotations.{_AZURE_IDENTITY}, or name a Secret in "
        "azureStorageAccessKeySecret.name",
    )


def _namespaces(view: View) -> None:
    """A build's Job goes where the agent has a Role. The runner's namespaces get one from the chart."""
    key = f"{view.of_config('builder', 'type') or 'kaniko'}-config"
    named = view.of_config("builder", key, "metadata", "namespace")
    rbac = (_default(view, "rbac", "create"), _default(view, "rbac", "clusterWide"))
    if not isinstance(named, str) or rbac != (True, False):
        return
    targets = targets_of(view)
    if named in targets:
        return
    known = targets or ["that of the release"]
    view.say(
        WARNING,
        "not-a-target",
        (view.key, "builder", key, "metadata", "namespace"),
        f"the agent has no rights in the namespace {named!r}; it has in {' and '.join(known)}",
        hint=f"add {named} to additionalTargetNamespaces",
    )


def targets_of(view: View) -> list[str]:
    """The namespaces that the chart makes a Role in, as far as these values name them."""
    kubernetes = view.of_config("runner", "kubernetes")
    kubernetes = kubernetes if isinstance(kubernetes, Mapping) else {}
    lists = (_default(view, "additionalTargetNamespaces"), kubernetes.get("target-namespaces"))
    names = [_default(view, "namespace"), kubernetes.get("namespace")]
    names += [name for found in lists if isinstance(found, list) for name in found]
    return list(dict.fromkeys(name for name in names if isinstance(name, str) and name))


def _overridden(view: View) -> None:
    """Keys of the launch config that the chart says otherwise by variables, which go before the file."""
    port, ours = view.of_config("metrics", "port"), _default(view, "metrics", "port")
    overridden: dict[tuple[str, ...], str] = {
        ("api-key-file",): "name the Secret in agent.apiKeySecret.name",
        ("state-dir",): "agent.stateVolume is the volume that keeps the state",
    }
    if port != ours:
        overridden["metrics", "port"] = f"beside {view.key}, write metrics: {{port: {port}}}"
    for path, hint in overridden.items():
        if view.of_config(*path) is not None:
            message = "it has no effect: the chart sets it by a variable, which goes before the launch config"
            view.say(WARNING, "unused-key", (view.key, *path), message, hint=hint, at_key=True)


def _draining(view: View) -> None:
    """The pod must live as long as the agent drains."""
    grace = _default(view, "agent", "terminationGracePeriodSeconds")
    drain = view.of_config("drain-timeout")
    if isinstance(grace, int) and isinstance(drain, int | float) and drain >= grace:
        view.say(
            WARNING,
            "contradiction",
            (view.key, "drain-timeout"),
            f"the pod is killed after {grace} s, before launches have had {drain} s to come to an end",
            hint=f"make agent.terminationGracePeriodSeconds more than {drain}",
        )


def _given(view: View, *path: str | int) -> bool:
    """Whether there is something at the path. A number is, zero included."""
    value = view.get(*path)
    if isinstance(value, str):
        return bool(value.strip())
    return value is not None and value != [] and value != {}


def _default(view: View, *path: str) -> Any:
    """The value at the path, or the chart's default for it; a null takes the default away."""
    value = follow(view.value, path, _MISSING)
    if value is not _MISSING:
        return value
    part: Mapping[str, Any] = schema.load(SCHEMA)
    for key in path:
        part = part.get("properties", {}).get(key, {})
    return part.get("default")
